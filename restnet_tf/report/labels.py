"""Names of points in a picture: each beside its point, where it covers neither another name nor another point."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.text import Annotation

_NAME = "name"  # what tells these from other texts
_MARK = 5.0  # half the side of a point, in pixels
_POINTS = 72  # of type, in an inch
_NOWHERE = (0.0, 0.0, 0.0, 0.0)  # the room of a name that has no place yet: left, bottom, right, top, in pixels
_ENDS = {"left": 0.0, "center": 0.5, "right": 1.0}  # how far along a name the end is that stands at its place
_OUTSIDE = 20.0  # what lies outside the frame counts so many times: there are the numbers and names of the axes
# Where a name may stand from its point, in points of type, and which of its ends is there: the usual place is first.
_PLACES = ((4, 4, "left"), (4, -10, "left"), (-4, 4, "right"), (-4, -10, "right"), (0, 9, "center"), (0, -15, "center"))


def add(axes: Any, name: str, place: tuple[float, float], *, below: bool = False) -> None:
    """Write a name beside a point, usually above it."""
    from matplotlib import patheffects

    right, up, side = _PLACES[1 if below else 0]
    text = axes.annotate(
        name,
        place,
        (right, up),
        textcoords="offset points",
        ha=side,
        fontsize=7,
        path_effects=[patheffects.withStroke(linewidth=2.5, foreground="white")],
        zorder=5,
        gid=_NAME,
    )
    text.set_in_layout(False)  # so that moving it moves nothing else


def spread(figure: Any) -> None:
    """Move the names that cover something; what is free stays where it is."""
    figure.get_layout_engine().execute(figure)  # only then is known where anything lies
    for axes in figure.axes:
        names = [text for text in axes.texts if text.get_gid() == _NAME]
        spots = np.array([axes.transData.transform(name.xy) for name in names]).reshape(-1, 2)
        _order(names, spots)
        marks = [_mark(spot) for spot in spots]
        taken = np.array([*marks, *[_NOWHERE] * len(names)])
        frame = np.array(axes.bbox.extents)
        for number, name in enumerate(names, start=len(marks)):
            taken[number] = _freest(name, taken[:number], frame)


def _order(names: Sequence[Annotation], spots: np.ndarray) -> None:
    """Of points that lie on one another, the upper one's name belongs above, the lower one's below."""
    for name, spot in zip(names, spots, strict=True):
        near = spots[(np.abs(spots - spot) < 2 * _MARK).all(axis=1)][:, 1] - spot[1]
        if near.any() and (near.min() == 0 or near.max() == 0):
            right, up, _ = _PLACES[0 if near.max() == 0 else 1]
            name.xyann = (right, up)


def _freest(name: Annotation, taken: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """Put a name where it covers least; returns the room that it takes there."""
    usual = (*name.xyann, name.get_horizontalalignment())
    places: list[Any] = [usual, *(place for place in _PLACES if place != usual)]
    rooms = _rooms(name, places)
    best = int(np.argmin([_covered(room, taken, frame) for room in rooms]))
    right, up, side = places[best]
    name.set_horizontalalignment(side)
    name.xyann = (right, up)
    return rooms[best]


def _rooms(name: Annotation, places: Sequence[tuple[float, float, str]]) -> np.ndarray:
    """What a name takes in each place ``(n, 4)``, from its room in the first; its own size it keeps."""
    offsets = np.array([place[:2] for place in places]) * name.figure.dpi / _POINTS
    ends = np.array([_ENDS[side] for *_, side in places])
    room = np.array(name.get_window_extent().extents)
    shifts = offsets - offsets[0]
    shifts[:, 0] -= (ends - ends[0]) * (room[2] - room[0])
    return room + np.tile(shifts, 2)


def _covered(room: np.ndarray, taken: np.ndarray, frame: np.ndarray) -> float:
    """The area of what a name covers, in pixels, and that of what lies outside the frame, which weighs more."""
    outside = np.prod(room[2:] - room[:2]) - _both(room, frame)
    return float(_both(room, taken).sum() + _OUTSIDE * outside)


def _both(one: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The area that a room has in common with each of others."""
    sides = np.minimum(one[2:], others[..., 2:]) - np.maximum(one[:2], others[..., :2])
    return np.prod(np.clip(sides, 0, None), axis=-1)


def _mark(centre: Any) -> list[float]:
    x, y = centre
    return [x - _MARK, y - _MARK, x + _MARK, y + _MARK]
