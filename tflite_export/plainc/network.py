"""A ``.tflite`` file of one int8 network as layers that lie in an arena."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from tflite_export import lookups
from tflite_export.errors import TfliteError
from tflite_export.flatbuffer import Operator, Subgraph, Tensor, only, read
from tflite_export.lookups import Lookup
from tflite_export.memory import LiveRange
from tflite_export.plainc import elementwise, moves, placing, windows
from tflite_export.plainc.layers import Alias, CLayer, Constant

_BYTES = ("UINT8",)  # what an image may come as, if its own scale is all that a network changes of it
INPUT, _OUTPUT = "input", "output"
# By operator: what makes layers of it.
OPERATORS: Mapping[str, Callable[[Operator], Sequence[CLayer | Alias]]] = {
    "ADD": elementwise.add,
    "AVERAGE_POOL_2D": windows.average_pool,
    "BATCH_MATMUL": windows.matmul,
    "CONCATENATION": moves.concatenation,
    "CONV_2D": windows.convolution,
    "DEPTHWISE_CONV_2D": windows.depthwise,
    "EXPAND_DIMS": moves.same,
    "FULLY_CONNECTED": windows.dense,
    "GATHER": moves.gather,
    "L2_NORMALIZATION": elementwise.normalise,
    "MAX_POOL_2D": windows.max_pool,
    "MEAN": elementwise.mean,
    "MUL": elementwise.mul,
    "PAD": moves.pad,
    "PADV2": moves.pad,
    "RESHAPE": moves.same,
    "RESIZE_BILINEAR": moves.bilinear,
    "RESIZE_NEAREST_NEIGHBOR": moves.nearest,
    "SLICE": moves.cut,
    "SOFTMAX": elementwise.softmax,
    "SPLIT": moves.split,
    "SPLIT_V": moves.split,
    "SQUARED_DIFFERENCE": elementwise.square,
    "SQUEEZE": moves.same,
    "STRIDED_SLICE": moves.strided,
    "SUB": elementwise.add,
    "TRANSPOSE": moves.transpose,
    **dict.fromkeys(
        ("ABS", "ELU", "EXP", "GELU", "HARD_SWISH", "LEAKY_RELU", "LOG", "LOGISTIC", "QUANTIZE", "RELU"),
        elementwise.table,
    ),
    **dict.fromkeys(("RELU6", "RELU_N1_TO_1", "RSQRT", "TANH"), elementwise.table),
}


@dataclass(frozen=True)
class ArenaPlace:
    """Where a tensor lies: so many bytes into the arena, or what the caller hands in (``offsets`` None).

    The first offset is for the kernels in plain C, the second for others, whose operands lie apart from their results.
    """

    name: str
    offsets: tuple[int, int] | None = None


@dataclass(frozen=True, eq=False)
class PlacedLayer:
    """A layer with the places of what it reads and writes."""

    layer: CLayer
    reads: tuple[ArenaPlace | Constant, ...]
    writes: ArenaPlace


@dataclass(frozen=True, eq=False)
class Placed:
    """Calls in order; ``arenas`` are in bytes, ``input_offsets`` where the input has room in them.

    Of both there are two: for the kernels in plain C, and for others.
    """

    calls: tuple[PlacedLayer, ...]
    arenas: tuple[int, int]
    input_offsets: tuple[int, int]


@dataclass(frozen=True, eq=False)
class CNetwork:
    """The layers of a network in order, from its input to its output, and their calls where it runs alone."""

    input: Tensor
    output: Tensor
    parts: tuple[CLayer | Alias, ...]
    alone: Placed


@dataclass(frozen=True)
class _Layout:
    """Offsets by room, and bytes in all."""

    offsets: Mapping[int, int]
    size: int


def of_file(content: bytes) -> CNetwork:
    """The layers of a file of one network, placed.

    Raises TfliteError for operators that no kernel is here for, ends that are not int8, what hands its input on, and
    what the makers of layers refuse.
    """
    graph = only(read(content))
    _check(graph)
    (entry,), (end,) = graph.inputs, graph.outputs
    parts = tuple(part for operator in lookups.joined(graph.operators) for part in _layers(operator))
    return CNetwork(entry, end, parts, placed(entry, (end,), parts))


def _layers(operator: Operator | Lookup) -> Sequence[CLayer | Alias]:
    if isinstance(operator, Lookup):
        return [elementwise.lookup(operator)]
    if operator.name not in OPERATORS:
        raise TfliteError(f"{operator.name} has no kernel in plain C")
    for tensor in operator.inputs[:1] + operator.outputs:
        read = operator.name == "QUANTIZE" and tensor is operator.inputs[0]
        if tensor is not None and not tensor.constant and tensor.type not in ("INT8", *(_BYTES if read else ())):
            raise TfliteError(f"{operator.name} works on {tensor.type}; int8 is needed")
    try:
        return OPERATORS[operator.name](operator)
    except KeyError as error:
        raise TfliteError(f"{operator.name} has a fused activation of number {error}, which is no clamp") from None


def _check(graph: Subgraph) -> None:
    for side, tensors, types in ((INPUT, graph.inputs, ("INT8", *_BYTES)), (_OUTPUT, graph.outputs, ("INT8",))):
        if len(tensors) != 1:
            raise TfliteError(f"the network has {len(tensors)} {side}s; one is needed")
        if tensors[0].type not in types:
            raise TfliteError(f"the {side} is {tensors[0].type}; build with --precision int8")


class _Room:
    """Which tensors share room, and when it is in use: by steps, of which layer n is step n + 1."""

    def __init__(self, entry: Tensor, ends: Sequence[Tensor], parts: Sequence[CLayer | Alias]) -> None:
        self._shared: dict[int, Tensor] = {}
        self.layers = [part for part in parts if isinstance(part, CLayer)]
        for part in parts:
            if isinstance(part, Alias):
                self._join(part.reads, part.writes)
        self.input = self.of(entry)
        self._ends = {id(self.of(end)) for end in ends}
        if self.is_end(self.input):
            raise TfliteError("the network hands its input on as it is; it needs a layer")
        self._in_place()

    def is_end(self, room: Tensor) -> bool:
        """Whether it is the caller's, for scores."""
        return id(room) in self._ends

    def of(self, tensor: Tensor) -> Tensor:
        """The tensor that stands for all that share its room."""
        while id(tensor) in self._shared:
            tensor = self._shared[id(tensor)]
        return tensor

    def _join(self, one: Tensor, other: Tensor) -> None:
        one, other = self.of(one), self.of(other)
        if one is not other:
            self._shared[id(other)] = one

    def _in_place(self) -> None:
        """Let results take the room of operands that nothing reads any more; what the caller hands in stays."""
        for step, layer in enumerate(self.layers):
            room = self.of(layer.writes)
            for number in layer.in_place:
                operand = layer.reads[number]
                if isinstance(operand, Constant) or self.is_end(room):
                    continue
                own = self.of(operand)
                if own is self.input or self.is_end(own) or own is room or self._last(own) > step:
                    continue
                self._join(own, room)
                break

    def _last(self, room: Tensor) -> int:
        return max(
            (step for step, layer in enumerate(self.layers) for t in layer.reads if self._is(t, room)), default=-1
        )

    def _is(self, operand: Tensor | Constant, room: Tensor) -> bool:
        return not isinstance(operand, Constant) and self.of(operand) is room

    def shifts(self, lives: Mapping[int, LiveRange]) -> dict[tuple[int, int], tuple[int, int]]:
        """By result and operand, as places among the lives, how far from the operand the result must begin."""
        numbers = {room: number for number, room in enumerate(lives)}
        shifts: dict[tuple[int, int], tuple[int, int]] = {}
        for step, layer in enumerate(self.layers, start=1):
            if layer.shift is None or isinstance(layer.reads[0], Constant):
                continue
            operand, room = id(self.of(layer.reads[0])), id(self.of(layer.writes))
            # Both are there in this step alone: the last of the one, the first of the other.
            if operand in lives and room in lives and lives[operand].last == step == lives[room].first:
                shifts[numbers[room], numbers[operand]] = layer.shift
        return shifts

    def ranges(self) -> dict[int, LiveRange]:
        """By room what needs a place in the arena, the input first."""
        lives: dict[int, LiveRange] = {id(self.input): LiveRange(INPUT, self.input.nbytes, 0, 0)}
        for step, layer in enumerate(self.layers, start=1):
            touched = [t for t in layer.reads if not isinstance(t, Constant)] + [layer.writes]
            for room in map(self.of, touched):
                if self.is_end(room):
                    continue
                first = lives[id(room)].first if id(room) in lives else step
                lives[id(room)] = LiveRange(room.name, room.nbytes, first, step)
        return lives


def placed(entry: Tensor, ends: Sequence[Tensor], parts: Sequence[CLayer | Alias]) -> Placed:
    """Layers in their order with places for all that they read and write; ``ends`` have one place, the caller's.

    Raises TfliteError where an end is the entry as it came.
    """
    room = _Room(entry, ends, parts)
    lives = room.ranges()
    dense, apart = (_layout(lives, shifts) for shifts in (room.shifts(lives), {}))

    def place(tensor: Tensor | Constant) -> ArenaPlace | Constant:
        if isinstance(tensor, Constant):
            return tensor
        own = room.of(tensor)
        if own is room.input:
            return ArenaPlace(INPUT)
        if room.is_end(own):
            return ArenaPlace(_OUTPUT)
        return ArenaPlace("arena", (dense.offsets[id(own)], apart.offsets[id(own)]))

    calls = []
    for layer in room.layers:
        writes = place(layer.writes)
        assert isinstance(writes, ArenaPlace)
        reads = tuple(map(place, layer.reads))
        if layer.shift is not None and (operand := dense.offsets.get(_room_of(room, layer))) is not None:
            layer = _turned(layer, operand, writes)
        calls.append(PlacedLayer(layer, reads, writes))
    inside = dense.offsets[id(room.input)], apart.offsets[id(room.input)]
    return Placed(tuple(calls), (dense.size, apart.size), inside)


def _room_of(room: _Room, layer: CLayer) -> int:
    (operand, *_) = layer.reads
    return 0 if isinstance(operand, Constant) else id(room.of(operand))


def _turned(layer: CLayer, operand: int, result: ArenaPlace) -> CLayer:
    """A layer that goes from the last pixel to the first where its result begins within its operand."""
    (first, *_) = layer.reads
    assert not isinstance(first, Constant)
    if (
        "window" not in layer.record
        or result.offsets is None
        or not operand < result.offsets[0] < operand + first.nbytes
    ):
        return layer
    return replace(layer, record={**layer.record, "window": {**layer.record["window"], "reversed": 1}})


def _layout(lives: Mapping[int, LiveRange], shifts: placing.Shifts) -> _Layout:
    offsets, size = placing.plan(list(lives.values()), shifts)
    return _Layout(dict(zip(lives, offsets, strict=True)), size)
