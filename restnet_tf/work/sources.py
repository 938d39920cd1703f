"""What names anchors and images, so that any process can load them; each process loads each of them once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from restnet_tf.anchors import class_order, head, zoo
from restnet_tf.data import splits
from restnet_tf.graph import surgery
from restnet_tf.records import Anchor, RestnetError
from restnet_tf.stitches import variant
from tflite_export.rewrites import centring

if TYPE_CHECKING:
    import keras

    from restnet_tf.data.splits import Data


@dataclass(frozen=True)
class ModelSource:
    """A model as ``zoo.load`` takes it; ``classes`` are a user's words for those of its outputs."""

    spec: str
    weights: str = "imagenet"
    weights_dir: Path | None = None
    arch: str | None = None
    preprocess: str = "none"
    classes: str = ""

    def load(self) -> Anchor:
        """The model as it was published, its residual streams centred; imports TensorFlow.

        Layer norms take the mean of a stream away: without it the answers are the same, and so is what files of
        integers hold at a cut, where it is left out.
        """
        published = zoo.load(
            self.spec, weights=self.weights, weights_dir=self.weights_dir, arch=self.arch, preprocess=self.preprocess
        )
        images = np.random.default_rng(0).uniform(0, 255, (2, *published.input_shape)).astype(np.float32)
        changed = centring.centre(published.model, images)
        return replace(published, sha256=surgery.fingerprint(published.model)) if changed else published


@dataclass(frozen=True)
class AnchorSource:
    """A model with what a run changed of it: another order of its classes, a new head, trained weights.

    ``order`` says which output stands for each class; ``head`` is the ``.npz`` of a ``HeadFit``; ``class_names`` are
    the classes of either; ``trained`` is the ``.npz`` of weights whose names begin with ``role``. ``sha256`` is the
    anchor's, which a process that loads it anew has to arrive at. With ``drawn`` its weights are drawn anew by that
    seed, as of one that has learned nothing.
    """

    model: ModelSource
    sha256: str
    head: Path | None = None
    class_names: tuple[str, ...] | None = None
    trained: Path | None = None
    role: str = ""
    order: tuple[int, ...] | None = None
    drawn: int | None = None


@dataclass(frozen=True)
class DataSource:
    """Images as ``splits.load`` takes them; ``sha256`` is what they have to be."""

    spec: str
    seed: int
    sha256: str


_anchors: dict[AnchorSource, Anchor] = {}
_data: dict[DataSource, Data] = {}
# What was cut out of anchors, each with the anchor that it is of.
_parts: dict[tuple[AnchorSource, tuple[str, str]], tuple[Anchor, keras.Model]] = {}


def remember(source: AnchorSource | DataSource, value: Anchor | Data) -> None:
    """Spare this process loading what it has loaded already."""
    if isinstance(source, AnchorSource) and isinstance(value, Anchor):
        _anchors[source] = value
    elif isinstance(source, DataSource) and not isinstance(value, Anchor):
        _data[source] = value


def forget() -> None:
    """Let go of everything; what was traced of networks holds none of it and stays for the next ones."""
    _anchors.clear()
    _data.clear()
    _parts.clear()


def anchor(source: AnchorSource) -> Anchor:
    """The anchor; raises ``RestnetError`` where its file is another by now."""
    if source not in _anchors and source.drawn is not None:
        _anchors[source] = variant.randomised(anchor(replace(source, drawn=None)), source.drawn)
    if source not in _anchors:
        value = source.model.load()
        if source.order is not None:
            value = class_order.reordered(value, source.order, source.class_names)
        if source.head is not None:
            with np.load(source.head) as arrays:
                value = head.with_head(value, arrays["kernel"], arrays["bias"], source.class_names)
        if source.trained is not None:
            value = variant.trained(value, trained_weights(source.trained).get(source.role, {}))
        _check(source.model.spec, value.sha256, source.sha256)
        _anchors[source] = value
    return _anchors[source]


def part(source: AnchorSource, name: tuple[str, str], cut: Callable[[Anchor], keras.Model]) -> keras.Model:
    """What ``cut`` makes of an anchor, made once: what was traced of it goes by which model it is."""
    whole = anchor(source)
    if (source, name) not in _parts or _parts[source, name][0] is not whole:
        _parts[source, name] = whole, cut(whole)
    return _parts[source, name][1]


def data(source: DataSource) -> Data:
    """The images; raises ``RestnetError`` where they are others by now."""
    if source not in _data:
        value = splits.load(source.spec, seed=source.seed)
        _check(source.spec, value.sha256, source.sha256)
        _data[source] = value
    return _data[source]


def trained_weights(path: Path) -> dict[str, dict[str, np.ndarray]]:
    """Weights of a ``.npz`` whose names are ``role:path``, by role and path."""
    weights: dict[str, dict[str, np.ndarray]] = {}
    with np.load(path) as arrays:
        for name in arrays.files:
            role, _, at = name.partition(":")
            weights.setdefault(role, {})[at] = arrays[name]
    return weights


def _check(spec: str, sha256: str, expected: str) -> None:
    if sha256 != expected:
        raise RestnetError(
            f"{spec} has changed: its hash is {sha256[:16]}, the run began with {expected[:16]}; put it back, or build"
            " with another --out"
        )
