"""Grids at another height and width in NumPy: the same values as the Keras layers of ``stitch.resample``."""

from __future__ import annotations

import numpy as np


def resampled(grid: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Features ``(n, h, w, c)`` as ``(n, *size, c)``, float32.

    A whole ratio down is a mean over windows, anything else a bilinear resize with half-pixel centres.
    """
    n, h, w, c = grid.shape
    high, wide = size
    if (h, w) == size:
        return grid
    if h % high == 0 and w % wide == 0:
        windows = grid.reshape(n, high, h // high, wide, w // wide, c)
        return windows.mean(axis=(2, 4), dtype=np.float32)
    rows, columns = _weights(h, high), _weights(w, wide)
    return np.einsum("ah,nhwc,bw->nabc", rows, grid, columns, optimize=True).astype(np.float32)


def _weights(before: int, after: int) -> np.ndarray:
    """What each of ``after`` places along a side takes of ``before`` ones: ``(after, before)``."""
    centres = np.clip((np.arange(after) + 0.5) * before / after - 0.5, 0, before - 1)
    low = np.floor(centres).astype(int)
    part = (centres - low).astype(np.float32)
    found = np.zeros((after, before), np.float32)
    found[np.arange(after), low] = 1 - part
    found[np.arange(after), np.minimum(low + 1, before - 1)] += part
    return found
