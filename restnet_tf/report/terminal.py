"""The tables of a run on the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from io import StringIO
from textwrap import wrap
from typing import TYPE_CHECKING, Literal

from restnet_tf.points.gate import Change, Gate
from restnet_tf.points.points import ANCHOR, File, OperatingPoint
from restnet_tf.report import contents, figures, rivals, savings, tables
from restnet_tf.report.contents import Wording
from restnet_tf.report.figure import BENCH, FILE, POINT, TERMINAL, Line
from tflite_export.budget import AMOUNT, FIGURE, SCORE, SHARE, amount
from tflite_export.devices.measurements import Measurement

if TYPE_CHECKING:
    from rich.table import Table

    from restnet_tf.points.verified import Checks, Verified, VerifiedCascade, VerifiedOriginal

_COLUMNS = 100  # of a table: above that, heads take more lines than one
_WIDTH = 200  # columns of lines that are told where no table can be


def operating_points(points: Iterable[OperatingPoint], metric: str, loss: str = "KL", one: str = "image") -> Table:
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


def precisions(points: Iterable[OperatingPoint], metric: str) -> Table:
    """One row a shipped file: score, size, planned arena and latency in every precision."""
    points = tuple(points)
    lines = tables.of_files(points, contents.ordered(points))
    host = f"; latency by {_host(file)}" if (file := next((line.file for line in lines), None)) else ""
    title = f"Shipped files ({metric} run by the interpreter on the test split{host})"
    columns = figures.shown(TERMINAL, FILE)
    words = contents.words(metric, Wording(), points)
    return _drawn(tables.filled("files", title, "", columns, lines, words))


def measured(measurements: Sequence[Measurement], points: Iterable[OperatingPoint]) -> Table:
    """One row a file, one column a figure of a device, which says where it comes from; what is planned stands beside.

    Bytes in KB of 1000, times in ms.
    """
    points = tuple(points)
    lines = tables.of_measured(points, contents.ordered(points), measurements)
    columns = (*figures.shown(BENCH, FILE), *tables.of_devices(points, measurements))
    table = tables.filled("devices", "What devices, interpreters and compilers say", "", columns, lines, {})
    return _drawn(table, [column.stacked for column in table.columns])


def verified(checks: Checks) -> list[Table]:
    """A table of files beside Keras, one of those beside the files that models came as, and one of cascades."""
    return [
        *([_beside_keras(checks.networks, checks.tests)] if checks.networks else ()),
        *([_beside_originals(checks.originals, checks.tests)] if checks.originals else ()),
        *([_beside_stages(checks.cascades, checks.tests)] if checks.cascades else ()),
    ]


def _beside_keras(checks: Sequence[Verified], tests: str) -> Table:
    """One row a file: right answers of Keras, the linked file and TensorFlow's own, and how far they agree."""
    heads = ("precision", "right % keras", "linked", "converted", "top-1 as keras %: linked", "converted")
    rest = ("SQNR dB: linked", "converted", "largest difference", "KB linked", "converted", "time ratio")
    table = _titled(f"Files beside Keras and TensorFlow's conversion, {tests}", (*heads, *rest))
    for v in checks:
        right = (f"{100 * v.right[who]:.1f}" for who in ("keras", "linked", "converted"))
        files = [v.to_keras[who] for who in ("linked", "converted")]
        sizes = (f"{v.flash_bytes[who] / 1e3:.0f}" for who in ("linked", "converted"))
        table.add_row(
            v.point,
            v.precision,
            *right,
            *(f"{100 * a.top1:.1f}" for a in files),
            *(f"{a.sqnr_db:.1f}" for a in files),
            f"{v.difference:.1e}",
            *sizes,
            f"{v.latency_ratio:.3f}",
        )
    return table


def _beside_originals(checks: Sequence[VerifiedOriginal], tests: str) -> Table:
    """One row a file: right answers of it and of what the model came as, and how far they agree."""
    heads = ("precision", "right % original", "in the run", "same answer %", "largest difference", "KB original")
    table = _titled(f"Files beside those that the models came as, {tests}", (*heads, "in the run"))
    for v in checks:
        table.add_row(
            v.point,
            v.precision,
            *(f"{100 * v.right[who]:.1f}" for who in ("original", "linked")),
            f"{100 * v.to_original.top1:.1f}",
            f"{v.to_original.difference:.1e}",
            *(f"{v.flash_bytes[who] / 1e3:.0f}" for who in ("original", "linked")),
        )
    return table


def _beside_stages(checks: Sequence[VerifiedCascade], tests: str) -> Table:
    """One row a cascade's file and setting: how often it goes on, and whether it answers as its stages do."""
    heads = ("precision", "thresholds", "goes on %", "by another stage", "largest difference", "equal")
    table = _titled(f"Cascades beside their stages one by one, {tests}", heads)
    for v in checks:
        table.add_row(
            v.point,
            v.precision,
            ", ".join(f"{t:.4g}" for t in v.thresholds),
            f"{100 * v.deferral:.1f}",
            str(v.elsewhere),
            f"{v.difference:.1e}",
            "yes" if v.equal else "no",
        )
    return table


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


def _titled(title: str, heads: Sequence[str]) -> Table:
    """An empty table of points and figures of them."""
    from rich.table import Table

    table = Table("point", title=title, title_justify="left")
    for head in heads:
        table.add_column(head, justify="right")
    return table


def _drawn(table: tables.Table, heads: Sequence[str] = ()) -> Table:
    """The table with its own heads, or others."""
    from rich.markup import escape
    from rich.table import Table

    drawn = Table(title=escape(table.title), title_justify="left")
    for column, head in zip(table.columns, heads or _heads(table), strict=True):
        side: Literal["left", "right"] = "left" if tables.is_words(column) else "right"
        drawn.add_column(escape(head), justify=side, no_wrap=True)
    for line, cells in zip(table.lines, table.rows, strict=True):
        drawn.add_row(*(escape(cell.text) for cell in cells), style=_style(line))
    return drawn


def _heads(table: tables.Table) -> list[str]:
    """The heads of its columns, each folded to what stands below it where the table is too wide otherwise."""
    heads = [column.stacked for column in table.columns]
    cells = [max((len(row[at].text) for row in table.rows), default=0) for at in range(len(heads))]
    widths = [max(cell, *map(len, head.splitlines())) for cell, head in zip(cells, heads, strict=True)]
    if sum(widths) + 3 * len(heads) + 1 <= _COLUMNS:
        return heads
    return [_folded(head, cell) for head, cell in zip(heads, cells, strict=True)]


def _folded(head: str, width: int) -> str:
    longest = max(map(len, head.split()))
    return "\n".join(part for line in head.splitlines() for part in wrap(line, max(width, longest)))


def _printed(table: Table) -> list[str]:
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
