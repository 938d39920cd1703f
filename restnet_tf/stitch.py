"""The layer between two anchors: a resize or pool, a 1x1 map with bias, and the clamp of its target.

The map starts at its closed-form ridge solution, which needs only sums over samples, so that the
sums of two shards add up and one pass over the data serves every pair of cuts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from restnet_tf.records import Cut, RestnetError, Stitch

if TYPE_CHECKING:
    import keras

# Relative to the mean diagonal of X'X: small enough to leave a well-posed fit alone, large enough
# to keep dead or duplicated channels from blowing the kernel up.
RIDGE = 1e-3
_REFIT_RIDGE = 1e-2


@dataclass
class RidgeSums:
    """Running ``[X 1]'[X 1]``, ``[X 1]'Y`` and ``[Y 1]'[Y 1]``'s diagonal of one pair, float64."""

    xtx: np.ndarray
    xty: np.ndarray
    y_squares: np.ndarray

    def __add__(self, other: RidgeSums) -> RidgeSums:
        """The sums of both shards together."""
        return RidgeSums(self.xtx + other.xtx, self.xty + other.xty, self.y_squares + other.y_squares)


def ridge(sums: RidgeSums) -> tuple[np.ndarray, np.ndarray, float]:
    """Closed-form kernel ``(c_in, c_out)``, bias ``(c_out,)`` and R2 from the sums of a pair.

    R2 is over all rows and channels together, 1 at a perfect fit, 0 at the mean of the target. The
    bias is not shrunk. Raises ``RestnetError`` where the features hold NaN or infinity.
    """
    xtx, xty = sums.xtx, sums.xty
    if not (np.isfinite(xtx).all() and np.isfinite(xty).all()):
        raise RestnetError("the features at this cut hold NaN or infinity; the anchor's weights are broken")
    n = xtx[-1, -1]
    mean_x, mean_y = xtx[-1, :-1] / n, xty[-1] / n
    # Centred, the intercept drops out and the penalty touches the kernel alone.
    cov_xx = xtx[:-1, :-1] - n * np.outer(mean_x, mean_x)
    cov_xy = xty[:-1] - n * np.outer(mean_x, mean_y)
    # Channels that are all dead leave nothing to scale by; any penalty gives them a kernel of zeros.
    penalty = RIDGE * (float(np.mean(np.diag(xtx)[:-1])) or 1.0)
    kernel = np.linalg.solve(cov_xx + penalty * np.eye(len(cov_xx)), cov_xy)
    bias = mean_y - mean_x @ kernel
    total = float(np.sum(sums.y_squares - n * mean_y**2))
    residual = total - 2 * float(np.sum(kernel * cov_xy)) + float(np.sum(kernel * (cov_xx @ kernel)))
    r2 = 1 - residual / total if total > 0 else 0.0
    return kernel.astype(np.float32), bias.astype(np.float32), r2


def delivered(stitch: Stitch, features: np.ndarray) -> np.ndarray:
    """What a stitch makes of features ``(n, h, w, c)``, as rows ``(n * h' * w', c')``, before the clamp."""
    return _rows(features, stitch) @ stitch.kernel + stitch.bias


def refitted(stitch: Stitch, wanted: np.ndarray, found: np.ndarray) -> Stitch:
    """The stitch that gives on ``found`` what it gave on ``wanted``.

    Both are features ``(n, h, w, c)`` of the same images at the front's cut, ``found`` as a quantised
    front puts them out. Least squares, shrunk towards the stitch itself.
    """
    x = _rows(found, stitch)
    residual = delivered(stitch, wanted) - delivered(stitch, found)
    mean_x, mean_r = x.mean(axis=0), residual.mean(axis=0)
    covariance = (x - mean_x).T @ (x - mean_x)
    penalty = _REFIT_RIDGE * (float(np.mean(np.diag(covariance))) or 1.0)
    change = np.linalg.solve(covariance + penalty * np.eye(len(covariance)), (x - mean_x).T @ (residual - mean_r))
    kernel, bias = stitch.kernel + change, stitch.bias + mean_r - mean_x @ change
    return replace(stitch, kernel=kernel.astype(np.float32), bias=bias.astype(np.float32))


def _rows(features: np.ndarray, stitch: Stitch) -> np.ndarray:
    """Features at the target's grid as float64 rows ``(n * h * w, c)``."""
    for layer in resample(stitch.source_shape, stitch.target_shape):
        features = np.asarray(layer(features))
    return features.reshape(-1, features.shape[-1]).astype(np.float64)


def compatible(source: Cut, target: Cut) -> str:
    """Why these cuts cannot be stitched; empty where they can.

    Grids of the same or the adjacent resolution are joined: a factor of about two either way.
    """
    if source.kind != "grid" or target.kind != "grid":
        return f"no adapter from {source.kind} to {target.kind}"
    ratio = source.shape[0] / target.shape[0]
    if not 0.45 <= ratio <= 2.2:
        return f"resolutions too far apart: {source.shape[0]}x{source.shape[1]} to {target.shape[0]}x{target.shape[1]}"
    return ""


def resample(source: tuple[int, ...], target: tuple[int, ...]) -> list[Any]:
    """Keras layers that bring a grid ``(h, w, c)`` to the height and width of another; may be none.

    A whole ratio down is an average pool, anything else a bilinear resize.
    """
    import keras

    (h, w), (th, tw) = source[:2], target[:2]
    if (h, w) == (th, tw):
        return []
    if h % th == 0 and w % tw == 0:
        return [keras.layers.AveragePooling2D((h // th, w // tw), name="pool")]
    return [keras.layers.Resizing(th, tw, interpolation="bilinear", name="resize")]


def build(stitch: Stitch) -> keras.Model:
    """The stitch as a Keras model ``(n, h, w, c)`` -> ``(n, h', w', c')`` with its fitted weights."""
    import keras

    x = inputs = keras.Input(stitch.source_shape)
    for layer in resample(stitch.source_shape, stitch.target_shape):
        x = layer(x)
    project = keras.layers.Conv2D(stitch.kernel.shape[1], 1, name="project")
    x = project(x)
    low, high = stitch.clamp
    if low is not None:
        x = keras.layers.ReLU(max_value=high, name="clamp")(x)
    project.set_weights([stitch.kernel[None, None], stitch.bias])
    return keras.Model(inputs, x, name="stitch")


def macs(source: tuple[int, ...], target: tuple[int, ...]) -> int:
    """MACs of the 1x1 map, which runs at the target's grid."""
    return prod(target[:2]) * source[-1] * target[-1]


def params(source: tuple[int, ...], target: tuple[int, ...]) -> int:
    """Kernel and bias."""
    return (source[-1] + 1) * target[-1]
