"""The operating-point table on the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from restnet_tf import words
from restnet_tf.points.front import chord
from restnet_tf.points.points import ANCHOR, CONTROL, DOMINATED, STITCHED, File, OperatingPoint, Score
from tflite_export.devices.measurements import UNITS, Measurement

if TYPE_CHECKING:
    from rich.table import Table

    from restnet_tf.points.points import Verified

_MARKS = {ANCHOR: "anchor", CONTROL: "control"}


def operating_points(points: Iterable[OperatingPoint], metric: str, loss: str = "KL") -> Table:
    """One row a point, cheapest first; files measured on this host, costs counted in the graph."""
    from rich.table import Table

    points = sorted(points, key=lambda p: (p.kind == CONTROL, p.macs, p.name))
    n = points[0].test.n
    latencies = [f for p in points for f in p.files.values()]
    host = f"; latency by {latencies[0].tool}, {latencies[0].threads} thread" if latencies else ""
    table = Table(title=f"Operating points ({metric} on {n} test images{host})", title_justify="left")
    table.add_column("point", no_wrap=True)
    table.add_column("route")
    for name in (
        f"{metric} % [95 %]",
        "chord %",
        "as large %",
        loss,
        "MMACs",
        "params",
        "unshared",
        "file KB",
        "ms (p90)",
    ):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("front", no_wrap=True)
    for point in points:
        table.add_row(*_row(point, points), style=_style(point))
    return table


def precisions(points: Iterable[OperatingPoint], metric: str) -> Table:
    """One row a shipped file: score, size, planned arena and latency in every precision."""
    from rich.table import Table

    table = Table(title=f"Shipped files ({metric} run by the interpreter on the test split)", title_justify="left")
    table.add_column("point", no_wrap=True)
    for name in ("precision", f"{metric} % [95 %]", "flash KB", "arena KB (planned)", "median ms", "p90 ms"):
        table.add_column(name, justify="right", no_wrap=True)
    for point in sorted(points, key=lambda p: (p.macs, p.name)):
        for precision, file in point.files.items():
            table.add_row(
                point.name,
                precision,
                _score(file.test),
                _kilobytes(file.flash_bytes),
                _kilobytes(file.arena_bytes),
                f"{file.latency_median_us / 1e3:.2f}",
                f"{file.latency_p90_us / 1e3:.2f}",
            )
    return table


def verified(found: Sequence[Verified], images: int) -> Table:
    """One row a file: right answers of Keras, the linked file and TensorFlow's own, and how far they agree."""
    from rich.table import Table

    table = Table(title=f"Files beside Keras and TensorFlow's conversion, {images} test images", title_justify="left")
    table.add_column("point")
    heads = ("precision", "right % keras", "linked", "converted", "top-1 as keras %: linked", "converted")
    for head in (*heads, "SQNR dB: linked", "converted", "largest difference", "KB linked", "converted", "time ratio"):
        table.add_column(head, justify="right")
    for v in found:
        right = (f"{100 * v.right[who]:.1f}" for who in ("keras", "linked", "converted"))
        files = [v.to_keras[who] for who in ("linked", "converted")]
        sizes = (_kilobytes(v.flash_bytes[who]) for who in ("linked", "converted"))
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


def _row(point: OperatingPoint, points: Iterable[OperatingPoint]) -> tuple[str, ...]:
    file = _main_file(point)
    return (
        point.name,
        point.route + (f" [{point.rung}]" if point.rung else "").replace("[", "\\["),
        _score(point.test),
        f"{100 * chord(points, point.macs):.1f}" if point.kind == STITCHED else "",
        f"{100 * point.test.agreement:.1f}" if point.test.agreement is not None else "",
        f"{point.test.kl:.3f}",
        f"{point.macs / 1e6:.1f}",
        f"{point.params / 1e3:.0f}K",
        f"{point.unshared_params / 1e3:.1f}K" if point.kind == STITCHED else "",
        _kilobytes(file.flash_bytes) if file else "",
        f"{file.latency_median_us / 1e3:.2f} ({file.latency_p90_us / 1e3:.2f})" if file else "",
        _MARKS.get(point.kind, "shipped" if point.status != DOMINATED else f"no: {words.sentence(point.reason)}"),
    )


def _main_file(point: OperatingPoint) -> File | None:
    return point.files.get("float32") or next(iter(point.files.values()), None)


def _score(score: Score) -> str:
    low, high = score.interval
    return f"{100 * score.value:.1f} \\[{100 * low:.1f}, {100 * high:.1f}]"


def _kilobytes(size: int) -> str:
    return f"{size / 1000:.0f}"


def _style(point: OperatingPoint) -> str | None:
    if point.kind == ANCHOR:
        return "bold"
    return "dim" if point.kind == CONTROL or point.status == DOMINATED else None


def measured(found: Sequence[Measurement], points: Iterable[OperatingPoint]) -> Table:
    """One row a file, one column a figure of a device, which says where it comes from; what is planned stands beside.

    Bytes in KB of 1000, times in ms, counts in thousands.
    """
    from rich.table import Table

    table = Table(title="What devices, interpreters and compilers say", title_justify="left")
    by_name = {point.name: point for point in points}
    columns = list(dict.fromkeys((m.device, m.figure, m.kind) for m in found))
    table.add_column("point", no_wrap=True)
    for head in ("precision", "file\nKB", "arena head\nKB\n(plan)"):
        table.add_column(head, justify="right", no_wrap=True)
    for device, figure, kind in columns:
        unit = {"bytes": "KB", "time": "ms", "count": "K"}[UNITS[figure]] if figure != "difference" else "steps"
        table.add_column(f"{device}\n{figure} {unit}\n({kind})", justify="right", no_wrap=True)
    values = {(m.point, m.precision, m.device, m.figure): m.value for m in found}
    for point, precision in dict.fromkeys((m.point, m.precision) for m in found):
        file = by_name[point].files[precision]
        cells = (values.get((point, precision, device, figure)) for device, figure, _ in columns)
        shown = (_amount(figure, value) for (_, figure, _), value in zip(columns, cells, strict=True))
        table.add_row(point, precision, f"{file.flash_bytes / 1e3:.1f}", f"{file.arena_bytes / 1e3:.1f}", *shown)
    return table


def _amount(figure: str, value: float | None) -> str:
    if value is None:
        return ""
    if figure == "difference":
        return f"{value:.0f}"
    return f"{value / 1e3:.{3 if UNITS[figure] == 'time' else 1}f}"
