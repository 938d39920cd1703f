"""Operators and tensors made from scratch: what the linker puts between two objects.

Versions and options are those that TensorFlow's converter writes for the same types.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np

from tflite_export.errors import TfliteError
from tflite_export.flatbuffer import Buffer, Operator, Subgraph, Tensor, schema

# What sums products of constant weights, and adds a bias.
WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
LEAST_SCALE = float(np.finfo(np.float32).tiny) * 1e6
# The largest bias that integer kernels can take: of 64 bits they use 48, and round factors below 2**-31 to 0.
BIAS_ROOM: dict[type, int] = {np.int32: 2**30, np.int64: 2**40}

_TYPES = {"f4": "FLOAT32", "f2": "FLOAT16", "i1": "INT8", "i2": "INT16", "i4": "INT32", "i8": "INT64"}
# By operator: the version that introduced a kernel for this type of its first operand.
_VERSIONS = {
    "CONV_2D": {"FLOAT32": 1, "INT8": 3, "INT16": 4},
    "AVERAGE_POOL_2D": {"FLOAT32": 1, "INT8": 2, "INT16": 3},
    "RESIZE_BILINEAR": {"FLOAT32": 3, "INT8": 3, "INT16": 4},
    "MUL": {"FLOAT32": 1},
    "ADD": {"FLOAT32": 1, "INT8": 2, "INT16": 2, "INT32": 1},
    "RESHAPE": {"FLOAT32": 1, "INT8": 1, "UINT8": 1, "INT16": 1},
    "TRANSPOSE": {"FLOAT32": 1, "INT8": 2, "INT16": 2},
    "GATHER": {"FLOAT32": 1, "INT8": 2},
    "SPLIT_V": {"INT8": 2},
    "SLICE": {"FLOAT32": 1, "INT8": 2, "INT16": 4},
    "CONCATENATION": {"FLOAT32": 1, "INT8": 2, "INT16": 3},
    "SOFTMAX": {"FLOAT32": 1, "INT8": 2, "INT16": 3},
    "DEQUANTIZE": {"FLOAT16": 3, "INT8": 2, "INT16": 3, "UINT8": 1},
    "QUANTIZE": {"FLOAT32": 1, "INT8": 1, "UINT8": 1, "INT16": 2},
    "EQUAL": {"INT32": 1},
    "LESS": {"FLOAT32": 1},
    "LESS_EQUAL": {"INT32": 1},
    "GREATER_EQUAL": {"INT32": 1, "FLOAT32": 1},
    "REDUCE_MAX": {"FLOAT32": 1, "INT8": 2, "INT16": 3},
    "SUM": {"FLOAT32": 1},
    "SUB": {"FLOAT32": 1},
    "MAXIMUM": {"FLOAT32": 1},
    "LOG": {"FLOAT32": 1},
    "CAST": {"BOOL": 1, "INT8": 1},
    "IF": {"BOOL": 1},
}
_RELATIONS = ("LESS", "GREATER_EQUAL")
# By operator: the record of its options, empty where it has none.
_ELEMENTWISE = {
    "LESS": "LessOptions",
    "GREATER_EQUAL": "GreaterEqualOptions",
    "SUB": "SubOptions",
    "ADD": "AddOptions",
    "MUL": "MulOptions",
    "MAXIMUM": "MaximumMinimumOptions",
    "LOG": "",
}
_HYBRID_CONV = 5  # float activations, int8 weights with a scale a channel
_ACTIVATIONS = {(None, None): "NONE", (0.0, None): "RELU", (0.0, 6.0): "RELU6"}


def constant(values: np.ndarray, name: str, scales: np.ndarray | None = None, axis: int = 0) -> Tensor:
    """A tensor that holds values; ``scales`` are of symmetric integers, one or one a channel of ``axis``."""
    data = np.ascontiguousarray(values)
    tensor = activation(data.shape, _TYPES[data.dtype.str[1:]], name)
    tensor.buffer = Buffer(data.reshape(-1).view(np.uint8))
    if scales is not None:
        tensor.table.quantization = quantisation(np.atleast_1d(scales), np.zeros(np.size(scales), int), axis)
    return tensor


def quantisation(scales: np.ndarray, zero_points: np.ndarray, axis: int = 0) -> Any:
    """The schema's record of scales and zero points along an axis."""
    return schema().QuantizationParametersT(
        scale=np.asarray(scales, np.float32), zeroPoint=np.asarray(zero_points, np.int64), quantizedDimension=axis
    )


def steps(low: float, high: float, room: np.iinfo[Any]) -> tuple[float, int]:
    """Scale and zero point by which integers of a type cover a range that is wider than zero."""
    scale = (high - low) / (room.max - room.min)
    return scale, int(np.clip(np.rint(room.min - low / scale), room.min, room.max))


def bias_integers(values: np.ndarray, kind: np.dtype[Any]) -> np.ndarray:
    """Whole numbers as integers of a bias's type, within what kernels can add to."""
    room = BIAS_ROOM[kind.type]
    return np.clip(values, -room, room).astype(kind)


def in_units(real: np.ndarray, units: np.ndarray) -> np.ndarray:
    """The whole numbers of units that come nearest; 0 of a channel whose unit is 0, as all its weights are."""
    return np.rint(np.divide(real, units, out=np.zeros(np.shape(real)), where=units > 0))


def activation(shape: Sequence[int], type_: str, name: str, like: Tensor | None = None) -> Tensor:
    """A tensor without values, with the quantisation of another."""
    number = getattr(schema().TensorType, type_)
    table = schema().TensorT(shape=np.array(shape, np.int32), type=number, name=name, hasRank=True)
    table.quantization = None if like is None else like.table.quantization
    return Tensor(table, Buffer())


def fused(clamp: tuple[float | None, float | None]) -> int:
    """The fused activation of a clamp; raises TfliteError for one that TensorFlow Lite does not fuse."""
    if clamp not in _ACTIVATIONS:
        raise TfliteError(f"no operator ends in the clamp {clamp}; use one of {', '.join(map(str, _ACTIVATIONS))}")
    return int(getattr(schema().ActivationFunctionType, _ACTIVATIONS[clamp]))


def conv_1x1(x: Tensor, weights: Tensor, bias: Tensor, y: Tensor, activation: int) -> Operator:
    """``y = act(x * weights + bias)``, weights ``(c_out, 1, 1, c_in)``."""
    options = schema().Conv2DOptionsT(strideW=1, strideH=1, fusedActivationFunction=activation)
    if x.type == "INT16":
        options.quantizedBiasType = schema().TensorType.INT64
    version = _HYBRID_CONV if (x.type, weights.type) == ("FLOAT32", "INT8") else None
    return _operator("CONV_2D", [x, weights, bias], y, "Conv2DOptions", options, version)


def average_pool(x: Tensor, window: tuple[int, int]) -> Operator:
    """Mean over whole windows ``(h, w)``."""
    h, w = window
    options = schema().Pool2DOptionsT(
        padding=schema().Padding.VALID, strideW=w, strideH=h, filterWidth=w, filterHeight=h
    )
    n, height, width, channels = x.shape
    y = activation((n, height // h, width // w, channels), x.type, "stitch/pool", like=x)
    return _operator("AVERAGE_POOL_2D", [x], y, "Pool2DOptions", options)


def resize_bilinear(x: Tensor, size: tuple[int, int]) -> Operator:
    """Bilinear resize to ``(h, w)`` with half-pixel centres, as Keras' Resizing does."""
    options = schema().ResizeBilinearOptionsT(halfPixelCenters=True)
    y = activation((x.shape[0], *size, x.shape[3]), x.type, "stitch/resize", like=x)
    shape = constant(np.array(size, np.int32), "stitch/size")
    return _operator("RESIZE_BILINEAR", [x, shape], y, "ResizeBilinearOptions", options)


def mul(x: Tensor, factors: Tensor, y: Tensor, activation: int) -> Operator:
    """``y = act(x * factors)`` with factors along the last axis."""
    options = schema().MulOptionsT(fusedActivationFunction=activation)
    return _operator("MUL", [x, factors], y, "MulOptions", options)


def add(x: Tensor, values: Tensor, y: Tensor, activation: int) -> Operator:
    """``y = act(x + values)``."""
    options = schema().AddOptionsT(fusedActivationFunction=activation, potScaleInt16=False)
    return _operator("ADD", [x, values], y, "AddOptions", options)


def reshape(x: Tensor, y: Tensor) -> Operator:
    """The same values in another shape."""
    shape = constant(np.array(y.shape, np.int32), "stitch/shape")
    return _operator("RESHAPE", [x, shape], y, "ReshapeOptions", schema().ReshapeOptionsT(newShape=list(y.shape)))


def tokens(x: Tensor, start: int, count: int) -> Operator:
    """Some consecutive tokens of ``(1, t, c)``."""
    begin = constant(np.array([0, start, 0], np.int32), "stitch/begin")
    size = constant(np.array([1, count, x.shape[2]], np.int32), "stitch/count")
    y = activation((1, count, x.shape[2]), x.type, "stitch/tokens", like=x)
    return _operator("SLICE", [x, begin, size], y, "SliceOptions", schema().SliceOptionsT())


def concatenate(parts: Sequence[Tensor], y: Tensor, axis: int = 1) -> Operator:
    """Tokens ``(1, t, c)`` one behind the other, or whatever along another axis; all quantised as ``y`` is."""
    options = schema().ConcatenationOptionsT(axis=axis)
    return _operator("CONCATENATION", list(parts), y, "ConcatenationOptions", options)


def transpose(x: Tensor, order: Sequence[int], y: Tensor) -> Operator:
    """The same values with the axes in another order."""
    axes = constant(np.array(order, np.int32), "adapter/axes")
    return _operator("TRANSPOSE", [x, axes], y, "TransposeOptions", schema().TransposeOptionsT())


def split(x: Tensor, sizes: Sequence[int], axis: int, parts: Sequence[Tensor]) -> Operator:
    """A tensor as parts of these sizes along an axis."""
    lengths, along = (
        constant(np.array(sizes, np.int32), "split/sizes"),
        constant(np.array(axis, np.int32), "split/axis"),
    )
    options = schema().SplitVOptionsT(numSplits=len(sizes))
    operator = _operator("SPLIT_V", [x, lengths, along], parts[0], "SplitVOptions", options)
    operator.outputs = list(parts)
    return operator


def columns(x: Tensor, order: Sequence[int], y: Tensor) -> Operator:
    """The columns of ``(1, n)`` with these indices, in their order."""
    return gather(x, constant(np.array(order, np.int32), "adapter/order"), y, axis=1)


def gather(x: Tensor, indices: Tensor, y: Tensor, axis: int) -> Operator:
    """What stands at these places along an axis."""
    return _operator("GATHER", [x, indices], y, "GatherOptions", schema().GatherOptionsT(axis=axis))


def softmax(x: Tensor, y: Tensor) -> Operator:
    """Probabilities of logits ``(1, classes)``."""
    return _operator("SOFTMAX", [x], y, "SoftmaxOptions", schema().SoftmaxOptionsT(beta=1.0))


def dequantize(x: Tensor, y: Tensor | None = None) -> Operator:
    """Float16 or integers as float32."""
    if y is None:
        y = activation(x.shape, "FLOAT32", f"{x.name}/float")
    return _operator("DEQUANTIZE", [x], y, "DequantizeOptions", schema().DequantizeOptionsT())


def quantize(x: Tensor, y: Tensor) -> Operator:
    """Floats as integers, or integers in other steps."""
    return _operator("QUANTIZE", [x], y, "QuantizeOptions", schema().QuantizeOptionsT())


def reduced(x: Tensor, how: str) -> Operator:
    """The largest (``REDUCE_MAX``) or the ``SUM`` of each row of ``(1, n)``, as ``(1,)``."""
    options = schema().ReducerOptionsT(keepDims=False)
    y = activation(x.shape[:1], x.type, f"cascade/{how.lower()}", like=x)
    return _operator(how, [x, constant(np.array([1], np.int32), "cascade/axis")], y, "ReducerOptions", options)


def elementwise(name: str, inputs: Sequence[Tensor]) -> Operator:
    """Floats of ``(1, n)`` with as many others, or with the one value of ``(1,)``."""
    y = activation(inputs[0].shape, "BOOL" if name in _RELATIONS else "FLOAT32", f"cascade/{name.lower()}")
    kind = _ELEMENTWISE[name]
    return _operator(name, list(inputs), y, kind, getattr(schema(), f"{kind}T")() if kind else None)


def cast(x: Tensor, y: Tensor | None = None) -> Operator:
    """The same numbers in another type; truths as floats 0 and 1 where no ``y`` is given."""
    if y is None:
        y = activation(x.shape, "FLOAT32", "cascade/cast")
    options = schema().CastOptionsT(inDataType=x.table.type, outDataType=y.table.type)
    return _operator("CAST", [x], y, "CastOptions", options)


def compared(x: Tensor, relation: str, number: int) -> Operator:
    """Whether one integer is EQUAL, LESS_EQUAL or GREATER_EQUAL to a constant."""
    kind = f"{relation.title().replace('_', '')}Options"
    against = constant(np.array([number], np.int32), "router/number")
    y = activation((1,), "BOOL", "router/chosen")
    return _operator(relation, [x, against], y, kind, getattr(schema(), f"{kind}T")())


def branch(
    condition: Tensor, inputs: Sequence[Tensor], outputs: Sequence[Tensor], then: Subgraph, otherwise: Subgraph
) -> Operator:
    """An IF: the outputs as one subgraph or the other makes them of the same inputs."""
    operator = _operator("IF", [condition, *inputs], outputs[0], "IfOptions", schema().IfOptionsT())
    operator.outputs, operator.calls = list(outputs), [then, otherwise]
    return operator


def with_inputs(operator: Operator, inputs: Sequence[Tensor | None], outputs: Sequence[Tensor] = ()) -> Operator:
    """A copy of an operator that reads, and perhaps writes, other tensors."""
    return Operator(
        copy.copy(operator.table),
        operator.code,
        list(inputs),
        list(outputs) or operator.outputs,
        operator.intermediates,
        operator.calls,
    )


def _operator(
    name: str, inputs: list[Tensor | None], y: Tensor, kind: str, options: Any, version: int | None = None
) -> Operator:
    number = getattr(schema().BuiltinOperator, name)
    if version is None:
        first = inputs[0].type if inputs[0] else ""
        version = _VERSIONS[name][first]
    code = schema().OperatorCodeT(min(number, 127), None, version, number)
    number_of_kind = getattr(schema().BuiltinOptions, kind or "NONE")
    table = schema().OperatorT(builtinOptionsType=number_of_kind, builtinOptions=options)
    return Operator(table, code, inputs, [y])
