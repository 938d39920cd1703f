"""Names of points in a picture: each beside its point, where it covers neither another name nor another point."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.text import Annotation
    from matplotlib.transforms import Bbox

_NAME = "name"  # what tells these from other texts
_MARK = 5.0  # half the side of a point, in pixels
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
    figure.draw_without_rendering()  # only then is known where anything lies
    for axes in figure.axes:
        names = [text for text in axes.texts if text.get_gid() == _NAME]
        marks = [_mark(axes.transData.transform(name.xy)) for name in names]
        taken = list(marks)
        for name in names:
            taken.append(_freest(name, taken, axes.bbox))


def _freest(name: Annotation, taken: Sequence[Bbox], frame: Bbox) -> Bbox:
    """Put a name where it covers least; returns the room that it takes there."""
    usual = (*name.xyann, name.get_horizontalalignment())
    places = [usual, *(place for place in _PLACES if place != usual)]
    best = min(places, key=lambda place: _covered(_put(name, place), taken, frame))
    return _put(name, best)


def _put(name: Annotation, place: Any) -> Bbox:
    *offset, side = place
    name.set_horizontalalignment(side)
    name.xyann = tuple(offset)
    return name.get_window_extent()


def _covered(room: Bbox, taken: Sequence[Bbox], frame: Bbox) -> float:
    """The area of what a name covers, in pixels, and that of what lies outside the frame, which weighs more."""
    outside = room.width * room.height - _both(room, frame)
    return sum(_both(room, other) for other in taken) + _OUTSIDE * outside


def _both(one: Bbox, other: Bbox) -> float:
    from matplotlib.transforms import Bbox

    common = Bbox.intersection(one, other)
    return 0.0 if common is None else float(common.width * common.height)


def _mark(centre: Any) -> Bbox:
    from matplotlib.transforms import Bbox

    x, y = centre
    return Bbox([[x - _MARK, y - _MARK], [x + _MARK, y + _MARK]])
