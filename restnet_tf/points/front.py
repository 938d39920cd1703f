"""What is worth having: the Pareto rule, the points that it lets through, and the line between the anchors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from restnet_tf.points.points import (
    ANCHOR,
    CASCADE,
    CONTROL,
    DISTILLED,
    DOMINATED,
    FROM_SCRATCH,
    SHIPPED,
    STITCHED,
    OperatingPoint,
    Rating,
    Score,
)
from restnet_tf.records import Reason

T = TypeVar("T")
_DECIDED = (STITCHED, DISTILLED)  # an anchor is always shipped
# Of flash or arena, what a network has to save for somebody to take it though it answers worse.
_SAVING = 0.05
# A lead in Keras that rounding does not turn round: in standard errors, and beyond them as a share of the images.
_SURE, _FAR = 3.0, 0.05


@dataclass(frozen=True, order=True)
class Footprint:
    """What a file takes, in bytes: of flash, and of memory as its arena is planned."""

    flash: int = 0
    arena: int = 0

    def within(self, other: Footprint) -> bool:
        """Whether it takes no more than another, or so little more that nobody would choose by it."""
        pairs = ((self.flash, other.flash), (self.arena, other.arena))
        return not any(spares(theirs, own) for own, theirs in pairs)


def spares(own: int, theirs: int) -> bool:
    """Whether one takes so much less of flash or arena than another that somebody would choose by it."""
    return own < theirs * (1 - _SAVING)


def rivals(point: T, others: Iterable[T], cost: Callable[[T], float], better: Callable[[T, T], bool]) -> list[T]:
    """Those of no more cost that are better than a point; with none, it is on the front.

    ``better`` takes the other one first. Of two that it cannot tell apart it must name one, or both stay.
    """
    return [other for other in others if other is not point and cost(other) <= cost(point) and better(other, point)]


def decide(points: Iterable[OperatingPoint]) -> tuple[OperatingPoint, ...]:
    """Every point with its status: anchors, and stitched and distilled points on the front of a precision, are shipped.

    Each precision has a front of its own. A file is dominated there where another one costs no more MACs, flash and
    arena and has as many images of the rank split right; of two that cost the same, the one of lower KL to the large
    anchor is on the front. That the images may not tell two apart is no reason to ship both: what costs more has to
    show what for. All of these costs are counted or planned: a latency differs with every run, and would decide
    otherwise each time. Of points without files (``ratings``) the networks are held against each other, by MACs.

    The test split has no say, and an anchor is always shipped. What was decided of a point before does not count.
    The small anchor taught by the large one is shipped where it is ahead of itself by more than the standard error of
    the pair: it costs as much, and weights of its own beside.
    A stitched point on a front that does not beat its twin behind a random front so, the middle one of several, owes
    nothing to its stitch and is not shipped; it stays what others are dominated by. So does one that has a twin trained
    from nothing and does not beat that.
    Cascades stay as they are, and beat no point that always costs the same: their worst case is dearer.
    """
    points = tuple(points)
    family = [p for p in points if p.kind not in (CONTROL, CASCADE)]
    twins: dict[str, list[OperatingPoint]] = {}
    for p in points:
        twins.setdefault(p.twin_of, []).append(p)
    decided = (_decided(p, family) if p.kind in _DECIDED else p for p in points)
    return tuple(_held(p, twins.get(p.name, ())) if p.kind == STITCHED else p for p in decided)


def hopeless(points: Iterable[OperatingPoint], footprints: Mapping[str, Footprint]) -> set[str]:
    """Names of points whose files nobody has to score: another network costs no more and is better by far.

    ``footprints`` are those that files of points will have, by name. By far: five points beyond three standard errors
    of the paired difference in Keras, which rounding to integers does not turn round.
    """
    family = [_Contender(p.name, p.macs, footprints[p.name], p.rank, p.rank.kl) for p in points if p.name in footprints]
    return {c.name for c in family if rivals(c, family, lambda c: c.macs, _far_better)}


def chorded(points: Iterable[OperatingPoint]) -> bool:
    """Whether there are two anchors for a line between them: a network alone has none."""
    return sum(p.kind == ANCHOR for p in points) > 1


def chord(points: Iterable[OperatingPoint], macs: float, split: str = "test") -> float:
    """The score on the straight line between the two anchors that a cost lies between; 0..1."""
    anchors = sorted((p for p in points if p.kind == ANCHOR), key=lambda p: p.macs)
    return float(np.interp(macs, [p.macs for p in anchors], [getattr(p, split).value for p in anchors]))


def above_chord(points: Iterable[OperatingPoint], split: str = "test", kind: str = STITCHED) -> float:
    """Mean score of the shipped points of a kind, less the chord at their mean costs on the same split."""
    points = tuple(points)
    leads = [
        getattr(p, split).value - chord(points, mean_macs(p, split), split)
        for p in points
        if p.kind == kind and p.status == SHIPPED
    ]
    return float(np.mean(leads or [0.0]))


def mean_macs(point: OperatingPoint, split: str) -> float:
    """Of an image of the rank or the test split."""
    return point.test_mean_macs if split == "test" else point.mean_macs


def _decided(point: OperatingPoint, family: Sequence[OperatingPoint]) -> OperatingPoint:
    """A point with what follows in each precision; by the networks alone where it has no file in any."""
    if anchor := _taught_nothing(point, family):
        return _dominated(point, Reason("dominated", rival=anchor.name))
    if not point.ratings:
        reason = _beaten(_network(point), map(_network, family))
        return replace(point, status=DOMINATED if reason else SHIPPED, reason=reason)
    ratings = {name: _judged(point, name, family) for name in point.ratings}
    shipped = any(v.status == SHIPPED for v in ratings.values())
    first = None if shipped else next(iter(ratings.values())).reason
    return replace(point, ratings=ratings, status=SHIPPED if shipped else DOMINATED, reason=first)


def _taught_nothing(point: OperatingPoint, family: Iterable[OperatingPoint]) -> OperatingPoint | None:
    """The anchor that a distilled one still is, where nothing was kept: their files differ in rounding alone."""
    same = (p for p in family if p.kind == ANCHOR and (p.macs, p.rank) == (point.macs, point.rank))
    return next(same, None) if point.kind == DISTILLED else None


def _dominated(point: OperatingPoint, reason: Reason) -> OperatingPoint:
    """A point that is on no front."""
    ratings = {name: replace(v, status=DOMINATED, reason=reason) for name, v in point.ratings.items()}
    return replace(point, status=DOMINATED, reason=reason, ratings=ratings)


def _judged(point: OperatingPoint, precision: str, family: Sequence[OperatingPoint]) -> Rating:
    others = [_in_file(p, precision) for p in family if precision in p.ratings]
    own = _in_file(point, precision)
    reason = _beaten(own, others) or _no_better(point, own, family, precision)
    return replace(point.ratings[precision], status=DOMINATED if reason else SHIPPED, reason=reason)


def _no_better(
    point: OperatingPoint, own: _Contender, family: Iterable[OperatingPoint], precision: str
) -> Reason | None:
    """The anchor of the same network that a taught one is not ahead of by more than noise: it is shipped anyway."""
    same = [p for p in family if p.kind == ANCHOR and (p.macs, p.params) == (point.macs, point.params)]
    for anchor in (p for p in same if point.kind == DISTILLED and precision in p.ratings):
        lead, error = own.rank.lead(anchor.ratings[precision].rank)
        if lead <= error:
            return Reason("no_better", rival=anchor.name)
    return None


@dataclass(frozen=True)
class _Contender:
    """A point as it stands on one front: its costs, its score on the rank split, the KL of its network."""

    name: str
    macs: int
    footprint: Footprint
    rank: Score
    kl: float | None


def _network(point: OperatingPoint) -> _Contender:
    return _Contender(point.name, point.macs, Footprint(), point.rank, point.rank.kl)


def _in_file(point: OperatingPoint, precision: str) -> _Contender:
    rating = point.ratings[precision]
    footprint = Footprint(rating.flash_bytes, rating.arena_bytes)
    return _Contender(point.name, point.macs, footprint, rating.rank, point.rank.kl)


def _beaten(contender: _Contender, family: Iterable[_Contender]) -> Reason | None:
    """What beats a contender, the cheapest of several; None where it is on the front."""
    others = [c for c in family if c.name != contender.name]
    better = rivals(contender, others, lambda c: c.macs, _better)
    return Reason("dominated", rival=min(better, key=lambda c: (c.macs, c.name)).name) if better else None


def _better(rival: _Contender, other: _Contender) -> bool:
    """Whether what costs no more MACs takes no more flash and arena either, and does no worse."""
    if not rival.footprint.within(other.footprint):
        return False
    lead, _ = rival.rank.lead(other.rank)
    return lead > 0 or (lead == 0 and _frugality(rival) < _frugality(other))


def _frugality(contender: _Contender) -> tuple[int, float, Footprint, str]:
    """What is the least of those that have as many right; no two have the same."""
    return contender.macs, contender.kl or 0.0, contender.footprint, contender.name


def _far_better(rival: _Contender, other: _Contender) -> bool:
    lead, error = rival.rank.lead(other.rank)
    return rival.footprint.within(other.footprint) and lead - _SURE * error > _FAR


def _held(point: OperatingPoint, twins: Sequence[OperatingPoint]) -> OperatingPoint:
    """A point as it stands beside its twins, of each kind."""
    codes = {"random_twin": behind_random(twins), "scratch_twin": from_nothing(twins)}
    for code, kind in codes.items() if point.status == SHIPPED else ():
        lead, error = point.rank.lead(middle(kind).rank) if kind else (1.0, 0.0)
        if lead <= error:
            return _dominated(point, Reason(code, rival=middle(kind).name))
    return point


def behind_random(twins: Iterable[OperatingPoint]) -> list[OperatingPoint]:
    """Of the twins of points, the routes behind random fronts."""
    return [p for p in twins if p.twin_of and p.rung != FROM_SCRATCH]


def from_nothing(twins: Iterable[OperatingPoint]) -> list[OperatingPoint]:
    """Of the twins of points, the networks that were trained from nothing."""
    return [p for p in twins if p.twin_of and p.rung == FROM_SCRATCH]


def middle(twins: Sequence[OperatingPoint]) -> OperatingPoint:
    """The one of several that decides: of middle score on the rank split."""
    return sorted(twins, key=lambda p: (p.rank.value, p.name))[len(twins) // 2]


def beats(rival: OperatingPoint, point: OperatingPoint) -> bool:
    """Whether a network of no more cost does no worse on the rank split."""
    return _better(_network(rival), _network(point))
