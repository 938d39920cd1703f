"""A ``.tflite`` file as objects: operators hold tensors, tensors hold buffers; indices appear only in read and write.

Every object keeps the schema's own record, so that fields which nothing here names survive. What is
shared stays shared: a tensor, a quantisation or an options record that several subgraphs hold is
written once (a flatbuffer may point to a table from many places), and so is a buffer.
Source: TensorFlow Lite's ``schema.fbs``, through the generated code of ai-edge-litert.

Of more than 400 lines, since what reads a table and what writes it belong side by side.
"""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from types import ModuleType
from typing import Any

import flatbuffers
import numpy as np

from tflite_export.errors import TfliteError
from tflite_export.tables import generated

IDENTIFIER = b"TFL3"
FLOATS = ("FLOAT32", "FLOAT16", "BFLOAT16", "FLOAT64")
# TensorFlow Lite Micro and DMA want weights at 16 bytes; TensorFlow's own files give them 4.
ALIGNMENT = 16
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
# Vela's operator names its working memory among its inputs, which nothing makes.
_SCRATCHED = ("CUSTOM ethos-u",)
# What is often found in the place of a file, by how it begins.
_STAND_INS = {
    b"version https://git-lfs": "a pointer of Git LFS to one, and git lfs pull brings the file itself",
    b"<!doctype html": "a web page about one, and its download is the file itself",
    b"<html": "a web page about one, and its download is the file itself",
}
_SUMS = ("ADD", "SUB")
# How far, in bits, LiteRT's integer sums can bring an operand's scale to that of the result.
_SUMS_ROOM = {"INT8": 19, "UINT8": 19, "INT16": 14}
_NUMPY = {"FLOAT32": "f4", "FLOAT16": "f2", "FLOAT64": "f8", "INT8": "i1", "UINT8": "u1", "INT16": "i2"} | {
    "INT32": "i4",
    "INT64": "i8",
    "BOOL": "?",
}


@dataclass(frozen=True, eq=False)
class Buffer:
    """The bytes of a constant: a view into the file that they came from, or an array of their own.

    They never change: where a tensor's values do, it gets another buffer. Equal bytes are written once, but for those
    that are told ``apart`` by a number.
    """

    data: np.ndarray = field(default_factory=lambda: np.empty(0, np.uint8), repr=False)
    apart: int = 0

    @cached_property
    def digest(self) -> bytes:
        """Of the content; empty for an empty buffer. Kept, as one buffer goes into many files."""
        salt = self.apart.to_bytes(hashlib.blake2b.SALT_SIZE, "little")
        return hashlib.blake2b(self.data.data, salt=salt).digest() if len(self.data) else b""


@dataclass(eq=False)
class Tensor:
    """One tensor; ``table`` is the schema's record, whose buffer index means nothing here."""

    table: Any = field(repr=False)
    buffer: Buffer = field(repr=False)

    @property
    def name(self) -> str:
        """Its name; empty where names were stripped."""
        return text(self.table.name)

    @property
    def type(self) -> str:
        """The schema's name of its element type."""
        return names("TensorType").get(self.table.type, f"TYPE {self.table.type}")

    @property
    def shape(self) -> tuple[int, ...]:
        """Dimensions."""
        return ints(self.table.shape)

    @property
    def fixed(self) -> bool:
        """Whether the file leaves no dimension open."""
        return all(size >= 0 for size in (*self.shape, *ints(self.table.shapeSignature)))

    @property
    def constant(self) -> bool:
        """Whether the file itself holds the values."""
        return len(self.buffer.data) > 0

    @property
    def scales(self) -> tuple[float, ...]:
        """Scale of the quantisation, one or one a channel; empty without one."""
        quantisation = self.table.quantization
        return () if quantisation is None or quantisation.scale is None else tuple(float(v) for v in quantisation.scale)

    @property
    def zero_points(self) -> tuple[int, ...]:
        """Zero point of the quantisation, one or one a channel; empty without one."""
        quantisation = self.table.quantization
        return () if quantisation is None else ints(quantisation.zeroPoint)

    @property
    def nbytes(self) -> int:
        """Bytes of the values; raises TfliteError for an open dimension or a type of no fixed size."""
        if not self.fixed:
            raise TfliteError(
                f"tensor {self.name!r} has the open shape {ints(self.table.shapeSignature) or self.shape}, "
                "so its size is unknown; "
                "convert with a fixed batch of 1"
            )
        if self.type not in BITS:
            raise TfliteError(f"tensor {self.name!r} has type {self.type}, which has no fixed size")
        return math.ceil(math.prod(self.shape) * BITS[self.type] / 8)

    def values(self) -> np.ndarray:
        """A constant's values in its own type and shape, a view; raises TfliteError where it has none."""
        if not self.constant or self.type not in _NUMPY:
            raise TfliteError(f"tensor {self.name!r} ({self.type}) holds no values that can be read")
        return self.buffer.data.view(_NUMPY[self.type]).reshape(self.shape)


@dataclass(eq=False)
class Operator:
    """One operator: what it does, on what, giving what; None stands for an omitted operand.

    ``calls`` are the subgraphs that it runs, in the order of its options: of an IF, that for true and that for false.
    """

    table: Any = field(repr=False)
    code: Any = field(repr=False)
    inputs: list[Tensor | None]
    outputs: list[Tensor]
    intermediates: list[Tensor | None] = field(default_factory=list)
    calls: list[Subgraph] = field(default_factory=list, repr=False)

    @property
    def name(self) -> str:
        """The schema's name, ``CUSTOM name`` for a custom one."""
        # Codes under 127 stand in the older, narrower field; the newer one is then 0 or equal.
        number = max(self.code.builtinCode, self.code.deprecatedBuiltinCode)
        name = names("BuiltinOperator").get(number, f"BUILTIN {number}")
        return f"CUSTOM {text(self.code.customCode)}" if name == "CUSTOM" else name


@dataclass(eq=False)
class Subgraph:
    """Operators in execution order, with the tensors that go in and come out.

    ``tensors`` lists tensors that are to have the first places in the table, used or not; those that
    only operators name follow in the order in which they are named.
    """

    operators: list[Operator]
    inputs: list[Tensor]
    outputs: list[Tensor]
    tensors: list[Tensor] = field(default_factory=list)
    table: Any = field(default_factory=lambda: schema().SubGraphT(), repr=False)

    @property
    def name(self) -> str:
        """Its name; empty where it has none."""
        return text(self.table.name)


@dataclass(eq=False)
class Signature:
    """A named entry point of a subgraph, with a name for each of its inputs and outputs."""

    key: str
    subgraph: Subgraph
    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]


@dataclass(eq=False)
class Model:
    """A whole file. ``metadata`` is by name; what else the schema has stays in ``table``."""

    subgraphs: list[Subgraph]
    signatures: list[Signature] = field(default_factory=list)
    metadata: dict[str, Buffer] = field(default_factory=dict)
    table: Any = field(default_factory=lambda: schema().ModelT(version=3), repr=False)


def read(content: bytes) -> Model:
    """Read a file; constants are views into ``content``.

    Data that the file keeps behind the flatbuffer (ai-edge-quantizer does from 256 KiB on) is taken
    in like any other. Raises TfliteError for bytes that are no whole ``.tflite`` file.
    """
    table = _unpacked(content)
    try:
        return _model(table, content)
    except (IndexError, TypeError, AttributeError, ValueError) as error:
        raise TfliteError(f"not a whole .tflite file ({len(content)} bytes): {error}") from error


def write(model: Model, *, names: bool = True) -> bytes:
    """Write a file: buffers aligned to 16 bytes, each content and each shared record once.

    ``names`` False leaves out the names of all tensors but the subgraphs' ends, which LiteRT does not
    need. Equal models give equal bytes. Raises TfliteError for a file beyond the 2 GiB of a flatbuffer.
    """
    builder = _room([model])
    builder.Finish(_Writer([model], names).table(model).Pack(builder), file_identifier=IDENTIFIER)
    # ``Output`` would copy the file once more.
    return bytes(memoryview(builder.Bytes)[builder.Head() :])


def write_several(models: Sequence[Model], *, names: bool = False) -> bytes:
    """Write files into one another: the file from byte 16 i on is model i, and what they share is there once.

    A reader goes where a file's first bytes point, which may be anywhere behind them: so every model has
    its first 16 bytes and its own root, and all of them one set of buffers, operators and tensors.
    """
    builder, writer = _room(models), _Writer(models, names)
    tables = [writer.table(model) for model in models]  # all of them, before the lists that they share are packed
    roots = [table.Pack(builder) for table in tables]
    builder.Prep(ALIGNMENT, ALIGNMENT * len(roots))
    for root in reversed(roots):  # a flatbuffer grows towards its beginning
        builder.Pad(ALIGNMENT - 8)
        for letter in reversed(IDENTIFIER):
            builder.PrependByte(letter)
        builder.PrependUOffsetTRelative(root)
    return bytes(memoryview(builder.Bytes)[builder.Head() :])


def _room(models: Sequence[Model]) -> _Builder:
    size = sum({id(b): len(b.data) for model in models for b in _buffers(model)}.values())
    if size >= 2**31 - 2**20:
        raise TfliteError(f"the weights take {size} bytes; a .tflite file holds less than 2 GiB")
    return _Builder(size + size // 8 + 2**16)  # room for all tables, so that it need not grow


def called(graphs: Iterable[Subgraph]) -> list[Subgraph]:
    """Subgraphs and, behind each, all that its operators run, every one once."""
    listed: dict[int, Subgraph] = {}
    waiting = list(graphs)[::-1]
    while waiting:
        graph = waiting.pop()
        if id(graph) not in listed:  # a damaged file may call itself
            listed[id(graph)] = graph
            waiting += [one for op in graph.operators for one in op.calls][::-1]
    return list(listed.values())


def only(model: Model) -> Subgraph:
    """The subgraph of a file that has just one; raises TfliteError for any other."""
    if len(model.subgraphs) != 1:
        raise TfliteError(f"the file has {len(model.subgraphs)} subgraphs; this needs a file of exactly one")
    return model.subgraphs[0]


def schema() -> ModuleType:
    """The generated schema, with tables that are read in half the time."""
    return generated()


@cache
def names(enum: str) -> dict[int, str]:
    """An enumeration of the schema by value."""
    return {value: key for key, value in vars(getattr(schema(), enum)).items() if isinstance(value, int)}


def ints(values: Any) -> tuple[int, ...]:
    """A vector of the schema as a tuple; empty for an absent one."""
    if isinstance(values, np.ndarray):
        return tuple(values.tolist())
    return () if values is None else tuple(int(value) for value in values)


def text(value: bytes | str | None) -> str:
    """A string of the schema; bytes that are no text, as in a damaged file, are replaced."""
    return value.decode(errors="replace") if isinstance(value, bytes) else value or ""


def _unpacked(content: bytes) -> Any:
    if len(content) < 8 or content[4:8] != IDENTIFIER:
        kind = next((words for start, words in _STAND_INS.items() if content.lstrip().lower().startswith(start)), "")
        raise TfliteError(
            f"not a .tflite file: {kind or f'{len(content)} bytes that begin {content[:8]!r}'}; "
            f"bytes 4 to 8 should be {IDENTIFIER!r}"
        )
    try:
        return schema().ModelT.InitFromPackedBuf(content, 0)
    # The generated reader follows whatever offsets it finds, so damage surfaces as anything from
    # struct.error to a failed numpy view.
    except Exception as error:
        raise TfliteError(f"not a whole .tflite file ({len(content)} bytes): {error}") from error


def _model(table: Any, content: bytes) -> Model:
    buffers = [Buffer(_bytes(entry, content)) for entry in table.buffers or ()]
    codes = table.operatorCodes or []
    subgraphs = [_subgraph(graph, buffers, codes, content) for graph in table.subgraphs or ()]
    for operator in (op for graph in subgraphs for op in graph.operators):
        operator.calls = [_at(subgraphs, getattr(*place), "subgraph") for place in _calls(operator.table)]
    signatures = []
    for entry in table.signatureDefs or ():
        subgraph = _at(subgraphs, entry.subgraphIndex, "subgraph")
        ends = [
            {text(end.name): _at(subgraph.tensors, end.tensorIndex, "tensor") for end in side or ()}
            for side in (entry.inputs, entry.outputs)
        ]
        signatures.append(Signature(text(entry.signatureKey), subgraph, *ends))
    metadata = {text(entry.name): _at(buffers, entry.buffer, "buffer") for entry in table.metadata or ()}
    # Only the deprecated list of buffer indices would still point into the old order.
    table.metadataBuffer = None
    return Model(subgraphs, signatures, metadata, table)


def _bytes(buffer: Any, content: bytes) -> np.ndarray:
    if buffer.data is not None and len(buffer.data):
        return np.asarray(buffer.data, np.uint8)
    # Offsets 0 and 1 both mean "inside the flatbuffer" in the schema.
    if buffer.offset > 1:
        end = buffer.offset + buffer.size
        if end > len(content):
            raise TfliteError(f"not a whole .tflite file: a buffer ends at byte {end}, the file at {len(content)}")
        return np.frombuffer(content, np.uint8, int(buffer.size), int(buffer.offset))
    return np.empty(0, np.uint8)


def _subgraph(table: Any, buffers: list[Buffer], codes: list[Any], content: bytes) -> Subgraph:
    tensors = [Tensor(entry, _at(buffers, entry.buffer, "buffer")) for entry in table.tensors or ()]

    def present(indices: Any) -> list[Tensor]:
        return [_at(tensors, i, "tensor") for i in ints(indices)]

    def operands(indices: Any) -> list[Tensor | None]:
        return [None if i == -1 else _at(tensors, i, "tensor") for i in ints(indices)]

    operators = []
    for entry in table.operators or ():
        if entry.largeCustomOptionsOffset > 1:
            start = int(entry.largeCustomOptionsOffset)
            entry.customOptions = np.frombuffer(content, np.uint8, int(entry.largeCustomOptionsSize), start)
            entry.largeCustomOptionsOffset = entry.largeCustomOptionsSize = 0
        code = _at(codes, entry.opcodeIndex, "operator code")
        operators.append(
            Operator(entry, code, operands(entry.inputs), present(entry.outputs), operands(entry.intermediates))
        )
    subgraph = Subgraph(operators, present(table.inputs), present(table.outputs), tensors, table)
    _check(subgraph)
    return subgraph


def _calls(table: Any) -> list[tuple[Any, str]]:
    """Where the options of an operator's record name subgraphs: the record and the name of its field."""
    options = [one for one in (table.builtinOptions, table.builtinOptions2) if one is not None]
    return [(one, name) for one in options for name in vars(one) if name.endswith("SubgraphIndex")]


def _check(subgraph: Subgraph) -> None:
    """Refuse what would make an interpreter read outside a buffer, or before anything was written."""
    written = {id(t) for t in (*subgraph.inputs, *(t for t in subgraph.tensors if t.constant or t.table.isVariable))}
    for tensor in subgraph.tensors:
        if any(size < 0 for size in tensor.shape):
            raise TfliteError(f"not a whole .tflite file: tensor {tensor.name!r} has the shape {tensor.shape}")
        plain = tensor.type in BITS and tensor.table.sparsity is None
        if tensor.constant and plain and tensor.fixed and tensor.nbytes != len(tensor.buffer.data):
            raise TfliteError(
                f"not a whole .tflite file: tensor {tensor.name!r} {tensor.shape} of {tensor.type} needs "
                f"{tensor.nbytes} bytes, its buffer has {len(tensor.buffer.data)}"
            )
    for operator in subgraph.operators:
        for read in operator.inputs:
            # An empty tensor has no bytes to hold and none to read.
            if read is None or operator.name in _SCRATCHED or id(read) in written:
                continue
            if 0 not in read.shape:
                raise TfliteError(f"not a whole .tflite file: {operator.name} reads {read.name!r} before it is made")
        _check_sum(operator)
        written |= {id(t) for t in operator.outputs}
    for end in subgraph.outputs:
        if id(end) not in written and 0 not in end.shape:
            raise TfliteError(f"not a whole .tflite file: no operator makes the output {end.name!r}")


def _check_sum(operator: Operator) -> None:
    """Refuse integer sums that end LiteRT's process: of several types, without scales, beyond its shifts."""
    if operator.name not in _SUMS:
        return
    operands = [t for t in (*operator.inputs, *operator.outputs) if t is not None]
    kinds = {t.type for t in operands}
    bits = max((_SUMS_ROOM.get(kind, 0) for kind in kinds), default=0)
    if not bits:
        return
    scales = [t.scales[0] if len(t.scales) == 1 else 0.0 for t in operands]
    if len(kinds) > 1 or not all(0 < scale < math.inf for scale in scales) or max(scales[:-1]) >= 2**bits * scales[-1]:
        raise TfliteError(
            f"not a whole .tflite file: {operator.name} works on {', '.join(sorted(kinds))} with the scales {scales}"
        )


def _at(items: list[Any], index: int, what: str) -> Any:
    if not 0 <= index < len(items):
        raise TfliteError(f"not a whole .tflite file: it names {what} {index} of a table of {len(items)}")
    return items[index]


def _buffers(model: Model) -> Iterable[Buffer]:
    """Every buffer of a model, in the order in which it is written."""
    for subgraph in model.subgraphs:
        yield from (t.buffer for t in _listed(subgraph))
    yield from model.metadata.values()


def _listed(subgraph: Subgraph) -> Iterable[Tensor]:
    """A subgraph's tensor table: the order of ``tensors``, then of first mention."""
    named = (t for op in subgraph.operators for t in (*op.inputs, *op.outputs, *op.intermediates) if t is not None)
    tensors = {id(t): t for t in (*subgraph.tensors, *subgraph.inputs, *named, *subgraph.outputs)}
    return tensors.values()


class _Once:
    """A schema record that is packed the first time and pointed to from then on."""

    def __init__(self, pack: Callable[[Any], int]) -> None:
        self._pack, self._offset = pack, 0

    def Pack(self, builder: Any) -> int:  # noqa: N802 - the generated code calls it so
        self._offset = self._offset or self._pack(builder)
        return self._offset


class _Writer:
    """Files being written that share what they can: every object's place in the tables of indices."""

    def __init__(self, models: Sequence[Model], names: bool) -> None:
        self._names = names
        self._numbers: dict[int, int] = {}  # of the subgraphs of the model that is being written
        self._ends = {id(t) for m in models for s in m.subgraphs for t in (*s.inputs, *s.outputs)}
        self._codes: dict[tuple[Any, ...], int] = {}
        self._code_tables: list[Any] = []
        self._data: dict[bytes, int] = {b"": 0}  # buffer 0 is empty, by convention
        self._buffer_tables: list[Any] = [_Once(schema().BufferT().Pack)]
        self._buffer_places: dict[int, int] = {}
        self._shared: dict[tuple[Any, ...], _Once] = {}
        self._contents: dict[Any, _Once] = {}
        self._alive: list[Any] = []  # records that were made here, which are known by their ids as well

    def table(self, model: Model) -> Any:
        """A model's record, ready to pack."""
        table = copy.copy(model.table)
        places = {id(s): (number, self._index(s)) for number, s in enumerate(model.subgraphs)}
        self._numbers = {key: number for key, (number, _) in places.items()}
        table.subgraphs = [self._subgraph(s, places[id(s)][1]) for s in model.subgraphs]
        table.signatureDefs = [self._signature(s, *places[id(s.subgraph)]) for s in model.signatures]
        table.metadata = [schema().MetadataT(name, self._buffer(b)) for name, b in model.metadata.items()]
        table.operatorCodes, table.buffers = self._code_tables, self._buffer_tables
        return table

    @staticmethod
    def _index(subgraph: Subgraph) -> dict[int, int]:
        return {id(t): place for place, t in enumerate(_listed(subgraph))}

    def _subgraph(self, subgraph: Subgraph, places: dict[int, int]) -> Any:
        table = copy.copy(subgraph.table)
        table.tensors = [self._tensor(t) for t in _listed(subgraph)]
        table.inputs, table.outputs = (_indices(side, places) for side in (subgraph.inputs, subgraph.outputs))
        table.operators = [self._operator(op, places) for op in subgraph.operators]
        return table

    def _tensor(self, tensor: Tensor) -> _Once:
        def build() -> Any:
            table = copy.copy(tensor.table)
            table.buffer = self._buffer(tensor.buffer)
            table.quantization = self._once(table.quantization)
            if not self._names and id(tensor) not in self._ends:
                table.name = None
            return table

        return self._keep(("tensor", id(tensor)), build)

    def _operator(self, operator: Operator, places: dict[int, int]) -> _Once:
        sides = [_indices(side, places) for side in (operator.inputs, operator.outputs, operator.intermediates)]
        called = tuple(self._numbers[id(graph)] for graph in operator.calls)

        def build() -> Any:
            table = self._calling(operator.table, called) if called else copy.copy(operator.table)
            table.opcodeIndex = self._code(operator.code)
            table.inputs, table.outputs = sides[:2]
            table.intermediates = sides[2] if len(sides[2]) else None
            table.builtinOptions = self._once(table.builtinOptions)
            table.builtinOptions2 = self._once(table.builtinOptions2)
            return table

        return self._keep(("operator", id(operator), called, *(side.tobytes() for side in sides)), build)

    def _calling(self, table: Any, numbers: Sequence[int]) -> Any:
        """A copy of an operator's record whose options name these subgraphs."""
        table = copy.copy(table)
        table.builtinOptions, table.builtinOptions2 = copy.copy(table.builtinOptions), copy.copy(table.builtinOptions2)
        self._alive += [table.builtinOptions, table.builtinOptions2]
        for (options, name), number in zip(_calls(table), numbers, strict=True):
            setattr(options, name, number)
        return table

    def _once(self, table: Any) -> _Once | None:
        return None if table is None else self._keep(("table", id(table)), lambda: table)

    def _keep(self, key: tuple[Any, ...], build: Callable[[], Any]) -> _Once:
        if key not in self._shared:
            table = build()
            # Equal records of different objects are one as well: a file that was read has lost what it shared.
            self._shared[key] = self._contents.setdefault(_frozen(table), _Once(table.Pack))
        return self._shared[key]

    def _code(self, code: Any) -> int:
        key = (code.deprecatedBuiltinCode, code.builtinCode, text(code.customCode), code.version)
        if key not in self._codes:
            self._codes[key] = len(self._codes)
            self._code_tables.append(_Once(code.Pack))
        return self._codes[key]

    def _buffer(self, buffer: Buffer) -> int:
        if id(buffer) not in self._buffer_places:
            data = buffer.data
            if buffer.digest not in self._data:
                self._data[buffer.digest] = len(self._data)
                self._buffer_tables.append(_Once(lambda builder: builder.pack_buffer(data)))
            self._buffer_places[id(buffer)] = self._data[buffer.digest]
        return self._buffer_places[id(buffer)]

    def _signature(self, signature: Signature, number: int, places: dict[int, int]) -> Any:
        maps = [
            [schema().TensorMapT(name, places[id(tensor)]) for name, tensor in side.items()]
            for side in (signature.inputs, signature.outputs)
        ]
        return schema().SignatureDefT(maps[0], maps[1], signature.key, number)


def _frozen(value: Any) -> Any:
    """A record of the schema as something that equals itself by content."""
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.tobytes()
    if isinstance(value, list):
        return tuple(_frozen(item) for item in value)
    if isinstance(value, _Once) or not hasattr(value, "__dict__"):
        return value
    return type(value).__name__, tuple(_frozen(item) for item in vars(value).values())


def _indices(tensors: Iterable[Tensor | None], places: dict[int, int]) -> np.ndarray:
    return np.array([-1 if t is None else places[id(t)] for t in tensors], np.int32)


class _Builder(flatbuffers.Builder):
    """Equal vectors are one: the zero points of all channels would else take more room than their scales."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._vectors: dict[tuple[str, bytes], int] = {}

    def CreateNumpyVector(self, x: np.ndarray) -> int:  # noqa: N802 - the generated code calls it so
        key = (x.dtype.str, x.tobytes())
        if key not in self._vectors:
            self._vectors[key] = super().CreateNumpyVector(x)
        return self._vectors[key]

    def pack_buffer(self, data: np.ndarray) -> int:
        """A buffer's table, its data aligned; the generated code knows nothing of the schema's force_align."""
        self.Prep(ALIGNMENT, len(data))
        vector = super().CreateNumpyVector(np.ascontiguousarray(data))
        generated = schema()
        generated.BufferStart(self)
        generated.BufferAddData(self, vector)
        return int(generated.BufferEnd(self))
