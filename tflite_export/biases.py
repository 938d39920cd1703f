"""Biases that take back what rounding the weights moves each channel by, on average over calibration images.

Where a float layer gives ``x W``, the one of integers gives ``x (W + E)``. The mean of ``x E`` is that of ``x`` times
``E``, and a bias has finer steps than anything else (Nagel et al. 2019, "Data-free quantization", section 4.2; here
with measured means).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tflite_export import emit
from tflite_export.flatbuffer import Model, Operator, Tensor, only, read, write


def corrected(content: bytes, network: Model, of: Mapping[str, np.ndarray]) -> bytes:
    """A file of integers with other biases, by the float network that it was made of and what is read there on average.

    Operators that the float network does not have by the same name, and those without a bias, stay as they are.
    """
    model = read(content)
    graph = only(model)
    exact = {op.outputs[0].name: op for op in only(network).operators}
    for operator in graph.operators:
        name = operator.outputs[0].name
        if name in of and exact[name].name == operator.name:
            _correct(operator, exact[name], of[name])
    touched = {id(t) for op in graph.operators for t in (*op.inputs, *op.outputs)}
    graph.tensors = [t for t in graph.tensors if not t.constant or id(t) in touched]  # the old biases go
    return write(model)


def moved(operator: Operator, exact: Operator, mean: np.ndarray) -> np.ndarray | None:
    """What each channel ``(c,)`` lacks of its float result, on the mean of what is read; None of other weights."""
    weights, twin = _weights(operator), _weights(exact)
    if weights is None or twin is None or weights.shape != twin.shape:
        return None
    return _moved(operator.name, weights, twin, mean)


def _weights(operator: Operator) -> Tensor | None:
    """An operator's constant weights; None where it has none."""
    weights = operator.inputs[1] if operator.name in emit.WEIGHTED else None
    return weights if weights is not None and weights.constant else None


def _correct(operator: Operator, exact: Operator, mean: np.ndarray) -> None:
    bias = operator.inputs[2] if len(operator.inputs) > 2 else None
    if bias is None or not bias.scales or (by := moved(operator, exact, mean)) is None:
        return
    kind = bias.values().dtype
    integers = bias.values() + emit.in_units(by, np.asarray(bias.scales, np.float64))
    fresh = emit.constant(emit.bias_integers(integers, kind), bias.name)
    fresh.table.quantization = bias.table.quantization
    operator.inputs[2] = fresh


def _moved(kind: str, weights: Tensor, twin: Tensor, mean: np.ndarray) -> np.ndarray | None:
    """By how much less each output channel gives ``(c,)``; None where what is read has other channels than weights."""
    axis = weights.table.quantization.quantizedDimension
    scales = np.asarray(weights.scales, np.float64)
    along = [-1 if place == axis and len(scales) > 1 else 1 for place in range(len(weights.shape))]
    lost = twin.values() - weights.values() * scales.reshape(along)
    if kind == "DEPTHWISE_CONV_2D":
        return np.asarray(lost.sum(axis=(0, 1, 2)) * np.repeat(mean, lost.shape[-1] // len(mean)))
    if lost.shape[-1] != len(mean):  # a grouped convolution
        return None
    return np.asarray(lost.reshape(len(lost), -1, len(mean)).sum(1) @ mean)
