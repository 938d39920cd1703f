"""Multiply-accumulates of a compiled anchor, and how many of them lie before each of its cuts.

Counted as in the papers' FLOPs columns: convolutions and matrix products, no element-wise operation.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

from tflite_export.flatbuffer import Operator, Tensor
from tflite_export.link import Object, leading_to


def before_cuts(anchor: Object) -> tuple[int, dict[str, int]]:
    """MACs of one image: of the whole anchor, and up to each cut by its name."""
    return _leading_to(anchor.scores, anchor), {name: _leading_to(cut, anchor) for name, cut in anchor.cuts.items()}


def _leading_to(end: Tensor, anchor: Object) -> int:
    return sum(_MACS[op.name](op) for op in leading_to([end], anchor.graph) if op.name in _MACS)


def _shape(operator: Operator, index: int) -> tuple[int, ...]:
    tensor = operator.inputs[index]
    return () if tensor is None else tensor.shape


def _convolution(operator: Operator) -> int:
    return prod(_shape(operator, 1)) * prod(operator.outputs[0].shape[1:-1])


def _transposed(operator: Operator) -> int:
    return prod(_shape(operator, 1)) * prod(_shape(operator, 2)[1:-1])


def _dense(operator: Operator) -> int:
    return prod(operator.outputs[0].shape) * _shape(operator, 1)[-1]


def _product(operator: Operator) -> int:
    rows, out = _shape(operator, 0), operator.outputs[0].shape
    # The left matrix may be transposed; its side that is no row of the result is what is summed over.
    return prod(out) * (rows[-1] if rows[-2] == out[-2] else rows[-2])


_MACS: dict[str, Callable[[Operator], int]] = {
    "CONV_2D": _convolution,
    "DEPTHWISE_CONV_2D": _convolution,
    "TRANSPOSE_CONV": _transposed,
    "FULLY_CONNECTED": _dense,
    "BATCH_MATMUL": _product,
}
