"""A classifier's file as an object to link from: raw image in, its cuts, and the features that its last layer reads.

Nothing of the file is changed. Where the object's ends are of another type than the file's own, each cut stands beside
the graph: its integers as floats, from which a back goes on with the very integers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod
from typing import NoReturn

from tflite_export import adapter, anatomy, emit, link, macs
from tflite_export.classifier import Classifier
from tflite_export.errors import TfliteError
from tflite_export.flatbuffer import Model, Operator, Signature, Subgraph, Tensor, called, names, write
from tflite_export.precision import INPUT_KEY, OUTPUT_KEY, SIGNATURE

_INTEGERS = ("int8", "uint8", "int16x8")
_CLAMPS: dict[str, tuple[float | None, float | None]] = {"RELU": (0.0, None), "RELU6": (0.0, 6.0)}
# What leaves values within the range that they were in.
_KEEPING_RANGE = ("AVERAGE_POOL_2D", "MAX_POOL_2D", "QUANTIZE", "RESHAPE")
_TURNED = ("TRANSPOSE",)
_FEATURES = "features"
_AS_IT_IS = "leave it out of the pool; restnet-tf cascade takes it as it is"
_SHOWN = 4  # operators that an error names


@dataclass(frozen=True)
class TrunkCut:
    """A place of a file: its name, its shape without the batch, what its activation allows, and the cost before it."""

    name: str
    shape: tuple[int, ...]
    clamp: tuple[float | None, float | None]
    macs: int
    parameters: int


@dataclass(frozen=True)
class Trunk:
    """A file up to its features ``(1, 1, d)``; ``content`` is what ``link.Object`` reads, its scores the features."""

    content: bytes = field(repr=False)
    cuts: tuple[TrunkCut, ...]
    features: TrunkCut


def of(one: Classifier, *, ends: str, preprocess: str = "none", steps: tuple[float, int] | None = None) -> Trunk:
    """A file's trunk with ends of a type: ``float32`` of any file, ``int8`` and ``int16`` of files of these.

    ``preprocess`` and ``steps`` are those of ``adapter.adapted``. Raises TfliteError for a file of which no single
    layer makes the scores, one without cuts, and floats where integers are to be had.
    """
    layer = _last_layer(one)
    places = _places(one, layer)
    if not places:
        _refuse(one, "none ends a block, behind the first weights, where a single tensor is live")
    whole = adapter.adapted(one, image=one.image, kind=ends, preprocess=preprocess, steps=steps)
    names = _names([tensor for tensor, _ in places])
    beside = [_Beside(tensor, ends, one.name) for tensor, _ in places]
    for place, (_, shape) in zip(beside, places, strict=True):
        place.reshaped((1, *shape))
    last = _Beside(layer.inputs[0], ends, one.name).flat(layer)
    operators = [*whole.operators, *(op for place in (*beside, last) for op in place.operators)]
    cuts = {name: place.x for name, place in zip(names, beside, strict=True)}
    graph = Subgraph(operators, whole.inputs, [last.x, *cuts.values()])
    graph.operators = link.leading_to(graph.outputs, graph)
    entry = Signature(SIGNATURE, graph, {INPUT_KEY: graph.inputs[0]}, {OUTPUT_KEY: last.x, **cuts})
    model = Model(called([graph]), [entry])
    link.finish(model, [one.model], None)
    listed = [
        _cut(graph, name, place.x, _clamp(one.graph, tensor))
        for name, place, (tensor, _) in zip(names, beside, places, strict=True)
    ]
    return Trunk(write(model), tuple(listed), _cut(graph, _FEATURES, last.x, (None, None)))


def _last_layer(one: Classifier) -> Operator:
    """The layer with weights that makes the scores."""
    source = {id(t): op for op in one.graph.operators for t in op.outputs}
    operator = source.get(id(one.output))
    while operator is not None and not (operator.calls or macs.of_operator(operator)):
        computed = [t for t in operator.inputs if t is not None and not _held(t, source)]
        if len(computed) != 1:
            _refuse(one, f"no single layer makes the scores: {operator.name} puts {len(computed)} results together")
        operator = source.get(id(computed[0]))
    if operator is None:
        _refuse(one, "none has weights")
    if operator.calls or any(not _held(t, source) for t in operator.inputs[1:] if t is not None):
        _refuse(one, f"the last that counts, {operator.name}, is no layer of constant weights")
    return operator


def _held(tensor: Tensor, source: dict[int, Operator]) -> bool:
    """Whether the file itself holds the values, at whatever precision."""
    made_by = source.get(id(tensor))
    stored = made_by is not None and made_by.name == "DEQUANTIZE" and made_by.inputs[0] is not None
    return tensor.constant or bool(stored and made_by and made_by.inputs[0] and made_by.inputs[0].constant)


def _places(one: Classifier, layer: Operator) -> list[tuple[Tensor, tuple[int, ...]]]:
    """The cuts in front of the last layer that can be stitched, with their shapes: steps in time are ``(t, c)``."""
    before = one.graph.operators[: one.graph.operators.index(layer)]
    made = {id(t): op for op in before for t in op.outputs}
    kinds = ("INT8", "UINT8", "INT16") if one.precision in _INTEGERS else ("FLOAT32",)
    places = []
    for tensor, cut in anatomy.places(one.graph):
        readers = [op.name for op in one.graph.operators if any(t is tensor for t in op.inputs)]
        if id(tensor) in made and tensor.type in kinds and len(cut.shape) in (2, 3) and not {*readers} & {*_TURNED}:
            over_time = len(one.image) == 2 and len(cut.shape) == 3
            places.append((tensor, (prod(cut.shape[:-1]), cut.shape[-1]) if over_time else cut.shape))
    return places


def _names(tensors: Sequence[Tensor]) -> list[str]:
    """What each cut is called: the first of the names that a converter strings together, made unlike all others."""
    short = [tensor.name.partition(";")[0] or "cut" for tensor in tensors]
    counts = Counter(short)
    taken = (_FEATURES, OUTPUT_KEY)
    return [
        name if counts[name] == 1 and name not in taken else f"{name}#{place + 1}" for place, name in enumerate(short)
    ]


def _cut(graph: Subgraph, name: str, tensor: Tensor, clamp: tuple[float | None, float | None]) -> TrunkCut:
    before = Subgraph(link.leading_to([tensor], graph), graph.inputs, [tensor])
    return TrunkCut(name, tensor.shape[1:], clamp, macs.of_graph(before), macs.parameters(before))


def _clamp(graph: Subgraph, tensor: Tensor) -> tuple[float | None, float | None]:
    """The range that a cut's own activation allows; that of its integers, the stitch keeps to anyway."""
    source = {id(t): op for op in graph.operators for t in op.outputs}
    operator = source.get(id(tensor))
    while operator is not None:
        options = operator.table.builtinOptions
        fused = names("ActivationFunctionType")[getattr(options, "fusedActivationFunction", 0)]
        clamp = _CLAMPS.get(operator.name) or _CLAMPS.get(fused)
        if clamp is not None or operator.name not in _KEEPING_RANGE:
            return clamp or (None, None)
        operator = source.get(id(operator.inputs[0]))
    return None, None


def _refuse(one: Classifier, why: str) -> NoReturn:
    counts = Counter(operator.name for operator in one.graph.operators)
    listed = ", ".join(f"{count} {name}" for name, count in counts.most_common(_SHOWN))
    more = ", ..." if len(counts) > _SHOWN else ""
    raise TfliteError(
        f"{one.name} cannot be cut: of its {len(one.graph.operators)} operators ({listed}{more}) {why}; {_AS_IT_IS}"
    )


class _Beside:
    """A tensor of a file in the type of the object's ends, by operators beside the graph."""

    def __init__(self, tensor: Tensor | None, ends: str, name: str) -> None:
        assert tensor is not None  # a layer reads something
        self.operators: list[Operator] = []
        self.x = tensor
        if tensor.type == ends.upper():
            return
        if ends == "float32":
            self._add(emit.dequantize(tensor))
        elif (tensor.type, ends) == ("UINT8", "int8"):
            self._add(emit.quantize(tensor, adapter.as_int8(tensor)))
        else:
            raise TfliteError(
                f"{name} holds {tensor.name!r} as {tensor.type.lower()}, of which no {ends} can be made: the file does"
                " not say in which steps; choose float32"
            )

    def reshaped(self, shape: tuple[int, ...]) -> _Beside:
        """The same values in another shape."""
        if self.x.shape != shape:
            self._add(emit.reshape(self.x, emit.activation(shape, self.x.type, f"{self.x.name}/reshaped", like=self.x)))
        return self

    def flat(self, layer: Operator) -> _Beside:
        """What the last layer reads as a grid of one place: all of it, or means where it reads each place by itself."""
        if prod(layer.outputs[0].shape[:-1]) > 1:
            if len(self.x.shape) == 3:
                self.reshaped((1, *self.x.shape[1:2], 1, self.x.shape[2]))
            _, height, width, _ = self.x.shape
            self._add(emit.average_pool(self.x, (height, width)))
        return self.reshaped((1, 1, 1, prod(self.x.shape)))

    def _add(self, operator: Operator) -> None:
        self.operators.append(operator)
        (self.x,) = operator.outputs
