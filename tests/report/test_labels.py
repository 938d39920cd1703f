"""Names in a picture cover neither each other nor points, as far as there is room."""

from __future__ import annotations

from itertools import combinations, product
from typing import Any

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from restnet_tf.report import labels


def figure(places: list[tuple[float, float]]) -> tuple[Any, Any]:
    """Points with names, in axes that go on beyond all of them but the last one."""
    whole = Figure(figsize=(6, 4), layout="constrained")
    FigureCanvasAgg(whole)
    axes = whole.subplots()
    axes.set(xlim=(0, 1), ylim=(0, 1))
    for number, place in enumerate(places):
        labels.add(axes, f"L{number}-S{number}", place)
    return whole, axes


def rooms(axes: Any) -> list[Bbox]:
    return [text.get_window_extent() for text in axes.texts]


@pytest.mark.parametrize(
    "places",
    [
        [(0.5, 0.5), (0.5, 0.48)],
        [(0.5, 0.5), (0.52, 0.53), (0.48, 0.52)],
        [(0.2, 0.2), (0.99, 0.99)],
    ],
    ids=["one above the other", "three", "in the corner"],
)
def test_names_stand_apart_and_inside(places: list[tuple[float, float]]) -> None:
    whole, axes = figure(places)
    labels.spread(whole)
    assert [both for both in combinations(rooms(axes), 2) if Bbox.intersection(*both)] == []
    points = axes.transData.transform(places)
    assert [1 for room, point in product(rooms(axes), points) if room.contains(*point)] == []
    assert all(axes.bbox.x1 >= room.x1 and axes.bbox.y1 >= room.y1 for room in rooms(axes))


def test_a_name_that_covers_nothing_stays() -> None:
    whole, axes = figure([(0.2, 0.2), (0.8, 0.8)])
    labels.spread(whole)
    assert [text.xyann for text in axes.texts] == [(4, 4), (4, 4)]


def test_a_long_name_covers_others_rather_than_the_axes() -> None:
    whole, axes = figure([(0.1, 0.5), (0.12, 0.52), (0.11, 0.54), (0.13, 0.48), (0.1, 0.46)])
    for text in axes.texts:
        text.set_text("L2-L3-L4-L6-L8-L9-L10-L13-L14-L17")
    labels.spread(whole)
    assert [room for room in rooms(axes) if room.x0 < axes.bbox.x0 or room.x1 > axes.bbox.x1] == []


@pytest.mark.parametrize("upper", [0, 1])
@pytest.mark.parametrize("below", [False, True])
def test_names_of_points_that_touch_stand_as_the_points_do(upper: int, below: bool) -> None:
    whole, axes = figure([])
    heights = [0.5, 0.49][::-1] if upper else [0.5, 0.49]
    for number, height in enumerate(heights):
        labels.add(axes, f"L{number}-S{number}", (0.5, height), below=below)
    labels.spread(whole)
    above, under = (rooms(axes)[number] for number in (upper, 1 - upper))
    assert above.y0 > under.y1
