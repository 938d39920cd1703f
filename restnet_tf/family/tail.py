"""What is behind a point's last joint: its stitch and back as one network, and what reaches it of the images.

Before it everything stays as it is: in Keras, or in the integers of the point's own int8 file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from restnet_tf import atomic
from restnet_tf.family import anchor_pieces, answering, caches, score
from restnet_tf.family.anchor_pieces import Members
from restnet_tf.fitting import cache
from restnet_tf.graph import cuts, infer
from restnet_tf.stitches import stitch, variant
from tflite_export import activations, link, verify
from tflite_export.activations import Activation
from tflite_export.flatbuffer import only, read

if TYPE_CHECKING:
    import keras

    from restnet_tf.family.family import Family
    from restnet_tf.fitting.results import Fitted
    from restnet_tf.records import Anchor, Plan, Stitch

_INTEGERS = "int8"
_CHUNK = 512  # images that are run by one interpreter
_HALF_MAX = float(np.finfo(np.float16).max)


@dataclass(frozen=True)
class Taught:
    """Files of what a tail is trained on: features ``x``, the teacher's logits and the labels, a row an image."""

    x: Path
    teacher: Path
    labels: Path


@dataclass(frozen=True)
class Tail:
    """The last stitch of a point and the back behind it; ``rounded`` is of the point's int8 file, None in float."""

    family: Family
    plan: Plan
    fitted: Fitted
    rounded: Rounded | None = None

    @property
    def anchor(self) -> Anchor:
        """Whose back it is."""
        return self.family.anchors[self.plan.route[-1].anchor]

    @cached_property
    def stitch(self) -> Stitch:
        """As the file has it, which is fitted to the integers in front of it."""
        return self.fitted.stitch if self.rounded is None else self.rounded.stitch(self.fitted.stitch)

    @cached_property
    def back(self) -> keras.Model:
        """From the last cut to the logits, with what the fit tuned; an exit has nothing behind its stitch."""
        import keras

        anchor, start = self.anchor, self.plan.route[-1].start
        if self.fitted.stitch.target.vector:
            x = keras.Input(self.fitted.stitch.target.shape)
            return keras.Model(x, keras.layers.Identity()(x), name="back")
        return variant.with_weights(cuts.back(anchor, str(start), anchor.logits), self.fitted.stitch.tuned)

    def lead(self, images: np.ndarray) -> np.ndarray:
        """Features ``(n, ...)`` of raw images ``(n, h, w, c)`` in front of the stitch."""
        if self.rounded is not None:
            return self.rounded.features(images).reshape(-1, *self.fitted.stitch.source.shape)
        return np.asarray(self._front(images))

    @cached_property
    def _front(self) -> Callable[[np.ndarray], np.ndarray]:
        return infer.compiled(variant.lead(self.plan, self.family.anchors, *self.fitted.before))

    @property
    def shape(self) -> tuple[int, ...]:
        """``(h, w, c)`` of the images that the point takes."""
        return self.family.anchors[self.plan.route[0].anchor].input_shape

    def head(self, count: int) -> np.ndarray:
        """The first raw images that integers are calibrated on."""
        return np.concatenate(list(self.family.data.fit.head(count).batches(self.shape, count)))

    def views(self) -> Taught:
        """What reaches it of the views that fits learn from, and what the large anchor answers to them."""
        family, name = self.family, self.family.largest
        answers = caches.of_views(family, "optimize-answers", family.named, {name: [cache.LOGITS]})
        count = min(len(answers.logits(name)), caches.held(family, 2 * prod(self.fitted.stitch.source.shape)))
        family.report.stage(f"what {count} views are in front of the last stitch of {self.plan.name}")
        batches = (images["front"] for images, _ in caches.stream(family, count, {"front": self.shape}))
        x = self._kept("views", batches, count)
        return Taught(x, answers.path(f"{name}.{cache.LOGITS}"), answers.path("labels"))

    def judges(self) -> tuple[Path, Path]:
        """Files of what the rank split is in front of it, and of the large anchor's logits."""
        teacher, rank = score.of_anchors(self.family)[self.family.largest]["rank"], self.family.data.rank
        path = self.family.run.cache_path("optimize-teacher.npy")
        np.save(path, teacher)
        return self._kept("rank", answering.images(rank, self.shape), len(rank)), path

    def _kept(self, name: str, batches: Iterable[np.ndarray], count: int) -> Path:
        """A file of the features of so many images, float16 ``(n, ...)``."""
        path, done = self.family.run.cache_path(f"optimize-{name}.npy"), 0
        path.parent.mkdir(parents=True, exist_ok=True)
        array = atomic.array(path, np.float16, (count, *self.fitted.stitch.source.shape))
        for images in batches if self.rounded is None else _chunks(batches):
            array[done : done + len(images)] = np.clip(self.lead(np.asarray(images)), -_HALF_MAX, _HALF_MAX)
            done += len(images)
            self.family.report.progress(done, count)
        array.flush()
        return path


class Rounded:
    """The int8 file of a point, in front of its last joint and behind it."""

    def __init__(self, members: Members, point: str) -> None:
        self._route = anchor_pieces.linker(members, _INTEGERS).route(point)
        front = self._route.front
        lead = front if isinstance(front, link.Route) else link.Route(front)
        self._front = link.front(lead, str(self._route.stop), precision=_INTEGERS)
        self.file = link.variant(self._route, precision=_INTEGERS)

    def stitch(self, fitted: Stitch) -> Stitch:
        """The last stitch as the file has it."""
        assert self._route.stitch is not None
        weights = self._route.stitch.weights
        return replace(fitted, kernel=np.asarray(weights["kernel"]), bias=np.asarray(weights["bias"]))

    def features(self, images: np.ndarray) -> np.ndarray:
        """What the file has in front of its last stitch."""
        return verify.run(self._front, [images]).scores

    @property
    def shares(self) -> bool:
        """Whether its back is the anchor's, integers and ranges."""
        return self._route.start is not None

    @property
    def limits(self) -> tuple[float, float]:
        """The least and the greatest of these values."""
        return activations.limits(only(read(self._front)).outputs[0])

    def behind(self, images: np.ndarray) -> list[Activation]:
        """All that the file rounds behind it."""
        count = len(only(read(self._front)).operators)
        return activations.integers(self.file, [images], behind=count)


def _chunks(batches: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Batches put together to as many images as one interpreter runs."""
    waiting: list[np.ndarray] = []
    for batch in batches:
        waiting.append(np.asarray(batch))
        if sum(map(len, waiting)) >= _CHUNK:
            yield np.concatenate(waiting)
            waiting = []
    if waiting:
        yield np.concatenate(waiting)


def network(tail: Tail, joint: Stitch | None = None, back: keras.Model | None = None) -> keras.Model:
    """Stitch and back as one model, from the lead's features to logits; with others where these are given."""
    import keras

    joint = joint or tail.stitch
    x = keras.Input(joint.source.shape)
    return keras.Model(x, (back or tail.back)(stitch.build(joint)(x)), name="tail")
