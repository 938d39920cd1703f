"""One pass over the images for every pair of cuts: CKA sums, ridge sums, solutions.

Memory is bounded by one batch of features and the sums; it does not grow with the images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from restnet_tf import cuts, stitch
from restnet_tf.cka import CkaSums
from restnet_tf.records import Anchor, Cut, RestnetError

if TYPE_CHECKING:
    from restnet_tf.data import Split

# (source anchor, source cut, target cut), cuts by index: one way of stitching.
PairKey = tuple[str, int, int]
Grid = tuple[int, ...]

_CKA_BATCH = 128
_BATCH_BYTES = 512 * 2**20
# Neighbouring pixels repeat each other; this many an image already determine a 1x1 map.
_POSITIONS = 256


@dataclass(frozen=True)
class Solution:
    """The closed-form stitch of one pair and how much of the target's variance it explains."""

    kernel: np.ndarray
    bias: np.ndarray
    r2: float


@dataclass(frozen=True)
class Statistics:
    """What one pass found: CKA ``(large cuts, small cuts)`` of flattened features, all ridge solutions."""

    n: int
    batch: int
    cka: np.ndarray
    solutions: Mapping[PairKey, Solution]


def batch_size(anchors: Iterable[Anchor], cut_lists: Iterable[tuple[Cut, ...]]) -> int:
    """The largest batch, up to 128, whose features of all cuts stay within half a gibibyte."""
    floats = sum(prod(c.shape) for found in cut_lists for c in found)
    floats += sum(prod(a.input_shape) for a in anchors)
    return int(np.clip(_BATCH_BYTES // (4 * floats), 8, _CKA_BATCH))


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


def observer(anchor: Anchor, found: Iterable[Cut], more: Iterable[Any] = ()) -> Callable[[Any], list[Any]]:
    """A function from images to the activations at these cuts, then at ``more`` symbolic tensors."""
    import keras
    import tensorflow as tf

    watched = [cuts.tensor(anchor.model, cut.name) for cut in found]
    # A dict, since Keras hands back a list of one as a bare tensor.
    outputs = {str(i): t for i, t in enumerate([*watched, *more])}
    model = keras.Model(anchor.model.inputs[0], outputs)
    run = tf.function(lambda x: model(x, training=False), autograph=False, reduce_retracing=True)

    def observe(images: Any) -> list[Any]:
        found = run(images)
        return [found[name] for name in outputs]

    return observe


class _Sums:
    """Ridge sums of all pairs: one product a direction and grid, since many skinny ones are slow."""

    def __init__(self, cut_lists: Mapping[str, tuple[Cut, ...]], keys: list[PairKey]) -> None:
        self._cuts, self._keys = cut_lists, keys
        self._groups: dict[tuple[str, Grid], tuple[list[int], list[int]]] = {}
        for source, i, j in keys:
            group = self._groups.setdefault((source, self._grid(source, j)), ([], []))
            for members, index in zip(group, (i, j), strict=True):
                if index not in members:
                    members.append(index)
        self._squares: dict[tuple[str, Grid], list[np.ndarray]] = {}
        self._crosses: dict[tuple[str, Grid], np.ndarray] = {}
        self._target_squares: dict[tuple[str, Grid], np.ndarray] = {}
        self._resamplers: dict[tuple[tuple[int, ...], Grid], Any] = {}

    def update(self, seen: Mapping[str, list[np.ndarray]]) -> None:
        for group, (sources, targets) in self._groups.items():
            source, grid = group
            xs = [_with_ones(_rows(self._resample(seen[source][i], grid))) for i in sources]
            y = np.concatenate([_rows(seen[other(source)][j]) for j in targets], axis=1)
            squares = [x.T @ x for x in xs]
            known = self._squares.get(group, [0.0] * len(squares))
            self._squares[group] = [a + b for a, b in zip(known, squares, strict=True)]
            self._crosses[group] = self._crosses.get(group, 0) + np.concatenate(xs, axis=1).T @ y
            self._target_squares[group] = self._target_squares.get(group, 0) + np.einsum("ij,ij->j", y, y)

    def solve(self) -> dict[PairKey, Solution]:
        found = {}
        for source, i, j in self._keys:
            group = source, self._grid(source, j)
            sources, targets = self._groups[group]
            rows = self._slice(source, sources, i, extra=1)
            columns = self._slice(other(source), targets, j, extra=0)
            sums = stitch.RidgeSums(
                self._squares[group][sources.index(i)],
                self._crosses[group][rows, columns],
                self._target_squares[group][columns],
            )
            found[source, i, j] = Solution(*stitch.ridge(sums))
        return found

    def _grid(self, source: str, j: int) -> Grid:
        return self._cuts[other(source)][j].shape[:2]

    def _slice(self, role: str, members: list[int], index: int, extra: int) -> slice:
        """Where a cut's channels stand in a group's product; ``extra`` columns behind each cut's."""
        widths = [self._cuts[role][m].shape[-1] + extra for m in members]
        at = members.index(index)
        return slice(sum(widths[:at]), sum(widths[: at + 1]))

    def _resample(self, x: np.ndarray, grid: Grid) -> np.ndarray:
        key = x.shape[1:], grid
        if key not in self._resamplers:
            self._resamplers[key] = stitch.resample(x.shape[1:], grid)
        for layer in self._resamplers[key]:
            x = np.asarray(layer(x))
        return x


def other(role: str) -> str:
    """The other anchor of a pair."""
    return "small" if role == "large" else "large"


def _rows(x: np.ndarray) -> np.ndarray:
    """``(n, h, w, c)`` -> float64 ``(n * positions, c)``, evenly spread positions of every image."""
    n, h, w, c = x.shape
    flat = x.reshape(n, h * w, c)
    if h * w > _POSITIONS:
        flat = flat[:, np.linspace(0, h * w - 1, _POSITIONS).astype(int)]
    return flat.reshape(-1, c).astype(np.float64)


def _with_ones(rows: np.ndarray) -> np.ndarray:
    return np.concatenate([rows, np.ones((len(rows), 1))], axis=1)
