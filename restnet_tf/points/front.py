"""What is worth having: the Pareto rule, the points that it lets through, and the line between the anchors."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TypeVar

import numpy as np

from restnet_tf.points.points import ANCHOR, CASCADE, CONTROL, DOMINATED, SHIPPED, STITCHED, OperatingPoint
from restnet_tf.records import Reason

T = TypeVar("T")


def rivals(point: T, others: Iterable[T], cost: Callable[[T], float], better: Callable[[T, T], bool]) -> list[T]:
    """Those of no more cost that are better than a point; with none, it is on the front.

    ``better`` takes the other one first. Of two that it cannot tell apart it must name one, or both stay.
    """
    return [other for other in others if other is not point and cost(other) <= cost(point) and better(other, point)]


def decide(points: Iterable[OperatingPoint]) -> tuple[OperatingPoint, ...]:
    """Every point with its status: anchors and stitched points on the Pareto front are shipped.

    A stitched point is dominated where one that costs no more MACs does better on the rank split: by
    more right images than the standard error of the paired difference, or, where the images cannot
    tell them apart, by no fewer right images and no higher KL to the large anchor. The test split
    has no say, and an anchor is always shipped. What was decided of a point before does not count.
    Cascades stay as they are, and beat no point that always costs the same: their worst case is dearer.
    """
    points = tuple(replace(p, status=SHIPPED, reason=None) if p.kind == STITCHED else p for p in points)
    family = [p for p in points if p.kind not in (CONTROL, CASCADE)]
    return tuple(_decided(p, family) if p.kind == STITCHED else p for p in points)


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
    better = rivals(point, family, lambda p: p.macs, _does_no_worse)
    if not better:
        return point
    cheapest = min(better, key=lambda p: (p.macs, p.name))
    return replace(point, status=DOMINATED, reason=Reason("dominated", rival=cheapest.name))


def _does_no_worse(rival: OperatingPoint, point: OperatingPoint) -> bool:
    if (rival.macs, rival.rank) == (point.macs, point.rank):
        return rival.name < point.name
    lead, error = rival.rank.lead(point.rank)
    return lead > error or (lead >= 0 and (rival.rank.kl or 0.0) <= (point.rank.kl or 0.0))
