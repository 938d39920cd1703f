"""The tables of a report: figures and lines in, cells out, which every format shows alike."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from restnet_tf.points.points import OperatingPoint
from restnet_tf.report import figures, rivals, savings, stage_figures, units
from restnet_tf.report.contents import Report
from restnet_tf.report.figure import CASCADES, FILE, POINT, TABLE, Figure, Line
from restnet_tf.report.units import Cell
from tflite_export.devices.measurements import Measurement

_LATER = "measurements.json, which was filled after the build"
_DEVICES = "devices"


@dataclass(frozen=True)
class Table:
    """Rows of cells under their figures, whose words are the run's; ``lines`` are what the rows are of.

    ``key`` names it, ``note`` says what holds for all of it.
    """

    key: str
    title: str
    note: str
    columns: tuple[Figure, ...]
    rows: tuple[tuple[Cell, ...], ...]
    lines: tuple[Line, ...]


def tables(report: Report) -> tuple[Table, ...]:
    """All tables that have rows: points, cascades, files, devices, ladder."""
    of_cascades = cascades(report.points, report.words, "Cascades")
    all_of_them = (networks(report), of_cascades, files(report), devices(report), ladder(report))
    return tuple(table for table in all_of_them if table.rows)


def networks(report: Report) -> Table:
    """One row a point: scores, costs counted in the graph."""
    ran = report.words["ran"]
    where = f"{report.points[0].test.n} test {report.method.many}"
    own = f"{told}. " if (told := rivals.unshared(report.points)) else ""
    note = f"{own}{ran[0].upper()}{ran[1:]} on {where}; every point, with a file or without."
    columns = figures.shown(TABLE, POINT)
    return filled("points", "Points", note, columns, of_points(report.points, report.ordered), report.words)


def cascades(points: Sequence[OperatingPoint], words: Mapping[str, str], title: str) -> Table:
    """One row a cascade that is shipped and position of its dial, one a stage: costs in the mean and at worst."""
    there = savings.notched(points)
    stages = savings.stages(there, points)
    lines = of_points(points, sorted((*there, *stages), key=lambda p: (p.mean_macs, p.name)))
    note = (
        "Cascades with their stages. A stage goes on to the next where it is less sure than its threshold, so that a"
        " cascade has a mean cost and a worst case; the chord is that at the mean cost of the test split."
    )
    return filled("cascades", title, note, figures.shown(CASCADES, POINT), lines, words)


def files(report: Report) -> Table:
    """One row a file: what the interpreter, the arena planner and this host say of it."""
    note = (
        "Each file on its own, scored by the interpreter on the test split; the arena is planned from the file, the"
        " latency is the building host's. 1 KB is 1000 bytes."
    )
    columns = figures.shown(TABLE, FILE)
    return filled("files", "Files", note, columns, of_files(report.points, report.ordered), report.words)


def devices(report: Report) -> Table:
    """One row a file, one column a device, figure, kind and tool: nothing that differs in these shares a column."""
    lines = of_measured(report.points, report.ordered, report.measurements)
    columns = (*_named(FILE), *of_devices(report.points, report.measurements))
    note = "Of each figure the head says whether it was measured, interpreted, estimated or planned."
    return filled(_DEVICES, "Devices, interpreters and compilers", note, columns, lines, report.words)


def ladder(report: Report) -> Table:
    """One row a fitted point: the KL after each rung; a rung that gained nothing repeats the one before it."""
    ladders = report.ladders
    lines = of_points(report.points, [p for p in report.ordered if p.name in ladders])
    rung = Figure("kept", "kept", lambda line: ladders[line.point.name].rung)
    note = "The KL to the large anchor on the rank split, after each rung that was tried; lower is nearer."
    columns = (*_named(POINT), *figures.climbed(ladders), rung)
    return filled("ladder", "What each rung of the fit gave", note, columns, lines, report.words)


def filled(
    key: str, title: str, note: str, columns: Iterable[Figure], lines: Sequence[Line], words: Mapping[str, str]
) -> Table:
    """A table of figures, without the columns that no line fills."""
    every = [(figure, [figure.unit.shown(figure.read(line)) for line in lines]) for figure in columns]
    shown = [(figure, cells) for figure, cells in every if any(cell.value is not None for cell in cells)]
    rows = tuple(zip(*(cells for _, cells in shown), strict=True))
    return Table(key, title, note, tuple(figures.spoken(figure, words) for figure, _ in shown), rows, tuple(lines))


def of_points(family: Sequence[OperatingPoint], points: Iterable[OperatingPoint]) -> tuple[Line, ...]:
    """A line a point."""
    return tuple(Line(p, tuple(family)) for p in points)


def of_files(family: Sequence[OperatingPoint], points: Iterable[OperatingPoint]) -> tuple[Line, ...]:
    """A line a file."""
    return tuple(Line(p, tuple(family), precision) for p in points for precision in sorted(p.files))


def of_measured(
    family: Sequence[OperatingPoint], points: Iterable[OperatingPoint], measurements: Iterable[Measurement]
) -> tuple[Line, ...]:
    """A line a file that a device measured, even one that ``points.json`` has forgotten since, or that is a cascade
    whose stages it measured."""
    measurements = tuple(measurements)
    precisions = {(m.point, m.precision) for m in measurements} | stage_figures.lines(family, measurements)
    return tuple(
        Line(p, tuple(family), precision) for p in points for name, precision in sorted(precisions) if name == p.name
    )


def of_devices(family: Sequence[OperatingPoint], measurements: Iterable[Measurement]) -> tuple[Figure, ...]:
    """What devices measured of files, and what that comes to for cascades of which they ran the stages."""
    measurements = tuple(measurements)
    return (*figures.measured(measurements), *stage_figures.summed(family, measurements))


def sources(report: Report) -> tuple[tuple[str, str, str], ...]:
    """Every figure with its source and the command that made it, those of one table and source together."""
    heads: dict[tuple[str, str, str], list[str]] = {}
    for table in tables(report):
        for column in table.columns:
            if column.source:
                heads.setdefault((table.key, table.title, column.source), []).append(column.head)
    entries = [
        (f"{title}: {'; '.join(names)}", source, _LATER if key == _DEVICES else report.command)
        for (key, title, source), names in heads.items()
    ]
    if report.parts:
        entries.append(("Routes: MACs of the parts", "counted in the compiled anchors, objects/", report.command))
    if report.cka:
        cka = "debiased minibatch CKA of both anchors' features on the fit split"
        pairs = [(figure.label, figure.source) for figure in figures.PAIR_FIGURES]
        entries += [(f"Similarity: {label}", source, report.command) for label, source in (("CKA", cka), *pairs)]
    return tuple(entries)


def _named(of: str) -> tuple[Figure, ...]:
    """The figures that say which line it is: words that every table begins with."""
    names = ("point", "precision") if of == FILE else ("point",)
    return tuple(figure for figure in figures.FIGURES if figure.name in names)


def is_words(figure: Figure) -> bool:
    """Whether a column holds no numbers."""
    return figure.unit is units.WORDS
