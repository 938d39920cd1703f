"""Compilations as tasks: an anchor with its cuts as outputs, or the back that a variant has to itself, into a file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from restnet_tf import atomic
from restnet_tf.graph import cuts, infer
from restnet_tf.records import Plan, Stitch
from restnet_tf.stitches import stitch, variant
from restnet_tf.work import sources
from restnet_tf.work.sources import AnchorSource, DataSource
from restnet_tf.work.tasks import Progress
from tflite_export import convert

if TYPE_CHECKING:
    import keras

    from restnet_tf.data.splits import Data
    from restnet_tf.records import Anchor

CALIBRATION_IMAGES, _CALIBRATION_BATCH = 128, 64
_EVERYTHING = (-np.inf, np.inf)


@dataclass(frozen=True)
class Form:
    """What is compiled to: ``input_type`` is what images are taken as, None for what is usual for the precision."""

    precision: str
    lower: tuple[str, ...]
    input_type: str | None = None


@dataclass(frozen=True)
class Compilation:
    """An anchor with its cuts."""

    path: Path
    form: Form
    images: DataSource  # whose fit images calibrate integers
    anchor: AnchorSource
    cuts: tuple[str, ...]


@dataclass(frozen=True)
class BackCompilation:
    """The back of a plan's piece behind joint ``number``, with what its stitch tuned, calibrated on what that delivers.

    ``stitches`` are those up to that joint.
    """

    path: Path
    form: Form
    images: DataSource
    anchors: Mapping[str, AnchorSource]
    plan: Plan
    stitches: tuple[Stitch, ...]


def compiled(job: Compilation, progress: Progress) -> None:
    """Compile an anchor into its file; a task."""
    anchor, data = sources.anchor(job.anchor), sources.data(job.images)
    images = calibration(data, anchor.input_shape)
    tensors = {name: cuts.tensor(anchor.model, name) for name in job.cuts}
    form, limits = job.form, data.kind.limits
    content = convert.compile_object(
        anchor.model,
        tensors,
        form.precision,
        images,
        input_type=form.input_type,
        limits=limits,
        lower=form.lower,
        name=anchor.name,
    )
    atomic.write_bytes(job.path, content)


def compiled_back(job: BackCompilation, progress: Progress) -> None:
    """Compile a back into its file; a task."""
    anchors = {role: sources.anchor(source) for role, source in job.anchors.items()}
    *_, last = job.stitches
    piece = job.plan.route[len(job.stitches)]
    own = variant.with_weights(back(anchors[piece.anchor], piece.start), last.tuned)
    ends = {} if piece.stop is None else {piece.stop: cuts.tensor(own, piece.stop)}
    built = stitch.build(last)
    lead = variant.lead(job.plan, anchors, *job.stitches[:-1])
    images = calibration(sources.data(job.images), anchors[job.plan.route[0].anchor].input_shape)
    features = (np.asarray(built(x)) for x in run(lead, images))
    content = convert.compile_object(own, ends, job.form.precision, features, limits=_EVERYTHING, lower=job.form.lower)
    atomic.write_bytes(job.path, content)


def calibration(data: Data, shape: tuple[int, ...]) -> Iterator[np.ndarray]:
    """Batches of raw images ``(b, h, w, c)`` that integers are calibrated on."""
    batch = infer.batch_size(shape, _CALIBRATION_BATCH)
    yield from (np.asarray(x) for x in data.fit.head(CALIBRATION_IMAGES).batches(shape, batch))


def back(anchor: Anchor, start: str | None) -> keras.Model:
    """An anchor from a cut, or its input, to its probabilities."""
    return variant.piece(anchor, start, anchor.model.outputs[0], {})


def run(model: keras.Model, batches: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """A model's one output, batch by batch."""
    call = infer.compiled(model)
    return (np.asarray(call(batch)) for batch in batches)
