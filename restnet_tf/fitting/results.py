"""What a fit came to: its stitches, the rung that they are of, and how every rung did."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate

from restnet_tf.fitting.stints import Standing
from restnet_tf.records import Stitch

CLOSED_FORM = "closed form"


@dataclass(frozen=True)
class RungResult:
    """What one rung reached: KL to the large anchor on the rank split, or on part of it, and what it cost.

    ``images`` counts repeats; ``work`` is MACs with what moving values takes beside them, in MACs;
    ``matched`` is the KL once the penultimate features were matched, None where that was no part of it. ``judging`` is
    MACs of its validations, which ``macs`` and ``work`` leave out. It was ``given_up`` where it could not come to its
    rival's KL. A rung that was trained in several stints has a result for each.
    """

    rung: str
    kl: float
    images: int
    macs: int
    work: int
    matched: float | None = None
    judging: int = 0
    given_up: bool = False


@dataclass(frozen=True)
class Fitted:
    """A fitted stitch, the rung it was taken from, and how every rung did.

    ``before`` are the stitches of earlier joints, where a route has more than two pieces. Of a ``settled`` one
    the values themselves matter, as where most of them are zero: nothing may fit it further. ``origin`` names the
    point that it was optimised from; empty where it was fitted.
    """

    stitch: Stitch
    rung: str
    kl: float
    closed_form_kl: float
    rungs: tuple[RungResult, ...]
    before: tuple[Stitch, ...] = ()
    settled: bool = False
    origin: str = ""

    @property
    def spent(self) -> int:
        """MACs that all of its rungs took, with their validations."""
        return sum(r.macs + r.judging for r in self.rungs)

    def standing(self, count: int) -> Standing:
        """Where it stood after so many results."""
        results = self.rungs[:count]
        lowest = [*accumulate((r.kl for r in results), min, initial=self.closed_form_kl)]
        names, work = frozenset(r.rung for r in results), sum(r.work for r in results)
        return Standing(lowest[-1], lowest[-2:][0], names, work, any(r.given_up for r in results))

    @property
    def shares(self) -> dict[str, int]:
        """The work of each rung, all of its stints together."""
        return {
            name: sum(r.work for r in self.rungs if r.rung == name)
            for name in dict.fromkeys(r.rung for r in self.rungs)
        }

    @property
    def stitches(self) -> tuple[Stitch, ...]:
        """One for each joint, in their order."""
        return (*self.before, self.stitch)
