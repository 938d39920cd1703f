"""What stitching is owed: what shipped points score beside networks that know less and had as much training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import fmean

from restnet_tf.points import front
from restnet_tf.points.points import (
    ANCHOR,
    CASCADE,
    DISTILLED,
    FROM_SCRATCH,
    SHIPPED,
    STITCHED,
    OperatingPoint,
)
from restnet_tf.report.units import KILOBYTES

_DECIDED = (STITCHED, DISTILLED)  # an anchor ships anyway
_NAMED = 8  # at most; the table of files has all


def sentences(points: Sequence[OperatingPoint], metric: str) -> list[str]:
    """What the same routes score behind random fronts, and one of the networks from nothing; what a run has of it."""
    shipped = [p for p in points if p.kind == STITCHED and p.status == SHIPPED]
    return [*_behind_random(shipped, points, metric), *_from_nothing(points, metric)]


def _behind_random(shipped: Sequence[OperatingPoint], points: Sequence[OperatingPoint], metric: str) -> list[str]:
    pairs = [(p, front.middle(twins)) for p in shipped if (twins := front.behind_random(_twins(p, points)))]
    if not pairs:
        return []
    own, theirs = (_percent(fmean(pair[end].test.value for pair in pairs)) for end in (0, 1))
    whose = f"the {len(pairs)} shipped routes have" if len(pairs) > 1 else f"{pairs[0][0].name} has"
    return [f"stitching pays: {whose} {own} {metric} on the test split, behind random fronts {theirs}"]


def _from_nothing(points: Sequence[OperatingPoint], metric: str) -> list[str]:
    for scratch in (p for p in points if p.rung == FROM_SCRATCH):
        for point in (p for p in points if p.kind == STITCHED and (p.macs, p.params) == (scratch.macs, scratch.params)):
            beaten = "less than" if scratch.test.value < point.test.value else "no less than"
            return [
                f"trained from nothing with as much work, the network of {point.name} has"
                f" {_percent(scratch.test.value)} {metric} on the test split, {beaten} the"
                f" {_percent(point.test.value)} of the point"
            ]
    return []


def unshared(points: Sequence[OperatingPoint]) -> str:
    """The shipped points whose backs were trained for them alone, by what they beat; empty where there is none."""
    names = [
        p.name for p in points if p.kind == STITCHED and p.status == SHIPPED and front.from_nothing(_twins(p, points))
    ]
    if not names:
        return ""
    one, many = "shares none of its back's weights and beats", "share none of their backs' weights and beat"
    both = "both twins, behind a random front and trained from nothing"
    return f"{', '.join(names)} {one if len(names) == 1 else many} {both}"


def frugal(points: Sequence[OperatingPoint]) -> str:
    """Which points ship for their memory alone: on the rank split, what costs no more MACs answers better."""
    named = [line for p in points if p.kind in _DECIDED and p.status == SHIPPED for line in _spared(p, points)]
    return ", ".join(named[:_NAMED]) + (f", and {len(named) - _NAMED} more" if len(named) > _NAMED else "")


def _spared(point: OperatingPoint, points: Sequence[OperatingPoint]) -> Iterator[str]:
    """In each precision that it ships in, the memory that it takes less of than the best of such rivals."""
    cheaper = [p for p in points if p.kind in (ANCHOR, *_DECIDED) and p.macs <= point.macs]
    for precision, own in point.ratings.items():
        ratings = {p.name: p.ratings[precision] for p in cheaper if precision in p.ratings}
        better = {
            n: r for n, r in ratings.items() if SHIPPED == r.status == own.status and r.rank.lead(own.rank)[0] > 0
        }
        if better:
            name, rival = max(better.items(), key=lambda named: named[1].rank.value)
            sizes = {"flash": (own.flash_bytes, rival.flash_bytes), "arena": (own.arena_bytes, rival.arena_bytes)}
            less = (
                f"{what} {KILOBYTES.phrase(its)}, {name}'s {KILOBYTES.phrase(theirs)}"
                for what, (its, theirs) in sizes.items()
                if front.spares(its, theirs)
            )
            yield f"{point.name} in {precision} ({'; '.join(less)})"


def beaten(points: Sequence[OperatingPoint], metric: str) -> list[str]:
    """Which shipped points the test split puts below a rival of no more cost, by more than the error of the pair."""
    shipped = [p for p in points if p.kind in _DECIDED and p.status == SHIPPED]
    return [line for p in shipped for line in _below(p, points, metric)]


def _below(point: OperatingPoint, points: Sequence[OperatingPoint], metric: str) -> Iterator[str]:
    """In each of its files beside those of others, and in Keras beside networks without files."""
    twins = front.behind_random(_twins(point, points))
    others = [p for p in points if p.kind != CASCADE and p.name != point.name and not p.twin_of]
    nothing = front.from_nothing(_twins(point, points))
    rivals = [*others, *nothing, *([front.middle(twins)] if twins else ())]
    for rival in (p for p in rivals if p.macs <= point.macs):
        own = {n: (f.test, rival.files[n].test) for n, f in point.files.items() if n in rival.files}
        for where, (low, high) in (own or {"": (point.test, rival.test)}).items():
            lead, error = high.lead(low)
            if lead > error:
                apart = f"by {100 * lead:.1f} ± {100 * error:.1f} points of {metric}"
                yield f"{point.name} lies below {rival.name} {apart}{f' in {where}' if where else ''}"


def _twins(point: OperatingPoint, points: Sequence[OperatingPoint]) -> list[OperatingPoint]:
    return [p for p in points if p.twin_of == point.name]


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
