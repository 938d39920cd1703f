"""What the files of a family's points take and score, which decides over them: in the precisions that they are for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from restnet_tf.family import footprints
from restnet_tf.points import front
from restnet_tf.points.front import Footprint
from restnet_tf.points.points import ANCHOR, CASCADE, CONTROL, OperatingPoint, Rating

if TYPE_CHECKING:
    from restnet_tf.family.anchor_pieces import Members
    from restnet_tf.family.shop import Shop


def rated(members: Members, shop: Shop, points: Sequence[OperatingPoint]) -> list[OperatingPoint]:
    """The points, with a rating in each precision of all that may be on its front.

    What is known of a file stays. A file that a network of no more cost leaves far behind in Keras is neither made nor
    run: that takes most of the time.
    """
    rated_before = [replace(p, ratings=_earlier(p)) for p in points]
    networks = [p for p in rated_before if p.name in members.names and p.kind not in (CONTROL, CASCADE)]
    due: dict[str, list[str]] = {}
    for precision in shop.makers:
        out = _hopeless(members, networks, precision)
        for p in networks:
            if precision not in p.ratings and (p.kind == ANCHOR or p.name not in out):
                due.setdefault(p.name, []).append(precision)
    fresh = shop.rated(due)
    return [replace(p, ratings={**p.ratings, **fresh.get(p.name, {})}) for p in rated_before]


def _hopeless(members: Members, networks: Sequence[OperatingPoint], precision: str) -> set[str]:
    """Names of points that need no file in a precision; footprints are made only where they can matter."""
    names = [p.name for p in networks]
    by_macs = front.hopeless(networks, dict.fromkeys(names, Footprint()))
    if not by_macs or members.family.settings.converter != "link":
        return set()
    return front.hopeless(networks, footprints.of(members, names, precision))


def _earlier(point: OperatingPoint) -> dict[str, Rating]:
    """By precision, how a point was rated, or its file shows; of a cascade nothing."""
    if point.kind == CASCADE:
        return {}
    return {**point.ratings, **{name: Rating.of(file) for name, file in point.files.items()}}
