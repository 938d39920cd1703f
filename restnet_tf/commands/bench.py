"""A finished run's files on devices: what they say is kept in the run, device by device."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from restnet_tf.commands import examples
from restnet_tf.points import points
from restnet_tf.points.points import CONTROL, OperatingPoint
from restnet_tf.progress import Reporter
from restnet_tf.records import RestnetError
from restnet_tf.run.directory import Run
from tflite_export import budget
from tflite_export.cascades import GOES_ON
from tflite_export.devices import devices, measurements
from tflite_export.devices.device import Device
from tflite_export.devices.measurements import Measurement
from tflite_export.devices.subjects import DeviceError, DeviceOptions, Subject
from tflite_export.errors import TfliteError
from tflite_export.inputs import InputKind, noted


@dataclass(frozen=True)
class Benched:
    """What was measured now, the run's points, and why files or devices gave nothing."""

    measurements: tuple[Measurement, ...]
    points: tuple[OperatingPoint, ...]
    failures: tuple[str, ...]


def bench(
    path: Path,
    names: Sequence[str],
    options: DeviceOptions,
    report: Reporter,
    *,
    only_points: Sequence[str] = (),
    precisions: Sequence[str] = (),
) -> Benched:
    """Measure a run's files on each device in turn, and add the figures to the run's ``measurements.json``.

    A device or a file that fails costs only its own figures; both stand in ``failures``. Raises
    ``RestnetError`` where there is no such run, point or file, ``TfliteError`` for an unknown device.
    """
    run, benches = Run(path), [devices.named(name) for name in dict.fromkeys(names)]
    meta, family = points.read(run.points_path)
    measurements.read(run.measurements_path)  # broken ones are refused before the work
    subjects = _subjects(run, family, only_points, precisions, noted(meta))
    if any(device.takes("examples") for device in benches):
        options = replace(options, examples=examples.of_run(path, report))
    every: list[Measurement] = []
    failures: list[str] = []
    for device in benches:
        able = _without_cascades(device, subjects, family, report)
        if not able:
            continue
        taken = able if precisions else [s for s in able if {*s.precision.split(GOES_ON)} <= {*device.tried}]
        if not taken:
            there = ", ".join(dict.fromkeys(s.precision for s in able))
            failures.append(f"{device.name} takes {', '.join(device.tried)}, the run has {there}")
            continue
        if left := len(able) - len(taken):
            tried = ", ".join(device.tried)
            report.say(f"{device.name}: {_files(left)} left out; it takes {tried} (--precision asks anyway)")
        report.stage(f"{_files(len(taken))} on {device.name}")
        measured, faults = _measured(run, device, taken, options, report)
        every += measured
        failures += faults
    return Benched(tuple(every), family, tuple(failures))


def _without_cascades(
    device: Device, subjects: Sequence[Subject], family: Sequence[OperatingPoint], report: Reporter
) -> Sequence[Subject]:
    """What a device can run: one that takes no IF runs the stages of cascades alone, whose figures add up."""
    joined = {p.name for p in family if p.cascade is not None}
    left = list(dict.fromkeys(s.point for s in subjects if s.point in joined))
    if device.cascades or not left:
        return subjects
    report.say(f"{device.name}: {', '.join(left)} left out; it runs no IF, and what their stages take adds up")
    return [s for s in subjects if s.point not in joined]


def _measured(
    run: Run, device: Device, taken: Sequence[Subject], options: DeviceOptions, report: Reporter
) -> tuple[list[Measurement], list[str]]:
    """What one device says, kept in the run, and why files or the device gave nothing."""
    new: list[Measurement] = []
    failures: list[str] = []
    try:
        done = 0
        for findings in device.measure(taken, options):
            new += findings.measurements
            failures += (f"{device.name}: {line}" for line in findings.failures)
            for line in (*findings.notes, *(f"warning: {line}" for line in findings.warnings)):
                report.say(line)
            done += not findings.notes
            report.progress(min(done, len(taken)), len(taken))
    except DeviceError as error:
        failures.append(str(error))
    except TfliteError as error:
        failures.append(f"{device.name}: {error}")
    finally:  # also where the user stops it: what was measured stays
        _record(run, new)
    return new, failures


def example(done: Benched) -> str:
    """A budget of what was measured: the middle one of its first figure that costs anything."""
    first = next((m for m in done.measurements if m.figure in ("arena", "cycles", "latency")), done.measurements[0])
    alike = sorted(m.value for m in done.measurements if (m.device, m.figure) == (first.device, first.figure))
    middle = budget.amount(first.figure, alike[len(alike) // 2])
    return f"{first.device}.{first.figure}<={middle.replace(' ', '')}"


def as_json(done: Benched) -> str:
    """What was measured now, as ``measurements.json`` keeps it, and what failed."""
    return json.dumps({**measurements.to_json(done.measurements), "failures": list(done.failures)}, indent=1)


def judge(done: Benched) -> None:
    """Raise ``RestnetError`` in one line where any file or device failed; all of them have been told before."""
    if done.failures:
        more = f" ({len(done.failures) - 1} more above)" if len(done.failures) > 1 else ""
        raise RestnetError(f"{done.failures[0]}{more}")


def _subjects(
    run: Run,
    family: Sequence[OperatingPoint],
    only_points: Sequence[str],
    precisions: Sequence[str],
    kind: InputKind,
) -> list[Subject]:
    """The files of the points and precisions that are named; all where none are."""
    listed = [point for point in family if point.kind != CONTROL and point.files]
    there = {"point": [p.name for p in listed], "precision": sorted({f for p in listed for f in p.files})}
    for what, named in (("point", only_points), ("precision", precisions)):
        for name in named:
            if name not in there[what]:
                raise RestnetError(f"{run.path} has no files of the {what} {name!r}; it has {', '.join(there[what])}")
    subjects = []
    for point in listed:
        for precision in point.files:
            if (not only_points or point.name in only_points) and (not precisions or precision in precisions):
                content = points.content(run.path, point.files[precision])
                subjects.append(Subject(point.name, precision, content, kind))
    if not subjects:
        raise RestnetError(f"{run.path} has no .tflite file to measure")
    return subjects


def _record(run: Run, new: Sequence[Measurement]) -> None:
    if new:
        merged = measurements.merged(measurements.read(run.measurements_path), new)
        run.write_json(run.measurements_path, measurements.to_json(merged))


def _files(count: int) -> str:
    return f"{count} file{'s' if count > 1 else ''}"
