"""Objects and fitted stitches -> one file a variant, and one elastic file that holds every operating point.

An object is an anchor compiled once, with its cut tensors as extra outputs. A variant takes the
operators that lead to a cut of one object, a stitch, and those that lead on from a cut of another:
no tensor of either is changed, so every variant shares every weight. The quantisation at a cut is the
calling convention: the stitch reads the front's and delivers the back's.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from tflite_export import emit, retune
from tflite_export.errors import TfliteError
from tflite_export.flatbuffer import Buffer, Model, Operator, Signature, Subgraph, Tensor, only, read, write
from tflite_export.precision import INPUT_KEY, LEAST_QUANTISED, OUTPUT_KEY, SIGNATURE, precision_named
from tflite_export.retune import Retuned

METADATA = "restnet_tf"
RUNTIME = "min_runtime_version"
# Share of weights that rounding may turn by one where the same weights were compiled twice.
_TIES = 0.01


class Layout(Protocol):
    """What the linker reads of how a cut's values lie: a grid, or class tokens and the tokens of a grid."""

    @property
    def shape(self) -> tuple[int, ...]:
        """``(h, w, c)``, or ``(t, c)`` of tokens."""
        ...

    @property
    def tokens(self) -> bool:
        """Whether these are tokens."""
        ...

    @property
    def size(self) -> tuple[int, int]:
        """``(h, w)`` of the grid."""
        ...

    @property
    def classes(self) -> int:
        """How many class tokens stand before the grid's."""
        ...


class Stitch(Protocol):
    """What the linker reads of a fitted stitch: a 1x1 map ``(c_in, c_out)`` with bias, layouts, clamp."""

    @property
    def kernel(self) -> np.ndarray:
        """``(c_in, c_out)``; the last of ``c_in`` are the hidden features."""
        ...

    @property
    def bias(self) -> np.ndarray:
        """``(c_out,)``."""
        ...

    @property
    def source(self) -> Layout:
        """Of the front's cut."""
        ...

    @property
    def target(self) -> Layout:
        """Of the back's cut."""
        ...

    @property
    def clamp(self) -> tuple[float | None, float | None]:
        """Least and greatest value of the target, None for no bound."""
        ...

    @property
    def hidden_kernel(self) -> np.ndarray | None:
        """The map ``(c, h)`` to hidden features, behind a ReLU, that the map reads beside the front's ``c``.

        They reach about as high as the front's own, whose quantisation they share.
        """
        ...

    @property
    def hidden_bias(self) -> np.ndarray | None:
        """Its bias ``(h,)``."""
        ...

    @property
    def positions(self) -> np.ndarray | None:
        """What is added to the tokens that a grid becomes, ``(h * w, c_out)``."""
        ...

    @property
    def class_kernel(self) -> np.ndarray | None:
        """The map ``(c_in, c_out)`` from the mean of a grid to a class token, where the target alone has one."""
        ...

    @property
    def class_bias(self) -> np.ndarray | None:
        """Its bias ``(c_out,)``."""
        ...


class Object:
    """An anchor's ``.tflite`` with its cut tensors by name; the back of a variant may begin at its input.

    One that was compiled from another's layers, calibrated anew, takes the integer weights of that
    other (``weights_of``) wherever its own are the same but for ties in rounding.
    """

    def __init__(self, content: bytes, weights_of: Object | None = None) -> None:
        self.model = read(content)
        self.graph = only(self.model)
        if len(self.model.signatures) != 1 or OUTPUT_KEY not in self.model.signatures[0].outputs:
            raise TfliteError(f"an object has one signature with an output {OUTPUT_KEY!r}; this file has not")
        outputs = dict(self.model.signatures[0].outputs)
        self.scores = outputs.pop(OUTPUT_KEY)
        self.cuts: Mapping[str, Tensor] = outputs
        self.image = self.graph.inputs[0]
        if weights_of is not None:
            _adopt(self.graph, weights_of.graph)

    def cut(self, name: str) -> Tensor:
        """The tensor at a cut; raises TfliteError that lists the cuts where it is none."""
        if name not in self.cuts:
            raise TfliteError(f"the object has no cut {name!r}; it has: {', '.join(self.cuts)}")
        return self.cuts[name]


@dataclass(frozen=True)
class Route:
    """What to link: a whole object, or a front, a stitch and a back, with what was tuned in the back.

    ``start`` is the cut where the back begins, None for an object that is a back by itself.
    """

    front: Object
    stop: str | None = None
    stitch: Stitch | None = None
    back: Object | None = None
    start: str | None = None
    retuned: Sequence[Retuned] = field(default=())


def variant(route: Route, *, precision: str, names: bool = True, metadata: Mapping[str, Any] | None = None) -> bytes:
    """One route as a file of its own, with the signature of ``convert``.

    Tuned norms are folded into weights: alone in a file there is nobody to share them with. Raises
    TfliteError where the cuts, the shapes or the clamp do not fit together.
    """
    graph = subgraph(route, precision, share=False)
    model = Model([graph], [_signature(SIGNATURE, graph)])
    return _finished(model, [route.front, route.back], names, metadata)


def elastic(
    routes: Mapping[str, Route], *, precision: str, names: bool = False, metadata: Mapping[str, Any] | None = None
) -> bytes:
    """All routes as signatures of one file, by name; every weight buffer is there once.

    Tuned norms keep the anchor's weights: integer weights by scales a channel; in float a factor a
    channel follows the convolution wherever that takes fewer bytes than a copy of the weights.
    """
    if not routes:
        raise TfliteError("no routes to link; give at least one")
    graphs = {name: subgraph(route, precision, share=True, name=name) for name, route in routes.items()}
    model = Model(list(graphs.values()), [_signature(name, graph) for name, graph in graphs.items()])
    return _finished(model, [o for r in routes.values() for o in (r.front, r.back)], names, metadata)


def front(found: Object, cut: str) -> bytes:
    """An object from the image to a cut, as a file that gives the cut tensor for scores."""
    end = found.cut(cut)
    graph = Subgraph(_leading_to(end, found.graph, None), [found.image], [end])
    return _finished(Model([graph], [_signature(SIGNATURE, graph)]), [found], names=False, metadata=None)


def limits(route: Route) -> tuple[float, float]:
    """The least and the greatest value that the integers at the cut of a route's back can hold."""
    assert route.back is not None  # a route with a stitch has one
    target = route.back.image if route.start is None else route.back.cut(route.start)
    room = np.iinfo(target.type.lower())
    low, high = (float(target.scales[0]) * (int(end) - target.zero_points[0]) for end in (room.min, room.max))
    # What the clamp takes away is not lost: the target never held it.
    return (-np.inf if target.zero_points[0] == room.min else low), high


def subgraph(route: Route, precision: str, *, share: bool, name: str = "main") -> Subgraph:
    """A route as a subgraph; it holds the objects' own tensors and operators wherever nothing differs."""
    front, kind = route.front, precision_named(precision).ends[0].upper()
    for found in (front, route.back):
        if found is not None and found.scores.type != kind:
            raise TfliteError(f"asked for {precision}, of {kind}, but an object is of {found.scores.type}")
    if route.stitch is None or route.back is None or route.stop is None:
        operators, end = _leading_to(front.scores, front.graph, None), front.scores
    else:
        source, end = front.cut(route.stop), route.back.scores
        target = route.back.image if route.start is None else route.back.cut(route.start)
        tail = _leading_to(end, route.back.graph, target)
        if target is source:
            # Back into the anchor at the very cut that it was left at: no operator may read and write one tensor.
            target = Tensor(copy.copy(source.table), source.buffer)
            tail = [emit.with_inputs(op, [target if t is source else t for t in op.inputs]) for op in tail]
        for tuned in route.retuned:
            tail = retune.apply(tail, tuned, share=share)
        operators = [
            *_leading_to(source, front.graph, None),
            *_stitching(route.stitch, source, target, precision),
            *tail,
        ]
    graph = Subgraph(operators, [front.image], [end])
    graph.table.name = name
    return graph


def finish(model: Model, made_of: Sequence[Model], metadata: Mapping[str, Any] | None) -> None:
    """Note in a model what made it, and the newest runtime that it or any of what it is made of needs."""
    model.table.description = "linked by restnet-tf"
    needed = [found.metadata[RUNTIME].data.tobytes() for found in (model, *made_of) if RUNTIME in found.metadata]
    notes = {RUNTIME: max(needed, key=_version, default=b"1.14.0".ljust(16, b"\0"))}
    if metadata is not None:
        notes[METADATA] = json.dumps(metadata, separators=(",", ":"), sort_keys=True).encode()
    model.metadata = {name: Buffer(np.frombuffer(value, np.uint8)) for name, value in notes.items()}


def points(content: bytes) -> dict[str, Any]:
    """What the linker noted in a file: operating points, costs, measurements, labels.

    Raises TfliteError for a file without it.
    """
    found = read(content).metadata.get(METADATA)
    if found is None:
        raise TfliteError("the file has no operating points in it; link it with restnet-tf")
    try:
        known = json.loads(found.data.tobytes())
    except ValueError as error:
        raise TfliteError(f"the operating points in the file cannot be read: {error}") from None
    if not isinstance(known, dict):
        raise TfliteError("the operating points in the file are no JSON object")
    return known


def _adopt(graph: Subgraph, other: Subgraph) -> None:
    """Let integer weights that equal another graph's, but for few ties in rounding, be those."""
    known = [t for t in other.tensors if t.constant and t.type == "INT8" and t.scales]
    for tensor in graph.tensors:
        if not tensor.constant or tensor.type != "INT8" or not tensor.scales:
            continue
        for candidate in known:
            if candidate.shape == tensor.shape:
                change = np.abs(tensor.values().astype(np.int16) - candidate.values())
                if change.max() <= 1 and change.mean() < _TIES:
                    tensor.buffer = candidate.buffer
                    break


def _leading_to(end: Tensor, graph: Subgraph, start: Tensor | None) -> list[Operator]:
    """The operators that ``end`` needs, from ``start`` on; refuses a start that something runs past."""
    wanted, found = {id(end)}, []
    for operator in reversed(graph.operators):
        if any(id(t) in wanted and t is not start for t in operator.outputs):
            found.append(operator)
            wanted |= {id(t) for t in operator.inputs if t is not None}
    if start is not None and start not in graph.inputs and any(id(t) in wanted for t in graph.inputs):
        raise TfliteError(f"{start.name!r} is no cut: a path from the input runs past it")
    if start is not None and id(start) not in wanted:
        raise TfliteError(f"{start.name!r} does not lead to {end.name!r}")
    return found[::-1]


def _stitching(stitch: Stitch, source: Tensor, target: Tensor, precision: str) -> list[Operator]:
    """The stitch from one tensor to another, in the form of their types."""
    shapes, wanted = (source.shape[1:], target.shape[1:]), (tuple(stitch.source.shape), tuple(stitch.target.shape))
    if shapes != wanted:
        raise TfliteError(f"the stitch joins {wanted[0]} to {wanted[1]}, the cuts are {shapes[0]} and {shapes[1]}")
    made = _Chain(source, precision)
    return _to_tokens(made, stitch, target) if stitch.target.tokens else _to_grid(made, stitch, target)


class _Chain:
    """Operators of a stitch, one after the other, as they are added."""

    def __init__(self, source: Tensor, precision: str) -> None:
        self.source, self.precision = source, precision
        self.operators: list[Operator] = []

    def add(self, operator: Operator) -> Tensor:
        """Append an operator; what it puts out."""
        self.operators.append(operator)
        return operator.outputs[0]

    def reshaped(self, x: Tensor, shape: tuple[int, ...]) -> Tensor:
        """The same values in another shape; themselves where it is theirs."""
        if x.shape == shape:
            return x
        return self.add(emit.reshape(x, emit.activation(shape, x.type, "stitch/reshaped", like=x)))

    def resampled(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        """A grid at another height and width."""
        _, h, w, _ = x.shape
        if (h, w) == size:
            return x
        if h % size[0] == 0 and w % size[1] == 0:
            return self.add(emit.average_pool(x, (h // size[0], w // size[1])))
        return self.add(emit.resize_bilinear(x, size))

    def widened(self, x: Tensor, stitch: Stitch) -> Tensor:
        """Pixels ``(1, h, w, c)`` as the map reads them, hidden features behind the front's own."""
        if stitch.hidden_kernel is None or stitch.hidden_bias is None:
            return x
        room, width = x.shape[:-1], len(stitch.hidden_bias)
        hidden = emit.activation((*room, width), x.type, "stitch/hidden", like=x)
        self.mapped(x, stitch.hidden_kernel, stitch.hidden_bias, hidden, emit.fused((0.0, None)))
        both = emit.activation((*room, x.shape[-1] + width), x.type, "stitch/wide", like=x)
        return self.add(emit.concatenate([x, hidden], both, axis=3))

    def mapped(self, x: Tensor, kernel: np.ndarray, bias: np.ndarray, y: Tensor, activation: int = 0) -> Tensor:
        """The 1x1 map, in the form that the precision and the front's quantisation ask for."""
        weights, offsets = _weights(kernel, bias, self.source, self.precision)
        if weights.type == "FLOAT16":
            weights, offsets = (self.add(emit.dequantize(half)) for half in (weights, offsets))
        return self.add(emit.conv_1x1(x, weights, offsets, y, activation))


def _to_grid(made: _Chain, stitch: Stitch, target: Tensor) -> list[Operator]:
    x = _grid(made, stitch.source)
    x = made.widened(made.resampled(x, stitch.target.size), stitch)
    made.mapped(x, stitch.kernel, stitch.bias, target, emit.fused(stitch.clamp))
    return made.operators


def _to_tokens(made: _Chain, stitch: Stitch, target: Tensor) -> list[Operator]:
    """Tokens run through the map as a column of pixels, since every target has that convolution."""
    source, end, activation = stitch.source, stitch.target, emit.fused(stitch.clamp)
    channels_in, channels = source.shape[-1], end.shape[-1]
    keeps_class = bool(source.classes and end.classes)
    if source.tokens and source.size == end.size and (keeps_class or not source.classes):
        x = made.source
    else:
        x = made.resampled(_grid(made, source), end.size)
        x = made.reshaped(x, (1, end.size[0] * end.size[1], channels_in))
        if keeps_class:
            head = made.add(emit.tokens(made.source, 0, source.classes))
            both = emit.activation((1, source.classes + x.shape[1], channels_in), x.type, "stitch/all", like=x)
            x = made.add(emit.concatenate([head, x], both))
    rows = x.shape[1]
    x = made.widened(made.reshaped(x, (1, rows, 1, channels_in)), stitch)
    class_kernel, class_bias = stitch.class_kernel, stitch.class_bias
    pools_class = class_kernel is not None and class_bias is not None
    tokens = emit.activation((1, rows, channels), target.type, "stitch/patches", like=target)
    last = tokens if pools_class else target
    column = emit.activation((1, rows, 1, channels), target.type, "stitch/column", like=target)
    if stitch.positions is None:
        made.add(emit.reshape(made.mapped(x, stitch.kernel, stitch.bias, column, activation), last))
    else:
        values, offsets = _placed(stitch.positions, target)
        column.table.quantization = offsets
        unplaced = emit.activation((1, rows, channels), target.type, "stitch/unplaced", like=column)
        made.add(emit.reshape(made.mapped(x, stitch.kernel, stitch.bias, column), unplaced))
        made.add(emit.add(unplaced, values, last, activation))
    if class_kernel is not None and class_bias is not None:
        pooled = made.resampled(_grid(made, source), (1, 1))
        pixel = emit.activation((1, 1, 1, channels), target.type, "stitch/class", like=target)
        made.mapped(pooled, class_kernel, class_bias, pixel, activation)
        made.add(emit.concatenate([made.reshaped(pixel, (1, 1, channels)), tokens], target))
    return made.operators


def _grid(made: _Chain, source: Layout) -> Tensor:
    """The front's values as a grid ``(1, h, w, c)``, without class tokens."""
    x = made.source
    if not source.tokens:
        return x
    if source.classes:
        x = made.add(emit.tokens(x, source.classes, x.shape[1] - source.classes))
    return made.reshaped(x, (1, *source.size, x.shape[2]))


def _placed(positions: np.ndarray, target: Tensor) -> tuple[Tensor, Any]:
    """What is added at each place as a constant, and the quantisation of what it is added to.

    Whatever the target can hold, less the least or the most that is added, can be held before.
    """
    values = np.asarray(positions, np.float32)[None]
    if not target.scales:
        return emit.constant(values, "stitch/positions"), None
    room = np.iinfo(target.type.lower())
    steps = (room.max - room.min) // 2
    scale = max(float(np.abs(values).max()) / steps, emit.LEAST_SCALE)
    integers = np.rint(values / scale).astype(room.dtype)
    low, high = (float(target.scales[0]) * (end - int(target.zero_points[0])) for end in (room.min, room.max))
    low, high = low - float(values.max()), high - float(values.min())
    if target.type == "INT16":  # symmetric
        wide, zero = np.array([max(-low, high) / steps]), np.array([0])
    else:
        wide = np.array([(high - low) / (room.max - room.min)])
        zero = np.clip(np.rint(room.min - low / wide), room.min, room.max).astype(int)
    return emit.constant(integers, "stitch/positions", np.array([scale])), emit.quantisation(wide, zero)


def _weights(kernel: np.ndarray, bias: np.ndarray, source: Tensor, precision: str) -> tuple[Tensor, Tensor]:
    """Kernel and bias in the form that the precision and the front's quantisation ask for."""
    kernel = np.ascontiguousarray(kernel.T, np.float32)[:, None, None]
    bias = np.asarray(bias, np.float32)
    labels = ("stitch/kernel", "stitch/bias")
    if precision == "float16":
        return emit.constant(kernel.astype(np.float16), labels[0]), emit.constant(bias.astype(np.float16), labels[1])
    if precision == "dynamic" and kernel.size >= LEAST_QUANTISED:
        integers, scales = _integers(kernel, np.zeros(len(bias)))
        return emit.constant(integers, labels[0], scales), emit.constant(bias, labels[1])
    if precision in ("int8", "int16x8"):
        step = source.scales[0]
        wide = np.int32 if precision == "int8" else np.int64
        integers, scales = _integers(kernel, bias / (step * emit.BIAS_ROOM[wide]))
        units = np.asarray(step * scales.astype(np.float64), np.float32)
        rounded = np.rint(bias.astype(np.float64) / units).astype(wide)
        return emit.constant(integers, labels[0], scales), emit.constant(rounded, labels[1], units)
    return emit.constant(kernel, labels[0]), emit.constant(bias, labels[1])


def _integers(kernel: np.ndarray, least: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Symmetric int8 weights and their scales by output channel, of at least ``least`` either sign."""
    peaks = np.abs(kernel).reshape(len(kernel), -1).max(axis=1) / 127
    scales = np.maximum(np.maximum(peaks, np.abs(least)), emit.LEAST_SCALE)
    scales = scales.astype(np.float32)
    integers = np.clip(np.rint(kernel / scales[:, None, None, None]), -127, 127)
    return integers.astype(np.int8), scales


def _signature(key: str, graph: Subgraph) -> Signature:
    return Signature(key, graph, {INPUT_KEY: graph.inputs[0]}, {OUTPUT_KEY: graph.outputs[0]})


def _finished(model: Model, objects: Sequence[Object | None], names: bool, metadata: Mapping[str, Any] | None) -> bytes:
    finish(model, [found.model for found in objects if found], metadata)
    return write(model, names=names)


def _version(value: bytes) -> tuple[int, ...]:
    return tuple(int(part) for part in value.rstrip(b"\0").split(b".") if part.isdigit())
