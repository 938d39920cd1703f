"""Which blocks of two neighbouring anchors are stitched, and which of these stitches are one (SN-Net).

Cuts group into stages, runs of the same kind and size. Anchors of equal depth are stitched in windows that
slide along a stage; of unequal depth, every block of the longer stage meets the nearest of the shorter. The
pairs of a window share one stitch where their shapes allow it (Pan, Cai, Zhuang 2023).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, product

from restnet_tf.records import Cut, RestnetError

Pair = tuple[int, int]
# Of the same stage in anchors that take images of other sizes, sizes differ by rounding alone.
_ALIKE = 1.4


@dataclass(frozen=True)
class Window:
    """Pairs of cuts, by index, from the front of one anchor to the back of another, with one stitch."""

    front: str
    back: str
    pairs: tuple[Pair, ...]

    @property
    def name(self) -> str:
        """Its first pair, as in ``A0-B0``."""
        i, j = self.pairs[0]
        return f"{self.front}{i}-{self.back}{j}"


@dataclass(frozen=True)
class Sliding:
    """How windows slide: so many blocks wide, by so many at a time; whether their pairs share a stitch."""

    size: int = 2
    stride: int = 1
    share: bool = True


def between(
    cut_lists: Mapping[str, Sequence[Cut]], front: str, back: str, sliding: Sliding, scale: float = 1.0
) -> tuple[Window, ...]:
    """The windows from one anchor to another, from their inputs on.

    ``scale`` is the size of the images that the front's anchor takes over that of the back's. Raises
    ``RestnetError`` where the window is wider than every stage, or its stride leaves out blocks.
    """
    ends = stages(cut_lists[front]), stages(cut_lists[back])
    met = matched(*ends, scale)
    check(sliding, [len(stage) for side in ends for stage in side])
    equal = len(met) == len(ends[0]) == len(ends[1]) and all(len(a) == len(b) for a, b in met)
    windows = []
    for a, b in met:
        groups = slid(len(a), sliding) if equal else nearest(len(a), len(b))
        for group in groups:
            windows += _alike(front, back, [(a[i], b[j]) for i, j in group], share=sliding.share)
    return tuple(windows)


def check(sliding: Sliding, depths: Iterable[int]) -> None:
    """Refuse (``RestnetError``) a window that fits no stage of these depths, or steps over blocks."""
    deepest = max(depths, default=0)
    if sliding.size > max(1, deepest):
        raise RestnetError(
            f"a window of {sliding.size} blocks is larger than the deepest stage of these anchors, which has"
            f" {deepest}; give --window {max(1, deepest)} or less"
        )
    if sliding.stride > sliding.size:
        raise RestnetError(
            f"a stride of {sliding.stride} leaves out blocks between windows of {sliding.size}; give --stride"
            f" {sliding.size} or less"
        )


def stages(cut_list: Iterable[Cut]) -> list[tuple[Cut, ...]]:
    """Cuts in runs of the same kind and size; without those that have nothing to compute on one side."""
    cuts = (c for c in cut_list if c.kind != "vector" and c.macs_before and c.macs_after)
    return [tuple(run) for _, run in groupby(cuts, key=lambda c: (c.kind, c.layout.size))]


def matched(
    front: Sequence[tuple[Cut, ...]], back: Sequence[tuple[Cut, ...]], scale: float = 1.0
) -> list[tuple[tuple[Cut, ...], tuple[Cut, ...]]]:
    """Stages of two anchors that stand at the same share of their input's size, each at most once.

    Where several do, the pair that has the most blocks on both sides, and then of the same kind.
    """

    def alike(a: Cut, b: Cut) -> bool:
        ratio = a.layout.size[0] / b.layout.size[0] / scale
        return 1 / _ALIKE < ratio < _ALIKE

    def order(pair: Pair) -> tuple[int, bool, Pair]:
        a, b = front[pair[0]], back[pair[1]]
        return -min(len(a), len(b)), a[0].kind != b[0].kind, pair

    pairs = product(range(len(front)), range(len(back)))
    taken: list[Pair] = []
    for s, t in sorted((p for p in pairs if alike(front[p[0]][0], back[p[1]][0])), key=order):
        if all(s != other_s and t != other_t for other_s, other_t in taken):
            taken.append((s, t))
    return [(front[s], back[t]) for s, t in sorted(taken)]


def slid(count: int, sliding: Sliding) -> list[list[Pair]]:
    """All pairs inside windows over two stages of ``count`` blocks, each pair in the first that holds it."""
    seen: set[Pair] = set()
    groups = []
    for start in range(0, count, sliding.stride):
        blocks = range(start, min(start + sliding.size, count))
        new = [pair for pair in product(blocks, blocks) if pair not in seen]
        seen.update(new)
        if new:
            groups.append(new)
    return groups


def nearest(front: int, back: int) -> list[list[Pair]]:
    """Every block of the longer stage with the nearest of the shorter, grouped by the shorter's."""
    short, long = min(front, back), max(front, back)
    groups: list[list[Pair]] = [[] for _ in range(short)]
    for i in range(long):
        j = i * short // long
        groups[j].append((i, j) if front == long else (j, i))
    return groups


def _alike(front: str, back: str, pairs: Sequence[tuple[Cut, Cut]], *, share: bool) -> list[Window]:
    """Windows of a group of pairs: one for each shape of stitch, or one for each pair."""
    shapes: dict[object, list[Pair]] = {}
    for a, b in pairs:
        key = (a.layout, b.layout, b.clamp) if share else (a.index, b.index)
        shapes.setdefault(key, []).append((a.index, b.index))
    return [Window(front, back, tuple(group)) for group in shapes.values()]
