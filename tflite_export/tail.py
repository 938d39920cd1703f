"""How large an arena TensorFlow Lite Micro needs for a file: the planned tensors, and room for its own records.

The head is planned exactly (``memory.py``). The tail, which holds the interpreter's records, is *allowed for*: an
upper bound from counts of tensors, operators and channels, fitted to what the tflite-micro wheel
0.dev20261023182759 keeps on a 64-bit host for 100 files; on a 32-bit core, whose pointers are half as long, it is
smaller.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tflite_export import memory
from tflite_export.flatbuffer import Model, Operator, Subgraph, Tensor, only, read

_ALIGNMENT = 16
# Bytes on a 64-bit host: what is kept once, a tensor, an operator (its registration, options and data of its own).
_ONCE = 1024
_TENSOR = 24
_OPERATOR = 64 + 128
# A multiplier and a shift, both int32, for every channel of the result, in float as in integers.
_CHANNEL = 8
_CHANNELLED = ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED")
# Tables that these kernels make of their function, by the type that they read.
_TABLES = {("ELU", "FLOAT32"): 256, ("ELU", "INT8"): 256, ("SOFTMAX", "INT16"): 2 * 1056}
# While memory is planned, records lie where the tensors will: of every tensor and scratch buffer one, and another of
# every one that needs a place. In networks of a few KB they take more room than the tensors.
_PLANNING_RECORD, _PLANNING_PLACE, _PLANNING_ONCE = 28, 52, 64
_PLACES = "OfflineMemoryAllocation"


@dataclass(frozen=True)
class Arena:
    """Bytes of a tensor arena: planned for the tensors, by whom, and allowed for the interpreter's own records."""

    head: int
    tail: int
    planner: str = "for the tensors"

    @property
    def size(self) -> int:
        """What to give the interpreter, a multiple of 16."""
        return -(-(self.head + self.tail) // _ALIGNMENT) * _ALIGNMENT


def arena(content: bytes) -> Arena:
    """The arena of a file of one network, a router's included; raises TfliteError as ``memory.ranges`` does.

    A file that brings its own plan, as Vela's do, is taken at its word.
    """
    model = read(content)
    records = _ONCE + sum(_records(graph) for graph in model.subgraphs)
    if _PLACES in model.metadata:
        return Arena(_placed(model), records, "by Vela")
    live = memory.ranges(content)
    noted = sum(len(graph.tensors) for graph in model.subgraphs) + sum(memory.is_scratch(item) for item in live)
    planning = _PLANNING_RECORD * noted + _PLANNING_PLACE * len(live) + _PLANNING_ONCE
    return Arena(max(memory.plan(live).size, planning), records)


def _records(graph: Subgraph) -> int:
    """Of a subgraph's tensors and operators."""
    return (
        _TENSOR * len(graph.tensors)
        + _OPERATOR * len(graph.operators)
        + sum(_own(operator) for operator in graph.operators)
    )


def _own(operator: Operator) -> int:
    """What an operator keeps beside the records that all have."""
    first = operator.inputs[0] if operator.inputs else None
    size = _TABLES.get((operator.name, first.type), 0) if first else 0
    if operator.name in _CHANNELLED and operator.outputs[0].shape:
        size += _CHANNEL * operator.outputs[0].shape[-1]
    if operator.name == "BATCH_MATMUL":
        options, (left, right) = operator.table.builtinOptions, operator.inputs[:2]
        # An operand that does not lie as the kernel wants it is kept a second time.
        size += sum(_kept(t) for t, turned in ((left, options.adjX), (right, not options.adjY)) if turned)
    return size


def _kept(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.nbytes + _ALIGNMENT


def _placed(model: Model) -> int:
    """The end of the last tensor by the plan in a file's metadata: version, subgraph, count, offsets."""
    offsets = model.metadata[_PLACES].data.view(np.int32)[3:]
    tensors = only(model).tensors
    return max((int(o) + t.nbytes for o, t in zip(offsets, tensors, strict=True) if o >= 0), default=0)
