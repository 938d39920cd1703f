"""How figures are read of a cascade, whose costs are means, and along its dial."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from restnet_tf.points.points import Cascade, Dial, OperatingPoint, Share, mean_cost
from restnet_tf.report.figure import Line


def mean(read: Callable[[Line], Any]) -> Callable[[Line], Any]:
    """A mean cost; in a family without cascades it is the cost itself, which needs no second column."""
    return lambda line: read(line) if any(p.cascade for p in line.family) else None


def chosen(read: Callable[[Cascade | Dial, OperatingPoint], Any]) -> Callable[[Line], Any]:
    """How a cascade is set, or its file where the line is of one; None of what has no dial."""

    def of_line(line: Line) -> Any:
        dial = line.file.dial if line.file else line.point.cascade
        return None if dial is None else read(dial, line.point)

    return of_line


def deferral(reach: Sequence[float], n: int) -> tuple[Share, ...]:
    """The shares of n images on which each stage but the last goes on."""
    return tuple(Share(share, n) for share in reach[1:])


def mean_macs(line: Line, reach: Iterable[float]) -> float | None:
    """Of an image, where the stages of a cascade run on such shares of images."""
    cascade = line.point.cascade
    return None if cascade is None else mean_cost(cascade.macs, reach)


def mean_latency(line: Line, reach: Sequence[float]) -> float | None:
    """Of an image in microseconds, where the stages of a cascade's file run on such shares of images."""
    dial = line.file.dial if line.file else None
    return None if dial is None else dial.mean_us(reach)
