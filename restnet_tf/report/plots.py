"""The pictures of a run: accuracy against cost, and the CKA heat map. PNG bytes; matplotlib, no screen."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from restnet_tf.points.points import (
    ANCHOR,
    CASCADE,
    CONTROL,
    DOMINATED,
    SHIPPED,
    Cascade,
    OperatingPoint,
    mean_cost,
    turned,
)
from restnet_tf.report import labels, savings

_DPI = 110  # dots per inch, of the layout as of the file
_EXAMPLES = 12  # in a strip
_LEAST = 5.0  # inches that the two lines above a strip take side by side
_PARTING = 0.12  # between those that are answered and those that go on, in inches
_LINES = 8  # channels of a signal that can be told apart as lines
_BLUE, _ORANGE, _GREY, _LIGHT = "#1f5fa8", "#d9731a", "#777777", "#b9c4d0"
_DIALS = ("#7b3fa0", "#11806a", "#c2185b", "#7a6a00", "#00838f", "#5d4037")  # of chains, one after the other
_LISTED = 2  # in a line below the scores
_LEGEND = 1.1  # what a figure has room for below its axes, in inches
_NAMED = 12  # dominated points at most; names of more of them cover each other


@dataclass(frozen=True)
class _Cost:
    """What a picture has along its bottom: of a point in the mean and at worst, and where a cascade's stages run on
    such shares of images."""

    mean: Callable[[OperatingPoint], float]
    worst: Callable[[OperatingPoint], float]
    at: Callable[[OperatingPoint, Cascade, Sequence[float]], float]


_MACS = _Cost(
    lambda p: p.test_mean_macs / 1e6,
    lambda p: p.macs / 1e6,
    lambda p, cascade, reach: mean_cost(cascade.macs, reach) / 1e6,
)


def operating_points(points: Iterable[OperatingPoint], title: str, metric: str, one: str = "image") -> bytes:
    """Test score against MACs and against host latency, with the chord, the intervals and the controls.

    A cascade stands at its mean cost, on the curve of its dial; a thin line leads to its worst case. ``metric`` names
    the score: accuracy, or agreement with the large anchor.
    """
    points = tuple(points)
    figure, (left, right) = _figure(1, 2, (13, 5.2))
    _macs(left, points, metric, one)
    timed = tuple(p for p in points if "float32" in p.files)
    _scatter(right, timed, _latency("float32"))
    mean = "mean " if savings.shipped(points) else ""
    right.set_xlabel(f"{mean}host latency of one {one}, ms (measured, median; float32)")
    host = next((p.files["float32"] for p in timed), None)
    if host:
        right.set_title(f"{host.tool}, {host.threads} thread", fontsize=9)
    _frame(right, points)
    figure.suptitle(title)
    return _png(figure)


def by_macs(points: Iterable[OperatingPoint], title: str, metric: str, one: str = "image") -> bytes:
    """Test score against MACs alone, as ``operating_points`` has it on the left."""
    figure, axes = _figure(1, 1, (8.2, 4.6))
    _macs(axes, tuple(points), metric, one)
    axes.set_title(title, fontsize=11)
    return _png(figure)


def _macs(axes: Any, points: Sequence[OperatingPoint], metric: str, one: str) -> None:
    _scatter(axes, points, _MACS)
    mean = "mean " if savings.shipped(points) else ""
    axes.set_xlabel(f"{mean}MACs of one {one}, millions (counted in the graph)")
    axes.set_ylabel(f"{metric}, % of {points[0].test.n} test {one}s\nbars: 95 % interval", fontsize=9)
    _legend(axes)
    _frame(axes, points)


def _legend(axes: Any) -> None:
    """Below the axes, in as many columns as have room: inside it would cover points, or names of them.

    Where it takes many lines, the figure grows by them: the axes are no lower for it.
    """
    for columns in (4, 3, 2, 1):
        legend = axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=columns, fontsize=8, frameon=False)
        if legend.get_window_extent().width <= axes.bbox.width:
            break
    more = legend.get_window_extent().height / axes.figure.dpi - _LEGEND
    width, height = axes.figure.get_size_inches()
    axes.figure.set_size_inches(width, height + max(0.0, more))


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


def exemplary(confidences: np.ndarray, size: int = _EXAMPLES) -> np.ndarray:
    """Which of n images make a strip of examples: ``size`` of them, evenly from the surest to the least sure."""
    order = np.argsort(-np.asarray(confidences), kind="stable")
    return order[np.unique(np.linspace(0, len(order) - 1, min(size, len(order))).round().astype(int))]


def examples(
    images: np.ndarray | Mapping[int, np.ndarray], confidences: np.ndarray, threshold: float, size: int = _EXAMPLES
) -> bytes:
    """A strip of ``size`` images ``(h, w, c)`` uint8 of n, spread evenly from the surest to the least sure.

    Inputs that are no photos are floats: signals ``(t, c)`` are drawn as lines, grids ``(h, w, c)`` as heat maps.
    ``images`` has at least those that ``exemplary`` names. ``confidences`` ``(n,)`` are the first stage's; where they
    fall under the threshold a mark parts those that it answers from those that go on.
    """
    confidences, shown = np.asarray(confidences), exemplary(confidences, size)
    answered = int(np.sum(confidences[shown] >= threshold))
    figure, axes = _strip(max(len(shown) + _PARTING, _LEAST))
    for at, index in enumerate(shown):
        left, colour = (at, _BLUE) if at < answered else (at + _PARTING, _ORANGE)
        _example(axes, left, images[index], float(confidences[index]), colour)
    axes.plot([answered + _PARTING / 2] * 2, [0, 1.2], color=_ORANGE, linestyle="--")
    share = 100 * float(np.mean(confidences < threshold))
    figure.text(0.005, 0.985, f"the first stage answers {100 - share:.0f} %", va="top", fontsize=9, color=_BLUE)
    gone = f"{share:.0f} % go on, as it is less sure than {threshold:.3g}"
    figure.text(0.995, 0.985, gone, ha="right", va="top", fontsize=9, color=_ORANGE)
    return _drawn(figure)


def _strip(width: float) -> tuple[Any, Any]:
    """A figure of cells of one by one inch, and axes over all of it in inches: axes for each cell take longer."""
    height = 1.4
    figure = _canvas((width, height), None)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(0, height), autoscale_on=False)
    axes.axis("off")
    return figure, axes


def _example(axes: Any, left: float, image: np.ndarray, confidence: float, colour: str) -> None:
    """An image in its frame, in the cell that begins at ``left``, with the confidence above it."""
    photo = image.dtype == np.uint8
    tall, wide = image.shape[:2] if photo else (1, 1)
    half = 0.46 * np.array((wide, tall)) / max(wide, tall)
    (x0, y0), (x1, y1) = (sign * half + (left + 0.5, 0.5) for sign in (-1, 1))
    if image.ndim == 2 and image.shape[1] <= _LINES:
        low, high = image.min(), image.max()
        heights = y0 + 0.05 + (y1 - y0 - 0.1) * (image - low) / max(high - low, np.finfo(np.float32).tiny)
        axes.set_prop_cycle(None)  # the same colours in each
        axes.plot(np.linspace(x0, x1, len(image)), heights, linewidth=0.7)
    elif photo:
        shown = image[..., 0] if image.shape[-1] == 1 else image
        axes.imshow(shown, cmap="gray", vmin=0, vmax=255, extent=(x0, x1, y0, y1), aspect="auto")
    else:  # time from left to right
        grid = image if image.ndim == 2 else image.mean(axis=-1)
        extent = (x0, x1, y0, y1)
        axes.imshow(grid.T, cmap="viridis", origin="lower", interpolation="nearest", extent=extent, aspect="auto")
    axes.plot([x0, x1, x1, x0, x0], [y0, y0, y1, y1, y0], color=colour, linewidth=2, solid_joinstyle="miter")
    axes.text(left + 0.5, y1 + 0.03, f"{confidence:.3f}", fontsize=8, color=colour, ha="center", va="bottom")


def _latency(precision: str) -> _Cost:
    """Of files in a precision; of a cascade's that was never timed by stages it is the worst case alone."""

    def at(point: OperatingPoint, cascade: Cascade, reach: Sequence[float]) -> float:
        file = point.files[precision]
        return (file.latency_median_us if file.dial is None else file.dial.mean_us(reach)) / 1e3

    return _Cost(
        lambda p: p.files[precision].test_mean_latency_us / 1e3,
        lambda p: p.files[precision].latency_median_us / 1e3,
        at,
    )


def _cascades(axes: Any, points: Sequence[OperatingPoint], cost: _Cost) -> None:
    """Every cascade as a curve along its dial, what was chosen on it, and how far its worst case lies."""
    there = savings.shipped(points)
    for at, point in enumerate(there):
        if point.cascade is not None:
            _cascade(axes, point, point.cascade, cost, _DIALS[at % len(_DIALS)])
    if there:
        axes.plot([], [], "-", color=_GREY, linewidth=1.6, label="a cascade along its dial")
        axes.plot([], [], ":", color=_GREY, linewidth=1, label="up to its worst case")


def _cascade(axes: Any, point: OperatingPoint, cascade: Cascade, cost: _Cost, colour: str) -> None:
    notches = [(p.cascade.test_reach, p.test) for p in turned(point) if p.cascade]
    if cascade.curve:
        # What was chosen may lie between the positions that the curve is known at: it is led through both.
        settings = {*notches, *((s.test_reach, s.test) for s in cascade.curve)}
        way = sorted((cost.at(point, cascade, reach), 100 * score.value) for reach, score in settings)
        axes.plot(*zip(*way, strict=True), color=colour, linewidth=1.6, alpha=0.85, zorder=3)
    xs, ys = [cost.at(point, cascade, reach) for reach, _ in notches], [100 * score.value for _, score in notches]
    for x, (_, score) in zip(xs, notches, strict=True):
        axes.plot([x, x], [100 * end for end in score.interval], color=colour, alpha=0.25, linewidth=2, zorder=1)
    worst = cost.worst(point)
    axes.plot([xs[-1], worst], [ys[-1]] * 2, ":", color=colour, linewidth=1, alpha=0.8, zorder=1)
    axes.plot([worst], [ys[-1]], "|", color=colour, markersize=9, zorder=1)
    gone = " / ".join(" and ".join(f"{100 * share:.0f}" for share in reach[1:]) for reach, _ in notches)
    label = f"{point.name}, {gone} % go on"
    axes.scatter(xs, ys, c=colour, marker="D", s=42, edgecolors="white", linewidths=0.8, label=label, zorder=4)


def _scatter(axes: Any, points: Iterable[OperatingPoint], costs: _Cost) -> None:
    points, cost = tuple(points), costs.mean
    curved = any(p.cascade for p in points)  # curves begin and end at anchors
    groups = (
        ("anchors", _BLUE, "s", [p for p in points if p.kind == ANCHOR]),
        (
            "shipped",
            _ORANGE,
            "o",
            [p for p in points if p.kind not in (ANCHOR, CONTROL, CASCADE) and p.status == SHIPPED],
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
            below = point.kind == CONTROL or (curved and point.kind == ANCHOR)
            labels.add(axes, point.name, (cost(point), 100 * point.test.value), below=below)
        if group:
            axes.scatter(*_coordinates(group, cost), c=colour, marker=marker, label=label, zorder=2)
    anchors = sorted((p for p in points if p.kind == ANCHOR), key=cost)
    _cascades(axes, points, costs)
    if len(anchors) > 1:
        axes.plot(*_coordinates(anchors, cost), "--", color=_BLUE, linewidth=1, label="chord", zorder=0)


def _frame(axes: Any, points: Sequence[OperatingPoint]) -> None:
    """Limit the scores to those of the family; what lies far below is named in the corner instead."""
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    floor = min(p.test.interval[0] for p in points if p.kind != CONTROL)
    top = max(p.test.interval[1] for p in points)
    margin = 0.1 * (top - floor)
    axes.set_ylim(100 * (floor - margin), 100 * (top + margin))
    below = [p for p in points if p.test.value < floor - margin]
    if below:
        note = f"below the axis: {_listed(below)}"
        axes.text(0.02, 0.02, note, transform=axes.transAxes, fontsize=8, color=_GREY)


def _listed(points: Sequence[OperatingPoint]) -> str:
    """Their names and scores; of many what they score alone, since the line has no room for more."""
    if len(points) <= _LISTED:
        return ", ".join(f"{p.name} {100 * p.test.value:.1f} %" for p in points)
    worst, best = (100 * end(p.test.value for p in points) for end in (min, max))
    return f"{len(points)} networks, {worst:.1f} to {best:.1f} %"


def _coordinates(
    points: Sequence[OperatingPoint], cost: Callable[[OperatingPoint], float]
) -> tuple[list[float], list[float]]:
    return [cost(p) for p in points], [100 * p.test.value for p in points]


def _figure(rows: int, columns: int, size: tuple[float, float]) -> tuple[Any, Any]:
    figure = _canvas(size, "constrained")
    return figure, figure.subplots(rows, columns)


def _canvas(size: tuple[float, float], layout: Literal["constrained"] | None) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, dpi=_DPI, layout=layout)
    FigureCanvasAgg(figure)
    return figure


def _png(figure: Any) -> bytes:
    labels.spread(figure)
    figure.set_layout_engine("none")  # all lies where it is to be: what has been laid out once stays there
    return _drawn(figure)


def _drawn(figure: Any) -> bytes:
    """``savefig`` would lay the figure out once more."""
    buffer = io.BytesIO()
    # No software or date tag, so that equal figures are equal bytes.
    figure.canvas.print_png(buffer, metadata={"Software": None})
    return buffer.getvalue()
