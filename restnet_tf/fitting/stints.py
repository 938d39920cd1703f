"""Which fits train on, and for how long: successive halving (Jamieson and Talwalkar 2016).

More candidates are begun than points are wanted; after a tenth of the work the worse half of them is dropped. A fit
that cannot reach its rival any more is given up. What that saves goes to the others.

A contest is replayed from what the fits have reached: an interrupted one goes on as it would have.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf, sqrt

from restnet_tf.fitting import rungs
from restnet_tf.fitting.rungs import AUTO, FINE_TUNES, rung_named

CANDIDATES = 2  # begun for each point
CHECKS = 6  # validations a rung
_TRIAL, _TRIAL_CHECKS = 0.1, 2
# What is saved is worth another round from so much of the work on that those take that it goes to; and none gets more
# than as much again, since its twins have to take as much.
_WORTH, _MOST = 0.1, 1.0


@dataclass(frozen=True)
class Stint:
    """Some training of a fit: rungs with the work of each, and so many validations in each.

    The last rung ends early where it cannot come to a KL of ``reach`` any more.
    """

    rungs: Mapping[str, int]
    reach: float = inf
    checks: int = CHECKS


@dataclass(frozen=True)
class Standing:
    """Where a fit stands: its KL, that before its last rung, its rungs and their work, and whether it was given up."""

    kl: float
    before: float
    rungs: frozenset[str]
    work: int
    hopeless: bool = False

    @property
    def outlook(self) -> float:
        """The KL if it fell once more by the root of what it fell by in its last rung.

        So did 34 fits of five pairs in the rest of their work, about (a slope of 0.46 among the logarithms). The KL
        itself prefers backs that learn fast to those that learn much, and the whole fall those that begin badly.
        """
        return self.kl * sqrt(self.kl / self.before) if self.before else self.kl


@dataclass(frozen=True)
class Entrant:
    """A fit with the work of each rung that it may climb; the candidates for one point have the same ``place``.

    ``costs`` are those of its network, MACs and parameters; what costs less in one alone is no rival. Without a place
    it is a rival and nothing else: it takes all of its rungs at once.
    """

    name: str
    shares: Mapping[str, int]
    place: int | None = None
    costs: tuple[int, ...] = ()

    @property
    def first(self) -> dict[str, int]:
        """The rungs that cost a point nothing; of a rival all."""
        costly = {name for name in self.shares if self.place is not None and rung_named(name).costly}
        return {name: work for name, work in self.shares.items() if name not in costly}

    @property
    def unsharing(self) -> str:
        """The rung that gives it weights of its own; empty where it may not climb so far."""
        return next((name for name in self.shares if rung_named(name).unshares), "")

    def within(self, other: Entrant) -> bool:
        """Whether its network costs no more than another in anything."""
        return _within(self.costs, other.costs)

    @property
    def share(self) -> int:
        """The work of the first rungs."""
        return sum(self.first.values())


Standings = Callable[[], Mapping[str, Standing]]


@dataclass
class Contest:
    """The rounds of a family's fits; ``entrants`` are in the order of their MACs.

    ``fine_tune`` as in ``rungs.onward``; ``small_kl`` is the KL of the small anchor, which has the costs ``small``.
    ``dropped`` gains candidates, each with the one that goes on in its place.
    """

    entrants: Sequence[Entrant]
    fine_tune: str
    small_kl: float
    small: tuple[int, ...] = ()
    dropped: dict[str, str] = field(default_factory=dict)

    def rounds(self, standings: Standings) -> Iterator[Mapping[str, Stint]]:
        """The stints of each round; none waits for another, and ``standings`` gives what the rounds before came to."""
        candidates, places = self._points, {e.place for e in self._points}
        if len(candidates) > len(places):
            part = _TRIAL * len(places) / len(candidates)
            openings = {e.name: Stint(_scaled(e.first, part), checks=_TRIAL_CHECKS) for e in candidates}
            yield self._taught() | openings
            self.dropped.update(halved(candidates, standings()))
            yield self._further(self._points, self._saved(standings()), self._reaches(standings()))
        else:
            yield self._taught() | {e.name: Stint(e.first, self._reach(self._anchor(e))) for e in candidates}
        ahead = self._ahead(standings())
        whole = sum(e.share for e in ahead)
        if (saved := self._saved(standings())) > _WORTH * whole > 0:
            yield self._further(ahead, min(saved, int(_MOST * whole)))
        while costly := self._costly(standings()) or self._unsharing(standings()):
            yield costly

    @property
    def _points(self) -> list[Entrant]:
        """The candidates that were not dropped."""
        return [e for e in self.entrants if e.place is not None and e.name not in self.dropped]

    def _taught(self) -> dict[str, Stint]:
        """All that rivals take."""
        return {e.name: Stint(e.shares) for e in self.entrants if e.place is None}

    def _further(self, entrants: Sequence[Entrant], work: int, reaches: Mapping[str, float] = {}) -> dict[str, Stint]:
        """More of the last of their first rungs, by their shares of the work."""
        whole = sum(e.share for e in entrants)
        return {e.name: Stint({list(e.first)[-1]: work * e.share // whole}, reaches.get(e.name, inf)) for e in entrants}

    def _saved(self, standing: Mapping[str, Standing]) -> int:
        """What is left of the work that points have, one candidate for each."""
        spent = sum(standing[e.name].work for e in self.entrants if e.place is not None)
        return sum(e.share for e in self._points) - spent

    def _nearest(self, standing: Mapping[str, Standing]) -> dict[str, float]:
        """By point, or rival, the lowest KL of what costs no more."""
        nearest: dict[str, float] = {}
        before: list[Entrant] = []
        for e in self.entrants:
            if e.name not in self.dropped:
                nearest[e.name] = min([self._anchor(e), *(standing[b.name].kl for b in before if b.within(e))])
                before.append(e)
        return nearest

    def _anchor(self, entrant: Entrant) -> float:
        """The KL of the small anchor where it is a rival: an exit may cost less."""
        return self.small_kl if _within(self.small, entrant.costs) else inf

    def _reaches(self, standing: Mapping[str, Standing]) -> dict[str, float]:
        return {name: self._reach(kl) for name, kl in self._nearest(standing).items()}

    def _reach(self, kl: float) -> float:
        """What the first rungs have to come to; nothing where a rung that does more was asked for."""
        last = rung_named(FINE_TUNES[self.fine_tune][-1])
        return inf if last.costly and self.fine_tune != AUTO else kl

    def _ahead(self, standing: Mapping[str, Standing]) -> list[Entrant]:
        """Those that are nearer to the large anchor than all that costs less."""
        nearest = self._nearest(standing)
        return [e for e in self.entrants if e.name in nearest and standing[e.name].kl < nearest[e.name]]

    def _costly(self, standing: Mapping[str, Standing]) -> dict[str, Stint]:
        """The next costly rung of points that need it."""
        rivals = [standing[e.name].kl for e in self.entrants if e.place is None]
        fits = {e.name: standing[e.name] for e in self._points if not standing[e.name].hopeless}
        climbed = {name: len(fit.rungs) for name, fit in fits.items()}
        kls = {name: fit.kl for name, fit in fits.items()}
        names = rungs.onward(self.fine_tune, kls, climbed, min([self.small_kl, *rivals]))
        return {e.name: _next(e, fits[e.name]) for e in self._points if e.name in names}

    def _unsharing(self, standing: Mapping[str, Standing]) -> dict[str, Stint]:
        """What ``auto`` does last: the point that is nearest to its rival, and behind it, gets weights of its own.

        One at a time, and none behind one that this did not bring ahead: the others are further off.
        """
        points = [e for e in self._points if e.unsharing] if self.fine_tune == AUTO else []
        nearest = self._nearest(standing)
        behind = [e for e in points if standing[e.name].kl > nearest[e.name] and not standing[e.name].hopeless]
        tried = [e.name for e in points if e.unsharing in standing[e.name].rungs]
        if not behind or any(e.name in tried for e in behind):
            return {}
        first = min(behind, key=lambda e: standing[e.name].kl / nearest[e.name])
        return {first.name: Stint({first.unsharing: first.shares[first.unsharing]})}


def halved(candidates: Sequence[Entrant], standing: Mapping[str, Standing]) -> dict[str, str]:
    """The candidates that do not go on, each with that of the best outlook in its place."""
    best: dict[int | None, str] = {}
    for e in candidates:
        if e.place not in best or standing[e.name].outlook < standing[best[e.place]].outlook:
            best[e.place] = e.name
    return {e.name: best[e.place] for e in candidates if best[e.place] != e.name}


def _within(own: tuple[int, ...], theirs: tuple[int, ...]) -> bool:
    return all(a <= b for a, b in zip(own, theirs, strict=False))


def _scaled(shares: Mapping[str, int], part: float) -> dict[str, int]:
    return {name: int(work * part) for name, work in shares.items()}


def _next(entrant: Entrant, fit: Standing) -> Stint:
    name = next(name for name in entrant.shares if name not in fit.rungs)
    return Stint({name: entrant.shares[name]})
