"""A cascade for devices that take no IF: the files of its stages, which the host runs one after the other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from restnet_tf.points import points
from restnet_tf.points.points import OperatingPoint
from restnet_tf.records import RestnetError
from tflite_export import stage_loop
from tflite_export.devices.exports import PointFile, StageLoop


def loop(point: OperatingPoint, precision: str, family: Iterable[OperatingPoint]) -> StageLoop:
    """A cascade as its stages with the thresholds of that precision's file.

    Raises ``RestnetError`` where a stage has no file of the precision that it runs in.
    """
    cascade, by_name = point.cascade, {p.name: p for p in family}
    assert cascade is not None  # the caller asks for a cascade
    dial = point.files[precision].dial
    thresholds = cascade.thresholds if dial is None else dial.thresholds
    made = StageLoop(
        point.name, precision, cascade.stages, cascade.confidence, thresholds, _repeated_macs(point, by_name)
    )
    for name, own in made.files:
        if name not in by_name or own not in by_name[name].files:
            raise RestnetError(f"its stage {name} has no file of {own} in the run")
    return made


def stage_files(loop: StageLoop, family: Iterable[OperatingPoint], run: Path) -> tuple[PointFile, ...]:
    """The files of a loop's stages; raises TfliteError where one loop cannot feed them (``stage_loop.check``)."""
    by_name = {p.name: p for p in family}
    files = tuple(PointFile(name, own, points.content(run, by_name[name].files[own])) for name, own in loop.files)
    stage_loop.check([file.content for file in files])
    return files


def _repeated_macs(point: OperatingPoint, family: Mapping[str, OperatingPoint]) -> int:
    """What all stages take alone beyond what they add in the cascade."""
    cascade = point.cascade
    if cascade is None or not cascade.resumed:
        return 0
    costs = zip(cascade.stages, cascade.macs, strict=True)
    return sum(max(0, family[name].macs - macs) for name, macs in costs if name in family)
