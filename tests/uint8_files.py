"""Files in the integers of the first quantised networks: uint8, with one scale for all channels of a weight."""

from __future__ import annotations

import numpy as np

from tflite_export import emit
from tflite_export.flatbuffer import Buffer, Operator, Tensor, names, only, read, write

_UINT8 = next(number for number, name in names("TensorType").items() if name == "UINT8")


def of_int8(content: bytes) -> bytes:
    """An int8 file's network in uint8; its weights are rounded anew, to one scale a tensor."""
    model = read(content)
    graph = only(model)
    for operator in graph.operators:
        if len(operator.inputs) > 2 and operator.inputs[1] and operator.inputs[1].type == "INT8":
            _weights(operator)
    computed = [t for op in graph.operators for t in (*op.inputs, *op.outputs) if t and not t.constant]
    quantisations = {}
    for tensor in {id(t): t for t in computed if t.type == "INT8"}.values():
        own = tensor.table.quantization
        again = emit.quantisation(np.asarray(tensor.scales), np.asarray(tensor.zero_points) + 128)
        tensor.table.type, tensor.table.quantization = _UINT8, quantisations.setdefault(id(own), again)
    return write(model)


def _weights(operator: Operator) -> None:
    x, kernel, bias = operator.inputs
    assert x is not None
    assert kernel is not None
    assert bias is not None
    shape = [1] * len(kernel.shape)
    shape[kernel.table.quantization.quantizedDimension] = -1
    values = kernel.values() * np.asarray(kernel.scales).reshape(shape)
    step = float(np.abs(values).max()) / 127
    integers = (np.rint(values / step) + 128).astype(np.uint8)
    held = emit.activation(kernel.shape, "UINT8", kernel.name)
    again = Tensor(held.table, Buffer(integers.reshape(-1)))
    again.table.quantization = emit.quantisation(np.array([step]), np.array([128]))
    unit = step * x.scales[0]
    sums = np.rint(bias.values() * np.asarray(bias.scales) / unit).astype(np.int32)
    operator.inputs[1:] = [again, emit.constant(sums, bias.name, np.array([unit]))]
