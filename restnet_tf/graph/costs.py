"""Multiply-accumulates and parameters of a functional graph, node by node.

A MAC is one multiply-add of a convolution, a matrix product or attention; element-wise operations,
pooling and normalisation are not counted, as in the papers' FLOPs columns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class Costs:
    """MACs and parameters of a whole anchor."""

    macs: int
    params: int


def nodes(model: keras.Model) -> list[Any]:
    """The calls of a functional model in topological order, without its input placeholders."""
    by_depth = model._nodes_by_depth  # the one place where Keras keeps calls, not just layers
    ordered = [node for depth in sorted(by_depth, reverse=True) for node in by_depth[depth]]
    return [node for node in ordered if not node.is_input]


def _conv(layer: Any, node: Any) -> int:
    return prod(layer.kernel.shape) * _positions(node.output_tensors[0])


def _transposed_conv(layer: Any, node: Any) -> int:
    return prod(layer.kernel.shape) * _positions(node.input_tensors[0])


def _separable_conv(layer: Any, node: Any) -> int:
    kernels = prod(layer.depthwise_kernel.shape) + prod(layer.pointwise_kernel.shape)
    return kernels * _positions(node.output_tensors[0])


def _einsum(layer: Any, node: Any) -> int:
    letters_in, rest = layer.equation.split(",")
    letters_kernel = rest.split("->")[0]
    # Through the input: the output's shape may hold a None that the layer was given.
    shape = node.input_tensors[0].shape
    letters = letters_in.replace("...", "." * (len(shape) - len(letters_in.replace("...", ""))))
    along = [size for letter, size in zip(letters, shape, strict=True) if letter not in letters_kernel]
    return prod(layer.kernel.shape) * prod(along[1:])  # the first is the batch


def _attention(layer: Any, node: Any) -> int:
    query, *others = node.input_tensors
    tokens_q = prod(query.shape[1:-1])
    tokens_v = prod(others[0].shape[1:-1]) if others else tokens_q
    projections = (layer.query_dense, layer.output_dense), (layer.key_dense, layer.value_dense)
    kernels_q, kernels_v = (sum(prod(d.kernel.shape) for d in pair) for pair in projections)
    inner = layer.num_heads * (layer.key_dim + (layer.value_dim or layer.key_dim))
    return kernels_q * tokens_q + kernels_v * tokens_v + tokens_q * tokens_v * inner


def _matmul(layer: Any, node: Any) -> int:
    return prod(node.output_tensors[0].shape[1:]) * node.input_tensors[0].shape[-1]


# By class name, so that Keras need not be imported to read the table.
_MACS: dict[str, Callable[[Any, Any], int]] = {
    "Conv1D": _conv,
    "Conv2D": _conv,
    "DepthwiseConv1D": _conv,
    "DepthwiseConv2D": _conv,
    "Dense": _conv,  # a Dense layer is a 1x1 convolution over its leading dimensions
    "Conv1DTranspose": _transposed_conv,
    "Conv2DTranspose": _transposed_conv,
    "SeparableConv1D": _separable_conv,
    "SeparableConv2D": _separable_conv,
    "EinsumDense": _einsum,
    "MultiHeadAttention": _attention,
    "Matmul": _matmul,
}


def macs(calls: Iterable[Any]) -> int:
    """MACs of these calls for one image."""
    total = 0
    for node in calls:
        count = _MACS.get(type(node.operation).__name__)
        total += count(node.operation, node) if count else 0
    return total


def values(calls: Iterable[Any]) -> int:
    """Values that the calls counted by ``macs`` put out for one image: what is moved, not multiplied."""
    counted = (node for node in calls if type(node.operation).__name__ in _MACS)
    return sum(prod(t.shape[1:]) for node in counted for t in node.output_tensors)


def held(calls: Iterable[Any]) -> int:
    """Values that all calls put out for one image, inside attention too: what training keeps for its way back."""
    total = 0
    for node in calls:
        total += sum(prod(t.shape[1:]) for t in node.output_tensors)
        if type(node.operation).__name__ == "MultiHeadAttention":
            query, layer = node.input_tensors[0], node.operation
            tokens = prod(query.shape[1:-1])
            total += layer.num_heads * tokens * (4 * layer.key_dim + 3 * tokens)
    return total


def params(calls: Iterable[Any]) -> int:
    """Parameters that these calls read; a layer that is called twice counts once."""
    layers = {id(node.operation): node.operation for node in calls}
    return sum(prod(w.shape) for layer in layers.values() for w in getattr(layer, "weights", ()))


def _positions(tensor: Any) -> int:
    """Leading positions (pixels, tokens) of ``(n, ..., c)`` for one image."""
    return prod(tensor.shape[1:-1])
