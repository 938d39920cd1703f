"""How near the files of routes are to the points in Keras, on calibration images, and what brings integers nearer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from restnet_tf.family import objects
from restnet_tf.records import RestnetError
from tflite_export import calibration, link, lowering, recalibration, verify

if TYPE_CHECKING:
    import keras

    from restnet_tf.family.family import Family

_CHECKED_IMAGES = 4
# What a route may have of its own, in words; sixteen bits have steps to spare.
_OWN = {"int8": "ranges and biases", "int16x8": "biases"}
# Scores of a linked float32 file may differ from Keras' by the order of sums, not by more.
_FLOAT_ERROR = 1e-4


class Networks(Protocol):
    """The points of a family in Keras, and what they are compared on."""

    @property
    def family(self) -> Family[Any]:
        """What they are of."""

    def model(self, point: str, *, logits: bool = False) -> keras.Model:
        """A point, from raw images to probabilities or logits."""

    def input_shape(self, point: str) -> tuple[int, ...]:
        """``(h, w, c)`` of its images."""

    def calibration(self, shape: tuple[int, ...]) -> Iterator[np.ndarray]:
        """Batches of raw images ``(b, h, w, c)``."""


class Fidelity:
    """Files of one precision beside Keras."""

    def __init__(self, members: Networks, precision: str) -> None:
        self._members, self._precision = members, precision
        self._answered: tuple[Any, ...] = ()
        self._last: tuple[link.Route, verify.Outputs] | None = None

    def nearest(self, point: str, route: link.Route) -> link.Route:
        """A route, or the same with steps and biases of its own behind its last stitch, where the answers gain."""
        if self._precision not in _OWN:
            return route
        logits = self._outputs(point, route).logits
        own = recalibration.best(route, *self._exact(point), logits, precision=self._precision)
        if own.route is not route:
            self._members.family.report.say(
                f"{point} {self._precision}: KL to float {own.before:.2g} -> {own.after:.2g} with"
                f" {_OWN[self._precision]} of its own"
            )
        return own.route

    def sqnr(self, point: str, route: link.Route) -> float:
        """Decibels of a route's logits over their error against Keras."""
        images, exact = self._exact(point)
        exact = exact[calibration.judges(len(images), self._precision)]
        return verify.compare(self._outputs(point, route), verify.Outputs(exact, exact)).sqnr_db

    def check(self, point: str, content: bytes) -> None:
        """Refuse a float32 file that does not answer as the point does in Keras."""
        model = lowering.lowered(self._members.model(point), self._members.family.settings.lower)
        images = next(iter(self._members.calibration(model.input_shape[1:])))[:_CHECKED_IMAGES]
        scores, expected = verify.run(content, [images]).scores, np.asarray(model(images, training=False))
        difference = float(np.abs(scores - expected).max())
        if not difference <= _FLOAT_ERROR:
            raise RestnetError(
                f"the linked file of {point} differs from Keras by {difference:.2g} in a score, above {_FLOAT_ERROR};"
                " build with --converter tf and report this pair of anchors"
            )

    def _outputs(self, point: str, route: link.Route) -> verify.Outputs:
        """What a route answers on those of the calibration images that judge; that of the last route is kept."""
        if self._last is None or self._last[0] is not route:
            images, _ = self._exact(point)
            few = images[calibration.judges(len(images), self._precision)]
            self._last = route, verify.run(link.variant(route, precision=self._precision), [few])
        return self._last[1]

    def _exact(self, point: str) -> tuple[np.ndarray, np.ndarray]:
        """Calibration images, and the logits of a point in Keras on them; those of the last point are kept."""
        if self._answered[:1] != (point,):
            images = next(iter(self._members.calibration(self._members.input_shape(point))))
            exact = np.concatenate(list(objects.run(self._members.model(point, logits=True), iter([images]))))
            self._answered = point, images, exact
        return self._answered[1], self._answered[2]
