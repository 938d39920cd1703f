"""The operators behind a stitch with other steps and biases; their weights stay those that all routes share."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tflite_export import emit
from tflite_export.emit import WEIGHTED
from tflite_export.flatbuffer import Operator, Tensor

# What rounds its result to any steps.
_FREE = (*WEIGHTED, "ADD", "BATCH_MATMUL", "GELU", "HARD_SWISH", "MEAN", "MUL", "SUB", "SUM")
# What gives the steps of its kernel, whatever it reads.
_FIXED = ("L2_NORMALIZATION", "LOGISTIC", "SOFTMAX", "TANH")
# What gives numbers in the steps in which it reads them.
_KEEPING = (
    *("AVERAGE_POOL_2D", "EXPAND_DIMS", "MAX_POOL_2D", "PAD", "RESHAPE", "RESIZE_BILINEAR"),
    *("RESIZE_NEAREST_NEIGHBOR", "SLICE", "SQUEEZE", "STRIDED_SLICE", "TRANSPOSE"),
)


@dataclass(frozen=True)
class Steps:
    """By what integers stand for values: ``scale * (integer - zero_point)``."""

    scale: float
    zero_point: int


@dataclass(frozen=True, eq=False)
class Requantisation:
    """Steps of tensors by their names, and float biases ``(c,)`` of operators by what they give."""

    steps: Mapping[str, Steps] = field(default_factory=dict)
    biases: Mapping[str, np.ndarray] = field(default_factory=dict)


def apply(
    operators: Sequence[Operator], requantisation: Requantisation, ends: Sequence[Tensor]
) -> tuple[list[Operator], dict[int, Tensor]]:
    """The operators with these, and by ``id`` the tensors that others took the places of; none given is changed.

    ``ends`` are tensors that keep their steps.
    """
    free = {id(t): t for t in changeable(operators, ends) if t.name in requantisation.steps}
    fresh = {key: _stepped(t, requantisation.steps[t.name]) for key, t in free.items()}
    for operator in operators:
        if operator.name in _KEEPING and id(operator.inputs[0]) in fresh:
            kept = fresh[id(operator.inputs[0])].table.quantization
            result = operator.outputs[0]
            fresh[id(result)] = Tensor(copy.copy(result.table), result.buffer)
            fresh[id(result)].table.quantization = kept

    def there(tensors: Sequence[Tensor | None]) -> list[Any]:
        return [fresh.get(id(t), t) for t in tensors]

    moved = [emit.with_inputs(op, there(op.inputs), there(op.outputs)) for op in operators]
    return [_biased(old, new, requantisation.biases) for old, new in zip(operators, moved, strict=True)], fresh


def biased(operators: Sequence[Operator], biases: Mapping[str, np.ndarray]) -> list[Operator]:
    """The operators with these biases, as ``Requantisation`` has them; none given is changed."""
    return [_biased(op, op, biases) for op in operators]


def changeable(operators: Sequence[Operator], ends: Sequence[Tensor]) -> Iterator[Tensor]:
    """The int8 tensors that operators read or give and that may have any steps: nothing that keeps steps fixes them."""
    held = {id(t) for t in ends}
    held |= {id(t) for op in operators if op.name not in (*_FREE, *_KEEPING) for t in _touched(op)}
    for operator in operators[::-1]:
        if operator.name in _KEEPING and id(operator.outputs[0]) in held:
            held.add(id(operator.inputs[0]))
    follows = {id(op.outputs[0]) for op in operators if op.name in _KEEPING}
    seen: set[int] = set()
    for tensor in (t for op in operators for t in (*op.inputs, *op.outputs)):
        if tensor is None or tensor.constant or tensor.type != "INT8" or id(tensor) in held | follows | seen:
            continue
        seen.add(id(tensor))
        yield tensor


def _touched(operator: Operator) -> Iterator[Tensor]:
    """Tensors whose steps an operator holds to."""
    if operator.name not in _FIXED:
        yield from (t for t in operator.inputs if t is not None)
    yield from operator.outputs


def _stepped(tensor: Tensor, steps: Steps) -> Tensor:
    fresh = Tensor(copy.copy(tensor.table), tensor.buffer)
    fresh.table.quantization = emit.quantisation(np.array([steps.scale]), np.array([steps.zero_point]))
    return fresh


def _biased(old: Operator, new: Operator, biases: Mapping[str, np.ndarray]) -> Operator:
    """An operator whose bias counts in the steps of what it reads now."""
    if old.name not in WEIGHTED or len(old.inputs) < 3:
        return new
    source, weights, bias = new.inputs
    if source is None or weights is None or bias is None or not source.scales or not bias.scales:
        return new
    name = old.outputs[0].name
    if name not in biases and source is old.inputs[0]:
        return new
    real = biases.get(name)
    if real is None:
        real = bias.values() * np.asarray(bias.scales, np.float64)
    kind = bias.values().dtype
    units = np.asarray(source.scales[0] * np.asarray(weights.scales, np.float64), np.float32)
    integers = emit.bias_integers(emit.in_units(real, units), kind)
    return emit.with_inputs(new, [source, weights, emit.constant(integers, bias.name, units)])
