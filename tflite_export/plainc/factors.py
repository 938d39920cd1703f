"""Real factors as the integers that TensorFlow Lite's kernels multiply and shift by."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tflite_export.flatbuffer import Tensor, schema

_LOW, _HIGH = -128, 127


@dataclass(frozen=True)
class Factor:
    """``multiplier * 2**(shift - 31)``, the multiplier of 32 bits."""

    multiplier: int
    shift: int


def factor(real: float) -> Factor:
    """The nearest factor; 0 below ``2**-31``. Source: ``QuantizeMultiplier`` of TensorFlow Lite."""
    fraction, shift = math.frexp(real)
    multiplier = math.floor(fraction * 2**31 + 0.5)
    if multiplier == 2**31:
        multiplier, shift = multiplier // 2, shift + 1
    if shift < -31:
        return Factor(0, 0)
    return Factor(2**31 - 1, 30) if shift > 30 else Factor(multiplier, shift)


def scale(tensor: Tensor) -> float:
    """The one scale of an activation."""
    return tensor.scales[0]


def zero_point(tensor: Tensor) -> int:
    """The one zero point of an activation."""
    return tensor.zero_points[0] if tensor.zero_points else 0


def single(value: float) -> float:
    """As a float of 32 bits, in which some of the scales are multiplied."""
    return float(np.float32(value))


def limits(activation: int, y: Tensor) -> tuple[int, int]:
    """Between what integers a fused activation holds a result; raises KeyError for one that is no clamp."""
    kinds = schema().ActivationFunctionType
    bounds = {
        kinds.NONE: (None, None),
        kinds.RELU: (0.0, None),
        kinds.RELU6: (0.0, 6.0),
        kinds.RELU_N1_TO_1: (-1.0, 1.0),
    }
    low, high = (None if bound is None else _step(bound, y) for bound in bounds[activation])
    return max(_LOW, _LOW if low is None else low), min(_HIGH, _HIGH if high is None else high)


def _step(value: float, y: Tensor) -> int:
    ratio = float(np.float32(value) / np.float32(scale(y)))
    return zero_point(y) + int(math.copysign(math.floor(abs(ratio) + 0.5), ratio))
