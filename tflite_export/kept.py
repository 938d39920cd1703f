"""What an operator keeps in TensorFlow Lite Micro's arena for as long as the interpreter lives, in bytes.

Its options as they are parsed, the record of its kernel, and the buffers that the kernel fills once (multipliers of
channels, tables, operands turned round). Read in the sources (90b983c2) and in what the compilers make of them; where
two compilers of 32-bit cores differ, as in how long an enumeration is, the longer one stands here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tflite_export.flatbuffer import Operator, Tensor
from tflite_export.kernels import CMSIS_NN, HELIUM, Kernels

# By operator: the options as they are parsed.
_OPTIONS = {
    **dict.fromkeys(("CONV_2D", "DEPTHWISE_CONV_2D"), 28),
    **dict.fromkeys(("ADD", "SUB", "CAST", "CONCATENATION", "GATHER", "IF", "PACK", "UNPACK", "WHILE"), 8),
    **dict.fromkeys(("MUL", "DIV", "SOFTMAX", "LEAKY_RELU", "SHAPE", "SPLIT", "SPLIT_V", "ARG_MAX", "ARG_MIN"), 4),
    **dict.fromkeys(("MIRROR_PAD", "L2_NORMALIZATION", "DEPTH_TO_SPACE", "SPACE_TO_DEPTH"), 4),
    **dict.fromkeys(("AVERAGE_POOL_2D", "MAX_POOL_2D", "L2_POOL_2D"), 40),
    **dict.fromkeys(("RESHAPE", "SQUEEZE"), 36),
    **dict.fromkeys(("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"), 2),
    **dict.fromkeys(("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_ALL"), 1),
    "FULLY_CONNECTED": 32,
    "BATCH_MATMUL": 3,
    "STRIDED_SLICE": 24,
    "TRANSPOSE_CONV": 20,
}
# By operator: the record of its kernel, on a 32-bit core and, where it is another, on a 64-bit host.
_RECORDS: dict[str, int | tuple[int, int]] = {
    **dict.fromkeys(("CONV_2D", "DEPTHWISE_CONV_2D"), (56, 80)),
    **dict.fromkeys(("AVERAGE_POOL_2D", "MAX_POOL_2D", "DEQUANTIZE", "QUANTIZE"), 32),
    **dict.fromkeys(("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_ALL"), 44),
    **dict.fromkeys(("LOGISTIC", "TANH"), 16),
    **dict.fromkeys(("PAD", "PADV2"), 56),
    **dict.fromkeys(("RELU", "PRELU", "DIV", "ABS", "RSQRT"), 28),
    **dict.fromkeys(("EQUAL", "NOT_EQUAL", "LESS", "LESS_EQUAL", "GREATER", "GREATER_EQUAL"), 32),
    **dict.fromkeys(("IF", "WHILE", "RELU6"), 8),
    "FULLY_CONNECTED": (48, 72),
    "ADD": 60,
    "SUB": 52,
    "MUL": 36,
    "LEAKY_RELU": 24,
    "BATCH_MATMUL": (16, 32),
    "SOFTMAX": (56, 80),
    "HARD_SWISH": 20,
    "STRIDED_SLICE": 84,
    "CONCATENATION": (24, 80),
    "L2_NORMALIZATION": 4,
    "TRANSPOSE_CONV": (72, 88),
    "SQUARED_DIFFERENCE": 112,
    "SELECT_V2": 1,
    "MIRROR_PAD": 20,
    "ELU": 256,
    "LOG_SOFTMAX": 1104,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": 1024,
}
# What CMSIS-NN's kernels keep more of.
_MORE = {
    "CONV_2D": 4,
    "DEPTHWISE_CONV_2D": 4,
    "FULLY_CONNECTED": 24,
    "AVERAGE_POOL_2D": 4,
    "MAX_POOL_2D": 4,
    "SOFTMAX": 8,
    "BATCH_MATMUL": 20,
    "TRANSPOSE_CONV": 4,
}
_NOTHING = """
BROADCAST_ARGS BROADCAST_TO CEIL COS EXP EXPAND_DIMS FILL FLOOR FLOOR_DIV FLOOR_MOD GATHER_ND LOG LOGICAL_AND
LOGICAL_NOT LOGICAL_OR MAXIMUM MINIMUM NEG REVERSE_V2 ROUND SIN SLICE SQRT SQUARE TRANSPOSE ZEROS_LIKE
"""
_UNKNOWN = 128  # allowed for either, of an operator that stands nowhere here
_TABLE = 2 * 513  # bytes of a table of a function of int16
_PARAMETERS = 28  # of a product of integers


@dataclass(frozen=True)
class Kept:
    """Bytes of the parsed options, of the kernel's record, and of the buffers that it fills, in that order."""

    options: int
    record: int
    buffers: tuple[int, ...]


def of(operator: Operator, kernels: Kernels) -> Kept:
    """What an operator keeps."""
    name = operator.name
    record = _wide(_RECORDS.get(name, _allowance(name)), kernels)
    more = _MORE.get(name, 0) if kernels.library == CMSIS_NN else 0
    buffers = _BUFFERS.get(name)
    filled = buffers(operator, kernels) if buffers else ()
    return Kept(_OPTIONS.get(name, _allowance(name)), record + more, filled)


def _allowance(name: str) -> int:
    return 0 if name in _NOTHING.split() or name in _OPTIONS or name in _RECORDS else _UNKNOWN


def _wide(size: int | tuple[int, int], kernels: Kernels) -> int:
    return size[kernels.host] if isinstance(size, tuple) else size


def _channels(operator: Operator, kernels: Kernels) -> tuple[int, ...]:
    """A multiplier and a shift, both int32, for every channel of the result; the reference's in float as well."""
    y = operator.outputs[0]
    needless = kernels.library == CMSIS_NN and y.type == "FLOAT32" and operator.name != "TRANSPOSE_CONV"
    return () if needless else (4 * y.shape[-1],) * 2


def _dense(operator: Operator, kernels: Kernels) -> tuple[int, ...]:
    weights, y = operator.inputs[1], operator.outputs[0]
    several = weights is not None and len(weights.scales) > 1
    # Helium's kernels keep the sums of the weights' rows.
    summed = kernels.library == CMSIS_NN and kernels.form == HELIUM and y.type == "INT8"
    return (*(_channels(operator, kernels) if several else ()), *((4 * y.shape[-1],) if summed else ()))


def _softmax(operator: Operator, kernels: Kernels) -> tuple[int, ...]:
    x = operator.inputs[0]
    return (_TABLE, _TABLE) if x is not None and x.type == "INT16" else ()


def _product(operator: Operator, kernels: Kernels) -> tuple[int, ...]:
    """The shape of the result; an operand that does not lie as the kernel takes it, a second time."""
    options, (left, right) = operator.table.builtinOptions, operator.inputs[:2]
    turned = [t for t, so in ((left, options.adjX), (right, not options.adjY)) if so and t is not None]
    integers = operator.outputs[0].type in ("INT8", "INT16")
    again = [size for t in turned for size in (24 if kernels.host else 12, _shape(t), t.nbytes)]
    return _shape(operator.outputs[0]), *again, *((_PARAMETERS,) if integers else ())


def _result_shape(operator: Operator, kernels: Kernels) -> tuple[int, ...]:
    return (_shape(operator.outputs[0]),)


def _shape(tensor: Tensor) -> int:
    return 4 * (1 + len(tensor.shape))


_BUFFERS: dict[str, Callable[[Operator, Kernels], tuple[int, ...]]] = {
    **dict.fromkeys(("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV"), _channels),
    **dict.fromkeys(("GATHER", "GATHER_ND", "L2_POOL_2D", "DEPTH_TO_SPACE", "SPACE_TO_DEPTH"), _result_shape),
    "FULLY_CONNECTED": _dense,
    "SOFTMAX": _softmax,
    "BATCH_MATMUL": _product,
}
