"""Stitches in closed form: ridge regression from sums over images, and what its solution becomes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from restnet_tf.records import Cut, RestnetError, Stitch
from restnet_tf.stitches.step import Solution
from restnet_tf.stitches.steps import between

# Relative to the mean diagonal of X'X: small enough to leave a well-posed fit alone, large enough
# to keep dead or duplicated channels from blowing the kernel up.
RIDGE = 1e-3
# The map of an exit sees one row an image, not one a pixel.
EXIT_RIDGE = 1e-2


@dataclass
class RidgeSums:
    """Running ``[X P]'[X P]``, ``[X P]'Y`` and ``[Y P]'[Y P]``'s diagonal of one pair, float64.

    ``P`` says which of ``places`` biases a row has, a one in each: a column of ones where there is one.
    """

    xtx: np.ndarray
    xty: np.ndarray
    y_squares: np.ndarray
    places: int = 1

    def __add__(self, other: RidgeSums) -> RidgeSums:
        """The sums of both shards together."""
        return RidgeSums(self.xtx + other.xtx, self.xty + other.xty, self.y_squares + other.y_squares, self.places)


def ridge(sums: RidgeSums, shrinkage: float | None = None) -> tuple[np.ndarray, np.ndarray, float]:
    """Closed-form kernel ``(c_in, c_out)``, biases ``(places, c_out)`` and R2 from the sums of a pair.

    ``shrinkage`` (``RIDGE``) is relative to the mean diagonal of X'X; the bias is not shrunk. R2 is over all rows and
    channels together, 1 at a perfect fit, 0 at the mean of the target (of its place). Raises ``RestnetError`` where
    the features hold NaN or infinity.
    """
    xtx, xty, width = sums.xtx, sums.xty, len(sums.xtx) - sums.places
    if not (np.isfinite(xtx).all() and np.isfinite(xty).all()):
        raise RestnetError("the features at this cut hold NaN or infinity; the anchor's weights are broken")
    n = np.diag(xtx)[width:, None]
    mean_x, mean_y = xtx[width:, :width] / n, xty[width:] / n
    # Centred, the intercept drops out and the penalty touches the kernel alone.
    cov_xx = xtx[:width, :width] - (n * mean_x).T @ mean_x
    cov_xy = xty[:width] - (n * mean_x).T @ mean_y
    # Channels that are all dead leave nothing to scale by; any penalty gives them a kernel of zeros.
    penalty = (RIDGE if shrinkage is None else shrinkage) * (float(np.mean(np.diag(xtx)[:width])) or 1.0)
    kernel = np.linalg.solve(cov_xx + penalty * np.eye(width), cov_xy)
    bias = mean_y - mean_x @ kernel
    total = float(np.sum(sums.y_squares) - np.sum(n * mean_y**2))
    residual = total - 2 * float(np.sum(kernel * cov_xy)) + float(np.sum(kernel * (cov_xx @ kernel)))
    r2 = 1 - residual / total if total > 0 else 0.0
    return kernel.astype(np.float32), bias.astype(np.float32), r2


def closed(solution: Solution, source: Cut, target: Cut) -> Stitch:
    """The stitch of a closed-form solution between two cuts: every step starts at its share of it."""
    ends = source.layout, target.layout
    values = {name: value for step in between(*ends) for name, value in step.start(solution).items()}
    return Stitch(values.pop("kernel"), values.pop("bias"), *ends, target.clamp, values)
