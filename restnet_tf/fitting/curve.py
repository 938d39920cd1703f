"""The validations of a rung while it trains: which was the best, and when to stop."""

from __future__ import annotations

from itertools import pairwise
from math import exp, log

_PATIENCE = 3  # validations without a gain, one after the other, that a rung may see; the next one stops it
_SEEN = 2  # stretches between validations that tell how a rung goes on


class Curve:
    """KLs from the start of a rung on, which has to come to one of ``reach``; one may be NaN, and is no gain."""

    def __init__(self, start: float, reach: float) -> None:
        self._lowest, self._reach, self.stale = [start], reach, 0

    def add(self, kl: float) -> None:
        """Take in one more validation."""
        self.stale = 0 if kl < self.best else self.stale + 1
        self._lowest.append(kl if kl < self.best else self.best)

    @property
    def best(self) -> float:
        """The lowest one."""
        return self._lowest[-1]

    @property
    def over(self) -> bool:
        """Whether there is nothing to go on for."""
        return self.stale > _PATIENCE or self.hopeless

    @property
    def hopeless(self) -> bool:
        """Whether the rung will not come to what it has to.

        The rest of it is taken to gain as much as the better one of its last two stretches: under a cosine decay it
        gains less.
        """
        if len(self._lowest) <= _SEEN or self.best <= self._reach:
            return False
        gain = max(log(before / after) for before, after in pairwise(self._lowest[-_SEEN - 1 :]))
        return self.best * exp(-gain) > self._reach
