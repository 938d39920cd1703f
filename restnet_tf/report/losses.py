"""What precisions take from points: where a file answers worse than that in float32, and which one does not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from restnet_tf.points.points import CASCADE, CONTROL, STITCHED, OperatingPoint, Score

FLOAT = "float32"
_MUCH = 0.02  # of the score


@dataclass(frozen=True)
class Loss:
    """By how much a point's file scores less on the rank split than its float32 one; 0..1."""

    point: str
    precision: str
    share: float


def rank(point: OperatingPoint, precision: str) -> Score | None:
    """What a point's file in a precision scores on the rank split, or did where the run has it no longer."""
    if precision in point.files:
        return point.files[precision].rank
    return point.ratings[precision].rank if precision in point.ratings else None


def precisions(point: OperatingPoint) -> tuple[str, ...]:
    """Those in which a point's score is known."""
    return tuple(dict.fromkeys((*point.ratings, *point.files)))


def much(points: Iterable[OperatingPoint]) -> tuple[Loss, ...]:
    """What loses more than two points in a precision, by more than the standard error of the paired difference."""
    every = (loss for p in points if p.kind not in (CONTROL, CASCADE) for loss in _of(p))
    return tuple(loss for loss in every if loss.share > _MUCH)


def sentences(points: Sequence[OperatingPoint], metric: str) -> list[str]:
    """For each precision what loses much there, and what of the run does not: another precision, or other cuts."""
    losses = much(points)
    return [
        _sentence([loss for loss in losses if loss.precision == precision], points, metric)
        for precision in dict.fromkeys(loss.precision for loss in losses)
    ]


def _sentence(losses: Sequence[Loss], points: Sequence[OperatingPoint], metric: str) -> str:
    precision, lossy = losses[0].precision, [loss.point for loss in losses]
    names = ", ".join(f"{loss.point} ({100 * loss.share:.1f})" for loss in losses)
    told = [f"{precision} takes more than two points of {metric} on the rank split: {names}"]
    if finer := _finer([p for p in points if p.name in lossy], precision):
        told.append(f"{', '.join(finer)} takes no more than two from any of them")
    others = [p for p in points if p.kind == STITCHED and p.name not in lossy]
    if robust := [p.name for p in others if p.ships(precision) and {FLOAT, precision} <= {*precisions(p)}]:
        told.append(f"shipped in {precision} without such a loss: {', '.join(robust)}")
    return "; ".join(told)


def _finer(points: Sequence[OperatingPoint], precision: str) -> list[str]:
    """Other precisions that all of these points have been scored in and none loses much in; float32 is none."""
    tried = dict.fromkeys(name for p in points for name in precisions(p) if name not in (FLOAT, precision))
    lost = {(loss.point, loss.precision) for loss in much(points)}
    return [name for name in tried if all(name in precisions(p) and (p.name, name) not in lost for p in points)]


def _of(point: OperatingPoint) -> Iterator[Loss]:
    exact = rank(point, FLOAT)
    for precision in precisions(point):
        own = rank(point, precision)
        if exact is None or own is None or precision == FLOAT:
            continue
        lead, error = exact.lead(own)
        if lead > error:
            yield Loss(point.name, precision, lead)
