"""The pictures of a run: accuracy against cost, and the CKA heat map. PNG bytes; matplotlib, no screen."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from restnet_tf.points.points import ANCHOR, CONTROL, DOMINATED, SHIPPED, OperatingPoint

_BLUE, _ORANGE, _GREY, _LIGHT = "#1f5fa8", "#d9731a", "#777777", "#b9c4d0"
_NAMED = 12  # dominated points at most; names of more of them cover each other


def operating_points(points: Iterable[OperatingPoint], title: str, metric: str) -> bytes:
    """Test score against MACs and against host latency, with the chord, the intervals and the controls.

    ``metric`` names the score: accuracy, or agreement with the large anchor.
    """
    points = tuple(points)
    figure, (left, right) = _figure(1, 2, (13, 5.2))
    _scatter(left, points, lambda p: p.macs / 1e6)
    left.set_xlabel("MACs of one image, millions (counted in the graph)")
    timed = tuple(p for p in points if "float32" in p.files)
    _scatter(right, timed, lambda p: p.files["float32"].latency_median_us / 1e3)
    right.set_xlabel("host latency of one image, ms (measured, median; float32)")
    host = next((p.files["float32"] for p in timed), None)
    if host:
        right.set_title(f"{host.tool}, {host.threads} thread", fontsize=9)
    for axes in (left, right):
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    n = points[0].test.n
    left.set_ylabel(f"{metric}, % of {n} test images; bars: 95 % interval")
    left.legend(loc="best", fontsize=8, frameon=False)
    for axes in (left, right):
        _frame(axes, points)
    figure.suptitle(title)
    return _png(figure)


def heat_map(
    matrix: np.ndarray,
    rows: Sequence[str],
    columns: Sequence[str],
    title: str,
    chosen: Iterable[tuple[int, int, str]] = (),
) -> bytes:
    """A similarity matrix with its cut names; ``chosen`` marks stitches as (row, column, marker)."""
    height, width = 2.0 + 0.24 * len(rows), 4.0 + 0.34 * len(columns)
    figure, axes = _figure(1, 1, (max(6.0, width), max(4.0, height)))
    image = axes.imshow(matrix, cmap="viridis", vmin=0, vmax=1, aspect="auto")
    axes.set_xticks(range(len(columns)), columns, rotation=60, ha="right", fontsize=8)
    axes.set_yticks(range(len(rows)), rows, fontsize=8)
    for row, column, marker in chosen:
        axes.plot(column, row, marker, color="white", markeredgecolor="black", markersize=7)
    figure.colorbar(image, ax=axes, label="debiased minibatch CKA of flattened features")
    axes.set_title(title, fontsize=10)
    return _png(figure)


def _scatter(axes: Any, points: Iterable[OperatingPoint], cost: Callable[[OperatingPoint], float]) -> None:
    points = tuple(points)
    groups = (
        ("anchors", _BLUE, "s", [p for p in points if p.kind == ANCHOR]),
        (
            "shipped",
            _ORANGE,
            "o",
            [p for p in points if p.kind not in (ANCHOR, CONTROL) and p.status == SHIPPED],
        ),
        ("dominated", _LIGHT, "o", [p for p in points if p.status == DOMINATED]),
        ("controls", _GREY, "x", [p for p in points if p.kind == CONTROL]),
    )
    for label, colour, marker, group in groups:
        for point in group:
            low, high = point.test.interval
            axes.plot([cost(point)] * 2, [100 * low, 100 * high], color=colour, alpha=0.25, linewidth=2, zorder=1)
            if label == "dominated" and len(group) > _NAMED:
                continue
            axes.annotate(
                point.name,
                (cost(point), 100 * point.test.value),
                (4, -10 if point.kind == CONTROL else 4),
                textcoords="offset points",
                fontsize=7,
            )
        if group:
            axes.scatter(*_coordinates(group, cost), c=colour, marker=marker, label=label, zorder=2)
    anchors = sorted((p for p in points if p.kind == ANCHOR), key=cost)
    if len(anchors) == 2:
        axes.plot(*_coordinates(anchors, cost), "--", color=_BLUE, linewidth=1, label="chord", zorder=0)


def _frame(axes: Any, points: Sequence[OperatingPoint]) -> None:
    """Limit the scores to those of the family; what lies far below is named in the corner instead."""
    floor = min(p.test.interval[0] for p in points if p.kind != CONTROL)
    top = max(p.test.interval[1] for p in points)
    margin = 0.1 * (top - floor)
    axes.set_ylim(100 * (floor - margin), 100 * (top + margin))
    below = [p for p in points if p.test.value < floor - margin]
    if below:
        note = "below the axis: " + ", ".join(f"{p.name} {100 * p.test.value:.1f} %" for p in below)
        axes.text(0.02, 0.02, note, transform=axes.transAxes, fontsize=8, color=_GREY)


def _coordinates(
    points: Sequence[OperatingPoint], cost: Callable[[OperatingPoint], float]
) -> tuple[list[float], list[float]]:
    return [cost(p) for p in points], [100 * p.test.value for p in points]


def _figure(rows: int, columns: int, size: tuple[float, float]) -> tuple[Any, Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns)


def _png(figure: Any) -> bytes:
    buffer = io.BytesIO()
    # No software or date tag, so that equal figures are equal bytes.
    figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    return buffer.getvalue()
