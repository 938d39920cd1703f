"""Read a .tflite file's graph into plain records, without TensorFlow and without changing it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np

from tflite_export.errors import TfliteError

IDENTIFIER = b"TFL3"
FLOATS = ("FLOAT32", "FLOAT16", "BFLOAT16", "FLOAT64")
# Types without an entry (strings, resources, variants) have no size that a file could tell.
BITS = {
    "FLOAT64": 64,
    "INT64": 64,
    "UINT64": 64,
    "COMPLEX64": 64,
    "FLOAT32": 32,
    "INT32": 32,
    "UINT32": 32,
    "FLOAT16": 16,
    "BFLOAT16": 16,
    "INT16": 16,
    "UINT16": 16,
    "INT8": 8,
    "UINT8": 8,
    "BOOL": 8,
    "INT4": 4,
    "UINT4": 4,
    "INT2": 2,
}


@dataclass(frozen=True)
class Tensor:
    """One tensor: where it stands in the table, its type by the schema's name, its quantisation.

    ``data`` are the raw bytes of a constant (a view into the file), None for an activation.
    ``fixed`` is False where the file leaves a dimension open.
    """

    index: int
    name: str
    type: str
    shape: tuple[int, ...]
    fixed: bool
    variable: bool
    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    data: np.ndarray | None = field(repr=False, compare=False)

    @property
    def constant(self) -> bool:
        """Whether the file itself holds the values."""
        return self.data is not None

    @property
    def nbytes(self) -> int:
        """Bytes of the values.

        Raises TfliteError for an open dimension or a type of no fixed size.
        """
        if not self.fixed:
            raise TfliteError(
                f"tensor {self.name!r} has the open shape {self.shape}, so its size is unknown; "
                "convert with a fixed batch of 1"
            )
        if self.type not in BITS:
            raise TfliteError(f"tensor {self.name!r} has type {self.type}, which has no fixed size")
        return math.ceil(math.prod(self.shape) * BITS[self.type] / 8)


@dataclass(frozen=True)
class Operator:
    """One operator in execution order; operands are tensor indices, -1 for an omitted one."""

    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True)
class Signature:
    """A named entry point; ``inputs`` and ``outputs`` are (key, tensor index) pairs."""

    name: str
    inputs: tuple[tuple[str, int], ...]
    outputs: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Graph:
    """The subgraph of a file that has just one, with the file's signatures."""

    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    signatures: tuple[Signature, ...]


def read(model: bytes) -> Graph:
    """Read the one subgraph of a .tflite file.

    Raises TfliteError for bytes that are no whole .tflite file and for several subgraphs.
    """
    unpacked = _unpack(model)
    count = len(unpacked.subgraphs or ())
    if count != 1:
        raise TfliteError(f"the file has {count} subgraphs; this reads files of exactly one")
    try:
        return _graph(unpacked, unpacked.subgraphs[0], model)
    except (IndexError, TypeError, AttributeError, UnicodeDecodeError) as error:
        raise TfliteError(f"not a whole .tflite file: {error}") from error


def _unpack(model: bytes) -> Any:
    if len(model) < 8 or model[4:8] != IDENTIFIER:
        raise TfliteError(
            f"not a .tflite file: {len(model)} bytes that begin {model[:8]!r}; bytes 4 to 8 should be {IDENTIFIER!r}"
        )
    try:
        return _schema().ModelT.InitFromPackedBuf(model, 0)
    # The generated reader follows whatever offsets it finds, so damage surfaces as anything from
    # struct.error to a failed numpy view.
    except Exception as error:
        raise TfliteError(f"not a whole .tflite file ({len(model)} bytes): {error}") from error


def _graph(unpacked: Any, subgraph: Any, model: bytes) -> Graph:
    tensors = tuple(
        _tensor(index, tensor, unpacked.buffers[tensor.buffer], model) for index, tensor in enumerate(subgraph.tensors)
    )
    operators = tuple(
        Operator(_operator_name(unpacked.operatorCodes[op.opcodeIndex]), _ints(op.inputs), _ints(op.outputs))
        for op in subgraph.operators or ()
    )
    signatures = tuple(
        Signature(_text(found.signatureKey), _keys(found.inputs), _keys(found.outputs))
        for found in unpacked.signatureDefs or ()
    )
    graph = Graph(tensors, operators, _ints(subgraph.inputs), _ints(subgraph.outputs), signatures)
    _check_indices(graph)
    return graph


def _check_indices(graph: Graph) -> None:
    named = [index for op in graph.operators for index in (*op.inputs, *op.outputs)]
    named += [*graph.inputs, *graph.outputs]
    wrong = next((index for index in named if not -1 <= index < len(graph.tensors)), None)
    if wrong is not None:
        raise TfliteError(f"not a whole .tflite file: it names tensor {wrong} of a table of {len(graph.tensors)}")


def _tensor(index: int, tensor: Any, buffer: Any, model: bytes) -> Tensor:
    shape = _ints(tensor.shape)
    asked = _ints(tensor.shapeSignature)
    quantisation = tensor.quantization
    return Tensor(
        index=index,
        name=_text(tensor.name),
        type=_names("TensorType").get(tensor.type, f"TYPE {tensor.type}"),
        shape=shape,
        fixed=all(size >= 0 for size in (*shape, *asked)),
        variable=bool(tensor.isVariable),
        scales=() if quantisation is None else _floats(quantisation.scale),
        zero_points=() if quantisation is None else _ints(quantisation.zeroPoint),
        data=_data(buffer, model),
    )


def _data(buffer: Any, model: bytes) -> np.ndarray | None:
    if buffer.data is not None and len(buffer.data):
        return np.asarray(buffer.data, np.uint8)
    # Offsets 0 and 1 both mean "inside the flatbuffer" in the schema.
    if buffer.offset > 1:
        if buffer.offset + buffer.size > len(model):
            raise TfliteError(
                f"not a whole .tflite file: a buffer ends at byte {buffer.offset + buffer.size}, "
                f"the file at {len(model)}"
            )
        return np.frombuffer(model, np.uint8, int(buffer.size), int(buffer.offset))
    return None


def _operator_name(code: Any) -> str:
    # Codes under 127 stand in the older, narrower field; the newer one is then 0 or equal.
    number = max(code.builtinCode, code.deprecatedBuiltinCode)
    name = _names("BuiltinOperator").get(number, f"BUILTIN {number}")
    return f"CUSTOM {_text(code.customCode)}" if name == "CUSTOM" else name


def _keys(entries: Any) -> tuple[tuple[str, int], ...]:
    return tuple((_text(entry.name), int(entry.tensorIndex)) for entry in entries or ())


def _ints(values: Any) -> tuple[int, ...]:
    return () if values is None else tuple(int(value) for value in values)


def _floats(values: Any) -> tuple[float, ...]:
    return () if values is None else tuple(float(value) for value in values)


def _text(value: bytes | str | None) -> str:
    return value.decode() if isinstance(value, bytes) else value or ""


def _schema() -> ModuleType:
    from ai_edge_litert import schema_py_generated

    return schema_py_generated


@cache
def _names(enum: str) -> dict[int, str]:
    return {value: key for key, value in vars(getattr(_schema(), enum)).items() if isinstance(value, int)}
