"""How alike the layers of two networks are: debiased minibatch CKA of all pairs at once.

Per batch of ``b`` samples every layer becomes one U-centred Gram matrix, flattened to a row; the
HSIC of every pair is then a single matrix product. Only sums over batches are kept, so memory does
not grow with the number of samples, and the sums of two shards add up.

Features are compared as flattened per-sample vectors. That can be 1 under a permutation of pixels
that no 1x1 stitch can undo: it says that the information is there, not that a stitch can reach it.

Sources: minibatch CKA, Nguyen, Raghu & Kornblith 2020 (arXiv 2010.15327), eq. 3; CKA, Kornblith,
Norouzi, Lee & Hinton 2019 (arXiv 1905.00414); U-centring, Szekely & Rizzo 2014 (arXiv 1310.2926).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import DTypeLike

from restnet_tf.records import RestnetError

# HSIC_1 divides by b (b - 3).
MIN_BATCH = 4

# Values of one column block: its centred copy stays in the cache, whatever the width of the map.
_BLOCK_VALUES = 2**18

# Below this part of the Gram's trace a centred Gram is float64 rounding, not signal.
_NOISE = 1e-12

# float32 products are kept for batches of this size and up while trace / |centred Gram| is at most
# twice the batch size; else the Gram is computed again in float64. The ratio is sqrt(d) for d
# independent features, less for correlated ones, and grows with outlying samples, beside which
# float32 loses all others. CKA was within 1e-7 of float64 over random families of features.
_FLOAT32_BATCH = 32
_FLOAT32_RATIO = 2

# Mean squares under this lose bits to float32's smallest normal number.
_FLOAT32_TINY = 1e-28


def _gram(x: np.ndarray, dtype: DTypeLike) -> np.ndarray:
    """Gram matrix ``(b, b)`` in float64 of the rows of ``x (b, d)``, less the mean row.

    Products are formed in ``dtype`` a block of columns at a time and added up in float64. Centring
    a Gram removes any vector that is taken off every row, so taking the mean off here changes
    nothing but the rounding: features with a large common mean do not cancel.
    """
    rows, width = x.shape
    step = max(256, _BLOCK_VALUES // rows)
    total = np.zeros((rows, rows))
    with np.errstate(over="ignore", invalid="ignore"):  # the caller looks at the result
        for start in range(0, width, step):
            block = x[:, start : start + step]
            centred = np.subtract(block, block.mean(axis=0, dtype=dtype), dtype=dtype)
            total += centred @ centred.T
    return total


def _u_centred(gram: np.ndarray) -> np.ndarray:
    """U-centred copy of a Gram ``(n, n)``: zero diagonal, zero row sums (Szekely & Rizzo 2014)."""
    n = len(gram)
    out = gram.copy()
    np.fill_diagonal(out, 0.0)
    means = out.sum(axis=0) / (n - 2)
    out += means.sum() / (n - 1)
    out -= means[:, None]
    out -= means
    np.fill_diagonal(out, 0.0)
    return out


def _double_centred(gram: np.ndarray) -> np.ndarray:
    """``H K H``: the biased centring, zero row and column means."""
    means = gram.mean(axis=0)
    return gram - means[:, None] - means + means.mean()


def _without_noise(centred: np.ndarray, gram: np.ndarray) -> np.ndarray:
    """The centred Gram, or zeros where all that is left of it is rounding (constant features)."""
    return np.zeros_like(centred) if np.linalg.norm(centred) <= _NOISE * np.trace(gram) else centred


def _exact_gram(flat: np.ndarray, what: str) -> np.ndarray:
    """Gram from float64 products; raises RestnetError, naming ``what``, where it is not finite."""
    gram = _gram(flat, np.float64)
    if not np.isfinite(gram).all():
        raise RestnetError(
            f"the features of {what} hold NaN, infinity or values too large to square: "
            "CKA is undefined; check the model's weights and its input range"
        )
    return gram


def _flat(x: np.ndarray, least: int = MIN_BATCH) -> np.ndarray:
    """``(b, ...)`` as ``(b, d)``, a view where memory allows."""
    x = np.asarray(x)
    if x.ndim < 2 or x.dtype.kind not in "fiub":
        raise RestnetError(
            f"CKA got an array of shape {x.shape} and type {x.dtype}; it takes real features of shape (samples, ...)"
        )
    if len(x) < least:
        raise RestnetError(
            f"CKA got a batch of {len(x)} samples; debiased HSIC needs {least} or more: "
            "use larger batches, and drop a short last one"
        )
    return x.reshape(len(x), -1)


def _float32_will_do(gram: np.ndarray, centred: np.ndarray, values: int) -> bool:
    """Whether a Gram from float32 products of ``values`` features is as good as one in float64."""
    trace = np.trace(gram)
    in_range = _FLOAT32_TINY * values < trace < np.inf
    return bool(in_range and trace <= _FLOAT32_RATIO * len(gram) * np.linalg.norm(centred))


def _centred_features(x: np.ndarray, what: str) -> np.ndarray:
    """U-centred Gram ``(b, b)`` of features ``(b, ...)``, float64; ``what`` names them in errors."""
    flat = _flat(x)
    if flat.dtype in (np.float32, np.float16) and len(flat) >= _FLOAT32_BATCH:
        gram = _gram(flat, np.float32)
        centred = _u_centred(gram)
        if _float32_will_do(gram, centred, flat.size):
            return centred
    gram = _exact_gram(flat, what)
    return _without_noise(_u_centred(gram), gram)


def _rows(layers: Sequence[np.ndarray], side: str) -> np.ndarray:
    """U-centred Grams of several layers, one flattened row each: ``(layers, b * b)``."""
    if not len(layers):
        raise RestnetError(f"CKA got no layers of the {side} model; give at least one")
    sizes = {len(x) for x in layers}
    if len(sizes) > 1:
        raise RestnetError(f"the {side} model's layers hold different samples: batch sizes {sorted(sizes)}")
    rows = np.empty((len(layers), len(layers[0]) ** 2))
    for i, features in enumerate(layers):
        rows[i] = _centred_features(features, f"layer {i} of the {side} model").ravel()
    return rows


class CkaSums:
    """Running sums of debiased HSIC between the layers of two models.

    Attributes: ``xy (layers_x, layers_y)``, ``xx (layers_x,)``, ``yy (layers_y,)``: sums over
    batches of HSIC_1, float64; ``batches``: how many were added.
    """

    def __init__(self) -> None:
        """No batch yet; the first ``update`` fixes the numbers of layers."""
        self.xy = np.zeros((0, 0))
        self.xx = np.zeros(0)
        self.yy = np.zeros(0)
        self.batches = 0

    def update(self, xs: Sequence[np.ndarray], ys: Sequence[np.ndarray]) -> None:
        """Add one batch: the features ``(b, ...)`` of every layer of both models, the same samples.

        Inputs are read only. Raises RestnetError for under 4 samples, batches that differ in size,
        another number of layers than before, and features that are not finite.
        """
        rows_x, rows_y = _rows(xs, "first"), _rows(ys, "second")
        if rows_x.shape[1] != rows_y.shape[1]:
            raise RestnetError(
                f"the first model's batch has {len(xs[0])} samples, the second's {len(ys[0])}: "
                "CKA compares features of the same samples in the same order"
            )
        b = len(xs[0])
        scale = b * (b - 3)
        batch = CkaSums()
        batch.xy = rows_x @ rows_y.T / scale
        batch.xx = np.einsum("ij,ij->i", rows_x, rows_x) / scale
        batch.yy = np.einsum("ij,ij->i", rows_y, rows_y) / scale
        batch.batches = 1
        self._add(batch)

    def merge(self, other: CkaSums) -> CkaSums:
        """The sums of both, as a new object: shards may be computed anywhere, in any order.

        Raises RestnetError where the two count different layers.
        """
        total = CkaSums()
        total._add(self)
        total._add(other)
        return total

    def _add(self, other: CkaSums) -> None:
        if not other.batches:
            return
        first = not self.batches
        if not first and self.xy.shape != other.xy.shape:
            raise RestnetError(
                f"CKA sums of {self.xy.shape} layers cannot take {other.xy.shape}: "
                "every batch and shard must hold the same layers in the same order"
            )
        self.xy = other.xy.copy() if first else self.xy + other.xy
        self.xx = other.xx.copy() if first else self.xx + other.xx
        self.yy = other.yy.copy() if first else self.yy + other.yy
        self.batches += other.batches

    def matrix(self) -> np.ndarray:
        """Debiased minibatch CKA ``(layers_x, layers_y)``; 0 where a layer's features are constant.

        About 0 for independent features, 1 for equal ones; noise can make it slightly negative.
        Raises RestnetError before the first batch.
        """
        if not self.batches:
            raise RestnetError("CKA of no samples: no batch of 4 or more was added")
        scale = np.sqrt(self.xx)[:, None] * np.sqrt(self.yy)
        return np.divide(self.xy, scale, out=np.zeros_like(self.xy), where=scale > 0)

    def arrays(self) -> dict[str, np.ndarray]:
        """The state as arrays, for ``np.savez`` and :meth:`from_arrays`."""
        return {
            "xy": self.xy.copy(),
            "xx": self.xx.copy(),
            "yy": self.yy.copy(),
            "batches": np.array(self.batches),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> CkaSums:
        """The sums that :meth:`arrays` wrote; raises RestnetError where a part is absent or misshapen."""
        missing = sorted({"xy", "xx", "yy", "batches"} - set(arrays))
        if missing:
            raise RestnetError(f"stored CKA sums lack {', '.join(missing)}; found {sorted(arrays)}")
        sums = cls()
        sums.xy, sums.xx, sums.yy = (np.array(arrays[key], np.float64) for key in ("xy", "xx", "yy"))
        sums.batches = int(arrays["batches"])
        shapes = (sums.xy.shape, sums.xx.shape, sums.yy.shape)
        if sums.xy.ndim != 2 or shapes != (sums.xy.shape, sums.xy.shape[:1], sums.xy.shape[1:]):
            raise RestnetError(f"stored CKA sums do not fit together: xy, xx, yy have shapes {shapes}")
        return sums


def _rbf(gram: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian kernel from a linear Gram; ``sigma`` is a fraction of the median distance."""
    norms = np.diag(gram)
    squared = norms[:, None] + norms - 2 * gram
    squared[squared <= _NOISE * norms.max()] = 0.0
    width = 2 * sigma**2 * np.median(squared)
    # At a median of 0 the kernel's limit: 1 for equal samples, 0 for all others.
    return np.exp(-squared / width) if width > 0 else (squared == 0).astype(np.float64)


def cka(
    x: np.ndarray,
    y: np.ndarray,
    *,
    debiased: bool = True,
    kernel: Literal["linear", "rbf"] = "linear",
    sigma: float = 0.5,
) -> float:
    """CKA of one pair of features ``(n, ...)``, all samples in one Gram; all float64.

    ``sigma`` is the width of the RBF kernel as a fraction of the median distance (Kornblith 2019).
    Biased CKA is near 1 for any two features wider than ``n``: it is here for comparison only.
    Raises RestnetError for other kernels, under 4 samples (2 if biased) and unequal ``n``.
    """
    flat = [_flat(z, MIN_BATCH if debiased else 2) for z in (x, y)]
    if len(flat[0]) != len(flat[1]):
        raise RestnetError(f"CKA of {len(flat[0])} samples with {len(flat[1])}: both need the same samples")
    one, other = (
        profile(z, what, debiased=debiased, kernel=kernel, sigma=sigma)
        for z, what in zip(flat, ("x", "y"), strict=True)
    )
    return alike(one, other)


def profile(
    x: np.ndarray,
    what: str = "x",
    *,
    debiased: bool = True,
    kernel: Literal["linear", "rbf"] = "linear",
    sigma: float = 0.5,
) -> np.ndarray:
    """All that CKA reads of features ``(n, ...)``: their centred Gram, flat ``(n * n,)``; see ``cka`` and ``alike``."""
    if kernel not in ("linear", "rbf") or not sigma > 0:
        raise RestnetError(f"CKA kernel {kernel!r} with sigma {sigma}: use 'linear' or 'rbf', sigma above 0")
    gram = _exact_gram(_flat(x, MIN_BATCH if debiased else 2), what)
    gram = _rbf(gram, sigma) if kernel == "rbf" else gram
    centred = _u_centred(gram) if debiased else _double_centred(gram)
    return _without_noise(centred, gram).ravel()


def alike(one: np.ndarray, other: np.ndarray) -> float:
    """CKA of two profiles of the same samples; 0 where the features of one are constant."""
    scale = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(one @ other) / scale if scale > 0 else 0.0
