"""Convolutions, dense layers, matrix products and pools: what sums up."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from tflite_export.errors import TfliteError
from tflite_export.flatbuffer import Operator, Tensor, schema
from tflite_export.plainc.factors import Factor, factor, limits, scale, single, zero_point
from tflite_export.plainc.layers import CLayer, Constant, Fields, bytes_of, operand, operands, option


def convolution(operator: Operator) -> list[CLayer]:
    """CONV_2D; raises TfliteError for weights that are not constant and for groups."""
    x, weights, y = _weighted(operator)
    if weights.shape[3] != x.shape[3]:
        raise TfliteError(f"CONV_2D has groups: weights {weights.shape} on {x.shape[3]} channels")
    record = _convolution(operator, x, weights, y, weights.shape[1:3], channel=0)
    return [CLayer("conv", record, (x,), y, shift=_shift(record["window"]))]


def depthwise(operator: Operator) -> list[CLayer]:
    """DEPTHWISE_CONV_2D."""
    x, weights, y = _weighted(operator)
    record = _convolution(operator, x, weights, y, weights.shape[1:3], channel=3)
    return [CLayer("depthwise", record, (x,), y, shift=_shift(record["window"]))]


def dense(operator: Operator) -> list[CLayer]:
    """FULLY_CONNECTED, on as many rows as its input has."""
    x, weights, y = _weighted(operator)
    out_c, in_c = weights.shape
    one = len(weights.scales) == 1
    # Of one scale for all, both are floats of 32 bits, and so is their product.
    common = factor(single(scale(x) * weights.scales[0]) / scale(y))
    factors = [common] if one else _factors(x, weights, y, out_c)
    record = {
        "rows": prod(x.shape) // in_c,
        "in_c": in_c,
        "out_c": out_c,
        "per_channel": int(not one),
        "scaling": _scaling(operator, x, y, factors),
        "weights": bytes_of(weights),
        "bias": _bias(operator),
    }
    return [CLayer("dense", record, (x,), y)]


def matmul(operator: Operator) -> list[CLayer]:
    """BATCH_MATMUL of as many matrices on both sides; raises TfliteError for others."""
    a, b = operands(operator)[:2]
    y = operator.outputs[0]
    a_turned, b_turned = (bool(option(operator, name, False)) for name in ("adjX", "adjY"))
    rows, columns = y.shape[-2:]
    depth = a.shape[-2] if a_turned else a.shape[-1]
    if prod(a.shape[:-2]) != prod(y.shape[:-2]) or prod(b.shape[:-2]) != prod(y.shape[:-2]):
        raise TfliteError(f"BATCH_MATMUL has {a.shape} and {b.shape}; as many matrices are needed on both sides")
    one = factor(single(scale(a) * scale(b)) / scale(y))
    record = {
        "batches": prod(y.shape[:-2]),
        "rows": rows,
        "depth": depth,
        "columns": columns,
        "a_offset": -zero_point(a),
        "b_offset": -zero_point(b),
        "out_offset": zero_point(y),
        "a_turned": int(a_turned),
        "b_turned": int(b_turned),
        **_one(one),
    }
    return [CLayer("matmul", record, (operand(a), operand(b)), y)]


def average_pool(operator: Operator) -> list[CLayer]:
    """AVERAGE_POOL_2D."""
    return _pool(operator, "average_pool")


def max_pool(operator: Operator) -> list[CLayer]:
    """MAX_POOL_2D."""
    return _pool(operator, "max_pool")


def _pool(operator: Operator, kernel: str) -> list[CLayer]:
    x, y = operands(operator)[0], operator.outputs[0]
    window = _window(operator, x, y, (option(operator, "filterHeight", 0), option(operator, "filterWidth", 0)))
    low, high = limits(option(operator, "fusedActivationFunction"), y)
    return [CLayer(kernel, {"window": window, "low": low, "high": high}, (x,), y, shift=_shift(window))]


def _shift(window: Fields) -> tuple[int, int]:
    """How far from its operand's beginning a result must begin that is written pixel by pixel as the operand is read.

    Before it, from the first pixel on: none may be written over the first number that its own window or that of a later
    pixel still reads. Behind it, from the last pixel on: none over the last such number.
    """
    before = np.arange(window["out_h"] * window["out_w"]) * window["out_c"]
    needed = np.minimum.accumulate(_corners(window, last=False)[::-1])[::-1]
    read = np.maximum.accumulate(_corners(window, last=True) + window["in_c"])
    return max(0, int((before + window["out_c"] - needed).max())), max(0, int((read - before).max()))


def _corners(window: Fields, last: bool) -> np.ndarray:
    """By pixel of a result where the first or the last pixel of its window begins in the image."""
    places = []
    for side in "hw":
        start = np.arange(window[f"out_{side}"]) * window[f"stride_{side}"] - window[f"pad_{side}"]
        reach = (window[f"kernel_{side}"] - 1) * window[f"dilation_{side}"] if last else 0
        places.append(np.clip(start + reach, 0, window[f"in_{side}"] - 1))
    return ((places[0][:, None] * window["in_w"] + places[1]) * window["in_c"]).reshape(-1)


def _weighted(operator: Operator) -> tuple[Tensor, Tensor, Tensor]:
    x, weights = operands(operator)[:2]
    if not weights.constant:
        raise TfliteError(f"{operator.name} has weights that are not constant")
    return x, weights, operator.outputs[0]


def _convolution(
    operator: Operator, x: Tensor, weights: Tensor, y: Tensor, size: tuple[int, ...], channel: int
) -> Fields:
    factors = _factors(x, weights, y, weights.shape[channel])
    return {
        "window": _window(operator, x, y, size),
        "scaling": _scaling(operator, x, y, factors),
        "weights": bytes_of(weights),
        "bias": _bias(operator),
    }


def _window(operator: Operator, x: Tensor, y: Tensor, size: tuple[int, ...]) -> Fields:
    _, in_h, in_w, in_c = x.shape
    _, out_h, out_w, out_c = y.shape
    steps = option(operator, "strideH", 1), option(operator, "strideW", 1)
    apart = option(operator, "dilationHFactor", 1), option(operator, "dilationWFactor", 1)
    same = option(operator, "padding") == schema().Padding.SAME
    pads = [
        max(0, (out - 1) * step + (taps - 1) * gap + 1 - there) // 2 if same else 0
        for out, step, taps, gap, there in zip((out_h, out_w), steps, size, apart, (in_h, in_w), strict=True)
    ]
    return {
        "in_h": in_h,
        "in_w": in_w,
        "in_c": in_c,
        "out_h": out_h,
        "out_w": out_w,
        "out_c": out_c,
        "kernel_h": size[0],
        "kernel_w": size[1],
        "stride_h": steps[0],
        "stride_w": steps[1],
        "dilation_h": apart[0],
        "dilation_w": apart[1],
        "pad_h": pads[0],
        "pad_w": pads[1],
        "reversed": 0,
    }


def _factors(x: Tensor, weights: Tensor, y: Tensor, channels: int) -> list[Factor]:
    """One for each channel of the result."""
    scales = weights.scales if len(weights.scales) == channels else weights.scales * channels
    return [factor(scale(x) * own / scale(y)) for own in scales]


def _scaling(operator: Operator, x: Tensor, y: Tensor, factors: list[Factor]) -> Fields:
    low, high = limits(option(operator, "fusedActivationFunction"), y)
    return {
        "multiplier": Constant("int32_t", np.array([one.multiplier for one in factors], np.int32)),
        "shift": Constant("restnet_shift", np.array([one.shift for one in factors], np.int8)),
        "in_offset": -zero_point(x),
        "out_offset": zero_point(y),
        "low": low,
        "high": high,
    }


def _bias(operator: Operator) -> Constant | None:
    tensor = operator.inputs[2] if len(operator.inputs) > 2 else None
    if tensor is None:
        return None
    if not tensor.constant or tensor.type != "INT32":
        raise TfliteError(f"{operator.name} has a bias of {tensor.type} that is not constant int32")
    return Constant("int32_t", tensor.values().reshape(-1))


def _one(one: Factor) -> dict[str, Any]:
    return {"multiplier": one.multiplier, "shift": one.shift}
