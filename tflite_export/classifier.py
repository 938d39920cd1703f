"""A ``.tflite`` file from anywhere, checked to be a classifier of one image: what can be a stage of a cascade.

A batch dimension that the file leaves open is fixed to the 1 that its shapes hold; else nothing in it is changed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import prod
from pathlib import Path

import numpy as np

from tflite_export import macs, preprocessing
from tflite_export.errors import TfliteError
from tflite_export.flatbuffer import IDENTIFIER, Model, Operator, Subgraph, Tensor, called, ints, read
from tflite_export.precision import VARIABLE_OPERATORS

ENDS = ("FLOAT32", "INT8", "UINT8", "INT16")
_COLOURS = (1, 3, 4)
_FORM = "an input (1, height, width, channels) is needed"
# What leaves every value what it was.
_PASSING = ("QUANTIZE", "DEQUANTIZE", "RESHAPE", "SQUEEZE", "EXPAND_DIMS")
# By the type that weighted operators work on; floats go by their weights.
_INTEGERS = {"INT8": "int8", "UINT8": "uint8", "INT16": "int16x8"}
_FLOATS = {"INT8": "dynamic", "INT4": "dynamic", "FLOAT16": "float16"}

_ENDING, _HEAD = ".tflite", 8
_KERAS = (b"PK\x03\x04", b"\x89HDF")  # what begins an archive and an HDF5 file


@dataclass(frozen=True, eq=False)
class Classifier:
    """A checked file: ``graph`` takes one image ``(h, w, c)`` and gives a score for each of its classes.

    ``precision`` is what most of its work is done in: ``float32``, ``float16``, ``dynamic``, ``int8``, ``int16x8``, or
    ``uint8`` of the first quantised files; its ends may be of other types. ``channels_first`` where the file itself
    takes ``(1, c, h, w)``. ``ending`` is the operator that makes the scores, and ``expects`` the preprocessing that a
    quantised input's range speaks for, None where it does not.
    """

    name: str
    model: Model = field(repr=False)
    graph: Subgraph = field(repr=False)
    image: tuple[int, ...]
    channels_first: bool
    classes: int
    precision: str
    ending: str
    expects: str | None
    macs: int
    parameters: int

    @property
    def input(self) -> Tensor:
        """The file's own image."""
        return self.graph.inputs[0]

    @property
    def output(self) -> Tensor:
        """The file's own scores."""
        return self.graph.outputs[0]


def is_file(spec: str | Path) -> bool:
    """Whether a model is a ``.tflite`` file, whatever it is called; by its name where there is nothing to read."""
    path = Path(spec).expanduser()
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError:
        head = b""
    if head[4:].startswith(IDENTIFIER):
        return True
    return path.suffix.lower() == _ENDING and not head.startswith(_KERAS)


def of_file(content: bytes, name: str) -> Classifier:
    """A file's classifier; ``name`` is what errors call it.

    Raises TfliteError for what is no whole ``.tflite`` file, several entry points, variables, custom operators, other
    than one image and one row of scores, an open size, and ends of other types than float32, int8, uint8 and int16.
    """
    try:
        model = read(content)
    except TfliteError as error:
        raise TfliteError(f"{name}: {error}") from error
    graph = _entry(model, name)
    graphs = called([graph])
    for one in graphs:
        _check_operators(one, name)
        _check_operands(one, name)
        _close(one, name)
    _check_counts(graph, name)
    image, channels_first = _image(graph.inputs[0], name)
    classes = _classes(graph.outputs[0], name)
    _check_types(graph, name)
    return Classifier(
        name=name,
        model=model,
        graph=graph,
        image=image,
        channels_first=channels_first,
        classes=classes,
        precision=_precision(graphs),
        ending=_ending(graph),
        expects=_expects(graph, image[-1]),
        macs=macs.of_graph(graph),
        parameters=macs.parameters(graph),
    )


def _entry(model: Model, name: str) -> Subgraph:
    """The subgraph that a caller runs, which calls all others."""
    if len(model.signatures) > 1:
        keys = ", ".join(signature.key for signature in model.signatures)
        raise TfliteError(
            f"{name} has {len(model.signatures)} signatures ({keys}), and a stage is a network of one; "
            "export one of them as a file of its own"
        )
    if not model.subgraphs:
        raise TfliteError(f"{name} holds no network; export it again")
    graph = model.signatures[0].subgraph if model.signatures else model.subgraphs[0]
    spare = len(model.subgraphs) - len(called([graph]))
    if spare:
        raise TfliteError(
            f"{name} has {spare} subgraph{'s' if spare > 1 else ''} beside the one that takes the image; "
            "export each network as a file of its own"
        )
    return graph


def _check_operators(graph: Subgraph, name: str) -> None:
    """Refuse what keeps something from one image to the next, and what TensorFlow Lite itself has not."""
    for operator in graph.operators:
        if operator.name in VARIABLE_OPERATORS:
            raise TfliteError(f"{name} keeps variables ({operator.name}); export it with its weights as constants")
        if operator.name.startswith("CUSTOM Flex"):
            raise TfliteError(
                f"{name} needs TensorFlow's own {operator.name.removeprefix('CUSTOM Flex')}; "
                "convert it with TFLITE_BUILTINS alone"
            )
        if operator.name.startswith("CUSTOM"):
            raise TfliteError(
                f"{name} needs the operator {operator.name.removeprefix('CUSTOM ')!r}, which is not one of TensorFlow "
                "Lite's; use the file from before it was compiled for a device, or export it without"
            )
    state = next((tensor for tensor in graph.tensors if tensor.table.isVariable), None)
    if state is not None:
        raise TfliteError(
            f"{name} keeps the variable {state.name!r} from one image to the next; export it without state"
        )


def _check_operands(graph: Subgraph, name: str) -> None:
    """Refuse operators that lack what they multiply, and subgraphs that call themselves."""
    for operator in graph.operators:
        try:
            macs.of_operator(operator)
        except (IndexError, RecursionError):
            raise TfliteError(f"{name}: not a whole .tflite file: {operator.name} has not what it works on") from None


def _close(graph: Subgraph, name: str) -> None:
    """Fix an open batch to 1; raises TfliteError where another size is open, or the batch is not 1."""
    for tensor in graph.tensors:
        signature = ints(tensor.table.shapeSignature)
        sizes = [size for size, sign in zip(tensor.shape, signature, strict=False) if sign < 0]
        if len(sizes) > 1 or sizes not in ([], [1]):
            raise TfliteError(
                f"{name} leaves more open than the batch: {tensor.name!r} is {signature}; "
                "convert it with a fixed input (1, height, width, channels)"
            )
        tensor.table.shapeSignature = None


def _check_counts(graph: Subgraph, name: str) -> None:
    for side, ends, sort in (("inputs", graph.inputs, "an image"), ("outputs", graph.outputs, "a row of scores")):
        if len(ends) != 1:
            shapes = ", ".join(f"{end.name!r} {end.shape}" for end in ends) or "none"
            raise TfliteError(f"{name} has {len(ends)} {side} ({shapes}); export it with one, {sort}")


def _check_types(graph: Subgraph, name: str) -> None:
    for end, sort in ((graph.inputs[0], "an image"), (graph.outputs[0], "scores")):
        if end.type not in ENDS:
            kinds = ", ".join(kind.lower() for kind in ENDS)
            raise TfliteError(f"{name} has {sort} of {end.type}; convert it with ends of one of {kinds}")
        if end.type != "FLOAT32" and not (len(end.scales) == len(end.zero_points) == 1 and end.scales[0] > 0):
            raise TfliteError(
                f"{name} has {sort} of {end.type} without a scale; convert it with float32 ends, or quantise it whole"
            )


def _image(tensor: Tensor, name: str) -> tuple[tuple[int, ...], bool]:
    """Height, width and channels of an input, and whether its channels come first."""
    shape = tensor.shape
    if len(shape) not in (3, 4):
        raise TfliteError(f"{name} takes {shape}, no image; {_FORM}")
    if shape[0] != 1:
        raise TfliteError(f"{name} takes {shape[0]} images at once ({shape}); convert it with a batch of 1")
    if len(shape) == 3:  # a signal
        return shape[1:], False
    _, a, b, c = shape
    first = a in _COLOURS and b not in _COLOURS and c not in _COLOURS
    return ((b, c, a) if first else (a, b, c)), first


def _classes(tensor: Tensor, name: str) -> int:
    """The length of the one row that an output holds."""
    count = prod(tensor.shape)
    if not tensor.shape or max(tensor.shape) != count:
        raise TfliteError(f"{name} gives {tensor.shape}, no row of class scores; an output (1, classes) is needed")
    if count < 2:
        raise TfliteError(f"{name} gives a single score; export it with one for each of two classes or more")
    return count


def _weighted(graphs: list[Subgraph]) -> Iterator[tuple[Operator, str, str]]:
    """Every operator that multiplies, with the types of its result and of its weights as the file holds them."""
    for graph in graphs:
        source = {id(t): op for op in graph.operators for t in op.outputs}
        for operator in graph.operators:
            if operator.calls or not macs.of_operator(operator):
                continue
            weights = operator.inputs[1]
            stored = source.get(id(weights))
            if stored is not None and stored.name == "DEQUANTIZE" and stored.inputs[0] is not None:
                weights = stored.inputs[0] if stored.inputs[0].constant else weights
            yield operator, operator.outputs[0].type, weights.type if weights else ""


def _precision(graphs: list[Subgraph]) -> str:
    """What most multiplications are done in; of floats, whether some of their weights are reduced."""
    work: Counter[str] = Counter()
    reduced = set()
    for operator, kind, weights in _weighted(graphs):
        work[kind] += macs.of_operator(operator)
        if kind == "FLOAT32":
            reduced.add(_FLOATS.get(weights, ""))
    kind = work.most_common(1)[0][0] if work else graphs[0].outputs[0].type
    return _INTEGERS.get(kind) or max(reduced, default="") or "float32"


def _ending(graph: Subgraph) -> str:
    """The last operator that changes a value; empty where none does."""
    source = {id(t): op for op in graph.operators for t in op.outputs}
    operator = source.get(id(graph.outputs[0]))
    while operator is not None and operator.name in _PASSING:
        operator = source.get(id(operator.inputs[0]))
    return operator.name if operator else ""


def _expects(graph: Subgraph, channels: int) -> str | None:
    """The preprocessing whose values fill the range of the input, or of the integers that it becomes at once."""
    (tensor,) = graph.inputs
    readers = [op for op in graph.operators if any(t is tensor for t in op.inputs)]
    if tensor.type == "FLOAT32" and len(readers) == 1 and readers[0].name == "QUANTIZE":
        tensor = readers[0].outputs[0]
    if tensor.type not in ("INT8", "UINT8") or len(tensor.scales) != 1:
        return None  # symmetric int16 and floats do not say what is left unused
    room = np.iinfo(tensor.type.lower())
    low, high = (tensor.scales[0] * (int(end) - tensor.zero_points[0]) for end in (room.min, room.max))
    return preprocessing.of_range(low, high, channels)
