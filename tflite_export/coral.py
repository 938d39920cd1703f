"""The documented rules of Coral's Edge TPU: a file that keeps them has not been compiled for all that.

Source: Coral's document "TensorFlow models on the Edge TPU": its requirements and its list of supported operations.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

from tflite_export.flatbuffer import Model, Operator, Tensor, schema

SOURCE = 'documented rules, "TensorFlow models on the Edge TPU"'
_OPERATORS = """
ADD AVERAGE_POOL_2D CONCATENATION CONV_2D DEPTHWISE_CONV_2D EXPAND_DIMS FULLY_CONNECTED L2_NORMALIZATION LOGISTIC
UNIDIRECTIONAL_SEQUENCE_LSTM MAXIMUM MAX_POOL_2D MEAN MINIMUM MUL PACK PAD PRELU QUANTIZE REDUCE_MAX REDUCE_MIN RELU
RELU6 RELU_N1_TO_1 RESHAPE RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR RSQRT SLICE SOFTMAX SPACE_TO_DEPTH SPLIT
SQUARED_DIFFERENCE SQUEEZE STRIDED_SLICE SUB SUM TANH TRANSPOSE TRANSPOSE_CONV
"""
OPERATORS = frozenset(_OPERATORS.split())
_INNERMOST = 3
_SOFTMAX_MOST = 16_000


def faults(model: Model) -> Iterator[str]:
    """What breaks the rules on tensors and single operators; the lists of operators and types are checked elsewhere."""
    for graph in model.subgraphs:
        for operator in graph.operators:
            yield from _dimensions(operator)
            rule = _RULES.get(operator.name)
            if rule is not None and (fault := rule(operator)):
                yield f"{operator.name} {fault}"


def _dimensions(operator: Operator) -> Iterator[str]:
    for tensor in operator.outputs:
        if any(size > 1 for size in tensor.shape[:-_INNERMOST]):
            yield (
                f"{operator.name} makes a tensor of {tensor.shape}, of which only the {_INNERMOST} innermost dimensions"
                " may exceed 1"
            )


def _no_activation(operator: Operator) -> str:
    fused = _option(operator, "fusedActivationFunction", 0)
    return "has a fused activation" if fused != schema().ActivationFunctionType.NONE else ""


def _one_dimension(operator: Operator) -> str:
    found = operator.outputs[0].shape
    return f"gives {found}, where one dimension alone may exceed 1" if _wide(found) > 1 else ""


def _short_vector(operator: Operator) -> str:
    found = operator.outputs[0].shape
    if _wide(found) > 1 or math.prod(found) > _SOFTMAX_MOST:
        return f"works on {found}; one dimension of at most {_SOFTMAX_MOST} values is allowed"
    return ""


def _equal_dilation(operator: Operator) -> str:
    h, w = (_option(operator, f"dilation{side}Factor", 1) for side in "HW")
    return f"has dilations {h} and {w} that differ" if h != w else ""


def _not_the_batch(operator: Operator) -> str:
    axes, rank = operator.inputs[1], len(_shape(operator.inputs[0]))
    if axes is None or not axes.constant:
        return "has axes that are not constant"
    return "works along the batch" if any(int(a) % rank == 0 for a in axes.values().reshape(-1)) else ""


def _mean(operator: Operator) -> str:
    fault, shape, axes = _not_the_batch(operator), _shape(operator.inputs[0]), operator.inputs[1]
    if fault or axes is None:
        return fault
    deep = any(int(a) % len(shape) == len(shape) - 1 for a in axes.values().reshape(-1))
    return f"works along {shape[-1]} channels, which should be a multiple of 4" if deep and shape[-1] % 4 else ""


def _joined(operator: Operator) -> str:
    constants = [t for t in operator.inputs if t is not None and t.constant]
    if constants and (len(operator.inputs) > 2 or any(_filled(t) for t in constants)):
        return "joins constants other than zeros to one tensor"
    return _no_activation(operator)


def _padded(operator: Operator) -> str:
    pads = operator.inputs[1]
    if pads is None or not pads.constant:
        return "has a width that is not constant"
    return "pads the batch" if pads.values().reshape(-1, 2)[0].any() else ""


def _filled(tensor: Tensor) -> bool:
    zero = tensor.zero_points[0] if tensor.zero_points else 0
    return bool((tensor.values() != zero).any())


def _wide(shape: tuple[int, ...]) -> int:
    return sum(size > 1 for size in shape)


def _shape(tensor: Tensor | None) -> tuple[int, ...]:
    return () if tensor is None else tensor.shape


def _option(operator: Operator, name: str, default: Any) -> Any:
    return getattr(operator.table.builtinOptions, name, default)


_RULES: dict[str, Callable[[Operator], str]] = {
    "AVERAGE_POOL_2D": _no_activation,
    "MAX_POOL_2D": _no_activation,
    "CONCATENATION": _joined,
    "CONV_2D": _equal_dilation,
    "DEPTHWISE_CONV_2D": _equal_dilation,
    "FULLY_CONNECTED": _one_dimension,
    "SOFTMAX": _short_vector,
    "MEAN": _mean,
    "SUM": _not_the_batch,
    "REDUCE_MAX": _not_the_batch,
    "REDUCE_MIN": _not_the_batch,
    "PAD": _padded,
}
