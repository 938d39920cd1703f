"""A network for runtimes that take and give floats alone: QUANTIZE in front of its integers, DEQUANTIZE behind."""

from __future__ import annotations

from tflite_export import emit
from tflite_export.flatbuffer import Operator, Signature, Subgraph, Tensor, called, read, write

# What such runtimes take as it is: floats, and the number of a stage.
_TAKEN = ("FLOAT32", "INT32")


def with_float_ends(content: bytes) -> bytes:
    """A file whose entry points all take and give floats; the bytes themselves where they do so already.

    Every weight stays as it is, and so does what the file says of its points. A float becomes the integer that LiteRT's
    QUANTIZE makes of it. Raises TfliteError for bytes that are no ``.tflite`` file.
    """
    model = read(content)
    ends = [end for entry in model.signatures for end in (*entry.inputs.values(), *entry.outputs.values())]
    if all(end.type in _TAKEN for end in ends):
        return content
    model.signatures = [_floating(entry) for entry in model.signatures]
    model.subgraphs = called(entry.subgraph for entry in model.signatures)
    return write(model)


def _floating(entry: Signature) -> Signature:
    graph = entry.subgraph
    starts = {id(x): _float_of(x) for x in graph.inputs}
    ends = {id(y): _float_of(y) for y in graph.outputs}
    before = [emit.quantize(starts[id(x)], x) for x in graph.inputs if starts[id(x)] is not x]
    behind = [emit.dequantize(y, ends[id(y)]) for y in graph.outputs if ends[id(y)] is not y]
    operators: list[Operator] = [*before, *graph.operators, *behind]
    whole = Subgraph(operators, [starts[id(x)] for x in graph.inputs], [ends[id(y)] for y in graph.outputs])
    whole.table.name = graph.table.name
    inputs = {name: starts[id(x)] for name, x in entry.inputs.items()}
    outputs = {name: ends[id(y)] for name, y in entry.outputs.items()}
    return Signature(entry.key, whole, inputs, outputs)


def _float_of(end: Tensor) -> Tensor:
    return end if end.type in _TAKEN else emit.activation(end.shape, "FLOAT32", f"{end.name}/float")
