"""An anchor of one's own: a named architecture, trained from nothing on labelled images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from restnet_tf import atomic
from restnet_tf.anchors import applications, separable, training, zoo
from restnet_tf.data.splits import Data
from restnet_tf.family import opening
from restnet_tf.family.options import Options
from restnet_tf.progress import Reporter
from restnet_tf.records import Anchor, RestnetError
from tflite_export.inputs import InputKind


@dataclass(frozen=True)
class Trained:
    """A trained anchor: its file, its share of right answers on the rank and test split, and their sizes."""

    path: Path
    rank: float
    test: float
    images: tuple[int, int]
    kind: InputKind


def train(arch: str, source: str, out: Path, *, epochs: int, rate: float, seed: int, report: Reporter) -> Trained:
    """Train a named architecture from nothing on labelled images and write it as a ``.keras`` file.

    ``rate`` is the peak of Adam's learning rate. Raises ``RestnetError`` where the file cannot be written, the
    architecture is unknown, or the images are no labelled images of its classes.
    """
    if out.suffix != ".keras":
        raise RestnetError(f"{out}: a trained anchor is written as a .keras file; give --out a name that ends so")
    atomic.check_writable(out.parent)
    images = opening.images(Options(data=source, seed=seed), report)
    anchor = _untrained(arch, images)
    report.stage(
        f"training {anchor.name}, {epochs} pass{'' if epochs == 1 else 'es'} over {len(images.fit)} {images.kind.many}"
    )
    training.train(anchor, images, epochs=epochs, rate=rate, seed=seed, progress=report.progress)
    atomic.write_bytes(out, training.as_file(anchor.model))
    right = [training.accuracy(anchor, split) for split in (images.rank, images.test)]
    return Trained(out, right[0], right[1], (len(images.rank), len(images.test)), images.kind)


def _untrained(arch: str, data: Data) -> Anchor:
    spec = applications.parse(arch)
    if spec.base == separable.NAME:
        return separable.anchor(spec, data)
    if spec.base not in applications.constructors():
        raise RestnetError(applications.unknown(spec.base))
    if "classes" not in spec.options and data.class_names:
        arch += f"{',' if spec.options else ':'}classes={len(data.class_names)}"
    anchor = zoo.load(arch, weights="none")
    opening.check_input(anchor, data)
    return anchor
