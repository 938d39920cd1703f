"""A stitch from few images that knows how it does on others: ridge regressions that leave folds out.

Fitted on a handful of images, a ridge map reproduces these better than any others, and what comes behind would learn
to trust it too much. So every image goes on through a map that was fitted without its fold (stacked
generalisation, Wolpert 1992); the map that is kept is fitted on all of them. Sums over the rows of a fold are
enough for that: those of all images, less the fold's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add

import numpy as np

from restnet_tf.records import Cut, RestnetError, Stitch
from restnet_tf.stitches import closed_form, stitch
from restnet_tf.stitches.closed_form import RidgeSums, closed
from restnet_tf.stitches.step import Solution

SHRINKAGES = (1e-3, 1e-2, 1e-1)
# Rows of an image that a map is fitted on; more of a large grid say the same again.
_ROWS = 784


@dataclass(frozen=True)
class CrossFit:
    """A stitch, and what images that it was not fitted on become behind it: ``features (n, ...)``, in order.

    ``r2`` is of these, over all rows and channels together, before the clamp.
    """

    stitch: Stitch
    features: np.ndarray
    r2: float


def join(source: Cut, target: Cut, x: np.ndarray, y: np.ndarray, folds: Sequence[np.ndarray]) -> CrossFit:
    """Fit the stitch that makes of features ``x (n, ...)`` at one cut those of another, ``y (n, ...)``.

    ``folds`` are indices that together hold every image once. The shrinkage is the one of ``SHRINKAGES`` that
    does best on the images left out. Raises ``RestnetError`` for features that are not finite.
    """
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise RestnetError(f"features at {source.name} or {target.name} hold NaN or infinity; the weights are broken")
    a, b = source.layout, target.layout
    places = stitch.places(a, b)
    x_rows, y_rows = (stitch.spread(side, places, _ROWS) for side in (stitch.adapted(x, a, b), stitch.goal(y, a, b)))
    maps = _Maps.of(x_rows, y_rows, places, folds)
    pooled = None
    if (step := stitch.pooled_class(a, b)) is not None:
        pooled = _Maps.of(step.pooled(x), y[:, :1], 1, folds)
    features = np.empty((len(x), *target.shape), np.float32)
    for index, fold in enumerate(folds):
        features[fold] = stitch.applied(closed(_solution(maps, pooled, index), source, target), x[fold])
    return CrossFit(closed(_solution(maps, pooled, -1), source, target), features, maps.r2)


@dataclass(frozen=True)
class _Maps:
    """Kernel and biases fitted without each fold, and on everything (last)."""

    solutions: tuple[tuple[np.ndarray, np.ndarray], ...]
    r2: float

    @classmethod
    def of(cls, x: np.ndarray, y: np.ndarray, places: int, folds: Sequence[np.ndarray]) -> _Maps:
        """Of rows ``(n, rows, c)``, with the shrinkage that does best on what was left out."""
        parts = [_sums(x[fold], y[fold], places) for fold in folds]
        whole = reduce(add, parts)
        rest = [_less(whole, part) for part in parts]
        best: tuple[float, float, list[tuple[np.ndarray, np.ndarray]]] | None = None
        for shrinkage in SHRINKAGES:
            fitted = [closed_form.ridge(sums, shrinkage)[:2] for sums in rest]
            missed = sum(_error(part, *solution) for part, solution in zip(parts, fitted, strict=True))
            if best is None or missed < best[0]:
                best = missed, shrinkage, fitted
        assert best is not None
        mean = whole.xty[-places:] / np.diag(whole.xtx)[-places:, None]
        total = float(whole.y_squares.sum() - np.sum(np.diag(whole.xtx)[-places:, None] * mean**2))
        final = closed_form.ridge(whole, best[1])[:2]
        return cls((*best[2], final), 1 - best[0] / total if total > 0 else 0.0)


def _solution(maps: _Maps, pooled: _Maps | None, fold: int) -> Solution:
    """What left a fold out, or (-1) that of all images."""
    kernel, bias = maps.solutions[fold]
    if pooled is None:
        return Solution(kernel, bias, maps.r2)
    class_kernel, class_bias = pooled.solutions[fold]
    return Solution(kernel, bias, maps.r2, (class_kernel, class_bias[0]))


def _sums(x: np.ndarray, y: np.ndarray, places: int) -> RidgeSums:
    """The sums of rows ``(n, rows, c)``; with a bias a place, row ``r`` of an image is at place ``r``."""
    flat = [side.reshape(-1, side.shape[2]).astype(np.float64) for side in (x, y)]
    if places > 1:
        sums_x, sums_y, count = x.sum(axis=0, dtype=np.float64), y.sum(axis=0, dtype=np.float64), len(x)
    else:
        sums_x, sums_y, count = flat[0].sum(axis=0)[None], flat[1].sum(axis=0)[None], len(flat[0])
    square = np.block([[flat[0].T @ flat[0], sums_x.T], [sums_x, count * np.eye(places)]])
    cross = np.concatenate([flat[0].T @ flat[1], sums_y])
    return RidgeSums(square, cross, np.einsum("ij,ij->j", flat[1], flat[1]), places)


def _less(whole: RidgeSums, part: RidgeSums) -> RidgeSums:
    return RidgeSums(whole.xtx - part.xtx, whole.xty - part.xty, whole.y_squares - part.y_squares, whole.places)


def _error(sums: RidgeSums, kernel: np.ndarray, bias: np.ndarray) -> float:
    """The squared error of a map over the rows of these sums."""
    both = np.concatenate([kernel, bias]).astype(np.float64)
    return float(sums.y_squares.sum() - 2 * np.sum(both * sums.xty) + np.sum(both * (sums.xtx @ both)))
