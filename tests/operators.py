"""Files of single operators, built by hand."""

from __future__ import annotations

from typing import Any

import numpy as np

from tflite_export import emit
from tflite_export.flatbuffer import Model, Operator, Signature, Subgraph, Tensor, schema, write


def tensor(kind: str = "INT8", shape: tuple[int, ...] = (1, 4, 4, 8), name: str = "x") -> Tensor:
    made = emit.activation(shape, kind, name)
    if kind != "FLOAT32":
        made.table.quantization = emit.quantisation(np.array([1 / 256]), np.array([0 if kind == "INT16" else -128]))
    return made


def operator(name: str, inputs: list[Tensor | None], output: Tensor, options: str = "", **values: Any) -> Operator:
    number = getattr(schema().BuiltinOperator, name)
    table = schema().OperatorT()
    if options:
        table.builtinOptionsType = getattr(schema().BuiltinOptions, options)
        table.builtinOptions = getattr(schema(), f"{options}T")(**values)
    return Operator(table, schema().OperatorCodeT(min(number, 127), None, 1, number), inputs, [output])


def file(*operators: Operator, signatures: int = 1) -> bytes:
    """A file of these operators; the first reads the input, the last gives the output."""
    graph = Subgraph(list(operators), [operators[0].inputs[0]], [operators[-1].outputs[0]])
    entries = [
        Signature(f"p{i}", graph, {"image": graph.inputs[0]}, {"scores": graph.outputs[0]}) for i in range(signatures)
    ]
    return write(Model([graph], entries))


def unary(name: str, kind: str = "INT8") -> bytes:
    return file(operator(name, [tensor(kind)], tensor(kind, name="y")))
