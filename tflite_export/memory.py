"""Plan the tensor arena of a .tflite file, as TensorFlow Lite Micro does.

The figure is *planned from the file*: the head of the arena, with the working memory that kernels ask for
(``scratch.py``; not that of recurrent layers). Not in it: the interpreter's own records (``tail.py``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tflite_export import scratch
from tflite_export.errors import TfliteError
from tflite_export.flatbuffer import Model, Operator, Subgraph, read
from tflite_export.kernels import Kernels

ALIGNMENT = 16

_SCRATCH = "scratch of "
_REFERENCE = Kernels()


@dataclass(frozen=True)
class LiveRange:
    """Bytes that must lie somewhere from step ``first`` to step ``last``, both included.

    Step 0 is before the first operator, step i + 1 is operator i. The steps of an IF's two branches
    follow its own, one branch after the other, each with a step before its first operator.
    """

    name: str
    size: int
    first: int
    last: int


@dataclass(frozen=True)
class ArenaPlan:
    """Byte offsets, in the order of the ranges planned for, and the arena's size in bytes.

    No plan can be smaller than ``lower_bound``, the most aligned bytes that live at one step.
    """

    offsets: tuple[int, ...]
    size: int
    lower_bound: int


def ranges(model: bytes, kernels: Kernels = _REFERENCE) -> tuple[LiveRange, ...]:
    """List the live ranges of a file's activations in the order of its tensor tables, then the kernels' scratch.

    An input lives from step 0, an output to the last step; constants, variables and tensors that
    nothing uses need no place. What an IF reads and gives lives through both of its branches, which
    have one arena with the rest. Source: TensorFlow Lite Micro, ``micro_allocation_info.cc``.
    Raises TfliteError for a damaged file, subgraphs that the first one does not call exactly once,
    and tensors of unknown size.
    """
    return of_model(read(model), kernels)


def of_model(whole: Model, kernels: Kernels) -> tuple[LiveRange, ...]:
    """The same of a file that has been read."""
    lives = _Lives(whole)
    tensors = tuple(
        LiveRange(tensor.name, tensor.nbytes, *lives.tensors[id(tensor)])
        for graph in whole.subgraphs
        for tensor in graph.tensors
        if id(tensor) in lives.tensors and not tensor.constant and not tensor.table.isVariable and tensor.nbytes
    )
    return tensors + tuple(item for graph in whole.subgraphs for item in _scratch(graph, lives, kernels))


def is_scratch(item: LiveRange) -> bool:
    """Whether a range is no tensor but a kernel's working memory."""
    return item.name.startswith(_SCRATCH)


def plan(live: Sequence[LiveRange]) -> ArenaPlan:
    """Place ranges greedily by size, largest first, each at the lowest gap that holds it.

    Offsets are multiples of 16 bytes; of equal sizes the last given is placed first. Source:
    TensorFlow Lite Micro, ``greedy_memory_planner.cc``.
    """
    offsets: dict[int, int] = {}
    for index in sorted(range(len(live)), key=lambda i: (_aligned(live[i].size), i), reverse=True):
        taken = sorted(
            (offsets[other], offsets[other] + _aligned(live[other].size))
            for other in offsets
            if _together(live[index], live[other])
        )
        offsets[index] = _lowest_gap(taken, _aligned(live[index].size))
    ends = (offset + _aligned(live[index].size) for index, offset in offsets.items())
    return ArenaPlan(
        offsets=tuple(offsets[index] for index in range(len(live))),
        size=max(ends, default=0),
        lower_bound=_lower_bound(live),
    )


def check(live: Sequence[LiveRange], arena: ArenaPlan) -> tuple[str, ...]:
    """Say what is wrong with a plan, one sentence a fault; empty where it is sound.

    Replays the steps one by one and looks at what lies in the arena, sharing no code with ``plan``.
    """
    if len(arena.offsets) != len(live):
        return (f"{len(arena.offsets)} offsets for {len(live)} ranges",)
    faults = []
    if arena.lower_bound > arena.size:
        faults.append(f"the lower bound {arena.lower_bound} is above the size {arena.size}")
    for item, offset in zip(live, arena.offsets, strict=True):
        if offset < 0 or offset % 16:
            faults.append(f"{item.name!r} lies at byte {offset}, not a multiple of 16 from 0 on")
        if offset + item.size > arena.size:
            faults.append(f"{item.name!r} ends at byte {offset + item.size}, the arena at {arena.size}")
    for step in sorted({item.first for item in live}):
        present = sorted(
            (offset, offset + item.size, item.name)
            for item, offset in zip(live, arena.offsets, strict=True)
            if item.first <= step <= item.last
        )
        end, owner = 0, ""
        for start, stop, name in present:
            if start < end:
                faults.append(f"{owner!r} and {name!r} overlap at byte {start} in step {step}")
            if stop > end:
                end, owner = stop, name
        used = sum(stop - start for start, stop, _ in present)
        if used > arena.size:
            faults.append(f"step {step} needs {used} bytes, the arena has {arena.size}")
    return tuple(dict.fromkeys(faults))


class _Lives:
    """First and last step of every tensor and operator, by id, as TensorFlow Lite Micro counts them."""

    def __init__(self, model: Model) -> None:
        self.tensors: dict[int, tuple[int, int]] = {}
        self.operators: dict[int, tuple[int, int]] = {}
        self._called = {id(graph) for graph in model.subgraphs[:1]}
        if model.subgraphs:
            self._walk(model.subgraphs[0], 0)
        if len(self._called) != len(model.subgraphs):
            raise TfliteError(
                f"the file has {len(model.subgraphs)} subgraphs, of which its first calls {len(self._called) - 1}; "
                "this needs a file of exactly one network, such as a router's"
            )

    def _walk(self, graph: Subgraph, step: int) -> int:
        """Note a subgraph's lives from a step on; its last step."""
        self._begun((*graph.inputs, *graph.outputs), step)
        for operator in graph.operators:
            step += 1
            first = step
            self._begun(operator.outputs, step)
            for branch in self._branches(operator):
                step = self._walk(branch, step + 1)
            self._used((*operator.inputs, *operator.outputs), step)
            self.operators[id(operator)] = first, step
        self._used(graph.outputs, step)
        return step

    def _begun(self, tensors: Sequence[Any], step: int) -> None:
        self.tensors.update({id(tensor): (step, step) for tensor in tensors})

    def _used(self, tensors: Sequence[Any], step: int) -> None:
        self.tensors.update({id(t): (self.tensors[id(t)][0], step) for t in tensors if id(t) in self.tensors})

    def _branches(self, operator: Operator) -> Sequence[Subgraph]:
        if operator.name != "IF":
            return ()
        for branch in operator.calls:
            # Its tensors would have a place during the last call alone.
            if id(branch) in self._called:
                raise TfliteError(f"IF calls the subgraph {branch.name!r}, which is called elsewhere as well")
            self._called.add(id(branch))
        return operator.calls


def _scratch(graph: Subgraph, lives: _Lives, kernels: Kernels) -> tuple[LiveRange, ...]:
    """What kernels request for the length of their own step."""
    return tuple(
        LiveRange(f"{_SCRATCH}{operator.name} {lives.operators[id(operator)][0]}", size, *lives.operators[id(operator)])
        for operator in graph.operators
        for size in scratch.requests(operator, kernels)
    )


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def _together(one: LiveRange, other: LiveRange) -> bool:
    return one.first <= other.last and other.first <= one.last


def _lowest_gap(taken: Sequence[tuple[int, int]], size: int) -> int:
    offset = 0
    for start, stop in taken:
        if start - offset >= size:
            break
        offset = max(offset, stop)
    return offset


def _lower_bound(live: Sequence[LiveRange]) -> int:
    # The sum can only rise at a step where something begins.
    starts = {item.first for item in live}
    return max(
        (sum(_aligned(item.size) for item in live if item.first <= step <= item.last) for step in starts),
        default=0,
    )
