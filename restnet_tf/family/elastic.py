"""The elastic file of a precision, and what is left out of it where it would have too many bytes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from restnet_tf.points import metadata
from restnet_tf.points.points import ANCHOR, OperatingPoint
from restnet_tf.records import RestnetError

if TYPE_CHECKING:
    from restnet_tf.family.linker import Maker


@dataclass(frozen=True)
class Elastic:
    """An elastic file, None where there is none, and the points that are left out of it."""

    content: bytes | None
    left_out: tuple[str, ...]


def multiple(text: str) -> float | None:
    """The most bytes in words, as in ``1.2x``, as a multiple of the anchors' files; None where nothing is said.

    Raises ``RestnetError`` for anything else, and for less than the anchors have.
    """
    if not text:
        return None
    try:
        value = float(text.removesuffix("x"))
    except ValueError:
        value = 0.0
    if not 1 <= value < float("inf"):
        raise RestnetError(
            f"--max-elastic {text} is no multiple of the anchors' files; write one from 1x on, as in 1.2x"
        )
    return value


def anchor_bytes(members: Sequence[OperatingPoint], precision: str) -> int:
    """Bytes of the anchors' own files."""
    return sum(p.files[precision].flash_bytes for p in members if p.kind == ANCHOR)


def linked(
    maker: Maker, members: Sequence[OperatingPoint], precision: str, meta: Mapping[str, Any], most: float | None
) -> Elastic:
    """The file of all ``members`` that fit into ``most`` times the bytes of the anchors' files.

    What costs weights of its own goes first where it gains the least for each byte, with the cascades that it is a
    stage of; an anchor never goes.
    """

    def link(without: Collection[str]) -> bytes | None:
        rest = [p for p in members if not uses(p, without)]
        names, chains = [p.name for p in rest if p.cascade is None], {p.name: p.cascade for p in rest if p.cascade}
        return maker.elastic(names, metadata.elastic(rest, precision, meta), chains)

    content, left_out = link(()), []
    if content is None or most is None:
        return Elastic(content, ())
    limit = most * anchor_bytes(members, precision)
    for name in _order(members, precision, len(content), link) if len(content) > limit else ():
        left_out.append(name)
        content = link(left_out)
        if content is None or len(content) <= limit:
            break
    return Elastic(content, tuple(p.name for p in members if uses(p, left_out)))


def uses(point: OperatingPoint, names: Collection[str]) -> bool:
    """Whether a point is one of these, or a cascade with a stage that is."""
    stages = point.cascade.stages if point.cascade else (point.name,)
    return any(stage in names for stage in stages)


def _order(
    members: Sequence[OperatingPoint], precision: str, size: int, link: Callable[[Collection[str]], bytes | None]
) -> list[str]:
    """The points that save bytes where they are left out, the one that gains the least for each of them first."""
    static = [p for p in members if p.cascade is None]
    worth = {}
    for p in static:
        saved = size - len(link([p.name]) or b"") if p.kind != ANCHOR else 0
        if saved > 0:
            worth[p.name] = _gain(p, static, precision) / saved
    return sorted(worth, key=lambda name: (worth[name], name))


def _gain(point: OperatingPoint, static: Sequence[OperatingPoint], precision: str) -> float:
    """By how much a point's file scores more on the rank split than the best one of no more MACs; 0..1."""
    others = [p.files[precision].rank.value for p in static if p is not point and p.macs <= point.macs]
    return max(0.0, point.files[precision].rank.value - max(others, default=0.0))
