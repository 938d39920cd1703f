"""Compilations as tasks: an anchor with its cuts as outputs, or the back that a variant has to itself, into a file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from restnet_tf import atomic
from restnet_tf.family import mixing
from restnet_tf.graph import cuts, infer
from restnet_tf.records import Plan, Stitch
from restnet_tf.stitches import stitch, variant
from restnet_tf.work import sources
from restnet_tf.work.sources import AnchorSource, DataSource
from restnet_tf.work.tasks import Progress
from tflite_export import convert, verify
from tflite_export.mixed import maps, sensitivity, widening
from tflite_export.mixed.maps import WidthMap
from tflite_export.rewrites.holding import Holding

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
class MixedCompilation:
    """An anchor with its cuts, some of its operators in sixteen bits: what is made of ``eight``, its int8 object.

    ``map_path`` is where the run keeps which; ``given`` is a map that decides it, and else it is measured once, within
    ``limit`` times int8's latency.
    """

    path: Path
    eight: Compilation
    map_path: Path
    given: Path | None
    limit: float


@dataclass(frozen=True)
class BackCompilation:
    """The back of a plan's piece behind joint ``number``, with what its stitch tuned, calibrated on what that delivers.

    ``stitches`` are those up to that joint. ``map_path`` is the map of its anchor, for a mixed file. ``holdings`` say
    how the anchor's own file holds its cuts, and what this one takes.
    """

    path: Path
    form: Form
    images: DataSource
    anchors: Mapping[str, AnchorSource]
    plan: Plan
    stitches: tuple[Stitch, ...]
    map_path: Path | None = None
    holdings: Mapping[str, Holding] = field(default_factory=dict)


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


def compiled_mixed(job: MixedCompilation, progress: Progress) -> None:
    """Compile an anchor into its mixed file, and where there is no map yet, decide it; a task."""
    if not job.eight.path.exists():
        compiled(job.eight, progress)
    content = job.eight.path.read_bytes()
    decided = _given_map(job, content) or _decided(job, content, progress)
    mixed = widening.widened(content, decided.wide)
    images = sources.data(job.eight.images).fit.head(1).batches(sources.anchor(job.eight.anchor).input_shape, 1)
    verify.run(mixed, (np.asarray(x) for x in images))  # a map that a person edited may ask for what LiteRT refuses
    atomic.write_bytes(job.map_path, maps.text(decided))
    atomic.write_bytes(job.path, mixed)


def _given_map(job: MixedCompilation, content: bytes) -> WidthMap | None:
    """A map that the user gave, or that this run has decided already of such a file and limit."""
    if job.given is not None:
        return maps.load(job.given)
    if not job.map_path.exists():
        return None
    before = maps.load(job.map_path)
    return before if before.limit == job.limit and widening.holds(content, before.wide) else None


def _decided(job: MixedCompilation, content: bytes, progress: Progress) -> WidthMap:
    """A map by the last of the images to fit that few or none of the calibration has seen."""
    anchor, data = sources.anchor(job.eight.anchor), sources.data(job.eight.images)
    batch = infer.batch_size(anchor.input_shape, _CALIBRATION_BATCH)
    few = data.fit.head(CALIBRATION_IMAGES + sensitivity.IMAGES).batches(anchor.input_shape, batch)
    images = np.concatenate([np.asarray(x) for x in few])[-sensitivity.IMAGES :]
    exact = np.concatenate(list(run(anchor.model, iter(np.array_split(images, -(-len(images) // batch))))))
    return sensitivity.decide(content, images, exact, job.limit, progress)


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
    precision = "int8" if job.map_path else job.form.precision
    content = convert.compile_object(
        own, ends, precision, features, limits=_EVERYTHING, lower=job.form.lower, holdings=job.holdings
    )
    if job.map_path is not None:
        content = mixing.alike(content, [job.map_path])
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
