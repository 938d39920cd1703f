"""One pass over the images for every pair of cuts: CKA sums, ridge sums, solutions.

Memory is bounded by one batch of features and the sums; it does not grow with the images.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from restnet_tf.graph import cuts, infer
from restnet_tf.records import Anchor, Cut, Layout, RestnetError, Stitch
from restnet_tf.similarity.cka import CkaSums
from restnet_tf.stitches import closed_form, stitch
from restnet_tf.stitches.closed_form import closed
from restnet_tf.stitches.step import Solution

if TYPE_CHECKING:
    from restnet_tf.data.splits import Split

# (source anchor, source cut, target cut), cuts by index: one way of stitching.
PairKey = tuple[str, int, int]
# What a class token is made of, where the front has none, is solved beside the map itself.
_MAP, _CLASS = "map", "class"

_CKA_BATCH = 128
_BATCH_BYTES = 512 * 2**20
# Neighbouring pixels repeat each other; so many of an image already determine a 1x1 map.
_POSITIONS = 256


@dataclass(frozen=True)
class Statistics:
    """What one pass found: CKA ``(large cuts, small cuts)`` of flattened features, all ridge solutions."""

    n: int
    batch: int
    cka: np.ndarray
    solutions: Mapping[PairKey, Solution]


def batch_size(anchors: Iterable[Anchor], cut_lists: Iterable[tuple[Cut, ...]]) -> int:
    """The largest batch, up to 128, whose images can be run at once and whose features stay within half a gibibyte."""
    anchors = tuple(anchors)
    most = min(infer.batch_size(anchor.input_shape, _CKA_BATCH) for anchor in anchors)
    floats = sum(prod(c.shape) for found in cut_lists for c in found)
    floats += sum(prod(a.input_shape) for a in anchors)
    return int(np.clip(_BATCH_BYTES // (4 * floats), 8, most))


def collect(
    anchors: Mapping[str, Anchor],
    cut_lists: Mapping[str, tuple[Cut, ...]],
    split: Split,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Statistics:
    """Run both anchors over ``split`` once; CKA of all pairs, ridge of all that can be stitched.

    ``anchors`` and ``cut_lists`` are by role, "large" and "small". A last batch of another size is
    left out: minibatch CKA wants equal batches. Raises ``RestnetError`` where fewer than one batch
    of 4 images is there.
    """
    batch = min(batch_size(anchors.values(), cut_lists.values()), len(split))
    if batch < 4:
        raise RestnetError(f"{len(split)} images are too few for the statistics; at least 4 are needed")
    observers = {role: observer(anchors[role], cut_lists[role]) for role in anchors}
    keys = [
        (source, i, j)
        for source, target in (("large", "small"), ("small", "large"))
        for i, a in enumerate(cut_lists[source])
        for j, b in enumerate(cut_lists[target])
        if not stitch.compatible(a, b)
    ]
    cka, sums = CkaSums(), _Sums(cut_lists, keys)
    total = len(split) // batch * batch
    streams = {role: iter(split.head(total).batches(anchors[role].input_shape, batch)) for role in anchors}
    for done in range(0, total, batch):
        seen = {role: [np.asarray(f) for f in observers[role](next(streams[role]))] for role in anchors}
        cka.update(seen["large"], seen["small"])
        sums.update(seen)
        progress(done + batch, total)
    return Statistics(total, batch, cka.matrix(), sums.solve())


def pooled(
    anchors: Mapping[str, Anchor],
    cut_lists: Mapping[str, tuple[Cut, ...]],
    groups: Mapping[str, Sequence[PairKey]],
    split: Split,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Solution]:
    """One closed-form stitch for all pairs of a group, solved from the sums of all their rows.

    ``anchors`` and ``cut_lists`` are by role, "large" and "small"; the pairs of a group are of one shape. This is
    the least-squares stitch of a window (SN-Net), which the average of its pairs' own solutions is not.
    """
    used: dict[str, set[int]] = {role: set() for role in anchors}
    for source, i, j in (pair for pairs in groups.values() for pair in pairs):
        used[source].add(i)
        used[other(source)].add(j)
    cutting = {role: sorted(found) for role, found in used.items()}
    observers = {role: observer(anchors[role], [cut_lists[role][i] for i in found]) for role, found in cutting.items()}
    sums = {name: _Sums(cut_lists, list(pairs)) for name, pairs in groups.items()}
    watched = [tuple(cut_lists[role][i] for i in found) for role, found in cutting.items()]
    batch = batch_size(anchors.values(), watched)
    streams = {role: iter(split.batches(anchors[role].input_shape, batch)) for role in anchors}
    for done in range(0, len(split), batch):
        seen: dict[str, list[Any]] = {role: [None] * len(found) for role, found in cut_lists.items()}
        for role, found in cutting.items():
            for i, rows in zip(found, observers[role](next(streams[role])), strict=True):
                seen[role][i] = np.asarray(rows)
        for total in sums.values():
            total.update(seen)
        progress(min(len(split), done + batch), len(split))
    return {name: total.together() for name, total in sums.items()}


def observer(anchor: Anchor, found: Iterable[Cut], more: Iterable[Any] = ()) -> Callable[[Any], list[Any]]:
    """A function from images to the activations at these cuts, then at ``more`` symbolic tensors."""
    import keras

    watched = [cuts.tensor(anchor.model, cut.name) for cut in found]
    # A dict, since Keras hands back a list of one as a bare tensor.
    outputs = {str(i): t for i, t in enumerate([*watched, *more])}
    model = keras.Model(anchor.model.inputs[0], outputs)
    run = infer.compiled(model)

    def observe(images: Any) -> list[Any]:
        found = run(images)
        return [found[name] for name in outputs]

    return observe


@dataclass(frozen=True)
class _Group:
    """Pairs that are solved from one product: of one direction, with the same adapter."""

    source: str
    front: tuple[bool, int]
    back: tuple[bool, tuple[int, int], int]
    part: str

    @classmethod
    def of(cls, source: str, a: Layout, b: Layout, part: str) -> _Group:
        return cls(source, (a.tokens, a.classes), (b.tokens, b.size, b.classes), part)


@dataclass
class _Products:
    """Sums over rows of what one group needs; ``sums`` are of each place that has a bias of its own."""

    squares: list[np.ndarray]
    crosses: np.ndarray
    target_squares: np.ndarray
    sums_x: np.ndarray
    sums_y: np.ndarray
    rows: int

    @classmethod
    def of(cls, xs: list[np.ndarray], ys: list[np.ndarray], places: int) -> _Products:
        """Of one batch of features ``(n, rows, c)``; ``places`` is 1 or the number of rows."""
        sides = [np.concatenate(features, axis=2).astype(np.float64) for features in (xs, ys)]
        x, y = (side.reshape(-1, side.shape[2]) for side in sides)
        sums_x, sums_y = (side.sum(axis=0) if places > 1 else side.sum(axis=(0, 1))[None] for side in sides)
        ends = np.cumsum([features.shape[2] for features in xs])[:-1]
        squares = [part.T @ part for part in np.split(x, ends, axis=1)]
        return cls(squares, x.T @ y, np.einsum("ij,ij->j", y, y), sums_x, sums_y, len(x) // places)

    def add(self, more: _Products) -> None:
        """Take the sums of another batch in; in place, as the products may be large."""
        for total, part in zip(self._arrays(), more._arrays(), strict=True):
            total += part
        self.rows += more.rows

    def _arrays(self) -> list[np.ndarray]:
        return [*self.squares, self.crosses, self.target_squares, self.sums_x, self.sums_y]


class _Sums:
    """Ridge sums of all pairs: one product a group, since many skinny ones are slow."""

    def __init__(self, cut_lists: Mapping[str, tuple[Cut, ...]], keys: list[PairKey]) -> None:
        self._cuts, self._keys = cut_lists, keys
        self._groups: dict[_Group, tuple[list[int], list[int]]] = {}
        for source, i, j in keys:
            for group in self._groups_of(source, i, j):
                members = self._groups.setdefault(group, ([], []))
                for known, index in zip(members, (i, j), strict=True):
                    if index not in known:
                        known.append(index)
        self._products: dict[_Group, _Products] = {}

    def update(self, seen: Mapping[str, list[np.ndarray]]) -> None:
        for group, (sources, targets) in self._groups.items():
            back = other(group.source)
            first = self._layout(group.source, sources[0]), self._layout(back, targets[0])
            xs = [_rows(seen[group.source][i], self._layout(group.source, i), first[1], group.part) for i in sources]
            ys = [_targets(seen[back][j], first[0], self._layout(back, j), group.part) for j in targets]
            found = _Products.of(xs, ys, self._places(group))
            if group in self._products:
                self._products[group].add(found)
            else:
                self._products[group] = found

    def solve(self) -> dict[PairKey, Solution]:
        return {pair: _solution(self._parts(pair)) for pair in self._keys}

    def together(self) -> Solution:
        """One solution for all pairs, which must be of one shape."""
        parts = zip(*(self._parts(pair) for pair in self._keys), strict=True)
        return _solution([functools.reduce(operator.add, part) for part in parts])

    def _parts(self, pair: PairKey) -> list[closed_form.RidgeSums]:
        """The sums of a pair's map and, where there is one, of its class token."""
        return [self._of(group, pair) for group in self._groups_of(*pair)]

    def _of(self, group: _Group, pair: PairKey) -> closed_form.RidgeSums:
        """The sums of one pair out of its group's."""
        source, i, j = pair
        (sources, targets), known = self._groups[group], self._products[group]
        rows, columns = self._slice(source, sources, i), self._slice(other(source), targets, j)
        square = known.squares[sources.index(i)]
        sums_x, sums_y = known.sums_x[:, rows], known.sums_y[:, columns]
        return closed_form.RidgeSums(
            np.block([[square, sums_x.T], [sums_x, known.rows * np.eye(len(sums_x))]]),
            np.concatenate([known.crosses[rows, columns], sums_y]),
            known.target_squares[columns],
            len(sums_x),
        )

    def _groups_of(self, source: str, i: int, j: int) -> list[_Group]:
        a, b = self._layout(source, i), self._layout(other(source), j)
        parts = [_MAP, _CLASS] if stitch.pooled_class(a, b) else [_MAP]
        return [_Group.of(source, a, b, part) for part in parts]

    def _places(self, group: _Group) -> int:
        sources, targets = self._groups[group]
        ends = self._layout(group.source, sources[0]), self._layout(other(group.source), targets[0])
        return stitch.places(*ends) if group.part == _MAP else 1

    def _layout(self, role: str, index: int) -> Layout:
        return self._cuts[role][index].layout

    def _slice(self, role: str, members: list[int], index: int) -> slice:
        """Where a cut's channels stand in a group's product."""
        widths = [self._cuts[role][m].shape[-1] for m in members]
        at = members.index(index)
        return slice(sum(widths[:at]), sum(widths[: at + 1]))


def _solution(parts: Sequence[closed_form.RidgeSums]) -> Solution:
    kernel, bias, r2 = closed_form.ridge(parts[0])
    if len(parts) == 1:
        return Solution(kernel, bias, r2)
    class_kernel, class_bias, _ = closed_form.ridge(parts[1])
    return Solution(kernel, bias, r2, (class_kernel, class_bias[0]))


def other(role: str) -> str:
    """The other anchor of a pair."""
    return "small" if role == "large" else "large"


def _rows(x: np.ndarray, source: Layout, target: Layout, part: str) -> np.ndarray:
    """Features ``(n, ...)`` as the map of a group reads them: ``(n, rows, c)``."""
    step = stitch.pooled_class(source, target)
    if part == _CLASS and step is not None:
        return step.pooled(x)
    return stitch.spread(stitch.adapted(x, source, target), stitch.places(source, target), _POSITIONS)


def _targets(y: np.ndarray, source: Layout, target: Layout, part: str) -> np.ndarray:
    """Features ``(n, ...)`` at the back's cut as the map of a group should deliver them: ``(n, rows, c)``."""
    if part == _CLASS:
        return y[:, :1]
    return stitch.spread(stitch.goal(y, source, target), stitch.places(source, target), _POSITIONS)


def initial(pair: PairKey, cut_lists: Mapping[str, tuple[Cut, ...]], statistics: Statistics) -> Stitch:
    """The closed-form stitch of a pair."""
    source, i, j = pair
    return closed(statistics.solutions[pair], cut_lists[source][i], cut_lists[other(source)][j])
