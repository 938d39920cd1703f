"""The position of a cascade's dial that holds a mean cost, whatever the images: an integral controller.

The position, 0 at the cheapest setting and 1 where all stages always run, moves after every image by a gain times the
deviation of its cost from the target. So the sum of all deviations is the way that the position has gone, over the
gain; as it turns back at either end (nothing is cheaper than 0, nothing dearer than 1), that sum is bounded for
every stream of images, and no image needs to be like those that the file was tried on. This is how adaptive conformal
inference holds a rate of errors (Gibbs and Candes 2021, "Adaptive Conformal Inference Under Distribution Shift").

With costs from ``low`` to ``high`` the mean of any n images in a row is within (high - low) (1 + gain) / (gain n) of
the target. The gain is the one that makes this the tolerance after ``window`` images: the longer the window, the
steadier the thresholds.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

import numpy as np

from tflite_export.entries import ALWAYS, NEVER, Staging
from tflite_export.errors import TfliteError

_END = float(np.nextafter(1.0, 0.0))  # just before it


class Regulator:
    """A dial that is turned after every cost so that the mean of any ``window`` in a row is within ``tolerance``.

    ``added`` is what each stage adds to the cost of an image where it runs, in the unit of ``target``; ``tolerance``
    is a share of the target. Raises TfliteError for a target that these costs cannot have as a mean, with the means
    that they can have; and for a window that is too short, with the shortest.
    """

    def __init__(
        self, cascade: Staging, added: Sequence[float], target: float, *, window: int = 1000, tolerance: float = 0.05
    ) -> None:
        self._check(len(cascade.stages), added, target, window, tolerance)
        self._target, self._range = target, sum(added[1:])
        room = tolerance * window * target / self._range
        if room < 2:
            shortest = ceil(2 * self._range / (tolerance * target))
            raise TfliteError(
                f"window={window} is too short to hold a mean of {target:g} within {tolerance:.0%};"
                f" give {shortest} or more"
            )
        self.gain = 1 / (room - 1)
        self.position = (target - added[0]) / self._range
        self._at, self._thresholds = _track(cascade, added)

    @property
    def thresholds(self) -> tuple[float, ...]:
        """Those of the position, between the settings that the file knows."""
        return tuple(float(np.interp(self.position, self._at, column)) for column in self._thresholds)

    def observe(self, cost: float) -> None:
        """Turn the dial by what an image cost.

        Where no position can hold the mean, as on a device that is far slower for a while, what is owed is remembered
        up to the length of the dial, and the rest forgotten: it is made up soon after.
        """
        if not np.isfinite(cost) or cost < 0:
            raise TfliteError(f"a cost of {cost} is none; give a number of 0 or more")
        moved = self.position + self.gain * (self._target - cost) / self._range
        self.position = min(max(moved, -1.0), 2.0)

    @staticmethod
    def _check(stages: int, added: Sequence[float], target: float, window: int, tolerance: float) -> None:
        if len(added) != stages or not all(np.isfinite(cost) and cost >= 0 for cost in added) or not sum(added[1:]):
            raise TfliteError(
                f"{list(added)} are no costs of {stages} stages; give what each adds, 0 or more, and not 0 for all"
                " behind the first"
            )
        if window < 1 or not 0 < tolerance < 1:
            raise TfliteError(f"window={window}, tolerance={tolerance}; give at least 1 image, and a share under 1")
        if not added[0] <= target <= sum(added):
            raise TfliteError(
                f"a mean of {target:g} cannot be held: by these costs of the stages it is {added[0]:g} where the first"
                f" one always answers, and {sum(added):g} where all run"
            )


def _track(cascade: Staging, added: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Where settings lie from 0 to 1 by their mean cost, and their thresholds ``(k - 1, settings)``.

    No threshold falls on the way: a setting where one would is left out.
    """
    count = len(cascade.stages) - 1
    track = [(0.0, (NEVER,) * count)]
    shares = ((float(np.dot(added[1:], s.reach[1:])) / sum(added[1:]), s.thresholds) for s in cascade.settings)
    for share, thresholds in sorted(shares):
        rising = all(new >= old for new, old in zip(thresholds, track[-1][1], strict=True))
        if track[-1][0] < share < _END and rising:
            track.append((share, thresholds))
    # Up to the very end a threshold goes to 1 and no further: beyond, turning it changes nothing.
    track.append((_END, tuple(max(threshold, 1.0) for threshold in track[-1][1])))
    track.append((1.0, (ALWAYS,) * count))
    return np.array([share for share, _ in track]), np.array([thresholds for _, thresholds in track]).T
