"""What a report tells of a run, and its tables: records in, cells out, which every format of the report shows alike."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import isfinite

from restnet_tf import words
from restnet_tf.points.front import chord
from restnet_tf.points.points import CONTROL, DOMINATED, SOURCES, STITCHED, OperatingPoint, Score
from tflite_export.devices.measurements import KINDS, UNITS, Measurement

STITCH = "stitch"
_LATER = "measurements.json, which was filled after the build"
# By the kind of unit: how a table counts, and by what the base unit (bytes, microseconds) is divided.
_SHOWN = {"bytes": ("KB", 1e3), "time": ("ms", 1e3), "count": ("", 1.0)}


@dataclass(frozen=True)
class Part:
    """A stretch of a route: of an anchor by its role, or a stitch; ``macs`` is None where unknown."""

    role: str
    text: str
    macs: int | None
    note: str = ""


@dataclass(frozen=True)
class Pair:
    """One way of stitching, cuts by index, and what became of it; ``kl`` in nats with the closed-form stitch."""

    name: str
    front: str
    large: int
    small: int
    macs: int
    cka: float | None
    r2: float | None
    kl: float | None
    status: str
    reason: str


@dataclass(frozen=True)
class Ladder:
    """KL to the large anchor on the rank split, in nats, by rung in the order climbed; ``kept`` is the rung taken."""

    kept: str
    steps: Mapping[str, float]


@dataclass(frozen=True)
class Method:
    """What the figures of a method's points are, in words; whether its inputs can be loaded again to go on."""

    ran: str = "run in Keras"
    ranked: str = "on the rank split, which decides"
    loss: str = "KL"
    of: str = "to the large anchor's outputs"
    reopens: bool = True


COMPOSED = Method(
    "run by the interpreter", "in cross-validation on the few images, which decides", "log loss", "of the labels", False
)


@dataclass(frozen=True)
class Report:
    """All that a report shows of one run.

    ``run`` is the directory as the user names it, ``command`` what built it, ``facts`` its settings and versions in
    words. ``anchors`` are names by role, the costliest first. ``cka`` is ``(large cuts, small cuts)``, empty where
    the family has others than a large and a small anchor; ``parts`` and ``ladders`` are by point.
    """

    run: str
    title: str
    metric: str
    anchors: Mapping[str, str]
    facts: Mapping[str, str]
    command: str
    points: tuple[OperatingPoint, ...]
    measurements: tuple[Measurement, ...] = ()
    cuts: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: {"large": (), "small": ()})
    cka: tuple[tuple[float, ...], ...] = ()
    pairs: tuple[Pair, ...] = ()
    parts: Mapping[str, tuple[Part, ...]] = field(default_factory=dict)
    ladders: Mapping[str, Ladder] = field(default_factory=dict)
    method: Method = Method()

    @property
    def ordered(self) -> tuple[OperatingPoint, ...]:
        """The points as tables list them: by MACs, controls last."""
        return tuple(sorted(self.points, key=lambda p: (p.kind == CONTROL, p.macs, p.name)))


@dataclass(frozen=True)
class Column:
    """The head of a column with its unit, and where its figures come from; empty for words."""

    head: str
    source: str = ""


@dataclass(frozen=True)
class Cell:
    """What is shown, and what is sorted by: a number in the unit of the column, words, or None for nothing."""

    text: str
    value: float | str | None


@dataclass(frozen=True)
class Table:
    """Rows of cells under their columns; ``key`` names it, ``note`` says what holds for all of it."""

    key: str
    title: str
    note: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]


def tables(report: Report) -> tuple[Table, ...]:
    """All tables that have rows: points, files, devices, ladder."""
    made = (networks(report), files(report), devices(report), ladder(report))
    return tuple(table for table in made if table.rows)


def networks(report: Report) -> Table:
    """One row a point: scores, costs counted in the graph; columns that no point fills are left out."""
    ran = report.method.ran
    columns = (
        Column("point"),
        Column("front"),
        Column(f"{report.metric}, % [95 %]", f"{ran} on the test split; interval by Wilson"),
        Column("rank split, %", f"{ran} {report.method.ranked}"),
        Column("chord, %", "straight line between the anchors over MACs, test split"),
        Column("as large, %", f"same answer as the large anchor, {ran} on the test split"),
        Column(f"{report.method.loss}, nats", f"{report.method.of}, {ran} on the test split"),
        Column("MMACs", SOURCES["macs"]),
        Column("params, K", SOURCES["params"]),
        Column("unshared, K", "parameters that no anchor has, counted in the fitted stitch"),
        Column("rung"),
        Column("route"),
        Column("why not"),
    )
    note = f"{ran[0].upper()}{ran[1:]} on {report.points[0].test.n} test images; every point, with a file or without."
    rows = tuple(_network(p, report.points) for p in report.ordered)
    filled = [at for at in range(len(columns)) if any(row[at].value is not None for row in rows)]
    shown = tuple(tuple(row[at] for at in filled) for row in rows)
    return Table("points", "Points", note, tuple(columns[at] for at in filled), shown)


def files(report: Report) -> Table:
    """One row a file: what the interpreter, the arena planner and this host say of it."""
    columns = (
        Column("point"),
        Column("precision"),
        Column(f"{report.metric}, % [95 %]", SOURCES["score"]),
        Column("rank split, %", SOURCES["rank_score"]),
        Column("flash, KB", SOURCES["flash"]),
        Column("arena, KB", SOURCES["ram"]),
        Column("latency, ms", SOURCES["latency"]),
        Column("p90, ms", "measured on the building host, nine of ten runs are faster"),
        Column("run by"),
    )
    rows = tuple(
        (
            _words(p.name),
            _words(precision),
            _share(f.test),
            _number(100 * f.rank.value, 1),
            _number(f.flash_bytes / 1e3, 1),
            _number(f.arena_bytes / 1e3, 1),
            _number(f.latency_median_us / 1e3, 3),
            _number(f.latency_p90_us / 1e3, 3),
            _words(f"{f.tool}, {f.threads} thread{'s' if f.threads > 1 else ''}"),
        )
        for p in report.ordered
        for precision, f in sorted(p.files.items())
    )
    note = "Each file on its own, scored by the interpreter on the test split; the arena is planned from the file,"
    return Table("files", "Files", f"{note} the latency is the building host's. 1 KB is 1000 bytes.", columns, rows)


def devices(report: Report) -> Table:
    """One row a file, one column a device, figure, kind and tool: nothing that differs in these shares a column."""
    heads = sorted({_origin(m) for m in report.measurements})
    known = {(m.point, m.precision, _origin(m)): m for m in report.measurements}
    order = {p.name: at for at, p in enumerate(report.ordered)}
    found = sorted({(order.get(m.point, len(order)), m.point, m.precision) for m in report.measurements})
    columns = [Column("point"), Column("precision")]
    for device, figure, kind, tool in heads:
        unit = _SHOWN[UNITS[figure]][0]
        head = f"{device}: {figure}{f', {unit}' if unit else ''} ({kind})"
        columns.append(Column(head, f"{KINDS[kind]} by {tool}"))
    rows = tuple(
        (_words(point), _words(precision), *(_measured(known.get((point, precision, head))) for head in heads))
        for _, point, precision in found
    )
    note = "Of each figure the head says whether it was measured, interpreted, estimated or planned."
    return Table("devices", "Devices, interpreters and compilers", note, tuple(columns), rows)


def ladder(report: Report) -> Table:
    """One row a fitted point: the KL after each rung; a rung that gained nothing repeats the one before it."""
    names = list(dict.fromkeys(step for ladder in report.ladders.values() for step in ladder.steps))
    source = "KL to the large anchor's outputs, run in Keras on the rank split while fitting"
    columns = (Column("point"), *(Column(f"{name}, nats", source) for name in names), Column("kept"))
    rows = []
    for point in report.ordered:
        if known := report.ladders.get(point.name):
            steps = (_number(known.steps.get(name), 3) for name in names)
            rows.append((_words(point.name), *steps, _words(known.kept)))
    note = "The KL to the large anchor on the rank split, after each rung that was tried; lower is nearer."
    return Table("ladder", "What each rung of the fit gave", note, columns, tuple(rows))


def standing(point: OperatingPoint) -> str:
    """In a word: anchor, control, shipped or dominated."""
    return point.status if point.kind == STITCHED else point.kind


def aside(point: OperatingPoint) -> bool:
    """Whether a point is no member of the family that is shipped: shown, but dimmed."""
    return standing(point) in (CONTROL, DOMINATED)


def millions(count: float) -> str:
    """Of MACs or parameters, three digits or more."""
    return f"{count / 1e6:.{1 if count >= 1e7 else 2 if count >= 1e6 else 3}f}"


def sources(report: Report) -> tuple[tuple[str, str, str], ...]:
    """Every figure with its source and the command that made it, those of one table and source together."""
    found: dict[tuple[str, str], list[str]] = {}
    for table in tables(report):
        for column in table.columns:
            if column.source:
                found.setdefault((table.title, column.source), []).append(column.head)
    measured = devices(report).title
    told = [
        (f"{title}: {'; '.join(heads)}", source, _LATER if title == measured else report.command)
        for (title, source), heads in found.items()
    ]
    if report.parts:
        told.append(("Routes: MACs of the parts", "counted in the compiled anchors, objects/", report.command))
    if report.cka:
        source = "features of both anchors on the fit split: debiased minibatch CKA; R2 of the ridge solution"
        told.append(("Similarity: CKA; R2", source, report.command))
        source = "closed-form stitch, run in Keras on the rank split"
        told.append(("Similarity: KL", source, report.command))
    return tuple(told)


def _network(p: OperatingPoint, points: Iterable[OperatingPoint]) -> tuple[Cell, ...]:
    between = p.kind == STITCHED
    return (
        _words(p.name),
        _words(standing(p)),
        _share(p.test),
        _number(100 * p.rank.value, 1),
        _number(100 * chord(points, p.macs) if between else None, 1),
        _number(None if p.test.agreement is None else 100 * p.test.agreement, 1),
        _number(p.test.kl, 3),
        Cell(millions(p.macs), p.macs / 1e6),
        _number(p.params / 1e3, 1),
        _number(p.unshared_params / 1e3 if between else None, 1),
        _words(p.rung),
        _words(p.route),
        _words(words.sentence(p.reason)),
    )


def _origin(m: Measurement) -> tuple[str, str, str, str]:
    return m.device, m.figure, m.kind, m.tool


def _measured(m: Measurement | None) -> Cell:
    if m is None:
        return _number(None, 0)
    _, scale = _SHOWN[UNITS[m.figure]]
    return _number(m.value / scale, 0 if scale == 1 else 3 if UNITS[m.figure] == "time" else 1)


def _words(text: str) -> Cell:
    return Cell(text, text or None)


def _number(value: float | None, digits: int) -> Cell:
    return Cell("", None) if value is None or not isfinite(value) else Cell(f"{value:.{digits}f}", value)


def _share(score: Score) -> Cell:
    low, high = (100 * end for end in score.interval)
    return Cell(f"{100 * score.value:.1f} [{low:.1f}, {high:.1f}]", 100 * score.value)
