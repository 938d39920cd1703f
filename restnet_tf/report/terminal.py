"""The tables of a run on the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from io import StringIO
from typing import TYPE_CHECKING

from restnet_tf.points.gate import Change, Gate
from restnet_tf.points.points import ANCHOR, CONTROL, DOMINATED, File, OperatingPoint
from restnet_tf.report import contents, figures, narrow, rivals, savings, tables
from restnet_tf.report.contents import Wording
from restnet_tf.report.figure import BENCH, FILE, POINT, TERMINAL, Figure, Line
from restnet_tf.report.narrow import TableColumn
from tflite_export.budget import AMOUNT, FIGURE, SCORE, SHARE, amount
from tflite_export.devices.measurements import Measurement

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

    from restnet_tf.points.verified import Checks, Verified, VerifiedCascade, VerifiedOriginal

_NAMES = ("point", "precision")  # figures that say what a row is
_SETTING = "thresholds"  # and this of cascades whose dial is turned
# Words of a table that say what became of a point, and are not of every day.
_STANDINGS = {
    DOMINATED: "dominated: beaten at no more cost, not shipped",
    CONTROL: "control: made for comparison alone",
}
# What heads of files that are verified mean.
_OF_VERIFIED = {
    "right % linked": "linked: the run's file; converted: what TensorFlow makes of the whole network",
    "as keras % linked": "as keras: the share that is answered as Keras does",
    "SQNR dB linked": "SQNR: how far what differs lies below Keras' scores; more is nearer",
    "time ratio": "time ratio: of linked to converted, on this host",
    "by another stage": "by another stage: the share that another stage answered than one by one",
}
_WIDTH = 200  # columns of lines that are told where no table can be


def operating_points(
    points: Iterable[OperatingPoint], metric: str, loss: str = "KL", one: str = "image"
) -> Table | Group:
    """One row a point, cheapest first: scores, and costs counted in the graph."""
    points = tuple(points)
    lines = tables.of_points(points, contents.ordered(points))
    title = "; ".join(
        filter(None, (f"Operating points ({metric} on {points[0].test.n} test {one}s)", rivals.unshared(points)))
    )
    columns = figures.shown(TERMINAL, POINT)
    words = contents.words(metric, Wording(loss=loss, one=one), points)
    return _drawn(tables.filled("points", title, "", columns, lines, words))


def cascades(points: Iterable[OperatingPoint], metric: str, one: str = "image") -> list[str]:
    """The cascades that are shipped with their stages, and what the best saves, as lines; none where none is."""
    points = tuple(points)
    if not (there := savings.shipped(points)):
        return []
    title = f"Cascades ({metric} on {there[0].test.n} test {one}s; set on {there[0].rank.n} of the rank split)"
    table = tables.cascades(points, contents.words(metric, Wording(one=one), points), title)
    return [*_printed(_drawn(table)), *savings.saved(points, metric, f"{one}s")]


def precisions(points: Iterable[OperatingPoint], metric: str, one: str = "image") -> Table | Group:
    """One row a shipped file: score, size, planned arena and latency in every precision."""
    points = tuple(points)
    lines = tables.of_files(points, contents.ordered(points))
    host = f"; latency by {_host(file)}" if (file := next((line.file for line in lines), None)) else ""
    title = f"Shipped files ({metric} run by the interpreter on the test split{host})"
    columns = figures.shown(TERMINAL, FILE)
    words = contents.words(metric, Wording(one=one), points)
    return _drawn(tables.filled("files", title, "", columns, lines, words))


def measured(measurements: Sequence[Measurement], points: Iterable[OperatingPoint]) -> Table | Group:
    """One row a file, one column a figure of a device, which says where it comes from; what is planned stands beside.

    Bytes in KB of 1000, times in ms.
    """
    points = tuple(points)
    lines = tables.of_measured(points, contents.ordered(points), measurements)
    columns = (*figures.shown(BENCH, FILE), *tables.of_devices(points, measurements))
    table = tables.filled("devices", "What devices, interpreters and compilers say", "", columns, lines, {})
    return _drawn(table, folds=False)


def verified(checks: Checks) -> list[Table | Group]:
    """A table of files beside Keras, one of those beside the files that models came as, and one of cascades."""
    return [
        *([_beside_keras(checks.networks, checks.tests)] if checks.networks else ()),
        *([_beside_originals(checks.originals, checks.tests)] if checks.originals else ()),
        *([_beside_stages(checks.cascades, checks.tests)] if checks.cascades else ()),
    ]


def _beside_keras(checks: Sequence[Verified], tests: str) -> Table | Group:
    """One row a file: right answers of Keras, the linked file and TensorFlow's own, and how far they agree."""
    heads = ("right % keras", "right % linked", "right % converted", "as keras % linked", "as keras % converted")
    rest = ("SQNR dB linked", "SQNR dB converted", "largest difference", "KB linked", "KB converted", "time ratio")
    return _rows(
        f"Files beside Keras and TensorFlow's conversion, {tests}",
        ("point", "precision", *heads, *rest),
        [
            (
                v.point,
                v.precision,
                *(f"{100 * v.right[who]:.1f}" for who in ("keras", "linked", "converted")),
                *(f"{100 * v.to_keras[who].top1:.1f}" for who in ("linked", "converted")),
                *(f"{v.to_keras[who].sqnr_db:.1f}" for who in ("linked", "converted")),
                f"{v.difference:.1e}",
                *(f"{v.flash_bytes[who] / 1e3:.0f}" for who in ("linked", "converted")),
                f"{v.latency_ratio:.3f}",
            )
            for v in checks
        ],
    )


def _beside_originals(checks: Sequence[VerifiedOriginal], tests: str) -> Table | Group:
    """One row a file: right answers of it and of what the model came as, and how far they agree."""
    heads = ("right % original", "right % in the run", "same answer %", "largest difference")
    return _rows(
        f"Files beside those that the models came as, {tests}",
        ("point", "precision", *heads, "KB original", "KB in the run"),
        [
            (
                v.point,
                v.precision,
                *(f"{100 * v.right[who]:.1f}" for who in ("original", "linked")),
                f"{100 * v.to_original.top1:.1f}",
                f"{v.to_original.difference:.1e}",
                *(f"{v.flash_bytes[who] / 1e3:.0f}" for who in ("original", "linked")),
            )
            for v in checks
        ],
    )


def _beside_stages(checks: Sequence[VerifiedCascade], tests: str) -> Table | Group:
    """One row a cascade's file and setting: how often it goes on, and whether it answers as its stages do."""
    return _rows(
        f"Cascades beside their stages one by one, {tests}",
        ("point", "precision", "thresholds", "goes on %", "by another stage", "largest difference", "equal"),
        [
            (
                v.point,
                v.precision,
                ", ".join(f"{t:.4g}" for t in v.thresholds),
                f"{100 * v.deferral:.1f}",
                str(v.elsewhere),
                f"{v.difference:.1e}",
                "yes" if v.equal else "no",
            )
            for v in checks
        ],
    )


def gate(comparison: Gate) -> Table:
    """One row a broken limit and file, and one a limit that holds, of the file that is nearest to breaking it."""
    from rich.table import Table

    table = Table(title=f"{comparison.new.path} against {comparison.old.path}", title_justify="left")
    for head in ("file", "limit"):
        table.add_column(head)
    for head in ("before", "now", "change"):
        table.add_column(head, justify="right")
    table.add_column("verdict")
    for change in (*comparison.broken, *comparison.nearest):
        before, now = _figure(change.limit.name, change.old), _now(change)
        verdict = ("holds" if change.holds else "broken") + (", unsure" if change.unsure else "")
        cells = (change.pair.new.name, change.limit.text, before, now, _changed(change), verdict)
        table.add_row(*cells, style=None if change.holds else "bold red")
    return table


def _figure(name: str, value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.1f} %" if name == SCORE else amount(name, value)


def _now(change: Change) -> str:
    """The figure, and where it may lie, if it is limited itself."""
    name, told = change.limit.name, _figure(change.limit.name, change.new)
    if change.limit.change != FIGURE or change.spread is None:
        return told
    low, high = (_figure(name, end).removesuffix(" %") for end in change.spread)
    return f"{told} [{low}, {high}]"


def _changed(change: Change) -> str:
    """By how much, in the measure of the limit, and where that may lie."""
    if change.old is None:
        return ""
    if change.limit.change == FIGURE:
        return _difference(AMOUNT, change.limit.name, change.new - change.old)
    kind, name = change.limit.change, change.limit.name
    told = _difference(kind, name, change.value)
    if change.spread is None:
        return told
    low, high = (_difference(kind, name, end).removesuffix(" %") for end in change.spread)
    return f"{told} [{low}, {high}]"


def _difference(kind: str, name: str, value: float) -> str:
    if kind == SHARE:
        return f"{round(100 * value, 1) + 0.0:+.1f} %"  # 0.0 makes +0.0 of -0.0
    if name == SCORE:
        return f"{round(value, 1) + 0.0:+.1f}"
    return f"{'-' if value < 0 else '+'}{amount(name, abs(value))}"


def _drawn(table: tables.Table, *, folds: bool = True) -> Table | Group:
    """The table on the terminal, its names kept in front where it takes several."""
    columns = [_column(figure, tuple(row[at].text for row in table.rows)) for at, figure in enumerate(table.columns)]
    return narrow.drawn(table.title, columns, [_style(line) for line in table.lines], folds=folds)


def _column(figure: Figure, cells: tuple[str, ...]) -> TableColumn:
    gloss = "\n".join(filter(None, (figure.gloss, *(told for word, told in _STANDINGS.items() if word in cells))))
    key = figure.name in (*_NAMES, _SETTING)
    return TableColumn(figure.stacked, cells, tables.is_words(figure), key, gloss)


def cuts(model: str, heads: Sequence[str], rows: Sequence[tuple[str, ...]]) -> Table | Group:
    """One row a cut of a model, whose name comes first."""
    columns = [
        TableColumn(head, cells, at < 2, at == 0)
        for at, (head, cells) in enumerate(zip(heads, zip(*rows, strict=True), strict=True))
    ]
    return narrow.drawn(f"{model}: {len(rows)} cut{'' if len(rows) == 1 else 's'}", columns)


def _rows(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Table | Group:
    """A table of points and figures of their files."""
    names = len(_NAMES)
    columns = [
        TableColumn(head, cells, at < names, at < names, _OF_VERIFIED.get(head, ""))
        for at, (head, cells) in enumerate(zip(heads, zip(*rows, strict=True), strict=True))
    ]
    return narrow.drawn(title, columns)


def _printed(table: Table | Group) -> list[str]:
    """The lines of a table, for where lines alone are told."""
    from rich.console import Console

    text = StringIO()
    Console(file=text, width=_WIDTH).print(table)
    return [line.rstrip() for line in text.getvalue().splitlines()]


def _style(line: Line) -> str | None:
    if line.point.kind == ANCHOR:
        return "bold"
    return "dim" if contents.aside(line.point, line.precision) else None


def _host(file: File) -> str:
    return f"{file.tool}, {file.threads} thread{'s' if file.threads > 1 else ''}"
