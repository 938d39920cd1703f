"""How large an arena TensorFlow Lite Micro needs for a file: its allocations, one after the other, as it makes them.

From the end of the arena grow the records that stay. At its beginning lie, in turns, what kernels look at while they
are prepared, the notes of the planner, and at last the tensors (``memory.py``). What has to be given is the most that
lies at both ends at any moment; ``arena_used_bytes()`` tells the last one alone, which is less in small networks.

Read in the sources (90b983c2: ``micro_allocator.cc``, ``micro_allocation_info.cc``, ``greedy_memory_planner.cc``).
Checked: with the sizes of a 64-bit host against the tflite-micro wheel 0.dev20261023182759, whose least arena and
tail these are; with those of a 32-bit core against that library, compiled for Cortex-M and run in QEMU.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from tflite_export import kept, memory, scratch
from tflite_export.flatbuffer import Model, Operator, Subgraph, Tensor, only, read
from tflite_export.kernels import EVERY, Kernels
from tflite_export.memory import LiveRange

_REFERENCE = Kernels()
_ALIGNMENT = 16
_PLACES = "OfflineMemoryAllocation"
# Buffers that a kernel may ask for, each with a note while it is prepared.
_REQUESTS = 12
# What the planner notes of every tensor or buffer that needs a place.
_PLACE = 40
_LONG = 32  # bytes of the options of FULLY_CONNECTED, the only ones with a number of 8
_BIAS = 2
# Operators whose kernels look at their operands twice, at a bias once.
_TWICE = ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "AVERAGE_POOL_2D", "CONCATENATION", *scratch.REDUCTIONS)


@dataclass(frozen=True)
class _Sizes:
    """Bytes of the interpreter's records, in the order in which they are first made."""

    pointer: int
    once: tuple[int, ...]
    options: int  # what parses them, of each network
    subgraph: int
    tensor: int
    node: int
    end: int  # a tensor as people see it: those of inputs and outputs stay, others while kernels are prepared
    quantisation: int
    request: int
    note: int  # of the planner, of every tensor and buffer


_CORE = _Sizes(4, (36, 44, 36), 8, 8, 12, 32, 40, 12, 12, 24)
# The wheel's interpreter keeps book of what it allocates, and takes compressed weights.
_HOST = _Sizes(8, (104, 72, 272), 16, 24, 24, 64, 64, 24, 16, 32)


@dataclass(frozen=True)
class Arena:
    """Bytes of a tensor arena: what stays of the interpreter's records, and what is needed beside it.

    The latter is the place of the tensors, by whomever it was planned, or of the planner's notes where those are more.
    Up to ``floor`` bytes kernels are still being prepared, and some of them look at nothing that they are not given;
    from there on TensorFlow Lite Micro says that an arena is too small.
    """

    head: int
    tail: int
    planner: str = "for the tensors"
    kernels: Kernels = _REFERENCE
    floor: int = 0

    @property
    def size(self) -> int:
        """What to give the interpreter, a multiple of 16."""
        return _up(self.head + self.tail, _ALIGNMENT)


def arena(content: bytes, builds: Sequence[Kernels] = EVERY) -> Arena:
    """The arena of a file of one network, a router's included: the largest of these builds.

    Raises TfliteError as ``memory.ranges`` does. A file that brings its own plan, as Vela's do, is taken at its word.
    """
    model = read(content)
    return max((_arena([model], kernels) for kernels in builds), key=lambda need: need.size)


def one(content: bytes, kernels: Kernels) -> Arena:
    """The arena with these kernels; raises as ``arena`` does."""
    return side_by_side([content], kernels)


def side_by_side(contents: Sequence[bytes], kernels: Kernels) -> Arena:
    """The arena of files whose interpreters live on one allocator, made in this order; raises as ``arena`` does.

    Their records lie one behind the other, and their tensors in the same place, since one runs at a time.
    """
    return _arena([read(content) for content in contents], kernels)


def _arena(models: Sequence[Model], kernels: Kernels) -> Arena:
    stack, head, planner = _Stack(_HOST if kernels.host else _CORE), 0, "for the tensors"
    for size in stack.sizes.once:
        stack.keep(size, stack.sizes.pointer)
    for model in models:
        live: tuple[LiveRange, ...] = ()
        if _PLACES in model.metadata:
            planner, needed = "by Vela", _placed(model)
        else:
            live = memory.of_model(model, kernels)
            needed = memory.plan(live).size
        head = max(head, needed)
        _allocate(model, kernels, stack, len(live))
    beside = max(head, stack.most - stack.tail)
    return Arena(beside, stack.tail, planner, kernels, _up(stack.floor, _ALIGNMENT))


@dataclass
class _Stack:
    """The records at the arena's end, and the most that ever lay at both ends together."""

    sizes: _Sizes
    tail: int = 0
    most: int = 0
    floor: int = 0
    requests: int = 0

    def keep(self, size: int, alignment: int) -> None:
        self.tail = _up(self.tail + size, alignment)

    def beside(self, head: int) -> None:
        self.most = max(self.most, self.tail + head)


def _allocate(model: Model, kernels: Kernels, stack: _Stack, places: int) -> None:
    """All that AllocateTensors puts into the arena but the tensors' places."""
    sizes, graphs = stack.sizes, model.subgraphs
    stack.requests = 0
    stack.keep(sizes.options, sizes.pointer)
    stack.keep(sizes.subgraph * len(graphs), sizes.pointer)
    for each in (lambda g: sizes.tensor * len(g.tensors), lambda g: sizes.node * len(g.operators)):
        for graph in graphs:
            stack.keep(each(graph), sizes.pointer)
    operators = [operator for graph in graphs for operator in graph.operators]
    _keep_operators(operators, kernels, stack)
    _plan(graphs, stack, places)
    for ends in (graphs[0].inputs, graphs[0].outputs):
        stack.keep(sizes.pointer * len(ends), _ALIGNMENT)
        for tensor in ends:
            for size in _seen(tensor, sizes):
                stack.keep(size, sizes.pointer)


def _keep_operators(operators: Sequence[Operator], kernels: Kernels, stack: _Stack) -> None:
    """Options of all, records of all, and then what each kernel fills as it is prepared."""
    each = [kept.of(operator, kernels) for operator in operators]
    for one_kept in each:
        stack.keep(one_kept.options, _options_alignment(one_kept.options))
    for one_kept in each:
        if one_kept.record:
            stack.keep(one_kept.record, _ALIGNMENT)
    for operator, one_kept in zip(operators, each, strict=True):
        for size in one_kept.buffers:
            stack.keep(size, _ALIGNMENT)
        stack.beside(stack.sizes.request * (_REQUESTS + stack.requests) + _looked_at(operator, stack.sizes))
        stack.requests += len(scratch.requests(operator, kernels))


def _options_alignment(size: int) -> int:
    """Of flags none; one record has a number of 8 bytes."""
    return 8 if size == _LONG else 4 if size >= 4 else 1


def _looked_at(operator: Operator, sizes: _Sizes) -> int:
    """Records of operands that a kernel takes while it is prepared, and gives back when it is done."""
    room = [sum(_up(s, sizes.pointer) for s in _seen(t, sizes)) for t in operator.outputs]
    times = 2 if operator.name in _TWICE else 1
    for place, tensor in enumerate(operator.inputs):
        once = place == _BIAS and operator.name in _TWICE
        room += [(1 if once else times) * sum(_up(s, sizes.pointer) for s in _seen(tensor, sizes))] if tensor else []
    return sum(room) + (times - 1) * sum(room[: len(operator.outputs)])


def _plan(graphs: Sequence[Subgraph], stack: _Stack, places: int) -> None:
    """The planner's notes, which lie behind those of the requests, where the tensors will."""
    sizes = stack.sizes
    if stack.requests:
        stack.keep(sizes.pointer * stack.requests, sizes.pointer)
    stack.beside(sizes.request * (_REQUESTS + stack.requests))
    stack.floor = stack.most
    for graph in graphs:
        for tensor in graph.tensors:
            if tensor.table.isVariable:
                stack.keep(tensor.nbytes, _ALIGNMENT)
    noted = sum(len(graph.tensors) for graph in graphs) + stack.requests
    notes = sizes.request * (_REQUESTS + stack.requests) + sizes.pointer * len(graphs) + sizes.note * noted
    before = stack.tail
    stack.tail = _up(before, _ALIGNMENT)  # the planner is given whole steps of 16 bytes
    stack.beside(_up(notes, _ALIGNMENT) + _PLACE * places)
    stack.tail = before


def _seen(tensor: Tensor, sizes: _Sizes) -> Iterable[int]:
    """The record of a tensor, and those of its scales and zero points."""
    quantisation = tensor.table.quantization
    channels = 0 if quantisation is None or quantisation.scale is None else len(quantisation.scale)
    return (sizes.end, sizes.quantisation, 4 * (1 + channels)) if channels else (sizes.end,)


def _placed(model: Model) -> int:
    """The end of the last tensor by the plan in a file's metadata: version, subgraph, count, offsets.

    Behind it lie what the Ethos-U's kernel asks for: an address and a size of every operand.
    """
    offsets = model.metadata[_PLACES].data.view(np.int32)[3:]
    graph = only(model)
    ends = (int(o) + t.nbytes for o, t in zip(offsets, graph.tensors, strict=True) if o >= 0)
    asked = max((len(o.inputs) + len(o.outputs) for o in graph.operators if o.name.startswith("CUSTOM")), default=0)
    return max(ends, default=0) + _up(8 * asked, _ALIGNMENT) + _up(4 * asked, _ALIGNMENT)


def _up(size: int, alignment: int) -> int:
    return -(-size // alignment) * alignment
