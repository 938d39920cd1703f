"""Files of one int8 operator each, with seeded weights and odd scales: what kernels are held against LiteRT with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from operators import file, operator

from tflite_export import emit
from tflite_export.flatbuffer import Tensor, schema

RELU, RELU6 = 1, 3


def steps(shape: Sequence[int], scale: float, zero_point: int = 0, name: str = "x") -> Tensor:
    """An activation."""
    made = emit.activation(tuple(shape), "INT8", name)
    made.table.quantization = emit.quantisation(np.array([scale], np.float32), np.array([zero_point]))
    return made


def weights(shape: Sequence[int], seed: int, channels: int = 1, axis: int = 0, spread: float = 0.01) -> Tensor:
    """Constants of all numbers, with a scale for each channel."""
    rng = np.random.default_rng(seed)
    scales = rng.uniform(spread / 4, spread, channels).astype(np.float32)
    return emit.constant(rng.integers(-127, 128, tuple(shape)).astype(np.int8), "w", scales, axis=axis)


def constant(shape: Sequence[int], scale: float, zero_point: int, seed: int) -> Tensor:
    """A constant operand of all numbers."""
    values = np.random.default_rng(seed).integers(-128, 128, tuple(shape)).astype(np.int8)
    made = emit.constant(values, "c", np.array([scale], np.float32))
    made.table.quantization = emit.quantisation(np.array([scale], np.float32), np.array([zero_point]))
    return made


def numbers(values: Any) -> Tensor:
    """A constant of axes, shapes or places."""
    return emit.constant(np.array(values, np.int32), "numbers")


def convolution(
    x: Sequence[int],
    taps: Sequence[int],
    channels: int,
    *,
    stride: int = 1,
    dilation: int = 1,
    same: bool = True,
    fused: int = 0,
    seed: int = 0,
    multiplier: int = 0,
) -> bytes:
    """CONV_2D of an image, or DEPTHWISE_CONV_2D where there is a depth multiplier."""
    deep = multiplier > 0
    out_c = x[3] * multiplier if deep else channels
    shape = (1, *taps, out_c) if deep else (out_c, *taps, x[3])
    pads = schema().Padding
    reach = [(tap - 1) * dilation + 1 for tap in taps]
    out = [-(-size // stride) if same else (size - r) // stride + 1 for size, r in zip(x[1:3], reach, strict=True)]
    rng = np.random.default_rng(seed + 1)
    bias = emit.constant(rng.integers(-3000, 3000, out_c).astype(np.int32), "b", np.full(out_c, 1e-4, np.float32))
    given = [steps(x, 0.031, -11), weights(shape, seed, out_c, axis=3 if deep else 0), bias]
    options = {"strideH": stride, "strideW": stride, "padding": pads.SAME if same else pads.VALID} | {
        "fusedActivationFunction": fused,
        "dilationHFactor": dilation,
        "dilationWFactor": dilation,
    }
    y = steps((1, *out, out_c), 0.093, 7, "y")
    if deep:
        options["depthMultiplier"] = multiplier
        return file(operator("DEPTHWISE_CONV_2D", given, y, "DepthwiseConv2DOptions", **options))
    return file(operator("CONV_2D", given, y, "Conv2DOptions", **options))


def dense(rows: int, in_c: int, out_c: int, seed: int = 0, *, each: bool = False, bias: bool = True) -> bytes:
    """FULLY_CONNECTED, with a scale for all weights or for each channel's."""
    rng = np.random.default_rng(seed + 1)
    w = weights((out_c, in_c), seed, out_c if each else 1)
    b = emit.constant(rng.integers(-3000, 3000, out_c).astype(np.int32), "b", np.array([1e-4], np.float32))
    given = [steps((rows, in_c), 0.031, -11), w, b if bias else None]
    return file(operator("FULLY_CONNECTED", given, steps((rows, out_c), 0.12, 7, "y"), "FullyConnectedOptions"))


def pool(name: str, x: Sequence[int], size: int, stride: int, same: bool, fused: int = 0) -> bytes:
    """A pooling of square windows."""
    out = [-(-n // stride) if same else (n - size) // stride + 1 for n in x[1:3]]
    pads = schema().Padding
    options = {"strideH": stride, "strideW": stride, "filterHeight": size, "filterWidth": size}
    options |= {"padding": pads.SAME if same else pads.VALID, "fusedActivationFunction": fused}
    return file(operator(name, [steps(x, 0.05, -3)], steps((1, *out, x[3]), 0.05, -3, "y"), "Pool2DOptions", **options))


def pair(
    name: str, x: Sequence[int], other: Tensor | None, out: Sequence[int], scale: float = 0.07, fused: int = 0
) -> bytes:
    """ADD, SUB, MUL or SQUARED_DIFFERENCE of an input with a constant, or with itself turned round by a table."""
    kinds = {"ADD": "AddOptions", "SUB": "SubOptions", "MUL": "MulOptions", "SQUARED_DIFFERENCE": ""}
    entry, y = steps(x, 0.031, -11), steps(out, scale, 5, "y")
    lead, second = [], other
    if second is None:
        second = steps(x, 0.013, 21, "z")
        lead = [operator("QUANTIZE", [entry], second, "QuantizeOptions")]
    values = {} if name == "SQUARED_DIFFERENCE" else {"fusedActivationFunction": fused}
    return file(*lead, operator(name, [entry, second], y, kinds[name], **values))


def mean(x: Sequence[int], axes: Sequence[int], keep: bool = False, scale: float = 0.02) -> bytes:
    """MEAN."""
    out = (
        [1 if n in axes else size for n, size in enumerate(x)]
        if keep
        else [s for n, s in enumerate(x) if n not in axes]
    )
    given = [steps(x, 0.031, -11), numbers(axes)]
    return file(operator("MEAN", given, steps(out, scale, 5, "y"), "ReducerOptions", keepDims=keep))


def softmax(x: Sequence[int], scale: float, beta: float = 1.0) -> bytes:
    """SOFTMAX along the last dimension."""
    return file(operator("SOFTMAX", [steps(x, scale, 9)], steps(x, 1 / 256, -128, "y"), "SoftmaxOptions", beta=beta))


def normalised(x: Sequence[int]) -> bytes:
    """L2_NORMALIZATION along the last dimension."""
    return file(operator("L2_NORMALIZATION", [steps(x, 0.031, -11)], steps(x, 1 / 128, 0, "y"), "L2NormOptions"))


def unary(name: str, scale: float, zero_point: int, out_scale: float, out_zero: int, **values: Any) -> bytes:
    """A function of single numbers."""
    kinds = {"LEAKY_RELU": "LeakyReluOptions", "GELU": "GeluOptions", "QUANTIZE": "QuantizeOptions"}
    x, y = steps((1, 4, 64), scale, zero_point), steps((1, 4, 64), out_scale, out_zero, "y")
    return file(operator(name, [x], y, kinds.get(name, ""), **values))


def moved(name: str, x: Sequence[int], out: Sequence[int], *others: Tensor, kind: str = "", **values: Any) -> bytes:
    """An operator that moves numbers: of an input, with constant operands behind it."""
    given = [steps(x, 0.031, -11), *others]
    return file(operator(name, given, steps(out, 0.031, -11, "y"), kind, **values))


def product(batches: int, rows: int, depth: int, columns: int, *, left: bool = False, right: bool = False) -> bytes:
    """BATCH_MATMUL of an input with itself at another scale, its other shape by RESHAPE."""
    a_shape = (1, batches, depth, rows) if left else (1, batches, rows, depth)
    b_shape = (1, batches, columns, depth) if right else (1, batches, depth, columns)
    entry = steps(a_shape, 0.031, -11)
    other = constant(b_shape, 0.027, 3, seed=4)
    y = steps((1, batches, rows, columns), 0.4, 5, "y")
    return file(operator("BATCH_MATMUL", [entry, other], y, "BatchMatMulOptions", adjX=left, adjY=right))
