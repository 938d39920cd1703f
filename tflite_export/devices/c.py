"""C99 without an interpreter: what it takes, what is exported, and the arena that it states."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tflite_export import lookups
from tflite_export.devices.device import Device
from tflite_export.devices.exports import Export, Parcel, PointFile, StageLoop, Target, loop_remarks
from tflite_export.devices.rules import Rules
from tflite_export.devices.subjects import DeviceOptions, Findings, Subject, tried
from tflite_export.plainc import network, source
from tflite_export.plainc.source import CascadeSource, PointSource

_NAME = "c"
_SOURCE = "the kernels in tflite_export/plainc"
RULES = Rules(
    "C without an interpreter",
    _SOURCE,
    ("int8",),
    lookups.OPERATORS | frozenset(network.OPERATORS),
    several="each point is a function of its own",
)


def export(parcel: Parcel) -> Export:
    """A header, a source with every weight once, and the kernels that the points call."""
    points = [PointSource(p.content, p.stem, f"{p.name}, {p.precision}") for p in parcel.points]
    loops = [_cascade(loop) for loop in parcel.loops]
    about = f"Points of {parcel.run} in plain C."
    made = source.written(points, loops, parcel.labels, about, parcel.kind)
    remarks = (
        f"{made.arena:,} bytes of static RAM for all points, {made.constants:,} bytes of constants in flash",
        *loop_remarks(parcel, f"a function of each in {source.SOURCE}"),
    )
    return Export(made.files, remarks, f"compile {{out}}/*.c into your firmware; {source.HEADER} says how to call them")


def prepared(point: PointFile) -> PointFile:
    """The file itself, where every layer of it has a kernel; raises TfliteError where one has not."""
    network.of_file(point.content)
    return point


def measure(subjects: Sequence[Subject], options: DeviceOptions) -> Iterator[Findings]:
    """The arena of each point alone in bytes, planned from the file."""
    for subject in subjects:
        yield tried(subject, _one)


def _one(subject: Subject) -> Findings:
    arena = network.of_file(subject.content).alone.arenas[0]
    return Findings(subject.measured(_NAME, {"arena": arena}, kind="plan", tool=_SOURCE))


def _cascade(loop: StageLoop) -> CascadeSource:
    stages = tuple(PointFile(name, precision, b"").stem for name, precision in loop.files)
    about = f"{loop.name}, {loop.precision}"
    return CascadeSource(loop.stem, about, stages, loop.confidence, loop.thresholds)


DEVICE = Device(_NAME, measure, ("int8",), target=Target(RULES, export, prepared), cascades=False)
