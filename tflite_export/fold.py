"""Stitches folded into the layer behind them: two linear maps in a row are one.

Only where nothing else reads what the stitch delivers, nothing lies between, and the one map costs no more
than the two. For float32: integers would round another weight than the anchor's.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from tflite_export import emit, link
from tflite_export.flatbuffer import Operator, Subgraph, Tensor
from tflite_export.link import Route

_STITCH = "stitch/"


@dataclass(frozen=True)
class Folded:
    """A file with stitches folded, how many, and the MACs and parameters that saved."""

    content: bytes
    count: int
    macs: int
    params: int


def variant(route: Route, *, precision: str) -> Folded:
    """A route as ``link.variant`` makes it, with every stitch folded that can be."""
    graph = link.subgraph(route, precision, share=False)
    count, macs, params = 0, 0, 0
    for stitch in [op for op in graph.operators if _is_stitch(op)]:
        reader = _reader(graph, stitch)
        if reader is None:
            continue
        saved = _saved(stitch, reader)
        if min(saved) < 0:
            continue
        _fold(graph, stitch, reader)
        count, macs, params = count + 1, macs + saved[0], params + saved[1]
    return Folded(link.alone(graph, route.models), count, macs, params)


def _is_stitch(operator: Operator) -> bool:
    """Whether an operator is the map of a stitch that ends in no clamp."""
    if operator.name != "CONV_2D" or not _is_float_map(operator):
        return False
    weights = operator.inputs[1]
    return bool(weights and weights.name.startswith(_STITCH)) and not _activation(operator)


def _reader(graph: Subgraph, stitch: Operator) -> Operator | None:
    """The one operator that reads a stitch, where it is a map of each place by itself."""
    end = stitch.outputs[0]
    readers = [op for op in graph.operators if any(t is end for t in op.inputs)]
    if len(readers) != 1 or any(t is end for t in graph.outputs):
        return None
    reader = readers[0]
    apart = reader.inputs[0] is end and _is_float_map(reader)
    # Groups, and a dense layer that flattens a grid, have weights of another width.
    return reader if apart and _width(reader) == end.shape[-1] else None


def _is_float_map(operator: Operator) -> bool:
    """A 1x1 convolution or a dense layer of float32 with constant weights."""
    if operator.name not in ("CONV_2D", "FULLY_CONNECTED"):
        return False
    constants = [t for t in operator.inputs[1:] if t is not None]
    if any(t.type != "FLOAT32" or not t.constant for t in constants):
        return False
    return operator.name == "FULLY_CONNECTED" or constants[0].shape[1:3] == (1, 1)


def _activation(operator: Operator) -> int:
    return int(operator.table.builtinOptions.fusedActivationFunction)


def _sizes(operator: Operator) -> tuple[int, int]:
    """Values that a map gives, over all places, and those of its weights and bias."""
    weights = [t for t in operator.inputs[1:] if t is not None]
    return prod(operator.outputs[0].shape), sum(prod(t.shape) for t in weights)


def _saved(stitch: Operator, reader: Operator) -> tuple[int, int]:
    """MACs and parameters that one map takes less than the two."""
    (middle, first), (given, second) = _sizes(stitch), _sizes(reader)
    width_in, width = _width(stitch), _width(reader)
    outputs = _matrix(reader)[0].shape[0]
    macs = middle * width_in + given * width - given * width_in
    return macs, first + second - outputs * (width_in + 1)


def _width(operator: Operator) -> int:
    weights = operator.inputs[1]
    assert weights is not None
    return weights.shape[-1]


def _matrix(operator: Operator) -> tuple[np.ndarray, np.ndarray]:
    """Weights ``(c_out, c_in)`` and bias of a map, float64."""
    weights = operator.inputs[1]
    assert weights is not None
    kernel = weights.values().reshape(weights.shape[0], -1).astype(np.float64)
    bias = operator.inputs[2] if len(operator.inputs) > 2 else None
    return kernel, np.zeros(len(kernel)) if bias is None else bias.values().astype(np.float64)


def _fold(graph: Subgraph, stitch: Operator, reader: Operator) -> None:
    """Put one map in the place of the two."""
    (first, first_bias), (second, second_bias) = _matrix(stitch), _matrix(reader)
    kernel, bias = second @ first, second @ first_bias + second_bias
    weights = reader.inputs[1]
    assert weights is not None
    shape = (*weights.shape[:-1], first.shape[1])
    inputs: list[Tensor | None] = [
        stitch.inputs[0],
        emit.constant(kernel.reshape(shape).astype(np.float32), f"{_STITCH}folded/kernel"),
        emit.constant(bias.astype(np.float32), f"{_STITCH}folded/bias"),
    ]
    folded = emit.with_inputs(reader, inputs)
    place = graph.operators.index(reader)
    graph.operators[place] = folded
    graph.operators.remove(stitch)
