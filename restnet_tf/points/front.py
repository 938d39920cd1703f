"""What is worth having: the Pareto rule, the points that it lets through, and the line between the anchors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np

from restnet_tf.points.points import (
    ANCHOR,
    CASCADE,
    CONTROL,
    DISTILLED,
    DOMINATED,
    SHIPPED,
    STITCHED,
    OperatingPoint,
)
from restnet_tf.records import Reason

T = TypeVar("T")
_DECIDED = (STITCHED, DISTILLED)  # an anchor is always shipped


def rivals(point: T, others: Iterable[T], cost: Callable[[T], float], better: Callable[[T, T], bool]) -> list[T]:
    """Those of no more cost that are better than a point; with none, it is on the front.

    ``better`` takes the other one first. Of two that it cannot tell apart it must name one, or both stay.
    """
    return [other for other in others if other is not point and cost(other) <= cost(point) and better(other, point)]


def decide(points: Iterable[OperatingPoint]) -> tuple[OperatingPoint, ...]:
    """Every point with its status: anchors, and stitched and distilled points on the Pareto front, are shipped.

    Such a point is dominated where one that costs no more MACs does better on the rank split: by
    more right images than the standard error of the paired difference, or, where the images cannot
    tell them apart, by no fewer right images and no higher KL to the large anchor. The test split
    has no say, and an anchor is always shipped. What was decided of a point before does not count.
    A stitched point on the front that does not beat its twin behind a random front so, the middle one of several, owes
    nothing to its stitch and is not shipped; it stays what others are dominated by.
    Cascades stay as they are, and beat no point that always costs the same: their worst case is dearer.
    """
    points = tuple(replace(p, status=SHIPPED, reason=None) if p.kind in _DECIDED else p for p in points)
    family = [p for p in points if p.kind not in (CONTROL, CASCADE)]
    twins: dict[str, list[OperatingPoint]] = {}
    for p in points:
        twins.setdefault(p.twin_of, []).append(p)
    decided = (_decided(p, family) if p.kind in _DECIDED else p for p in points)
    return tuple(_held(p, twins.get(p.name, ())) if p.kind == STITCHED else p for p in decided)


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


def _decided(point: OperatingPoint, family: Iterable[OperatingPoint]) -> OperatingPoint:
    better = rivals(point, family, lambda p: p.macs, beats)
    if not better:
        return point
    cheapest = min(better, key=lambda p: (p.macs, p.name))
    return replace(point, status=DOMINATED, reason=Reason("dominated", rival=cheapest.name))


def _held(point: OperatingPoint, twins: Sequence[OperatingPoint]) -> OperatingPoint:
    """A point as it stands beside its twins."""
    if point.status != SHIPPED or not twins:
        return point
    middle = sorted(twins, key=lambda p: (p.rank.value, p.name))[len(twins) // 2]
    lead, error = point.rank.lead(middle.rank)
    if lead > error:
        return point
    return replace(point, status=DOMINATED, reason=Reason("random_twin", rival=middle.name))


def beats(rival: OperatingPoint, point: OperatingPoint) -> bool:
    """Whether a rival of no more cost does better on the rank split, or no worse where the images cannot tell."""
    if (rival.macs, rival.rank) == (point.macs, point.rank):
        return rival.name < point.name
    lead, error = rival.rank.lead(point.rank)
    return lead > error or (lead >= 0 and (rival.rank.kl or 0.0) <= (point.rank.kl or 0.0))
