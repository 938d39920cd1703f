"""What cascades are worth beside the largest network, in sentences that the run's own figures bear out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from restnet_tf.points import front
from restnet_tf.points.points import CASCADE, SHIPPED, Cascade, OperatingPoint, Setting, Share, mean_cost
from restnet_tf.report import units

_NAMED = 8  # cascades at most; a longer list is the table's
_ON_CHORD = 0.05  # in points of a per cent: what rounds to nothing
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
    settings = [s for s in _settings(points) if s.setting.rank_score >= s.largest.rank.value - _LOSS]
    if not settings:
        return []
    best = min(settings, key=lambda s: (s.rank_cost, s.point.name))
    score, other = Share(best.setting.test_score, best.largest.test.n), best.largest.test
    gain = 100 * (score.value - other.value)
    change = f"{'gains' if gain > 0 else 'loses'} {abs(gain):.1f} points"
    return [
        f"set for a loss of one point at most on {best.largest.rank.n} rank images, {best.point.name} saves"
        f" {1 - best.test_cost:.0%} of the MACs of {best.largest.name} on average over {other.n} test images, where it"
        f" {change} of {metric}: {_phrase(score)} against {_phrase(other)}"
    ]


def _settings(points: Sequence[OperatingPoint]) -> list[Saving]:
    """All positions of the dials of what is shipped."""
    largest = _largest(points)
    return [
        Saving(p, p.cascade, setting, largest)
        for p in shipped(points)
        if p.cascade is not None and largest is not None
        for setting in (*p.cascade.curve, _chosen(p, p.cascade))
    ]


def _chosen(point: OperatingPoint, cascade: Cascade) -> Setting:
    reach = (cascade.rank_reach, cascade.test_reach)
    return Setting(cascade.thresholds, *reach, point.rank.value, point.test.value)


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
    largest, there = _largest(points), shipped(points)
    if largest is None or not there:
        return []
    equal = [p for p in there if _lead(p, largest, "rank") >= 0]
    best = equal[0] if equal else max(there, key=lambda p: (p.rank.value, -p.mean_macs))
    lead, error = best.test.lead(largest.test)
    n = largest.test.n
    return [
        f"{best.name} has {_verdict(lead, error, metric, largest.name, n)}, at"
        f" {best.test_mean_macs / largest.macs:.0%} of its MACs on average and {best.macs / largest.macs:.0%} at worst:"
        f" {_phrase(best.test)} against {_phrase(largest.test)}, {100 * lead:+.1f} ± {100 * _NOISE * error:.1f} points"
        " image by image"
    ]


def _lead(point: OperatingPoint, other: OperatingPoint, split: str) -> float:
    """By how much a score lies above one standard error under the other."""
    lead, error = getattr(point, split).lead(getattr(other, split))
    return lead + error


def _verdict(lead: float, error: float, metric: str, largest: str, n: int) -> str:
    if abs(lead) <= _NOISE * error or not lead:
        return f"the {metric} of {largest}, within the noise of {n} test images"
    return f"a {'higher' if lead > 0 else 'lower'} {metric} than {largest} on {n} test images"


def _from_chord(points: Sequence[OperatingPoint], metric: str) -> list[str]:
    """How far the cascades lie from the line between the anchors, at their mean costs."""
    count = len(shipped(points))
    if not count:
        return []
    whose = f"its {metric} lies" if count == 1 else f"on average the cascades' {metric} lies"
    test, rank = (apart(100 * front.above_chord(points, split, CASCADE)) for split in ("test", "rank"))
    return [f"{whose} {test} the chord at equal mean MACs on the test split, {rank} it on the rank split"]


def apart(lead: float) -> str:
    """How far from the chord, in points of a per cent."""
    if abs(lead) < _ON_CHORD:
        return "on"
    return f"{abs(lead):.1f} points {'above' if lead > 0 else 'below'}"


def _phrase(score: object) -> str:
    return units.SCORE.phrase(score)
