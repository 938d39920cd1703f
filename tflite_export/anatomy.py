"""What a ``.tflite`` file of one network is made of: its operators, where it can be cut, and what it takes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import prod

from tflite_export import macs, tail
from tflite_export.classifier import Classifier, of_file
from tflite_export.errors import TfliteError
from tflite_export.flatbuffer import Operator, Subgraph, Tensor, write
from tflite_export.tail import Arena

# Behind these a cut would stand in the middle of a block, as would one in front of them.
_INNER = frozenset({"DEPTHWISE_CONV_2D", "PAD", "PADV2", "MIRROR_PAD", "RESHAPE", "TRANSPOSE", "DEQUANTIZE", "MUL"})
_INDICES = ("INT32", "INT64", "BOOL")  # no features, but places in a table and the like
_POINTWISE = frozenset({"RELU", "RELU6", "HARD_SWISH", "LOGISTIC", "LEAKY_RELU", "QUANTIZE", "MUL", "ADD", "SUB"})


@dataclass(frozen=True)
class FileCut:
    """A tensor that every path of a file's graph runs through: its name, shape without the batch, and MACs before."""

    name: str
    shape: tuple[int, ...]
    macs_before: int


@dataclass(frozen=True)
class Anatomy:
    """A file: how often each operator stands in it, its cuts, and the arena that TensorFlow Lite Micro needs.

    ``content`` is the file with a batch of 1, as it is written here where it leaves that open. ``arena`` is None where
    it cannot be planned; ``why`` says for what reason.
    """

    classifier: Classifier
    content: bytes = field(repr=False)
    operators: Mapping[str, int]
    cuts: tuple[FileCut, ...]
    arena: Arena | None
    why: str = ""


def of(content: bytes, name: str) -> Anatomy:
    """A file's anatomy; ``name`` is what errors call it. Raises TfliteError as ``classifier.of_file`` does."""
    one = of_file(content, name)
    counts = Counter(operator.name for operator in one.graph.operators)
    closed = write(one.model)
    try:
        arena, why = tail.arena(closed), ""
    except TfliteError as error:
        arena, why = None, str(error)
    return Anatomy(one, closed, dict(counts.most_common()), cuts(one.graph), arena, why)


def cuts(graph: Subgraph) -> tuple[FileCut, ...]:
    """Where a single tensor is live behind the first weights, from input to output, at the ends of blocks."""
    return tuple(cut for _, cut in places(graph))


def places(graph: Subgraph) -> list[tuple[Tensor, FileCut]]:
    """The tensors of the cuts, with what there is to say of each."""
    ends, spent = [], 0
    for operator, live in zip(graph.operators, _live(graph), strict=True):
        spent += macs.of_operator(operator)
        if len(live) == 1 and spent and _ends_block(graph, operator, live[0]):
            ends.append((live[0], FileCut(live[0].name, live[0].shape[1:], spent)))
    widths = [0, *(tensor.shape[-1] for tensor, _ in ends), 0]
    inside = [
        widths[i] < widths[i + 1] > widths[i + 2] and _readers(graph, tensor)[0].name == "DEPTHWISE_CONV_2D"
        for i, (tensor, _) in enumerate(ends)
    ]
    # The wide tensors inside inverted bottlenecks (narrow, wide, narrow) are no ends of blocks.
    return [end for number, (end, wide) in enumerate(zip(ends, inside, strict=True)) if not (wide and number)]


def _live(graph: Subgraph) -> Iterator[list[Tensor]]:
    """After each operator what was computed and is still read; weights that are widened there are none of it."""
    last = {id(t): step for step, op in enumerate(graph.operators) for t in op.inputs}
    last |= {id(t): len(graph.operators) for t in graph.outputs}
    live = list(graph.inputs)
    for step, operator in enumerate(graph.operators):
        if any(t is not None and not t.constant for t in operator.inputs):
            live += operator.outputs
        live = [t for t in live if last.get(id(t), -1) > step]
        yield live


def _ends_block(graph: Subgraph, made_by: Operator, tensor: Tensor) -> bool:
    """Whether a live tensor is what one block hands to the next, and no vector of scores."""
    readers = _readers(graph, tensor)
    if not readers or len(tensor.shape) < 3 or prod(tensor.shape[1:-1]) == 1:
        return False
    if tensor not in made_by.outputs or made_by.name in _INNER or tensor.type in _INDICES:
        return False
    return len(readers) > 1 or readers[0].name not in _POINTWISE


def _readers(graph: Subgraph, tensor: Tensor) -> list[Operator]:
    return [op for op in graph.operators if any(t is tensor for t in op.inputs)]
