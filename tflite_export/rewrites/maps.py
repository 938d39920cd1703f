"""Layers with a linear map of channels worked into their weights, on the side that they write or that they read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tflite_export.rewrites import tables

_CONVOLUTIONS = ("Conv1D", "Conv2D")


@dataclass(frozen=True)
class Maps:
    """What is done to a layer.

    ``reads`` ``(c', c)`` makes the old channels of the new ones that it reads, ``writes`` ``(c, c')`` new channels of
    the old ones that it writes.
    """

    reads: np.ndarray | None = None
    writes: np.ndarray | None = None

    def read(self, kernel: np.ndarray, axis: int) -> np.ndarray:
        """A kernel whose ``axis`` is what it reads."""
        if self.reads is None:
            return kernel
        return np.moveaxis(np.tensordot(self.reads, kernel, (1, axis)), 0, axis)

    def written(self, values: np.ndarray) -> np.ndarray:
        """Values whose last axis is what is written."""
        return values if self.writes is None else values @ self.writes


def writes(node: Any) -> bool:
    """Whether what a call gives can be mapped by its weights."""
    layer = node.operation
    if type(layer).__name__ == "MultiHeadAttention":
        return _plain_attention(layer) and len(node.output_tensors) == 1
    return _linear(layer) and layer.activation.__name__ == "linear"


def reads(node: Any) -> bool:
    """Whether what a call reads can be mapped by its weights."""
    layer = node.operation
    if type(layer).__name__ == "MultiHeadAttention":
        return _plain_attention(layer) and len({id(t) for t in node.input_tensors}) == 1
    return _linear(layer)


def remade(node: Any, maps: Maps) -> Any:
    """A layer that does what the call's own does, with its channels mapped."""
    return _REMADE[type(node.operation).__name__](node, maps)


def joint(node: Any, maps: Maps) -> Any | None:
    """A layer that joins, arranges or shifts mapped channels as a call's own does; None where that does it itself."""
    layer = node.operation
    values = tables.table(layer, node.input_tensors[0].shape) if len(node.input_tensors) == 1 else None
    if values is not None:
        return tables.adding(maps.written(np.asarray(values, np.float64)), layer.name)
    if maps.writes is None or not hasattr(layer, "weights"):
        return None
    config = layer.get_config()
    if "target_shape" in config:
        config["target_shape"] = (*config["target_shape"][:-1], maps.writes.shape[1])
    return type(layer).from_config(config)


def _linear(layer: Any) -> bool:
    kind = type(layer).__name__
    return kind == "Dense" or (kind in _CONVOLUTIONS and layer.groups == 1 and layer.data_format == "channels_last")


def _plain_attention(layer: Any) -> bool:
    return not layer._use_gate and (layer._output_shape is None or len(layer._output_shape) == 1)


def _dense(node: Any, maps: Maps) -> Any:
    """A dense layer or a convolution: the last axis of its kernel writes, the one before it reads."""
    layer, shape = node.operation, list(node.input_tensors[0].shape)
    kernel = np.asarray(layer.kernel, np.float64)
    axis = kernel.ndim - 2
    values = [maps.written(maps.read(kernel, axis))]
    if layer.use_bias:
        values.append(maps.written(np.asarray(layer.bias, np.float64)))
    config = layer.get_config()
    config["units" if "units" in config else "filters"] = values[0].shape[-1]
    shape[-1] = values[0].shape[axis]
    return _made(type(layer).from_config(config), [tuple(shape)], values)


def _attention(node: Any, maps: Maps) -> Any:
    layer, shape = node.operation, list(node.input_tensors[0].shape)
    values: list[np.ndarray] = []
    for part in (layer._query_dense, layer._key_dense, layer._value_dense):
        values.append(maps.read(np.asarray(part.kernel, np.float64), 0))
        if part.bias is not None:
            values.append(np.asarray(part.bias, np.float64))
    out = layer._output_dense
    values.append(maps.written(np.asarray(out.kernel, np.float64)))
    if out.bias is not None:
        values.append(maps.written(np.asarray(out.bias, np.float64)))
    config = layer.get_config() | {"output_shape": (values[-1].shape[-1],)}
    shape[-1] = values[0].shape[0]
    return _made(type(layer).from_config(config), [tuple(shape)] * 2, values)


def _made(layer: Any, shapes: list[tuple[int, ...]], values: list[np.ndarray]) -> Any:
    layer.build(*shapes)
    layer.set_weights([value.astype(np.float32) for value in values])
    return layer


_REMADE: dict[str, Callable[[Any, Maps], Any]] = {
    "Dense": _dense,
    **dict.fromkeys(_CONVOLUTIONS, _dense),
    "MultiHeadAttention": _attention,
}
