"""How figures are read of a cascade, whose costs are means, and along its dial."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from restnet_tf.points.points import Cascade, Dial, File, OperatingPoint, Setting, Share, mean_cost
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


def turns(line: Line) -> tuple[Setting, ...]:
    """All positions of the dial of a cascade's file, from never to always going on, that it was set to among them.

    Empty for what has no dial. Other files of a cascade may have other thresholds for it.
    """
    cascade, file = line.point.cascade, line.file
    if cascade is None or file is None or file.dial is None:
        return ()
    own = set_to(line)
    others = [setting for setting in file.dial.curve or cascade.curve if setting.thresholds != own.thresholds]
    cost = mean_cost(cascade.macs, own.rank_reach)
    before = sum(mean_cost(cascade.macs, setting.rank_reach) < cost for setting in others)
    return (*others[:before], own, *others[before:])


def set_to(line: Line) -> Setting:
    """The position that a cascade, or its file where the line is of one, was set to."""
    file = line.file if line.file and line.file.dial else None
    scored: OperatingPoint | File = file or line.point
    dial = file.dial if file else line.point.cascade
    assert dial is not None
    return Setting(dial.thresholds, dial.rank_reach, dial.test_reach, scored.rank, scored.test)


def deferral(reach: Sequence[float], n: int) -> tuple[Share, ...]:
    """The shares of n images on which each stage but the last goes on."""
    return tuple(Share(share, n) for share in reach[1:])


def set_macs(line: Line, split: str) -> float:
    """Mean MACs of a point, or of its file where the line is of one, as the images of a split go on."""
    if line.point.cascade is None:
        return line.point.macs
    own = set_to(line)
    return mean_cost(line.point.cascade.macs, own.test_reach if split == "test" else own.rank_reach)


def mean_macs(line: Line, reach: Iterable[float]) -> float | None:
    """Of an image, where the stages of a cascade run on such shares of images."""
    cascade = line.point.cascade
    return None if cascade is None else mean_cost(cascade.macs, reach)


def mean_latency(line: Line, reach: Sequence[float]) -> float | None:
    """Of an image in microseconds, where the stages of a cascade's file run on such shares of images."""
    dial = line.file.dial if line.file else None
    return None if dial is None else dial.mean_us(reach)
