"""Ridge sums of pairs of cuts: what the closed-form stitches of all of them are solved from.

One product serves all pairs of a group, since many skinny ones are slow. The sums of two shards of the images add up.
"""

from __future__ import annotations

import functools
import json
import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from restnet_tf.records import Layout, RestnetError
from restnet_tf.stitches import closed_form, exits, stitch
from restnet_tf.stitches.closed_form import RidgeSums
from restnet_tf.stitches.step import Solution

# (source anchor, source cut, target cut), cuts by index: one way of stitching.
PairKey = tuple[str, int, int]
Layouts = Mapping[str, tuple[Layout, ...]]
# What a class token is made of, where the front has none, is solved beside the map itself.
_MAP, _CLASS = "map", "class"
# Neighbouring pixels repeat each other; so many of an image already determine a 1x1 map.
POSITIONS = 256


def other(role: str) -> str:
    """The other anchor of a pair."""
    return "small" if role == "large" else "large"


@dataclass(frozen=True)
class _Group:
    """Pairs that are solved from one product: of one direction, with the same adapter."""

    source: str
    front: tuple[bool, int]
    back: tuple[int, tuple[int, int], int]
    part: str

    @classmethod
    def of(cls, source: str, a: Layout, b: Layout, part: str) -> _Group:
        return cls(source, (a.tokens, a.classes), (len(b.shape), b.size, b.classes), part)


@dataclass(frozen=True)
class _Products:
    """Sums over rows of what one group needs; ``sums`` are of each place that has a bias of its own."""

    squares: list[np.ndarray]
    crosses: np.ndarray
    target_squares: np.ndarray
    sums_x: np.ndarray
    sums_y: np.ndarray
    rows: np.ndarray

    @classmethod
    def of(cls, xs: list[np.ndarray], ys: list[np.ndarray], places: int) -> _Products:
        """Of one batch of features ``(n, rows, c)``; ``places`` is 1 or the number of rows."""
        sides = [np.concatenate(features, axis=2).astype(np.float64) for features in (xs, ys)]
        x, y = (side.reshape(-1, side.shape[2]) for side in sides)
        sums_x, sums_y = (side.sum(axis=0) if places > 1 else side.sum(axis=(0, 1))[None] for side in sides)
        ends = np.cumsum([features.shape[2] for features in xs])[:-1]
        squares = [part.T @ part for part in np.split(x, ends, axis=1)]
        return cls(squares, x.T @ y, np.einsum("ij,ij->j", y, y), sums_x, sums_y, np.array(len(x) // places))

    @classmethod
    def from_arrays(cls, arrays: Sequence[np.ndarray]) -> _Products:
        return cls(list(arrays[:-5]), *arrays[-5:])

    def arrays(self) -> list[np.ndarray]:
        return [*self.squares, self.crosses, self.target_squares, self.sums_x, self.sums_y, self.rows]

    def add(self, more: _Products) -> None:
        """Take the sums of another batch in; in place, as the products may be large."""
        for total, part in zip(self.arrays(), more.arrays(), strict=True):
            total += part


class PairSums:
    """Running ridge sums, float64, of pairs of cuts whose ``layouts`` are given by role, "large" and "small".

    Memory does not grow with the images. Batches and shards are added in the order they are given in: the same
    batches in the same order give the same bits, another order or grouping rounds differently (1e-12 of the sums).
    """

    def __init__(self, layouts: Layouts, pairs: Sequence[PairKey]) -> None:
        """No batch yet."""
        self.layouts, self.pairs = dict(layouts), tuple(pairs)
        self._groups: dict[_Group, tuple[list[int], list[int]]] = {}
        for source, i, j in self.pairs:
            for group in self._groups_of(source, i, j):
                members = self._groups.setdefault(group, ([], []))
                for indices, index in zip(members, (i, j), strict=True):
                    if index not in indices:
                        indices.append(index)
        self._products: dict[_Group, _Products] = {}

    def update(self, features: Mapping[str, Sequence[np.ndarray]]) -> None:
        """Add one batch: features ``(n, ...)`` by role and cut; those of cuts that no pair has are not read."""
        for group, (sources, targets) in self._groups.items():
            back = other(group.source)
            first = self._layout(group.source, sources[0]), self._layout(back, targets[0])
            xs = [rows(features[group.source][i], self._layout(group.source, i), first[1], group.part) for i in sources]
            ys = [_targets(features[back][j], first[0], self._layout(back, j), group.part) for j in targets]
            self._add(group, _Products.of(xs, ys, self._places(group)))

    def __add__(self, more: PairSums) -> PairSums:
        """The sums of both shards, as a new object; raises ``RestnetError`` where the pairs are not the same."""
        if (self.layouts, self.pairs) != (more.layouts, more.pairs):
            raise RestnetError(
                f"ridge sums of {len(self.pairs)} pairs of cuts cannot take those of {len(more.pairs)} others:"
                " every shard must be of the same anchors, cuts and pairs"
            )
        total = PairSums(self.layouts, self.pairs)
        for shard in (self, more):
            for group, products in shard._products.items():
                total._add(group, _Products.from_arrays([a.copy() for a in products.arrays()]))
        return total

    def solve(self, pairs: Iterable[PairKey] | None = None) -> dict[PairKey, Solution]:
        """The closed-form stitches of these pairs (None: all); raises ``RestnetError`` before the first batch."""
        return {
            pair: _solution(self._parts(pair), self._shrinkage(pair))
            for pair in (self.pairs if pairs is None else pairs)
        }

    def together(self) -> Solution:
        """One solution for all pairs, which must be of one shape; raises ``RestnetError`` before the first batch."""
        parts = zip(*(self._parts(pair) for pair in self.pairs), strict=True)
        return _solution([functools.reduce(operator.add, part) for part in parts])

    def arrays(self) -> dict[str, np.ndarray]:
        """The state as arrays, for ``np.savez`` and :meth:`from_arrays`."""
        layouts = {role: [asdict(layout) for layout in ends] for role, ends in self.layouts.items()}
        arrays = {"about": np.array(json.dumps({"layouts": layouts, "pairs": self.pairs}))}
        for g, group in enumerate(self._groups):
            if group in self._products:
                arrays |= {f"{g}.{i}": array for i, array in enumerate(self._products[group].arrays())}
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> PairSums:
        """The sums that :meth:`arrays` wrote; raises ``RestnetError`` where they are none."""
        if "about" not in arrays:
            raise RestnetError(f"stored ridge sums lack about; there are {', '.join(sorted(arrays)) or 'no arrays'}")
        about = json.loads(str(arrays["about"]))
        layouts = {role: tuple(_layout(**end) for end in ends) for role, ends in about["layouts"].items()}
        sums = cls(layouts, [(source, i, j) for source, i, j in about["pairs"]])
        for g, group in enumerate(sums._groups):
            count = sum(name.startswith(f"{g}.") for name in arrays)
            if count:
                sums._products[group] = _Products.from_arrays([np.array(arrays[f"{g}.{i}"]) for i in range(count)])
        return sums

    def _add(self, group: _Group, products: _Products) -> None:
        if group in self._products:
            self._products[group].add(products)
        else:
            self._products[group] = products

    def _parts(self, pair: PairKey) -> list[RidgeSums]:
        """The sums of a pair's map and, where there is one, of its class token."""
        return [self._of(group, pair) for group in self._groups_of(*pair)]

    def _of(self, group: _Group, pair: PairKey) -> RidgeSums:
        """The sums of one pair out of its group's."""
        if group not in self._products:
            raise RestnetError("closed-form stitches of no images: no batch was added to the sums")
        source, i, j = pair
        (sources, targets), products = self._groups[group], self._products[group]
        target = self._layout(other(source), j)
        across = _slice([exits.read(self._layout(source, m), target) for m in sources], sources.index(i))
        down = _slice([self._layout(other(source), m).channels for m in targets], targets.index(j))
        square = products.squares[sources.index(i)]
        sums_x, sums_y = products.sums_x[:, across], products.sums_y[:, down]
        return RidgeSums(
            np.block([[square, sums_x.T], [sums_x, int(products.rows) * np.eye(len(sums_x))]]),
            np.concatenate([products.crosses[across, down], sums_y]),
            products.target_squares[down],
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

    def _shrinkage(self, pair: PairKey) -> float:
        _, j = pair[1:]
        return closed_form.EXIT_RIDGE if self._layout(other(pair[0]), j).vector else closed_form.RIDGE

    def _layout(self, role: str, index: int) -> Layout:
        return self.layouts[role][index]


def _slice(widths: Sequence[int], at: int) -> slice:
    """Where a cut's values stand in a group's product."""
    return slice(sum(widths[:at]), sum(widths[: at + 1]))


def rows(x: np.ndarray, source: Layout, target: Layout, part: str = _MAP) -> np.ndarray:
    """Features ``(n, ...)`` as the map of a group reads them: ``(n, rows, c)``."""
    step = stitch.pooled_class(source, target)
    if part == _CLASS and step is not None:
        return step.pooled(x)
    return stitch.spread(stitch.adapted(x, source, target), stitch.places(source, target), POSITIONS)


def _targets(y: np.ndarray, source: Layout, target: Layout, part: str) -> np.ndarray:
    """Features ``(n, ...)`` at the back's cut as the map of a group should deliver them: ``(n, rows, c)``."""
    if part == _CLASS:
        return y[:, :1]
    return stitch.spread(stitch.goal(y, source, target), stitch.places(source, target), POSITIONS)


def _solution(parts: Sequence[RidgeSums], shrinkage: float = closed_form.RIDGE) -> Solution:
    kernel, bias, r2 = closed_form.ridge(parts[0], shrinkage)
    if len(parts) == 1:
        return Solution(kernel, bias, r2)
    class_kernel, class_bias, _ = closed_form.ridge(parts[1])
    return Solution(kernel, bias, r2, (class_kernel, class_bias[0]))


def _layout(shape: Sequence[int], grid: Sequence[int] | None) -> Layout:
    return Layout(tuple(shape), None if grid is None else (grid[0], grid[1]))
