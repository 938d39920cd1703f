"""Cluttered digits, made on the spot of scikit-learn's: each turned and shifted, among fragments of others.

After the cluttered MNIST of Mnih et al. 2014 (Recurrent Models of Visual Attention), a quarter of its side.
"""

from __future__ import annotations

import numpy as np

NAME = "cluttered-digits"
SIDE = 16
# Images of each split, and the share of the digits that they are made of: no two splits share a digit.
IMAGES = {"train": 24_000, "val": 2_000, "test": 2_000}
_SHARES = {"train": 0.6, "val": 0.2, "test": 0.2}
_SEED = 0
_TURN = np.pi / 9  # radians, either way
_FRAGMENTS, _FRAGMENT = 4, 3  # so many of each image, of so many pixels a side


def arrays() -> dict[str, np.ndarray]:
    """``x_train``, ``y_train`` and so on as an ``.npz`` would hold them: uint8 ``(n, 16, 16)``, the same every time."""
    from sklearn.datasets import load_digits

    bundle = load_digits()
    rng = np.random.default_rng(_SEED)
    content = {"class_names": np.asarray([str(name) for name in bundle.target_names])}
    for split, rows in homes(len(bundle.images), rng).items():
        chosen = rows[np.arange(IMAGES[split]) % len(rows)]
        content[f"x_{split}"] = _cluttered(bundle.images[chosen] / 16, bundle.images[rows] / 16, rng)
        content[f"y_{split}"] = bundle.target[chosen]
    return content


def homes(count: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Which of so many digits the images of each split are made of."""
    stops = np.cumsum([int(share * count) for share in _SHARES.values()])
    return dict(zip(_SHARES, np.split(rng.permutation(count), stops), strict=False))


def _cluttered(digits: np.ndarray, others: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Digits ``(n, 8, 8)`` of 0..1 as images ``(n, 16, 16)`` of 0..255."""
    images = _placed(digits, rng)
    for _ in range(_FRAGMENTS):
        _strew(images, others[rng.integers(len(others), size=len(images))], rng)
    return np.rint(255 * images).astype(np.uint8)


def _placed(digits: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Each somewhere in an image, turned around its middle."""
    n, side = len(digits), digits.shape[1]
    angle, middle = rng.uniform(-_TURN, _TURN, (n, 1, 1)), rng.uniform(side / 2, SIDE - side / 2, (2, n, 1, 1)) - 0.5
    dy, dx = np.mgrid[:SIDE, :SIDE][:, None] - middle
    half = (side - 1) / 2
    y, x = np.cos(angle) * dy - np.sin(angle) * dx + half, np.sin(angle) * dy + np.cos(angle) * dx + half
    return _sampled(digits, y, x)


def _sampled(digits: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Bilinear, at places ``(n, h, w)`` that may lie beside the digits, where nothing is."""
    padded = np.pad(digits, ((0, 0), (1, 1), (1, 1)))
    y, x = (np.clip(place + 1, 0, padded.shape[1] - 1.001) for place in (y, x))
    top, left = y.astype(int), x.astype(int)
    down, right, row = y - top, x - left, np.arange(len(digits))[:, None, None]
    above = padded[row, top, left] * (1 - right) + padded[row, top, left + 1] * right
    below = padded[row, top + 1, left] * (1 - right) + padded[row, top + 1, left + 1] * right
    return above * (1 - down) + below * down


def _strew(images: np.ndarray, others: np.ndarray, rng: np.random.Generator) -> None:
    """A fragment of another digit somewhere on each image."""
    row, patch = np.arange(len(images))[:, None, None], np.mgrid[:_FRAGMENT, :_FRAGMENT][:, None]
    cut = rng.integers(others.shape[1] - _FRAGMENT + 1, size=(2, len(images), 1, 1)) + patch
    place = rng.integers(SIDE - _FRAGMENT + 1, size=(2, len(images), 1, 1)) + patch
    here = row, place[0], place[1]
    images[here] = np.maximum(images[here], others[row, cut[0], cut[1]])
