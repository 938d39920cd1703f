"""What cascades are worth beside the largest network, in sentences that the run's own figures bear out."""

from __future__ import annotations

from collections.abc import Sequence

from restnet_tf.points import front
from restnet_tf.points.points import (
    ANCHOR,
    CASCADE,
    SHIPPED,
    OperatingPoint,
    turned,
)
from restnet_tf.report import units

_NAMED = 8  # cascades at most; a longer list is the table's
_EQUAL = 0.05  # in points of a per cent: what rounds to nothing
_LOSS = 0.01  # that a saving is told at
_NOISE = 1.96  # standard errors of a paired difference: 95 %


def shipped(points: Sequence[OperatingPoint]) -> list[OperatingPoint]:
    """The cascades that are shipped, the cheapest in the mean first."""
    return sorted((p for p in points if p.kind == CASCADE and p.status == SHIPPED), key=lambda p: p.mean_macs)


def notched(points: Sequence[OperatingPoint]) -> list[OperatingPoint]:
    """The cascades that are shipped, each once for every position of its dial that was chosen."""
    return sorted((q for p in shipped(points) for q in turned(p)), key=lambda p: p.mean_macs)


def stages(cascades: Sequence[OperatingPoint], points: Sequence[OperatingPoint]) -> list[OperatingPoint]:
    """The points that are stages of cascades, the cheapest first."""
    names = {name for p in cascades if p.cascade for name in p.cascade.stages}
    return sorted((p for p in points if p.name in names), key=lambda p: (p.macs, p.name))


def sentences(points: Sequence[OperatingPoint], metric: str, many: str = "images") -> list[str]:
    """How many cascades ship, the best beside the largest stage, all beside the chord; nothing where a run has none."""
    if not any(p.kind == CASCADE for p in points):
        return []
    return [*_counted(points), *_beside_largest(points, metric, many), *_from_chord(points, metric)]


def saved(points: Sequence[OperatingPoint], metric: str, many: str = "images") -> list[str]:
    """What is saved by a loss of one point at most against the largest stage; nothing where the rank split shows none.

    That split decides, which position that is; what it saves and loses is told of the test split.
    """
    largest, best = _largest(points), next(iter(_as_good(points)), None)
    if largest is None or best is None or best.test_mean_macs >= largest.macs:
        return []
    gain = 100 * (best.test.value - largest.test.value)
    change = f"it {'gains' if gain > 0 else 'loses'} {abs(gain):.1f} points of {metric}"
    if abs(gain) < _EQUAL:
        change = f"its {metric} is the same"
    return [
        f"set for a loss of one point at most on {largest.rank.n} rank {many}, {_set(best)} saves"
        f" {_percent(1 - best.test_mean_macs / largest.macs)} of the MACs of {largest.name} on average over"
        f" {largest.test.n} test {many}, where {change}: {_phrase(best.test)} against {_phrase(largest.test)}"
    ]


def _as_good(points: Sequence[OperatingPoint]) -> list[OperatingPoint]:
    """The cascades that lose a point at most to the largest stage on the rank split, the cheapest first.

    By one standard error of the paired difference: of several positions the luckiest would be the cheapest.
    """
    largest = _largest(points)
    return [] if largest is None else [p for p in notched(points) if _surely(p, largest) >= -_LOSS]


def _surely(point: OperatingPoint, largest: OperatingPoint) -> float:
    lead, error = point.rank.lead(largest.rank)
    return lead - error


def _largest(points: Sequence[OperatingPoint]) -> OperatingPoint | None:
    return next(iter(stages(shipped(points), points)[::-1]), None)


def _counted(points: Sequence[OperatingPoint]) -> list[str]:
    every, there = [p for p in points if p.kind == CASCADE], shipped(points)
    if not there:
        return [f"no cascade is shipped: what costs no more on average does as well as each of {len(every)}"]
    subject = "1 cascade is" if len(there) == 1 else f"{len(there)} cascades are"
    others = f", of {len(every)} that were weighed" if len(every) > len(there) else ""
    listed = f": {', '.join(p.name for p in there)}" if len(there) <= _NAMED else ""
    return [f"{subject} shipped{others}{listed}"]


def _beside_largest(points: Sequence[OperatingPoint], metric: str, many: str) -> list[str]:
    """The cheapest cascade that is as good on the rank split; where none is, the best one."""
    largest, there = _largest(points), notched(points)
    if largest is None or not there:
        return []
    best = next(iter(_as_good(points)), None) or max(there, key=lambda p: (p.rank.value, -p.mean_macs))
    lead, error = best.test.lead(largest.test)
    mean, worst = (_percent(macs / largest.macs) for macs in (best.test_mean_macs, best.macs))
    apart = f"{100 * lead:+.1f} ± {100 * _NOISE * error:.1f} points {many[:-1]} by {many[:-1]}"
    verdict = _verdict(lead, error, metric, largest, many)
    return [
        f"{_set(best)} has {verdict}, at {mean} of its MACs on average and {worst} at"
        f" worst: {_phrase(best.test)} against {_phrase(largest.test)}, {apart}"
    ]


def _verdict(lead: float, error: float, metric: str, largest: OperatingPoint, many: str) -> str:
    n = largest.test.n
    if abs(lead) > _NOISE * error:
        return f"a {'higher' if lead > 0 else 'lower'} {metric} than {largest.name} on {n} test {many}"
    if 100 * lead < -100 * _LOSS - _EQUAL:  # few images hide a loss; they do not make it none
        return f"a lower {metric} than {largest.name}, by less than the noise of {n} test {many}"
    return f"the {metric} of {largest.name}, within the noise of {n} test {many}"


def _from_chord(points: Sequence[OperatingPoint], metric: str) -> list[str]:
    """How far the cascades lie from the line between the anchors, at their mean costs."""
    count = len(notched(points))
    if not count or not front.chorded(points):
        return []
    anchors = [p for p in points if p.kind == ANCHOR]
    whose = f"its {metric} lies" if count == 1 else f"on average the cascades' {metric} lies"
    test, rank = (
        from_chord(100 * front.above_chord([*anchors, *notched(points)], split, CASCADE)) for split in ("test", "rank")
    )
    return [f"{whose} {test} the chord at equal mean MACs on the test split, {rank} it on the rank split"]


def from_chord(lead: float) -> str:
    """How far from the chord, in points of a per cent."""
    if abs(lead) < _EQUAL:
        return "on"
    return f"{abs(lead):.1f} points {'above' if lead > 0 else 'below'}"


def _set(point: OperatingPoint) -> str:
    """A cascade with the shares of test images on which its stages go on."""
    reach = point.cascade.test_reach if point.cascade else ()
    return f"{point.name} with {' and '.join(map(_percent, reach[1:]))} going on"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _phrase(score: object) -> str:
    return units.SCORE.phrase(score)
