"""Crops of the two photographs that scikit-learn ships: images for those who have given none.

They are enough to tell how alike networks are, to solve stitches and to find the ranges of integers: for these any
photograph will do. Whether a network is right they cannot say.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

NAME = "photographs"
SIDE = 224
# Crops of each split, from a part of the photographs of its own: no two splits share a pixel.
IMAGES = {"train": 160, "val": 64, "test": 64}
_SHARES = {"train": 0.6, "val": 0.2, "test": 0.2}  # of the width
_LEAST = 0.3  # of the shorter side of that part
_SEED = 0


def arrays() -> dict[str, np.ndarray]:
    """``x_train``, ``x_val`` and ``x_test``: uint8 ``(n, 224, 224, 3)``, the same every time."""
    from sklearn.datasets import load_sample_images

    photographs = [Image.fromarray(np.asarray(image)) for image in load_sample_images().images]
    rng = np.random.default_rng(_SEED)
    content, left = {}, 0.0
    for split, share in _SHARES.items():
        parts = [_part(photograph, left, left + share) for photograph in photographs]
        crops = [_crop(parts[i % len(parts)], rng) for i in range(IMAGES[split])]
        content[f"x_{split}"] = np.stack(crops)
        left += share
    return content


def _part(photograph: Image.Image, start: float, stop: float) -> Image.Image:
    """A vertical strip; ``start`` and ``stop`` are shares of the width."""
    width, height = photograph.size
    return photograph.crop((round(start * width), 0, round(stop * width), height))


def _crop(part: Image.Image, rng: np.random.Generator) -> np.ndarray:
    """A square of any size and place, perhaps mirrored."""
    shorter = min(part.size)
    side = int(rng.integers(round(_LEAST * shorter), shorter + 1))
    x, y = (int(rng.integers(0, whole - side + 1)) for whole in part.size)
    pixels = np.asarray(part.resize((SIDE, SIDE), Image.Resampling.BICUBIC, (x, y, x + side, y + side)))
    return pixels[:, ::-1] if rng.integers(2) else pixels
