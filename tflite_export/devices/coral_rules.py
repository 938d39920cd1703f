"""What Coral's document "TensorFlow models on the Edge TPU" asks of a file, each rule with the section that says so.

A rule that the document has and that is not here: resizes and reshapes of some sizes, which it does not name, stay on
the processor.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tflite_export.flatbuffer import Model, Operator, Tensor, schema

DOCUMENT = "TensorFlow models on the Edge TPU"
SOURCE = f'documented rules, "{DOCUMENT}"'
_REQUIREMENTS, _OPERATIONS = "Model requirements", "Supported operations"
_OPERATORS = """
ADD AVERAGE_POOL_2D CONCATENATION CONV_2D DEPTHWISE_CONV_2D EXPAND_DIMS FULLY_CONNECTED L2_NORMALIZATION LOGISTIC
UNIDIRECTIONAL_SEQUENCE_LSTM MAXIMUM MAX_POOL_2D MEAN MINIMUM MUL PACK PAD PRELU QUANTIZE REDUCE_MAX REDUCE_MIN RELU
RELU6 RELU_N1_TO_1 RESHAPE RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR RSQRT SLICE SOFTMAX SPACE_TO_DEPTH SPLIT
SQUARED_DIFFERENCE SQUEEZE STRIDED_SLICE SUB SUM TANH TRANSPOSE TRANSPOSE_CONV
"""
OPERATORS = frozenset(_OPERATORS.split())
_INNERMOST = 3
_SOFTMAX_MOST = 16_000


@dataclass(frozen=True)
class DocumentedRule:
    """What the document says of an operator (or of all tensors), in which section, and what tells who breaks it."""

    about: str
    says: str
    section: str
    fault: Callable[[Operator], str] | None = None

    def __str__(self) -> str:
        """One line, with its source."""
        return f'{self.about}: {self.says} ("{DOCUMENT}", {self.section})'


def faults(model: Model) -> Iterator[str]:
    """What breaks the rules on tensors and single operators; the lists of operators and types are checked elsewhere."""
    for graph in model.subgraphs:
        for operator in graph.operators:
            yield from _dimensions(operator)
            for rule in _BY_OPERATOR.get(operator.name, ()):
                if rule.fault is not None and (fault := rule.fault(operator)):
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
    shape = operator.outputs[0].shape
    return f"gives {shape}, where one dimension alone may exceed 1" if _wide(shape) > 1 else ""


def _short_vector(operator: Operator) -> str:
    shape = operator.outputs[0].shape
    if _wide(shape) > 1 or math.prod(shape) > _SOFTMAX_MOST:
        return f"works on {shape}; one dimension of at most {_SOFTMAX_MOST} values is allowed"
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
    return ""


def _padded(operator: Operator) -> str:
    pads = operator.inputs[1]
    if pads is None or not pads.constant:
        return "has a width that is not constant"
    return "pads the batch" if pads.values().reshape(-1, 2)[0].any() else ""


def _packed(operator: Operator) -> str:
    rank = len(operator.outputs[0].shape)
    return "packs along the batch" if _option(operator, "axis", 0) % rank == 0 else ""


def _one_slope(operator: Operator) -> str:
    shape = _shape(operator.inputs[1])
    return f"has slopes of {shape}, of which the innermost dimension alone may exceed 1" if _wide(shape[:-1]) else ""


def _led_by_ones(operator: Operator) -> str:
    shape = _shape(operator.inputs[0])
    inner = shape[next((n for n, size in enumerate(shape) if size > 1), len(shape)) :]
    return f"works on {shape}, of which only leading dimensions may be 1" if 1 in inner else ""


def _whole_steps(operator: Operator) -> str:
    strides = operator.inputs[3]
    if strides is None or not strides.constant or (strides.values() != 1).any():
        return "has strides other than 1"
    masked = _option(operator, "ellipsisMask", 0) or _option(operator, "newAxisMask", 0)
    return "has a mask of an ellipsis or of new axes" if masked else ""


def _filled(tensor: Tensor) -> bool:
    zero = tensor.zero_points[0] if tensor.zero_points else 0
    return bool((tensor.values() != zero).any())


def _wide(shape: tuple[int, ...]) -> int:
    return sum(size > 1 for size in shape)


def _shape(tensor: Tensor | None) -> tuple[int, ...]:
    return () if tensor is None else tensor.shape


def _option(operator: Operator, name: str, default: Any) -> Any:
    return getattr(operator.table.builtinOptions, name, default)


def _of(operator: str, says: str, fault: Callable[[Operator], str]) -> DocumentedRule:
    return DocumentedRule(operator, says, _OPERATIONS, fault)


_ALL = (
    DocumentedRule("all tensors", "8-bit integers, and constants known when the file is compiled", _REQUIREMENTS),
    DocumentedRule("all tensors", "sizes are fixed", _REQUIREMENTS),
    DocumentedRule("all tensors", f"only the {_INNERMOST} innermost dimensions may exceed 1", _REQUIREMENTS),
    DocumentedRule("all operators", "among those listed", _OPERATIONS),
)
_SINGLE = (
    _of("AVERAGE_POOL_2D", "no fused activation", _no_activation),
    _of("MAX_POOL_2D", "no fused activation", _no_activation),
    _of("CONCATENATION", "no fused activation", _no_activation),
    _of("CONCATENATION", "a constant only as zeros, behind one other input", _joined),
    _of("CONV_2D", "one dilation for height and width", _equal_dilation),
    _of("DEPTHWISE_CONV_2D", "one dilation for height and width", _equal_dilation),
    _of("FULLY_CONNECTED", "an output of one dimension", _one_dimension),
    _of("SOFTMAX", f"one dimension of at most {_SOFTMAX_MOST} values", _short_vector),
    _of("MEAN", "not along the batch; along channels only a multiple of 4", _mean),
    _of("SUM", "not along the batch", _not_the_batch),
    _of("REDUCE_MAX", "not along the batch", _not_the_batch),
    _of("REDUCE_MIN", "not along the batch", _not_the_batch),
    _of("PAD", "not the batch", _padded),
    _of("PACK", "not along the batch", _packed),
    _of("PRELU", "slopes of one dimension, the innermost", _one_slope),
    _of("SQUEEZE", "only leading dimensions of 1", _led_by_ones),
    _of("STRIDED_SLICE", "strides of 1, no ellipsis, no new axes", _whole_steps),
)
_BY_OPERATOR = {name: tuple(r for r in _SINGLE if r.about == name) for name in sorted({r.about for r in _SINGLE})}
RULES = (*_ALL, *_SINGLE)
