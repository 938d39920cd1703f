"""Objects and fitted stitches -> one file a variant, and one elastic file that holds every operating point.

An object is an anchor compiled once, with its cut tensors as extra outputs. A variant takes the
operators that lead to a cut of one object, a stitch, those that lead on from a cut of another, and so on
through any number of pieces: no tensor of an object is changed, so every variant shares every weight. The
quantisation at a cut is the calling convention: the stitch reads the front's and delivers the back's.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from tflite_export import emit, entries, requantising, retune, stitching
from tflite_export.entries import Point
from tflite_export.errors import TfliteError
from tflite_export.flatbuffer import Buffer, Model, Operator, Signature, Subgraph, Tensor, called, only, read, write
from tflite_export.precision import EXACT, INPUT_KEY, OUTPUT_KEY, RULE, SIGNATURE, precision_named
from tflite_export.requantising import Requantisation
from tflite_export.retune import Retuned
from tflite_export.rewrites.holding import HOLDINGS, Holding, holdings_in
from tflite_export.stitching import Stitch

METADATA = "restnet_tf"
RUNTIME = "min_runtime_version"
# What an IF and the comparisons before it need beside the operators of its branches.
_CHOOSING = b"1.15.0".ljust(16, b"\0")
# Types between which nothing is lost on the way back either; of sixteen bits at a cut, what the convention there keeps.
_SAME_VALUES = {
    "DEQUANTIZE": (("INT8", "FLOAT32"), ("UINT8", "FLOAT32"), ("INT16", "FLOAT32")),
    "QUANTIZE": (("UINT8", "INT8"), ("INT16", "INT8"), ("FLOAT32", "INT8")),
}
# Share of weights that rounding may turn by one where the same weights were compiled twice.
_TIES = 0.01


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
        note = self.model.metadata.get(HOLDINGS)
        # How the cuts, and what it takes (by the input's name), hold their channels; those that are not here, as ever.
        self.holdings: Mapping[str, Holding] = holdings_in(note.data.tobytes()) if note else {}
        if weights_of is not None:
            _adopt(self.graph, weights_of.graph)

    @property
    def rule(self) -> str:
        """By which the ranges of its tensors were made; empty where it does not say."""
        note = self.model.metadata.get(RULE)
        return note.data.tobytes().decode() if note else ""

    @cached_property
    def exact(self) -> Object | None:
        """The float network that its integers were made of; None where its file does not keep that."""
        note = self.model.metadata.get(EXACT)
        if note is None:
            return None
        one = Object(note.data.tobytes())
        one.holdings = self.holdings
        return one

    def cut(self, name: str) -> Tensor:
        """The tensor at a cut; raises TfliteError that lists the cuts where it is none."""
        if name not in self.cuts:
            raise TfliteError(f"the object has no cut {name!r}; it has: {', '.join(self.cuts)}")
        return self.cuts[name]


@dataclass(frozen=True)
class Route:
    """What to link: a whole object, or a front, a stitch and a back, with what was tuned in the back.

    A front may be a route itself, which is left at a cut of its last object: so a route has any number of
    pieces. ``start`` is the cut where the back begins, None for an object that is a back by itself.
    """

    front: Object | Route
    stop: str | None = None
    stitch: Stitch | None = None
    back: Object | None = None
    start: str | None = None
    retuned: Sequence[Retuned] = field(default=())
    # Of the back: steps and biases of its own.
    requantised: Requantisation | None = None

    @property
    def objects(self) -> tuple[Object, ...]:
        """One for each piece, in their order."""
        lead = self.front.objects if isinstance(self.front, Route) else (self.front,)
        return lead if self.back is None else (*lead, self.back)

    @property
    def models(self) -> tuple[Model, ...]:
        """The files of its objects."""
        return tuple(one.model for one in self.objects)


def variant(route: Route, *, precision: str, names: bool = True, metadata: Mapping[str, Any] | None = None) -> bytes:
    """One route as a file of its own, with the signature of ``convert``.

    Tuned norms are folded into weights: alone in a file there is nobody to share them with. Raises
    TfliteError where the cuts, the shapes or the clamp do not fit together.
    """
    graph = subgraph(route, precision, share=False)
    return alone(graph, route.models, names=names, metadata=metadata)


def elastic(
    routes: Mapping[str, Route],
    *,
    precision: str,
    names: bool = False,
    metadata: Mapping[str, Any] | None = None,
    more: Sequence[Signature] = (),
) -> bytes:
    """All routes as signatures of one file, by name; every weight buffer is there once.

    Tuned norms keep the anchor's weights: integer weights by scales a channel; in float a factor a
    channel follows the convolution wherever that takes fewer bytes than a copy of the weights. ``more`` are signatures
    of what else was made of the same objects, as cascades of the routes are.
    """
    if not routes:
        raise TfliteError("no routes to link; give at least one")
    graphs = {name: subgraph(route, precision, share=True, name=name) for name, route in routes.items()}
    entries = [*(signature(name, graph) for name, graph in graphs.items()), *more]
    model = Model(called(entry.subgraph for entry in entries), entries)
    finish(model, [source for route in routes.values() for source in route.models], metadata)
    return write(model, names=names)


def front(route: Route, cut: str, *, precision: str) -> bytes:
    """A route from the image to a cut of its last object, as a file that gives the cut tensor for scores."""
    operators, end = _pieces(route, route.objects[-1].cut(cut), precision, share=False)
    graph = Subgraph(operators, [route.objects[0].image], [end])
    return alone(graph, route.models, names=False)


def alone(
    graph: Subgraph, made_of: Sequence[Model], *, names: bool = True, metadata: Mapping[str, Any] | None = None
) -> bytes:
    """One subgraph made of other files, with all that it calls, as a file with the signature of ``convert``."""
    model = Model(called([graph]), [signature(SIGNATURE, graph)])
    finish(model, made_of, metadata)
    return write(model, names=names)


def signature(key: str, graph: Subgraph) -> Signature:
    """A network from images to scores as an entry point of that name."""
    return Signature(key, graph, {INPUT_KEY: graph.inputs[0]}, {OUTPUT_KEY: graph.outputs[0]})


def held_before(route: Route) -> Holding | None:
    """How the cut in front of a route's last stitch holds its channels; None where as the network does."""
    last = route.front.objects[-1] if isinstance(route.front, Route) else route.front
    return last.holdings.get(route.stop or "")


def held_behind(route: Route) -> Holding | None:
    """The same of the cut behind it."""
    return None if route.back is None else route.back.holdings.get(route.start or INPUT_KEY)


def own_channels(route: Route, values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """What a front's file gives at the cut before the last stitch, as the network's values ``(n, *shape)``."""
    held = held_before(route)
    if held is None:
        return values.reshape(-1, *shape)
    return values.reshape(-1, *shape[:-1], len(held.copies)) @ held.reads


def held_channels(route: Route, values: np.ndarray) -> np.ndarray:
    """Values ``(..., c)`` for the cut behind the last stitch as the back's file holds them ``(..., c')``."""
    held = held_behind(route)
    return values if held is None else values @ held.writes


def holdings_from(anchor: Object, start: str | None) -> dict[str, Holding]:
    """How an object holds its cuts, and under the input's name what one that begins at a cut of it takes."""
    taken = {INPUT_KEY: anchor.holdings[start]} if start is not None and start in anchor.holdings else {}
    return dict(anchor.holdings) | taken


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
    kind = precision_named(precision).ends[0].upper()
    for piece in route.objects:
        if piece.scores.type != kind:
            raise TfliteError(f"asked for {precision}, of {kind}, but an object is of {piece.scores.type}")
    operators, end = _pieces(route, route.objects[-1].scores, precision, share)
    graph = Subgraph(operators, [route.objects[0].image], [end])
    graph.table.name = name
    return graph


def _pieces(route: Route, end: Tensor, precision: str, share: bool) -> tuple[list[Operator], Tensor]:
    """The operators of a route to a tensor of its last object, and what stands for that tensor in them."""
    if route.stitch is None or route.back is None or route.stop is None:
        return leading_to([end], route.objects[0].graph), end
    lead = route.front if isinstance(route.front, Route) else Route(route.front)
    done, source = _pieces(lead, lead.objects[-1].cut(route.stop), precision, share)
    own, end = _own(route, done, source, end, precision, share)
    return [*done, *own], end


def behind(route: Route, precision: str) -> tuple[list[Operator], list[Operator]]:
    """The operators of a route's last stitch, and those behind it, with weights of their own where norms were tuned."""
    assert route.stop is not None  # a route with a stitch has one
    lead = route.front if isinstance(route.front, Route) else Route(route.front)
    done, source = _pieces(lead, lead.objects[-1].cut(route.stop), precision, share=False)
    own, _ = _own(route, done, source, route.objects[-1].scores, precision, share=False)
    many = len(_behind(route, route.objects[-1].scores, share=False)[0])
    return own[:-many], own[-many:]


def _own(
    route: Route, done: Sequence[Operator], source: Tensor, end: Tensor, precision: str, share: bool
) -> tuple[list[Operator], Tensor]:
    """What a route's stitch and back add to the operators before them, and what stands for a tensor of its back."""
    assert route.stitch is not None  # what has a back has one
    tail, target, end = _behind(route, end, share)
    written = [route.objects[0].image, *(t for op in done for t in op.outputs)]
    tail, fresh = _apart(tail, target, written)
    before, behind = held_before(route), held_behind(route)
    stitch = route.stitch
    if before or behind:
        stitch = stitch.held(None if before is None else before.reads, None if behind is None else behind.writes)
    joint = stitching.operators(stitch, source, fresh.get(id(target), target), precision)
    if route.requantised is not None:
        joint = requantising.biased(joint, route.requantised.biases)
    return [*joint, *tail], fresh.get(id(end), end)


def _behind(route: Route, end: Tensor, share: bool) -> tuple[list[Operator], Tensor, Tensor]:
    """The operators of a route's back to a tensor, what they read, and what stands for that tensor in them."""
    assert route.back is not None  # a route with a stitch has one
    target = route.back.image if route.start is None else route.back.cut(route.start)
    operators = leading_to([end], route.back.graph, target)
    for tuned in route.retuned:
        operators = retune.apply(operators, tuned, share=share)
    if route.requantised is None:
        return operators, target, end
    operators, fresh = requantising.apply(operators, route.requantised, [route.back.scores])
    return operators, fresh.get(id(target), target), fresh.get(id(end), end)


def _apart(
    operators: Sequence[Operator], target: Tensor, written: Sequence[Tensor]
) -> tuple[list[Operator], dict[int, Tensor]]:
    """Operators behind a stitch whose tensors nothing before it has written, and the copies that took their places.

    A route may come back into an anchor at a cut that it has been through: no tensor may be written twice.
    """
    before, own = {id(t) for t in written}, [target, *(t for op in operators for t in op.outputs)]
    fresh = {id(t): Tensor(copy.copy(t.table), t.buffer) for t in own if id(t) in before}
    if not fresh:
        return list(operators), fresh

    def there(tensors: Sequence[Tensor | None]) -> list[Any]:
        return [fresh.get(id(t), t) for t in tensors]

    return [emit.with_inputs(op, there(op.inputs), there(op.outputs)) for op in operators], fresh


def finish(model: Model, made_of: Sequence[Model], metadata: Mapping[str, Any] | None) -> None:
    """Note in a model what made it, and the newest runtime that it or any of what it is made of needs."""
    model.table.description = "linked by restnet-tf"
    needed = [source.metadata[RUNTIME].data.tobytes() for source in (model, *made_of) if RUNTIME in source.metadata]
    needed += [_CHOOSING for graph in model.subgraphs if any(operator.calls for operator in graph.operators)]
    notes = {RUNTIME: max(needed, key=_version, default=b"1.14.0".ljust(16, b"\0"))}
    if metadata is not None:
        notes[METADATA] = json.dumps(metadata, separators=(",", ":"), sort_keys=True).encode()
    model.metadata = {name: Buffer(np.frombuffer(value, np.uint8)) for name, value in notes.items()}


def points(content: bytes) -> dict[str, Any]:
    """What the linker noted in a file: operating points, costs, measurements, labels.

    Raises TfliteError for a file without it.
    """
    note = read(content).metadata.get(METADATA)
    if note is None:
        raise TfliteError("the file has no operating points in it; link it with restnet-tf")
    try:
        noted = json.loads(note.data.tobytes())
    except ValueError as error:
        raise TfliteError(f"the operating points in the file cannot be read: {error}") from None
    if not isinstance(noted, dict):
        raise TfliteError("the operating points in the file are no JSON object")
    return noted


def described(content: bytes) -> dict[str, Point]:
    """The operating points that a file notes, by name; none where it notes nothing, as a point's own file does.

    Raises TfliteError for notes that are not understood.
    """
    if METADATA not in read(content).metadata:
        return {}
    every = [entries.described(entry) for entry in points(content).get("points") or ()]
    return {point.name: point for point in every}


def _adopt(graph: Subgraph, other: Subgraph) -> None:
    """Let integer weights that equal another graph's, but for few ties in rounding, be those."""
    weights = [t for t in other.tensors if t.constant and t.type == "INT8" and t.scales]
    for tensor in graph.tensors:
        if not tensor.constant or tensor.type != "INT8" or not tensor.scales:
            continue
        for candidate in weights:
            if candidate.shape == tensor.shape:
                change = np.abs(tensor.values().astype(np.int16) - candidate.values())
                if change.max() <= 1 and change.mean() < _TIES:
                    tensor.buffer = candidate.buffer
                    break


def leading_to(ends: Sequence[Tensor], graph: Subgraph, start: Tensor | None = None) -> list[Operator]:
    """The operators that some tensors need, from ``start`` on; raises TfliteError where something runs past it.

    What reads the values of ``start`` in the form that they had before it reads them again in that form: layers over
    time work on grids of height 1 in TensorFlow Lite, and their cuts are these without that side; those of integers
    may be floats, which become the same integers.
    """
    needed, operators = {id(end) for end in ends}, []
    forms = [] if start is None else _forms(start, graph)
    for operator in reversed(graph.operators):
        if any(id(t) in needed and not any(t is form for form in forms) for t in operator.outputs):
            operators.append(operator)
            needed |= {id(t) for t in operator.inputs if t is not None}
    for form, earlier in reversed(list(pairwise(forms))):
        if id(earlier) in needed:
            operators.append(_converted(form, earlier))
            needed.add(id(form))
    if start is not None and start not in graph.inputs and any(id(t) in needed for t in graph.inputs):
        raise TfliteError(f"{start.name!r} is no cut: a path from the input runs past it")
    if start is not None and id(start) not in needed:
        raise TfliteError(f"{start.name!r} does not lead to {', '.join(repr(end.name) for end in ends)}")
    return operators[::-1]


def _forms(tensor: Tensor, graph: Subgraph) -> list[Tensor]:
    """A tensor, and what holds its very values in another shape or type, back to the one that is computed."""
    forms = [tensor]
    made_by = {id(t): op for op in graph.operators for t in op.outputs}
    while (operator := made_by.get(id(forms[-1]))) is not None and _keeps_values(operator):
        assert operator.inputs[0] is not None  # it reads what it keeps
        forms.append(operator.inputs[0])
    return forms


def _converted(form: Tensor, earlier: Tensor) -> Operator:
    if form.type == earlier.type:
        return emit.reshape(form, earlier)
    return emit.dequantize(form, earlier) if earlier.type == "FLOAT32" else emit.quantize(form, earlier)


def _keeps_values(operator: Operator) -> bool:
    """Whether what an operator reads can be had again of what it gives."""
    types = operator.inputs[0] and operator.inputs[0].type, operator.outputs[0].type
    return operator.name == "RESHAPE" or types in _SAME_VALUES.get(operator.name, ())


def _version(value: bytes) -> tuple[int, ...]:
    return tuple(int(part) for part in value.rstrip(b"\0").split(b".") if part.isdigit())
