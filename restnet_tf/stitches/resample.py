"""Grids at another height and width in NumPy: the same values as Keras' AveragePooling2D and Resizing."""

from __future__ import annotations

import numpy as np


def pooled(grid: np.ndarray, window: tuple[int, int]) -> np.ndarray:
    """Means of features ``(n, h, w, c)`` over whole windows, float32."""
    n, h, w, c = grid.shape
    high, wide = window
    windows = grid.reshape(n, h // high, high, w // wide, wide, c)
    return windows.mean(axis=(2, 4), dtype=np.float32)


def resized(grid: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Features ``(n, h, w, c)`` as ``(n, *size, c)``, float32: bilinear with half-pixel centres."""
    _, h, w, _ = grid.shape
    rows, columns = _shares(h, size[0]), _shares(w, size[1])
    return np.einsum("ah,nhwc,bw->nabc", rows, grid, columns, optimize=True).astype(np.float32)


def _shares(before: int, after: int) -> np.ndarray:
    """What each of ``after`` places along a side takes of ``before`` ones: ``(after, before)``."""
    centres = np.clip((np.arange(after) + 0.5) * before / after - 0.5, 0, before - 1)
    low = np.floor(centres).astype(int)
    part = (centres - low).astype(np.float32)
    shares = np.zeros((after, before), np.float32)
    shares[np.arange(after), low] = 1 - part
    shares[np.arange(after), np.minimum(low + 1, before - 1)] += part
    return shares
