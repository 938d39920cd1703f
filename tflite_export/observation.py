"""What a float network's tensors hold on images, in one pass of LiteRT: spreads for ranges, and means for biases.

TensorFlow's own calibrator reads some tensors after the operator behind them has written over them (a convolution's
result after the residual sum that is made in its place), which gave DeiT-Tiny's attention outputs seven times their
range; so tensors are observed here, each as an output of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tflite_export import emit
from tflite_export.flatbuffer import Model, Operator, Subgraph, Tensor, only, read, write
from tflite_export.spreads import Spread

# Tensors observed together are all in memory; those of large networks are observed in several parts.
_BYTES = 512 << 20
# The images whose values are counted and averaged; the least and the greatest are of all.
_COUNTED = 32


@dataclass(frozen=True, eq=False)
class Observation:
    """``spreads`` of a file's tensors in its order, None of what was not observed; ``means`` for biases.

    ``means`` are of each channel ``(c,)`` that operators with constant weights read, by what these give.
    """

    spreads: list[Spread | None]
    means: Mapping[str, np.ndarray]


def observed(
    network: bytes, images: Sequence[np.ndarray], *, last: int | None = None, counting: bool = True
) -> Observation:
    """What a float file with one graph holds on images ``(1, h, w, c)``.

    ``last``: only what so many operators at its end read and give. Constants are not observed, nor tensors that are
    not float32. Each image is run alone; the least and the greatest value are of all images, counts and means of at
    most 32 evenly spaced ones. Without ``counting`` there are no counts, which rules that clip need.
    """
    model = read(network)
    graph = only(model)
    behind = graph.operators[0 if last is None else -last :]
    spreads = _empty(graph, behind)
    entry = _places(graph)[id(graph.inputs[0])]
    spreads[entry] = _beside(Spread(), images)
    few, totals = images[:: _stride(images)], {}
    totals[entry] = np.sum([_by_channel(image) for image in few], axis=0)
    sources = {name: place for name, place in _sources(graph, behind).items() if spreads[place] is not None}
    averaged = set(sources.values())
    places = [place for place, spread in enumerate(spreads) if spread and place != entry]
    for number, results in _held(model, places, images):
        inside = number % _stride(images) == 0
        for place, values in results.items():
            spread = spreads[place] or Spread()
            spreads[place] = spread.counting(values) if inside and counting else spread.beside(values)
            if inside and place in averaged:
                totals[place] = totals.get(place, 0) + _by_channel(values)
    return Observation(spreads, {name: totals[place] / len(few) for name, place in sources.items()})


def _stride(images: Sequence[np.ndarray]) -> int:
    """From one image that is counted to the next."""
    return -(-len(images) // _COUNTED)


def _places(graph: Subgraph) -> dict[int, int]:
    """Of tensors by ``id``."""
    return {id(t): place for place, t in enumerate(graph.tensors)}


def _empty(graph: Subgraph, behind: Sequence[Operator]) -> list[Spread | None]:
    """Spreads without values, of the operators' results that these operators read or give."""
    results = {id(t) for op in graph.operators for t in op.outputs}
    results &= {id(t) for op in behind for t in (*op.inputs, *op.outputs)}
    return [Spread() if id(t) in results and t.type == "FLOAT32" else None for t in graph.tensors]


def _sources(graph: Subgraph, behind: Sequence[Operator]) -> dict[str, int]:
    """The places of what operators with constant weights read, by what they give."""
    places = _places(graph)
    return {
        op.outputs[0].name: places[id(op.inputs[0])]
        for op in behind
        if op.name in emit.WEIGHTED and op.inputs[1] is not None and op.inputs[1].constant
    }


def _beside(spread: Spread, images: Iterable[np.ndarray]) -> Spread:
    for image in images:
        spread = spread.beside(image)
    return spread


def _by_channel(values: np.ndarray) -> np.ndarray:
    return np.asarray(values.reshape(-1, values.shape[-1]).mean(0, dtype=np.float64))


def _held(
    model: Model, places: Sequence[int], images: Sequence[np.ndarray]
) -> Iterator[tuple[int, dict[int, np.ndarray]]]:
    """Number by number of the images what operators' results hold, by their places; large ones in several passes."""
    for part in _parts(only(model).tensors, places):
        for number, results in enumerate(_results(model, part, images)):
            yield number, dict(zip(part, results, strict=True))


def _parts(tensors: Sequence[Tensor], places: Sequence[int]) -> Iterator[list[int]]:
    """Places of tensors that together take no more memory than may be taken; a larger one is alone."""
    part: list[int] = []
    size = 0
    for place in places:
        if part and size + tensors[place].nbytes > _BYTES:
            yield part
            part, size = [], 0
        part.append(place)
        size += tensors[place].nbytes
    if part:
        yield part


def _results(model: Model, places: Sequence[int], images: Iterable[np.ndarray]) -> Iterator[list[np.ndarray]]:
    """For each image the values of these tensors, made outputs, so that no operator writes over them."""
    from ai_edge_litert.interpreter import Interpreter

    graph = only(model)
    shown = replace(graph, outputs=[graph.tensors[place] for place in places])
    content = write(replace(model, subgraphs=[shown], signatures=[]))
    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    entry = interpreter.get_input_details()[0]["index"]
    ends = [end["index"] for end in interpreter.get_output_details()]
    for image in images:
        interpreter.set_tensor(entry, image)
        interpreter.invoke()
        yield [interpreter.get_tensor(end) for end in ends]
