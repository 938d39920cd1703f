"""What a device that takes no cascade in one file makes of its stages' own files: all of them, and as images go on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from restnet_tf.points.points import OperatingPoint, mean_cost
from tflite_export.budget import DEVICE_MEANS
from tflite_export.devices.measurements import Measurement

_HOST = "host"  # runs the cascade itself


@dataclass(frozen=True)
class StageSum:
    """A device's figure of a cascade: ``worst`` is that of all stages, ``mean`` as images of the rank split go on.

    ``kind`` and ``tool`` are those of the stages' measurements.
    """

    device: str
    figure: str
    worst: float
    mean: float
    kind: str
    tool: str


def of(
    point: OperatingPoint, precision: str, points: Mapping[str, OperatingPoint], measured: Iterable[Measurement]
) -> tuple[StageSum, ...]:
    """Each figure that one tool of a device has of the files of all stages, in the precision that each has there."""
    file = point.files[precision]
    if point.cascade is None or file.dial is None:
        return ()
    stages = list(zip(point.cascade.stages, of_stages(precision, len(point.cascade.stages)), strict=True))
    values: dict[tuple[str, str, str, str], dict[tuple[str, str], float]] = {}
    for m in measured:
        known = m.device != _HOST and m.figure in DEVICE_MEANS and (m.point, m.precision) in stages
        if known and m.point in points and is_of(m, points[m.point]):
            values.setdefault((m.device, m.figure, m.kind, m.tool), {})[m.point, m.precision] = m.value
    whole = {key: [by_stage[stage] for stage in stages] for key, by_stage in values.items() if {*stages} <= {*by_stage}}
    return tuple(
        StageSum(device, figure, sum(costs), mean_cost(costs, file.dial.rank_reach), kind, tool)
        for (device, figure, kind, tool), costs in whole.items()
    )


def of_stages(precision: str, count: int) -> Sequence[str]:
    """The precision of each stage of a cascade's file; the last that it names is that of all further ones."""
    names = precision.split(">")
    return [names[min(number, len(names) - 1)] for number in range(count)]


def is_of(m: Measurement, point: OperatingPoint) -> bool:
    """Whether a device measured the very bytes of a point's file."""
    file = point.files.get(m.precision)
    return m.point == point.name and file is not None and m.sha256 == file.sha256
