"""Multiply-accumulates of a compiled anchor and before each of its cuts; both costs of any subgraph.

Counted as in the papers' FLOPs columns: convolutions and matrix products, no element-wise operation.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

from tflite_export.flatbuffer import Operator, Subgraph, Tensor, called
from tflite_export.link import Object, leading_to


def before_cuts(anchor: Object) -> tuple[int, dict[str, int]]:
    """MACs of one image: of the whole anchor, and up to each cut by its name."""
    return _leading_to(anchor.scores, anchor), {name: _leading_to(cut, anchor) for name, cut in anchor.cuts.items()}


def of_graph(graph: Subgraph) -> int:
    """MACs of one run of a subgraph; of an IF those of the dearer branch, of a WHILE those of one turn."""
    return sum(of_operator(operator) for operator in graph.operators)


def of_operator(operator: Operator) -> int:
    """MACs of one run of an operator; 0 for one that does nothing but element by element."""
    if operator.name in _MACS:
        return _MACS[operator.name](operator)
    branches = [of_graph(graph) for graph in operator.calls]
    return max(branches, default=0) if operator.name == "IF" else sum(branches)


def parameters(graph: Subgraph) -> int:
    """Values of all constants that are weights or biases of a subgraph and of what it runs, each buffer once.

    Norms are folded into convolutions in a file, so there are fewer than in the network that it was made of.
    """
    operators = [op for one in called([graph]) for op in one.operators]
    held = {id(t.buffer): prod(t.shape) for op in operators for t in op.inputs if t is not None and _weight(op, t)}
    return sum(held.values())


def _weight(operator: Operator, tensor: Tensor) -> bool:
    """Whether a constant is what was learned, and no shape (TRANSPOSE_CONV reads one first), axis or index."""
    bias = operator.name in _MACS and tensor is not operator.inputs[0]
    return tensor.constant and (bias or tensor.type not in ("INT32", "INT64", "BOOL"))


def _leading_to(end: Tensor, anchor: Object) -> int:
    return sum(of_operator(op) for op in leading_to([end], anchor.graph))


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
