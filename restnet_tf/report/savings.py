"""What cascades are worth beside the largest network, in sentences that the run's own figures bear out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from restnet_tf.points import front
from restnet_tf.points.points import (
    ANCHOR,
    CASCADE,
    SHIPPED,
    Cascade,
    OperatingPoint,
    Setting,
    Share,
    mean_cost,
    turned,
)
from restnet_tf.report import dials, units
from restnet_tf.report.figure import Line

_NAMED = 8  # cascades at most; a longer list is the table's
_EQUAL = 0.05  # in points of a per cent: what rounds to nothing
_LOSS = 0.01  # that a saving is told at
_NOISE = 1.96  # standard errors of a paired difference: 95 %


@dataclass(frozen=True)
class Saving:
    """A cascade at one position of its dial, beside the largest network."""

    point: OperatingPoint
    cascade: Cascade
    setting: Setting
    largest: OperatingPoint

    @property
    def rank_cost(self) -> float:
        """Mean MACs of an image of the rank split, as a share of the largest network's."""
        return mean_cost(self.cascade.macs, self.setting.rank_reach) / self.largest.macs

    @property
    def test_cost(self) -> float:
        """Mean MACs of an image of the test split, as a share of the largest network's."""
        return mean_cost(self.cascade.macs, self.setting.test_reach) / self.largest.macs


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


def sentences(points: Sequence[OperatingPoint], metric: str) -> list[str]:
    """How many cascades ship, beside the largest stage and the chord; nothing where a run has none."""
    if not any(p.kind == CASCADE for p in points):
        return []
    return [*_counted(points), *_beside_largest(points, metric), *_from_chord(points, metric), *saved(points, metric)]


def saved(points: Sequence[OperatingPoint], metric: str) -> list[str]:
    """What the best cascade saves where its dial is set for a loss of one point at most against the largest stage."""
    best = min(_within(points), key=lambda s: (s.rank_cost, s.point.name), default=None)
    if best is None or best.test_cost >= 1:
        return []
    score, other = Share(best.setting.test_score, best.largest.test.n), best.largest.test
    gain = 100 * (score.value - other.value)
    change = f"it {'gains' if gain > 0 else 'loses'} {abs(gain):.1f} points of {metric}"
    if abs(gain) < _EQUAL:
        change = f"its {metric} is the same"
    return [
        f"set for a loss of one point at most on {best.largest.rank.n} rank images,"
        f" {_at(best.point.name, best.setting.test_reach)} saves"
        f" {_percent(1 - best.test_cost)} of the MACs of {best.largest.name} on average over {other.n} test images,"
        f" where {change}: {_phrase(score)} against {_phrase(other)}"
    ]


def _within(points: Sequence[OperatingPoint]) -> list[Saving]:
    """The positions of dials that lose a point at most to the largest stage on the rank split.

    Those that were chosen, which took care of noise; where none is near enough, all others.
    """
    largest = _largest(points)
    if largest is None:
        return []
    chosen = [Saving(p, p.cascade, dials.set_to(Line(p, ())), largest) for p in notched(points) if p.cascade]
    others = [Saving(p, p.cascade, s, largest) for p in shipped(points) if p.cascade for s in p.cascade.curve]
    near = [[s for s in every if s.setting.rank_score >= largest.rank.value - _LOSS] for every in (chosen, others)]
    return near[0] or near[1]


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


def _beside_largest(points: Sequence[OperatingPoint], metric: str) -> list[str]:
    """The cheapest cascade that the rank split cannot tell from the largest network; else the best one."""
    largest, there = _largest(points), notched(points)
    if largest is None or not there:
        return []
    equal = [p for p in there if _lead(p, largest, "rank") >= 0]
    best = equal[0] if equal else max(there, key=lambda p: (p.rank.value, -p.mean_macs))
    lead, error = best.test.lead(largest.test)
    mean, worst = (_percent(macs / largest.macs) for macs in (best.test_mean_macs, best.macs))
    named = _at(best.name, best.cascade.test_reach if best.cascade else ())
    apart = f"{100 * lead:+.1f} ± {100 * _NOISE * error:.1f} points image by image"
    return [
        f"{named} has {_verdict(lead, error, metric, largest)}, at {mean} of its MACs on average and {worst} at"
        f" worst: {_phrase(best.test)} against {_phrase(largest.test)}, {apart}"
    ]


def _lead(point: OperatingPoint, other: OperatingPoint, split: str) -> float:
    """By how much a score lies above one standard error under the other."""
    lead, error = getattr(point, split).lead(getattr(other, split))
    return lead + error


def _verdict(lead: float, error: float, metric: str, largest: OperatingPoint) -> str:
    n = largest.test.n
    if abs(lead) <= _NOISE * error:
        return f"the {metric} of {largest.name}, within the noise of {n} test images"
    return f"a {'higher' if lead > 0 else 'lower'} {metric} than {largest.name} on {n} test images"


def _from_chord(points: Sequence[OperatingPoint], metric: str) -> list[str]:
    """How far the cascades lie from the line between the anchors, at their mean costs."""
    count = len(notched(points))
    if not count:
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


def _at(name: str, reach: Sequence[float]) -> str:
    """A cascade with the shares of test images on which its stages go on."""
    shares = " and ".join(_percent(share) for share in reach[1:])
    return f"{name} with {shares} going on"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _phrase(score: object) -> str:
    return units.SCORE.phrase(score)
