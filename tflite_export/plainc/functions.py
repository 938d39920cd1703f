"""Functions of single numbers as tables of 256, made by LiteRT's reference kernels themselves."""

from __future__ import annotations

import numpy as np

from tflite_export import emit
from tflite_export.chatter import captured
from tflite_export.errors import TfliteError
from tflite_export.flatbuffer import Model, Operator, Signature, Subgraph, write
from tflite_export.plainc.factors import zero_point

# Those that LiteRT refuses to compute of numbers below zero.
_POSITIVE = ("RSQRT", "SQRT", "LOG")
_ALL = np.arange(-128, 128)


def table(operator: Operator) -> np.ndarray:
    """Results ``(256,)`` int8 for -128 to 127; where there is none, that of the least number that has one.

    A uint8 operand is told by the int8 numbers of the same bits. Raises TfliteError where LiteRT cannot run it.
    """
    x, y = operator.inputs[0], operator.outputs[0]
    assert x is not None  # the rules see to it
    entry, end = (emit.activation((1, len(_ALL)), t.type, t.name, like=t) for t in (x, y))
    graph = Subgraph([emit.with_inputs(operator, [entry], [end])], [entry], [end])
    content = write(Model([graph], [Signature("table", graph, {"x": entry}, {"y": end})]))
    least = zero_point(x) if operator.name in _POSITIVE else -128
    values = np.maximum(_ALL, least).astype(np.int8)
    return _ran(content, values.view(x.type.lower())[None], operator.name)


def _ran(content: bytes, values: np.ndarray, name: str) -> np.ndarray:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    with captured():
        try:
            interpreter = Interpreter(
                model_content=content, experimental_op_resolver_type=OpResolverType.BUILTIN_REF, num_threads=1
            )
            interpreter.allocate_tensors()
            interpreter.set_tensor(interpreter.get_input_details()[0]["index"], values)
            interpreter.invoke()
        except (ValueError, RuntimeError) as error:
            raise TfliteError(f"LiteRT cannot run {name} alone: {error}") from error
    return np.asarray(interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0]).astype(np.int8)
