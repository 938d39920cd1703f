"""Figures of cascades on devices that run their stages alone: of all stages, and as images of the rank split go on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from restnet_tf.points import stage_sums
from restnet_tf.points.points import OperatingPoint
from restnet_tf.report import units
from restnet_tf.report.figure import FILE, Figure
from tflite_export.devices.measurements import KINDS, UNITS, Measurement

_Values = dict[tuple[str, str], float]


def lines(points: Iterable[OperatingPoint], measured: Iterable[Measurement]) -> set[tuple[str, str]]:
    """The cascades, by name and precision, whose stages a device has all measured."""
    return {key for values in _sums(points, measured).values() for key in values}


def summed(points: Iterable[OperatingPoint], measured: Iterable[Measurement]) -> tuple[Figure, ...]:
    """Two figures for each device, figure, kind and tool: the worst case and the mean."""
    return tuple(_figure(key, values) for key, values in sorted(_sums(points, measured).items()))


def _sums(
    points: Iterable[OperatingPoint], measured: Iterable[Measurement]
) -> Mapping[tuple[str, str, str, str, str], _Values]:
    """By device, figure, kind, tool and which of both it is: values by point and precision."""
    points, measured = tuple(points), tuple(measured)
    by_name = {point.name: point for point in points}
    sums: dict[tuple[str, str, str, str, str], _Values] = {}
    for point in points:
        for precision in point.files:
            for s in stage_sums.of(point, precision, by_name, measured):
                for which, value in (("mean", s.mean), ("worst", s.worst)):
                    sums.setdefault((s.device, s.figure, s.kind, s.tool, which), {})[point.name, precision] = value
    return sums


def _figure(key: tuple[str, str, str, str, str], values: _Values) -> Figure:
    device, figure, kind, tool, which = key
    how = "by the share of the rank split that each runs on" if which == "mean" else "of all stages"
    return Figure(
        f"{device} {which} {figure} of stages",
        f"{which} {figure} of stages",
        lambda line: values.get((line.point.name, line.precision)),
        units.MEASURED[UNITS[figure]],
        f"sum of the stages' own files, {how}; each {KINDS[kind]} by {tool}",
        frozenset((FILE,)),
        over=device,
        kind=kind,
    )
