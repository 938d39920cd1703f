"""One pass over the images for every pair of cuts: CKA sums, ridge sums, and the solutions of both.

Memory is bounded by one batch of features and the sums; it does not grow with the images. The sums of two shards of
the images add up, so shards can be computed anywhere. Sums of one batch a shard, added in the order of the batches,
are those of one pass to the bit, however many processes share them; larger shards round differently, by 1e-12 of the
sums (float64).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import nan, prod
from typing import TYPE_CHECKING, Any

import numpy as np

from restnet_tf.graph import cuts, finite, infer
from restnet_tf.records import Anchor, Cut, RestnetError, Stitch
from restnet_tf.similarity.cka import MIN_BATCH, CkaSums
from restnet_tf.similarity.pair_sums import PairKey, PairSums, other
from restnet_tf.stitches import stitch
from restnet_tf.stitches.closed_form import closed
from restnet_tf.stitches.step import Solution

if TYPE_CHECKING:
    from restnet_tf.data.splits import Split

Progress = Callable[[int, int], None]

_CKA_BATCH = 128
_BATCH_BYTES = 512 * 2**20


@dataclass(frozen=True)
class Statistics:
    """What one pass gives: CKA ``(large cuts, small cuts)`` of flattened features, and ridge solutions.

    ``rated`` holds the R2 of pairs whose solutions are not kept: all of them would take hundreds of megabytes.
    """

    n: int
    batch: int
    cka: np.ndarray
    solutions: Mapping[PairKey, Solution]
    rated: Mapping[PairKey, float] = field(default_factory=dict)

    def r2(self, pair: PairKey) -> float:
        """How much of the target's cut a pair's solution explains; NaN where the pair cannot be stitched."""
        solution = self.solutions.get(pair)
        return solution.r2 if solution else self.rated.get(pair, nan)


@dataclass(frozen=True)
class Sums:
    """Of ``n`` images in batches of ``batch``: what ``solve`` makes statistics of."""

    n: int
    batch: int
    cka: CkaSums
    pairs: PairSums

    def __add__(self, more: Sums) -> Sums:
        """The sums of both shards; raises ``RestnetError`` where anchors, cuts or batches are not the same."""
        if self.batch != more.batch:
            raise RestnetError(
                f"sums over batches of {self.batch} images cannot take those over batches of {more.batch}:"
                " minibatch CKA wants equal batches; give every shard the same"
            )
        return Sums(self.n + more.n, self.batch, self.cka.merge(more.cka), self.pairs + more.pairs)

    def arrays(self) -> dict[str, np.ndarray]:
        """All of it as arrays, for ``np.savez`` and :meth:`from_arrays`."""
        sizes = {"n": np.array(self.n), "batch": np.array(self.batch)}
        return sizes | _prefixed("cka.", self.cka.arrays()) | _prefixed("pairs.", self.pairs.arrays())

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Sums:
        """The sums that :meth:`arrays` wrote; raises ``RestnetError`` where a part is absent."""
        if absent := sorted({"n", "batch"} - set(arrays)):
            raise RestnetError(f"stored sums lack {', '.join(absent)}; there are {', '.join(sorted(arrays)) or 'none'}")
        cka, pairs = CkaSums.from_arrays(_under("cka.", arrays)), PairSums.from_arrays(_under("pairs.", arrays))
        return cls(int(arrays["n"]), int(arrays["batch"]), cka, pairs)


@dataclass(frozen=True)
class WindowSums:
    """Of so many images, the ridge sums of each group of pairs: what ``solve_windows`` makes one solution each of."""

    n: int
    windows: Mapping[str, PairSums]

    def __add__(self, more: WindowSums) -> WindowSums:
        """The sums of both shards; raises ``RestnetError`` where the windows are not the same."""
        if self.windows.keys() != more.windows.keys():
            names = ", ".join(sorted(self.windows.keys() ^ more.windows.keys()))
            raise RestnetError(f"sums of other windows cannot be added: only one shard has {names}")
        return WindowSums(self.n + more.n, {name: sums + more.windows[name] for name, sums in self.windows.items()})

    def arrays(self) -> dict[str, np.ndarray]:
        """All of it as arrays, for ``np.savez`` and :meth:`from_arrays`."""
        arrays = {"n": np.array(self.n), "names": np.array(list(self.windows))}
        for i, sums in enumerate(self.windows.values()):
            arrays |= _prefixed(f"{i}:", sums.arrays())
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> WindowSums:
        """The sums that :meth:`arrays` wrote; raises ``RestnetError`` where a part is absent."""
        if absent := sorted({"n", "names"} - set(arrays)):
            raise RestnetError(f"stored sums lack {', '.join(absent)}; there are {', '.join(sorted(arrays)) or 'none'}")
        windows = {str(name): PairSums.from_arrays(_under(f"{i}:", arrays)) for i, name in enumerate(arrays["names"])}
        return cls(int(arrays["n"]), windows)


def batch_size(anchors: Iterable[Anchor], cut_lists: Iterable[tuple[Cut, ...]]) -> int:
    """The largest batch, up to 128, whose images can be run at once and whose features stay within half a gibibyte."""
    anchors = tuple(anchors)
    most = min(infer.batch_size(anchor.input_shape, _CKA_BATCH) for anchor in anchors)
    floats = sum(prod(c.shape) for cut_list in cut_lists for c in cut_list)
    floats += sum(prod(a.input_shape) for a in anchors)
    return int(np.clip(_BATCH_BYTES // (4 * floats), 8, most))


def collect(
    anchors: Mapping[str, Anchor],
    cut_lists: Mapping[str, tuple[Cut, ...]],
    split: Split,
    progress: Progress = lambda done, total: None,
) -> Statistics:
    """Run both anchors over ``split`` once; CKA of all pairs, ridge of all that can be stitched.

    ``anchors`` and ``cut_lists`` are by role, "large" and "small". A last batch of another size is
    left out: minibatch CKA wants equal batches. Raises ``RestnetError`` where fewer than one batch
    of 4 images is there, and where features are not finite.
    """
    return solve(sums(anchors, cut_lists, split, progress))


def sums(
    anchors: Mapping[str, Anchor],
    cut_lists: Mapping[str, tuple[Cut, ...]],
    split: Split,
    progress: Progress = lambda done, total: None,
    *,
    batch: int | None = None,
) -> Sums:
    """The sums that ``collect`` solves, of a split or of a ``shard`` of it.

    All shards take the ``batch`` of the whole: at most ``batch_size``, and no more than it has images. What is left of
    a shard behind its whole batches is left out. Raises as ``collect`` does.
    """
    batch = batch or min(batch_size(anchors.values(), cut_lists.values()), len(split))
    total = len(split) // batch * batch if batch else 0
    if batch < MIN_BATCH:
        raise RestnetError(
            f"{len(split)} {split.kind.many} are too few for the statistics; at least {MIN_BATCH} are needed"
        )
    if not total:
        raise RestnetError(f"a shard of {len(split)} images has no whole batch of {batch}; shards are made of batches")
    observers = {role: _finite_observer(role, anchors[role], cut_lists[role]) for role in anchors}
    cka, pairs = CkaSums(), PairSums(_layouts(cut_lists), _compatible(cut_lists))
    streams = {role: iter(split.head(total).batches(anchors[role].input_shape, batch)) for role in anchors}
    for start in range(0, total, batch):
        features = {role: observers[role](next(streams[role])) for role in anchors}
        cka.update(features["large"], features["small"])
        pairs.update(features)
        progress(start + batch, total)
    return Sums(total, batch, cka, pairs)


def solve(sums: Sums) -> Statistics:
    """CKA and all ridge solutions of the sums of all shards."""
    return Statistics(sums.n, sums.batch, sums.cka.matrix(), sums.pairs.solve())


def shortlisted(sums: Sums, shortlist: Callable[[Statistics], Iterable[PairKey]]) -> Statistics:
    """CKA and R2 of all pairs, and the solutions of those alone that ``shortlist`` names on the ground of these."""
    rated = {pair: sums.pairs.solve([pair])[pair].r2 for pair in sums.pairs.pairs}
    told = Statistics(sums.n, sums.batch, sums.cka.matrix(), {}, rated)
    solutions = sums.pairs.solve(shortlist(told))
    return replace(told, solutions=solutions, rated={p: r2 for p, r2 in rated.items() if p not in solutions})


def shard(split: Split, start: int, stop: int) -> Split:
    """The images ``start`` to ``stop`` of a split, in their order."""
    rows = np.arange(len(split))[start:stop]
    labels = None if split.labels is None else split.labels[rows]
    return replace(split, images=split.images.take(rows), labels=labels)


def window_sums(
    anchors: Mapping[str, Anchor],
    cut_lists: Mapping[str, tuple[Cut, ...]],
    groups: Mapping[str, Sequence[PairKey]],
    split: Split,
    progress: Progress = lambda done, total: None,
) -> WindowSums:
    """What ``solve_windows`` solves, of a split or of a ``shard`` of it; shards are aligned with ``window_batch``.

    ``anchors`` and ``cut_lists`` are by role, "large" and "small"; the pairs of a group are of one shape. Raises
    ``RestnetError`` where features are not finite.
    """
    indices = _indices(groups)
    observers = {
        role: _finite_observer(role, anchors[role], [cut_lists[role][i] for i in indices[role]]) for role in anchors
    }
    windows = {name: PairSums(_layouts(cut_lists), pairs) for name, pairs in groups.items()}
    batch = window_batch(anchors, cut_lists, groups)
    streams = {role: iter(split.batches(anchors[role].input_shape, batch)) for role in anchors}
    for start in range(0, len(split), batch):
        features: dict[str, list[Any]] = {role: [None] * len(cut_list) for role, cut_list in cut_lists.items()}
        for role in anchors:
            for i, values in zip(indices[role], observers[role](next(streams[role])), strict=True):
                features[role][i] = values
        for window in windows.values():
            window.update(features)
        progress(min(len(split), start + batch), len(split))
    return WindowSums(len(split), windows)


def window_batch(
    anchors: Mapping[str, Anchor],
    cut_lists: Mapping[str, tuple[Cut, ...]],
    groups: Mapping[str, Sequence[PairKey]],
) -> int:
    """How many images ``window_sums`` runs at once."""
    indices = _indices(groups)
    return batch_size(anchors.values(), [tuple(cut_lists[role][i] for i in indices[role]) for role in anchors])


def solve_windows(sums: WindowSums) -> dict[str, Solution]:
    """One closed-form stitch for all pairs of each window, from the sums of all shards.

    This is the least-squares stitch of a window (SN-Net), which the average of its pairs' own solutions is not.
    """
    return {name: window.together() for name, window in sums.windows.items()}


def observer(anchor: Anchor, cut_list: Iterable[Cut], more: Iterable[Any] = ()) -> Callable[[Any], list[Any]]:
    """A function from images to the activations at these cuts, then at ``more`` symbolic tensors."""
    import keras

    tensors = [cuts.tensor(anchor.model, cut.name) for cut in cut_list]
    # A dict, since Keras hands back a list of one as a bare tensor.
    outputs = {str(i): t for i, t in enumerate([*tensors, *more])}
    model = keras.Model(anchor.model.inputs[0], outputs)
    run = infer.compiled(model)

    def observe(images: Any) -> list[Any]:
        values = run(images)
        return [values[name] for name in outputs]

    return observe


def initial(pair: PairKey, cut_lists: Mapping[str, tuple[Cut, ...]], statistics: Statistics) -> Stitch:
    """The closed-form stitch of a pair."""
    source, i, j = pair
    return closed(statistics.solutions[pair], cut_lists[source][i], cut_lists[other(source)][j])


def _finite_observer(role: str, anchor: Anchor, cut_list: Sequence[Cut]) -> Callable[[Any], list[np.ndarray]]:
    """An ``observer`` whose features are arrays without NaN or infinity."""
    observe = observer(anchor, cut_list)

    def observe_finite(images: Any) -> list[np.ndarray]:
        features = [np.asarray(values) for values in observe(images)]
        for cut, values in zip(cut_list, features, strict=True):
            finite.check(values, finite.features(f"{role} ({anchor.name})", cut.name))
        return features

    return observe_finite


def _compatible(cut_lists: Mapping[str, tuple[Cut, ...]]) -> list[PairKey]:
    """All pairs that can be stitched, either way."""
    return [
        (source, i, j)
        for source in ("large", "small")
        for i, a in enumerate(cut_lists[source])
        for j, b in enumerate(cut_lists[other(source)])
        if not stitch.compatible(a, b)
    ]


def _indices(groups: Mapping[str, Sequence[PairKey]]) -> dict[str, list[int]]:
    """The cuts of either anchor that any pair has."""
    pairs = [pair for group in groups.values() for pair in group]
    return {
        role: sorted({i for source, i, _ in pairs if source == role} | {j for source, _, j in pairs if source != role})
        for role in ("large", "small")
    }


def _layouts(cut_lists: Mapping[str, tuple[Cut, ...]]) -> dict[str, tuple[Any, ...]]:
    return {role: tuple(cut.layout for cut in cut_list) for role, cut_list in cut_lists.items()}


def _prefixed(prefix: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {f"{prefix}{name}": array for name, array in arrays.items()}


def _under(prefix: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name.removeprefix(prefix): arrays[name] for name in arrays if name.startswith(prefix)}
