"""Tiny classifiers as files of other makers, built by hand: any types, steps, shapes and endings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tflite_export import emit
from tflite_export.flatbuffer import Model, Operator, Signature, Subgraph, Tensor, called, schema, write
from tflite_export.stitching import conv_weights

CLASSES = 4
IMAGE = (6, 5, 3)
RAW = {"FLOAT32": None, "INT8": (1.0, -128), "UINT8": (1.0, 0), "INT16": (255 / 32767, 0)}
# What a network works in, by the type of its image.
_INNER = {"UINT8": "INT8"}
_ROW = {"INT8": (1 / 256, -128), "UINT8": (1 / 256, 0), "INT16": (1 / 32768, 0)}
_FEATURES = {"INT8": (16 / 255, 0), "INT16": (16 / 32767, 0)}
NONE = emit.fused((None, None))


def tensor(shape: tuple[int, ...], kind: str, steps: tuple[float, int] | None, name: str = "x") -> Tensor:
    made = emit.activation(shape, kind, name)
    if steps is not None:
        made.table.quantization = emit.quantisation(np.array([steps[0]]), np.array([steps[1]]))
    return made


def graph(
    kind: str = "INT8",
    steps: tuple[float, int] | None = None,
    *,
    image: tuple[int, int, int] = IMAGE,
    largest: float = 255.0,
    softmax: bool = True,
    channels_first: bool = False,
    row: tuple[int, ...] = (1, CLASSES),
    seed: int = 0,
) -> Subgraph:
    """A 1x1 convolution, a mean over all places, and a softmax; values of the image are ``largest`` at most."""
    h, w, c = image
    operators: list[Operator] = []

    def behind(operator: Operator) -> Tensor:
        operators.append(operator)
        return operator.outputs[0]

    steps = steps or RAW[kind]
    x = first = tensor((1, c, h, w) if channels_first else (1, h, w, c), kind, steps, "picture")
    inner = _INNER.get(kind, kind)
    if kind == "UINT8":
        x = behind(emit.quantize(x, tensor(x.shape, "INT8", (steps[0], steps[1] - 128))))
    if channels_first:
        x = behind(emit.transpose(x, (0, 2, 3, 1), emit.activation((1, h, w, c), x.type, "turned", like=x)))
    rng = np.random.default_rng(seed)
    kernel = rng.normal(0, 3 / largest, (c, CLASSES)).astype(np.float32)
    bias = rng.normal(0, 0.5, CLASSES).astype(np.float32)
    precision = {"FLOAT32": "float32", "INT8": "int8", "INT16": "int16x8"}[inner]
    weights = conv_weights(kernel, bias, x, precision)
    x = behind(emit.conv_1x1(x, *weights, tensor((1, h, w, CLASSES), inner, _FEATURES.get(inner)), NONE))
    x = behind(emit.average_pool(x, (h, w)))
    x = behind(emit.reshape(x, emit.activation(row, inner, "row", like=x))) if row != x.shape else x
    if softmax:
        x = behind(emit.softmax(x, tensor(row, inner, _ROW.get(inner))))
    if kind == "UINT8":
        x = behind(emit.quantize(x, tensor(row, "UINT8", (x.scales[0], x.zero_points[0] + 128))))
    x.table.name = "answer"
    return Subgraph(operators, [first], [x])


def file(kind: str = "INT8", steps: tuple[float, int] | None = None, **how: Any) -> bytes:
    return of_graph(graph(kind, steps, **how))


def of_graph(one: Subgraph, *more: Subgraph, signatures: int = 0) -> bytes:
    """A file of a subgraph, and of those that it calls; most makers' files have no signature."""
    ends = {t.name: t for t in one.inputs}, {t.name: t for t in one.outputs}
    return write(Model([one, *more], [Signature(f"way{i}", one, *ends) for i in range(signatures)]))


def changed(change: Callable[[Subgraph], None], **how: Any) -> bytes:
    """A file whose graph was changed after it was built."""
    one = graph(**how)
    change(one)
    return of_graph(one)


def branching(change: Callable[[Subgraph], None] = lambda branch: None) -> bytes:
    """A network that calls two others: where it is sure it hands on its scores, else it softens them."""
    one = graph("FLOAT32")
    p = one.outputs[0]
    largest = emit.reduced(p, "REDUCE_MAX")
    sure = emit.elementwise("GREATER_EQUAL", [largest.outputs[0], emit.constant(np.array([0.4], np.float32), "limit")])
    kept = emit.activation(p.shape, p.type, "kept")
    x, y = (emit.activation(p.shape, p.type, name) for name in ("before", "after"))
    softer = Subgraph([emit.softmax(x, y)], [x], [y])
    change(softer)
    answer = emit.activation(p.shape, p.type, "answer")
    one.operators += [largest, sure, emit.branch(sure.outputs[0], [p], [answer], Subgraph([], [kept], [kept]), softer)]
    one.outputs = [answer]
    return of_graph(*called([one]))


def custom(name: str) -> Callable[[Subgraph], None]:
    """Puts an operator that TensorFlow Lite does not have before the others."""

    def change(one: Subgraph) -> None:
        code = schema().OperatorCodeT(32, name, 1, 32)
        x = one.inputs[0]
        y = emit.activation(x.shape, x.type, "y", like=x)
        one.operators.insert(0, Operator(schema().OperatorT(), code, [x], [y]))

    return change
