"""Sums, differences and products, number by number; means; softmax; functions of single numbers as tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from math import prod

import numpy as np

from tflite_export.errors import TfliteError
from tflite_export.flatbuffer import Operator, Tensor
from tflite_export.lookups import Lookup
from tflite_export.plainc import functions
from tflite_export.plainc.factors import factor, limits, scale, single, zero_point
from tflite_export.plainc.layers import CLayer, Constant, Fields, axes, operand, operands, option
from tflite_export.plainc.loops import nested

_LOOPS = 4
_LIFT, _LIFT_SQUARE = 20, 7  # bits by which operands are lifted before they are rounded
_SOFTMAX_BITS = 5  # before the point of what the exponential function is given


def add(operator: Operator) -> list[CLayer]:
    """ADD and SUB."""
    a, b = operands(operator)[:2]
    y = operator.outputs[0]
    twice = 2 * max(scale(a), scale(b))
    sign = -1 if operator.name == "SUB" else 1
    low, high = limits(option(operator, "fusedActivationFunction"), y)
    record = _sum(a, b, y, twice, twice / (2**_LIFT * scale(y)), _LIFT) | {"low": low, "high": high}
    record["b_multiplier"] *= sign
    return [_pairwise("add", record, a, b, y)]


def square(operator: Operator) -> list[CLayer]:
    """SQUARED_DIFFERENCE."""
    a, b = operands(operator)[:2]
    y = operator.outputs[0]
    twice = 2 * max(scale(a), scale(b))
    record = _sum(a, b, y, twice, twice * twice / (2 ** (2 * _LIFT_SQUARE) * scale(y)), _LIFT_SQUARE)
    return [_pairwise("square", record | {"low": -128, "high": 127}, a, b, y)]


def mul(operator: Operator) -> list[CLayer]:
    """MUL."""
    a, b = operands(operator)[:2]
    y = operator.outputs[0]
    one = factor(single(single(scale(a) * scale(b)) / scale(y)))
    low, high = limits(option(operator, "fusedActivationFunction"), y)
    record = {
        "loops": _loops(a.shape, b.shape, y.shape),
        "multiplier": one.multiplier,
        "a_offset": -zero_point(a),
        "b_offset": -zero_point(b),
        "out_offset": zero_point(y),
        "shift": one.shift,
        "low": low,
        "high": high,
    }
    return [_pairwise("mul", record, a, b, y)]


def mean(operator: Operator) -> list[CLayer]:
    """MEAN over dimensions that lie side by side; raises TfliteError for others."""
    x, y = operands(operator)[0], operator.outputs[0]
    over = sorted(axis for axis in set(axes(operator, 1, len(x.shape))) if x.shape[axis] > 1)
    first, last = (over[0], over[-1]) if over else (0, -1)
    if any(x.shape[axis] > 1 for axis in range(first, last + 1) if axis not in over):
        raise TfliteError(f"MEAN is over the dimensions {over} of {x.shape}, which do not lie side by side")
    count = prod(x.shape[first : last + 1])
    whole = factor(scale(x) / scale(y))
    # The division by the count goes into the factor. Source: QuantizedMeanOrSum of TensorFlow Lite.
    lift = min(count.bit_length() - 1, 32, 31 + whole.shift)
    record = {
        "outer": prod(x.shape[:first]),
        "count": count,
        "inner": prod(x.shape[last + 1 :]),
        "in_offset": -zero_point(x),
        "out_offset": zero_point(y),
        "multiplier": (whole.multiplier << lift) // count,
        "shift": whole.shift - lift,
    }
    return [CLayer("mean", record, (x,), y)]


def softmax(operator: Operator) -> list[CLayer]:
    """SOFTMAX along the last dimension; raises TfliteError for scores of another scale than 1/256."""
    x, y = operands(operator)[0], operator.outputs[0]
    if (scale(y), zero_point(y)) != (1 / 256, -128):
        raise TfliteError(f"SOFTMAX gives scale {scale(y):g} and zero point {zero_point(y)}; 1/256 and -128 are needed")
    real = min(option(operator, "beta", 1.0) * scale(x) * 2 ** (31 - _SOFTMAX_BITS), 2**31 - 1.0)
    one = factor(real)
    least = -math.floor((2**_SOFTMAX_BITS - 1) * 2 ** (31 - _SOFTMAX_BITS) / 2**one.shift)
    record = {
        "rows": prod(x.shape[:-1]),
        "depth": x.shape[-1],
        "multiplier": one.multiplier,
        "shift": one.shift,
        "least": max(least, -256),
    }
    return [CLayer("softmax", record, (x,), y, in_place=(0,))]


def normalise(operator: Operator) -> list[CLayer]:
    """L2_NORMALIZATION along the last dimension; its result has scale 1/128."""
    x, y = operands(operator)[0], operator.outputs[0]
    record = {"rows": prod(x.shape[:-1]), "depth": x.shape[-1], "in_offset": -zero_point(x)}
    return [CLayer("normalise", record, (x,), y, in_place=(0,))]


def table(operator: Operator) -> list[CLayer]:
    """An operator that makes each number of one: its results on all 256, as LiteRT's reference kernels give them."""
    x, y = operands(operator)[0], operator.outputs[0]
    values = Constant("int8_t", functions.table(operator))
    return [CLayer("table", {"count": prod(x.shape), "values": values}, (x,), y, in_place=(0,))]


def lookup(one: Lookup) -> CLayer:
    """A lookup of each number in a table."""
    record = {"count": prod(one.reads.shape), "values": Constant("int8_t", one.values)}
    return CLayer("table", record, (one.reads,), one.writes, in_place=(0,))


def _sum(a: Tensor, b: Tensor, y: Tensor, twice: float, out: float, lift: int) -> dict[str, int]:
    one, other, result = factor(scale(a) / twice), factor(scale(b) / twice), factor(out)
    return {
        "a_multiplier": one.multiplier,
        "b_multiplier": other.multiplier,
        "out_multiplier": result.multiplier,
        "a_offset": -zero_point(a),
        "b_offset": -zero_point(b),
        "out_offset": zero_point(y),
        "a_shift": one.shift,
        "b_shift": other.shift,
        "out_shift": result.shift,
        "lift": lift,
    }


def _pairwise(kernel: str, record: Fields, a: Tensor, b: Tensor, y: Tensor) -> CLayer:
    whole = tuple(n for n, t in enumerate((a, b)) if prod(t.shape) == prod(y.shape))
    loops = {"loops": _loops(a.shape, b.shape, y.shape)}
    return CLayer(kernel, loops | dict(record), (operand(a), operand(b)), y, in_place=whole)


def _loops(a: Sequence[int], b: Sequence[int], y: Sequence[int]) -> Fields:
    """How to walk over both operands at once, in as few loops as their repetitions allow."""
    loops = nested(y, _steps(a, y), _steps(b, y), _LOOPS, f"operands of {tuple(a)} and {tuple(b)} take")
    padded = [(1, 0, 0)] * (_LOOPS - len(loops)) + loops
    return dict(zip(("count", "a_step", "b_step"), zip(*padded, strict=True), strict=True))


def _steps(shape: Sequence[int], y: Sequence[int]) -> list[int]:
    """How far each dimension of a result moves on in an operand: not at all where that is repeated."""
    own = [1] * (len(y) - len(shape)) + list(shape)
    behind = np.cumprod([1, *own[:0:-1]])[::-1]
    return [0 if size == 1 else int(step) for size, step in zip(own, behind, strict=True)]
