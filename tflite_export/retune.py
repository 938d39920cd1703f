"""Norms tuned for one route, in a graph whose norms the converter has folded into convolutions.

A batch norm behind a convolution scales its output channels. Another scale there changes integer
weights only through their scales, and the shift only the bias: the integers stay the anchor's. In
float the weights themselves differ; to share them the factor stands behind the convolution instead.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from tflite_export import emit
from tflite_export.errors import UnsharedError
from tflite_export.flatbuffer import Operator, Tensor

_FOLDED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
# Of the largest weight: float weights as the converter folds them differ from ours by the order of the
# arithmetic, half floats by their rounding.
_ERRORS = {"FLOAT32": 1e-4, "FLOAT16": 1e-3}
# A bias over a smaller factor could be beyond a float.
_LEAST_FACTOR = 1e-30


class Retuned(Protocol):
    """A convolution whose norm a route has tuned.

    ``weights`` are the anchor's own, folded, with the output channel last: by them the operator is
    found. ``ratio`` ``(c,)`` is the new scale of each channel over the old one, ``bias`` ``(c,)`` the
    new folded bias.
    """

    @property
    def name(self) -> str:
        """What to call it."""
        ...

    @property
    def weights(self) -> np.ndarray:
        """``(..., c)``."""
        ...

    @property
    def ratio(self) -> np.ndarray:
        """``(c,)``."""
        ...

    @property
    def bias(self) -> np.ndarray:
        """``(c,)``."""
        ...


def apply(operators: Sequence[Operator], tuned: Retuned, *, share: bool) -> list[Operator]:
    """The operators with one norm retuned; none given is changed.

    ``share`` keeps the anchor's weight buffer wherever that is the smaller file. Raises UnsharedError
    where no operator, or more than one, holds the weights.
    """
    place, axis = _find(operators, tuned)
    operator = operators[place]
    weights = _stored(operators, operator)
    if weights.scales:
        fresh = [_rescaled(operator, weights, tuned, axis)]
    elif share and np.all(np.abs(tuned.ratio) > _LEAST_FACTOR) and weights.nbytes > 4 * len(tuned.ratio):
        fresh = _factored(operator, tuned)
    else:
        values = weights.values() * _along(tuned.ratio, axis, len(weights.shape))
        fresh, operands = [], [operator.inputs[0]]
        for kind, array in (("weights", values), ("bias", tuned.bias)):
            # In the type of the anchor's weights: float16 ones stand behind a DEQUANTIZE.
            folded = emit.constant(np.asarray(array, weights.values().dtype), f"{tuned.name}/{kind}")
            if weights.type == "FLOAT16":
                fresh.append(emit.dequantize(folded))
                folded = fresh[-1].outputs[0]
            operands.append(folded)
        fresh.append(emit.with_inputs(operator, operands))
    return [*operators[:place], *fresh, *operators[place + 1 :]]


def _rescaled(operator: Operator, weights: Tensor, tuned: Retuned, axis: int) -> Operator:
    """The same integers with other scales; integers of their own where a sign turns or a scale is too small.

    A scale must be above zero, and so large that the bias, which is counted in its units, has room.
    """
    if len(weights.scales) == 1 and not np.allclose(tuned.ratio, tuned.ratio[0]):
        raise UnsharedError(f"{tuned.name}: the weights have one scale, so channels cannot be tuned apart")
    step = _operand(operator, 0).scales
    old_bias = operator.inputs[2] if len(operator.inputs) > 2 else None
    kind = np.int64 if old_bias is not None and old_bias.type == "INT64" else np.int32
    signed = np.asarray(weights.scales, np.float64) * tuned.ratio
    scales = np.maximum(np.abs(signed), emit.LEAST_SCALE)
    if step:
        scales = np.maximum(scales, np.abs(tuned.bias) / (step[0] * emit.BIAS_ROOM[kind]))
    if len(weights.scales) == 1:
        scales = np.full_like(scales, scales.max())
    fresh = Tensor(copy.copy(weights.table), weights.buffer)
    fresh.table.quantization = emit.quantisation(
        scales[: len(weights.scales)], np.zeros(len(weights.scales)), weights.table.quantization.quantizedDimension
    )
    if not np.array_equal(signed, scales):
        integers = np.rint(weights.values() * _along(signed / scales, axis, len(weights.shape)))
        fresh.buffer = emit.constant(integers.astype(np.int8), "").buffer
    if step:
        units = step[0] * scales
        rounded = np.rint(tuned.bias / units).astype(kind)
        bias = emit.constant(rounded, f"{tuned.name}/bias", np.asarray(units, np.float32))
    else:  # integer weights alone
        bias = emit.constant(np.asarray(tuned.bias, np.float32), f"{tuned.name}/bias")
    return emit.with_inputs(operator, [operator.inputs[0], fresh, bias])


def _factored(operator: Operator, tuned: Retuned) -> list[Operator]:
    """``act(r * (conv(x) + b / r))``: the anchor's weights, a bias and a factor of this route."""
    old = operator.outputs[0]
    between = emit.activation(old.shape, old.type, f"{tuned.name}/unscaled")
    bias = emit.constant(np.asarray(tuned.bias / tuned.ratio, np.float32), f"{tuned.name}/bias")
    conv = emit.with_inputs(operator, [*operator.inputs[:2], bias], [between])
    conv.table.builtinOptions = copy.copy(conv.table.builtinOptions)
    activation = conv.table.builtinOptions.fusedActivationFunction
    conv.table.builtinOptions.fusedActivationFunction = 0
    factors = emit.constant(np.asarray(tuned.ratio, np.float32), f"{tuned.name}/factors")
    return [conv, emit.mul(between, factors, old, activation)]


def _find(operators: Sequence[Operator], tuned: Retuned) -> tuple[int, int]:
    """The place of the operator that holds the weights, and the axis of its output channels."""
    hits = []
    for place, operator in enumerate(operators):
        if operator.name not in _FOLDED:
            continue
        weights = _stored(operators, operator)
        axis = 3 if operator.name == "DEPTHWISE_CONV_2D" else 0
        if weights.constant and _equal(weights, tuned, axis):
            hits.append((place, axis))
    if len(hits) != 1:
        raise UnsharedError(f"{tuned.name}: {len(hits)} operators hold its weights; one is needed")
    return hits[0]


def _equal(weights: Tensor, tuned: Retuned, axis: int) -> bool:
    expected = tuned.weights if axis == len(weights.shape) - 1 else np.moveaxis(tuned.weights, -1, 0)
    if expected.shape != weights.shape:
        return False
    values = weights.values().astype(np.float32)
    tolerance = np.asarray(_ERRORS.get(weights.type, 1e-4) * np.abs(expected).max())
    if weights.scales:
        scales = _along(np.asarray(weights.scales), axis, values.ndim) if len(weights.scales) > 1 else weights.scales[0]
        values, tolerance = values * scales, 0.51 * scales + tolerance
    return bool(np.all(np.abs(values - expected) <= tolerance))


def _stored(operators: Sequence[Operator], operator: Operator) -> Tensor:
    """An operator's weights as the file holds them, which may be behind a DEQUANTIZE."""
    weights = _operand(operator, 1)
    for before in operators:
        if before.name == "DEQUANTIZE" and weights in before.outputs:
            return _operand(before, 0)
    return weights


def _operand(operator: Operator, index: int) -> Tensor:
    operand = operator.inputs[index]
    if operand is None:
        raise UnsharedError(f"{operator.name} has no operand {index}")
    return operand


def _along(values: np.ndarray, axis: int, rank: int) -> np.ndarray:
    shape = [1] * rank
    shape[axis] = -1
    return np.reshape(values, shape)
