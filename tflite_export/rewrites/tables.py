"""Layers that add the same values to every image, as tables of positions do."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np


def table(layer: Any, shape: tuple[Any, ...]) -> np.ndarray | None:
    """What a layer adds to everything of a ``shape`` ``(n, ..., c)``; None where it does anything else.

    Found by trying: it has one weight, gives that for zeros, and anything else with that added.
    """
    if type(layer) is _kind():
        return np.asarray(layer.values)
    weights = list(getattr(layer, "weights", ()))
    if len(weights) != 1 or None in shape[1:] or type(layer).__module__.startswith("keras."):
        return None
    values = np.asarray(weights[0], np.float32)
    if values.shape[-1:] != tuple(shape[-1:]) or values.ndim > len(shape):
        return None
    x = np.random.default_rng(0).normal(size=(1, *shape[1:])).astype(np.float32)
    zero, shifted = (np.asarray(layer(v)) for v in (np.zeros_like(x), x))
    plain = zero.shape == x.shape and np.allclose(zero, np.broadcast_to(values, x.shape))
    return zero[0] if plain and np.allclose(shifted, x + zero, atol=1e-5) else None


def adding(values: np.ndarray, name: str) -> Any:
    """A layer that adds ``(..., c)`` to every image."""
    return _kind()(values.astype(np.float32), name=name)


@cache
def _kind() -> Any:
    import keras

    class Table(keras.layers.Layer):
        def __init__(self, values: np.ndarray, *, name: str) -> None:
            super().__init__(name=name)
            self.values = values

        def call(self, inputs: Any) -> Any:
            return inputs + self.values

    return Table
