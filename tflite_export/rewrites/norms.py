"""Norms along the channels, written as the operator L2_NORMALIZATION.

``(x - mean) / sqrt(variance) = sqrt(n) * (x - mean) / |x - mean|``. The operator sums squares without rounding them
and gives what it makes in steps of 1/128, where squares, their mean and its root are each rounded to eight bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from tflite_export.rewrites import graph

if TYPE_CHECKING:
    import keras

# What TensorFlow's own l2_normalize has; the operator divides nothing by zero either.
_LEAST = 1e-12
# What an epsilon may change of what a norm gives.
_EPSILON = 2e-5


@dataclass(frozen=True)
class Norm:
    """What a layer does: ``(x - mean) / sqrt(variance + epsilon) * gamma + beta``, ``(c,)`` each.

    Without a mean it is the root mean square that is brought to one.
    """

    layer: Any
    mean: bool
    epsilon: float
    gamma: np.ndarray
    beta: np.ndarray


def norm(layer: Any, shape: tuple[int, ...]) -> Norm | None:
    """The norm along the last axis of a ``shape`` that a layer is; None where it is another layer."""
    import keras

    kinds = keras.layers
    if type(layer) is kinds.LayerNormalization and not layer.rms_scaling:
        mean, scale, shift = True, layer.gamma, layer.beta
    elif type(layer) is getattr(kinds, "RMSNormalization", None):
        mean, scale, shift = False, layer.scale, None
    else:
        return None
    axes = layer.axis if isinstance(layer.axis, list | tuple) else [layer.axis]
    if list(axes) not in ([-1], [len(shape) - 1]):
        return None
    gamma = np.ones(shape[-1], np.float32) if scale is None else np.asarray(scale, np.float32)
    beta = np.zeros(shape[-1], np.float32) if shift is None else np.asarray(shift, np.float32)
    return Norm(layer, mean, float(layer.epsilon), gamma, beta)


def replacements(model: keras.Model, images: np.ndarray) -> dict[int, Any]:
    """By the ``id`` of each norm of a flat model whose epsilon does not matter on these images: its other form."""
    import keras

    nodes = [
        (node, found) for node in graph.calls(model) if (found := norm(node.operation, node.input_tensors[0].shape))
    ]
    if not nodes:
        return {}
    read = keras.Model(model.inputs[0], [node.input_tensors[0] for node, _ in nodes])
    values = graph.run(read, images)
    matters = {id(n.layer) for (_, n), x in zip(nodes, values, strict=True) if not _negligible(n, x)}
    return {id(n.layer): as_l2(n) for _, n in nodes if id(n.layer) not in matters}


def _negligible(found: Norm, x: np.ndarray) -> bool:
    """Whether a norm without its epsilon is the same function for such values as floats go."""
    power = np.var(x, axis=-1) if found.mean else np.mean(np.square(x), axis=-1)
    return bool(power.min() > found.epsilon / (2 * _EPSILON))


def as_l2(found: Norm) -> Any:
    """A layer that does what a norm does where its epsilon is too small to matter."""
    root = np.sqrt(np.float32(len(found.gamma)))
    return _kind()(root * found.gamma, found.beta, mean=found.mean, name=found.layer.name)


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
