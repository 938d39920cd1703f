"""The joints before a route's last one, in training: each a stitch and the stretch of an anchor behind it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from restnet_tf.records import Stitch
from restnet_tf.stitches import stitch

if TYPE_CHECKING:
    import keras

    from restnet_tf.fitting.rungs import Rung

# A stitch at its start, and what runs behind it up to the cut where the next one begins.
Joint = tuple[Stitch, "keras.Model"]


class Lead:
    """From the front's features to the cut in front of the last stitch; the stretches are copies."""

    def __init__(self, joints: Sequence[Joint]) -> None:
        self._starts = [start for start, _ in joints]
        self._edges = [stitch.build(start) for start in self._starts]
        self.stretches = [copied(stretch) for _, stretch in joints]

    def reset(self, joints: Sequence[Joint]) -> None:
        """Begin anew from other joints of the same shapes."""
        self._starts = [start for start, _ in joints]
        for (start, given), edge, stretch in zip(joints, self._edges, self.stretches, strict=True):
            stitch.fill(edge, start)
            stretch.set_weights(given.get_weights())

    def __call__(self, x: Any) -> Any:
        """What the last stitch reads of a batch; the features themselves where there is one stitch alone."""
        for edge, stretch in zip(self._edges, self.stretches, strict=True):
            x = stretch(edge(x), training=False)
        return x

    def trained(self, rung: Rung) -> list[Any]:
        """What a rung trains here."""
        tuned = [v for stretch in self.stretches for v in rung.tunes(stretch)]
        return [*(v for edge in self._edges for v in edge.trainable_variables), *tuned]

    @property
    def variables(self) -> list[Any]:
        """All that any rung may train."""
        return [v for model in (*self._edges, *self.stretches) for v in model.trainable_variables]

    def stitches(self, rung: Rung | None) -> tuple[Stitch, ...]:
        """The stitches as they stand, each with what the rung changed behind it."""
        every = zip(self._starts, self._edges, self.stretches, strict=True)
        return tuple(
            replace(stitch.trained(start, edge), tuned=tuned(rung, stretch) if rung else {})
            for start, edge, stretch in every
        )


def copied(model: keras.Model) -> keras.Model:
    """A model with weights of its own."""
    import keras

    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    return copy


def tuned(rung: Rung, stretch: keras.Model) -> dict[str, np.ndarray]:
    """What a rung has changed of a stretch, by weight path."""
    return {v.path: np.asarray(v) for v in rung.tunes(stretch)}
