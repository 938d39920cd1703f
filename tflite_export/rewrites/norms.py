"""Norms along the channels, written as the operator L2_NORMALIZATION.

``(x - mean) / sqrt(variance) = sqrt(n) * (x - mean) / |x - mean|``. The operator sums squares without rounding them
and gives what it makes in steps of 1/128, where squares, their mean and its root are each rounded to eight bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

# What TensorFlow's own l2_normalize has; the operator divides nothing by zero either.
_LEAST = 1e-12
# What an epsilon may change of what a norm gives.
_EPSILON = 2e-5


@dataclass(frozen=True)
class Norm:
    """What a layer does: ``(x - mean) / sqrt(variance + epsilon) * gamma + beta``, ``(c,)`` each.

    Without a mean it is the root mean square that is brought to one.
    """

    mean: bool
    epsilon: float
    gamma: np.ndarray
    beta: np.ndarray

    @property
    def factors(self) -> np.ndarray:
        """What a unit vector is multiplied with ``(c,)``."""
        return np.sqrt(len(self.gamma)) * self.gamma.astype(np.float64)

    def negligible(self, x: np.ndarray) -> bool:
        """Whether for such values ``(..., c)`` it is the same function without its epsilon, as floats go."""
        power = np.var(x, axis=-1) if self.mean else np.mean(np.square(x), axis=-1)
        return bool(power.min() > self.epsilon / (2 * _EPSILON))


def norm(node: Any) -> Norm | None:
    """The norm along the last axis that a call is; None where it is anything else."""
    import keras

    layer, kinds = node.operation, keras.layers
    if type(layer) is kinds.LayerNormalization and not layer.rms_scaling:
        mean, scale, shift = True, layer.gamma, layer.beta
    elif type(layer) is getattr(kinds, "RMSNormalization", None):
        mean, scale, shift = False, layer.scale, None
    else:
        return None
    axes = layer.axis if isinstance(layer.axis, list | tuple) else [layer.axis]
    shape = node.input_tensors[0].shape
    if list(axes) not in ([-1], [len(shape) - 1]):
        return None
    gamma = np.ones(shape[-1], np.float32) if scale is None else np.asarray(scale, np.float32)
    beta = np.zeros(shape[-1], np.float32) if shift is None else np.asarray(shift, np.float32)
    return Norm(mean, float(layer.epsilon), gamma, beta)


def l2(factors: np.ndarray, offsets: np.ndarray, *, mean: bool, name: str) -> Any:
    """A layer that brings every place to length one, less its mean if asked for, times factors, plus offsets."""
    return _kind()(factors.astype(np.float32), offsets.astype(np.float32), mean=mean, name=name)


@cache
def _kind() -> Any:
    import keras

    ops = keras.ops

    class L2Norm(keras.layers.Layer):
        def __init__(self, factors: np.ndarray, offsets: np.ndarray, *, mean: bool, name: str) -> None:
            super().__init__(name=name)
            self.factors, self.offsets, self.mean = factors, offsets, mean

        def call(self, inputs: Any) -> Any:
            y = self._apart(inputs) if self.mean else _unit(inputs)
            y = y if (self.factors == 1).all() else y * self.factors
            return y + self.offsets if self.offsets.any() else y

        def _apart(self, inputs: Any) -> Any:
            """Of other dimensions meanwhile: TensorFlow fuses a square with the difference before it otherwise."""
            off = inputs - ops.mean(inputs, axis=-1, keepdims=True)
            shape, channels = ops.shape(inputs), inputs.shape[-1]
            rows = ops.reshape(off, (-1, 1, channels) if len(shape) == 2 else (-1, channels))
            return ops.reshape(_unit(rows), shape)

    def _unit(x: Any) -> Any:
        return x * ops.rsqrt(ops.maximum(ops.sum(ops.square(x), axis=-1, keepdims=True), _LEAST))

    return L2Norm
