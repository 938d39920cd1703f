"""Stretches of an object as files of their own, run on features; and what any net with them in it needs at least."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tflite_export import emit, link, memory
from tflite_export.chatter import captured
from tflite_export.errors import TfliteError
from tflite_export.flatbuffer import Model, Signature, Subgraph, write
from tflite_export.integers import dequantise, quantise
from tflite_export.link import Object
from tflite_export.precision import INPUT_KEY, OUTPUT_KEY, SIGNATURE, precision_named


@dataclass(frozen=True)
class Floor:
    """What no net with a stretch in it can do without: constants by content with their bytes, and arena bytes."""

    constants: Mapping[bytes, int]
    arena: int


def stretch(network: Object, start: str | None, stops: Sequence[str]) -> bytes:
    """The operators from a cut (None: the image) to other cuts, as a file whose outputs are these, in order.

    Raises TfliteError for cuts that the object has not, and where something runs past the start.
    """
    graph = _graph(network, start, stops)
    ends = {name: network.cut(name) for name in stops}
    model = Model([graph], [Signature(SIGNATURE, graph, {INPUT_KEY: graph.inputs[0]}, ends)])
    link.finish(model, [network.model], None)
    return write(model, names=False)


def floor(network: Object, start: str | None, stop: str, *, stitched: bool) -> Floor:
    """What a net needs at the least for a stretch of an object.

    Where a stitch leads to it, the operators that read its start do not count, nor does its start: the
    stitch may be folded into them.
    """
    graph = _graph(network, start, [stop])
    entry = graph.inputs[0]
    counted = [op for op in graph.operators if not (stitched and entry in op.inputs)]
    constants = {
        t.buffer.digest: len(t.buffer.data) for op in counted for t in op.inputs if t is not None and t.constant
    }
    live = memory.ranges(write(Model([graph], [])))
    kept = [item for item in live if not (stitched and item.first == 0)]
    return Floor(constants, memory.plan(kept).lower_bound)


def flash(floors: Iterable[Floor]) -> int:
    """Bytes of constants that a net of several stretches holds at the least; equal ones are there once."""
    whole: dict[bytes, int] = {}
    for part in floors:
        whole |= part.constants
    return sum(whole.values())


def softmax(classes: int, precision: str, limits: tuple[float, float]) -> Object:
    """An object that makes scores of a grid of logits ``(1, 1, 1, classes)`` within limits."""
    kind = precision_named(precision).ends[0].upper()
    logits = emit.activation((1, 1, 1, classes), kind, "head/logits")
    row = emit.activation((1, classes), kind, "head/row")
    scores = emit.activation((1, classes), kind, "head/scores")
    if kind != "FLOAT32":
        logits.table.quantization = row.table.quantization = _range(limits, kind)
        steps = {"INT8": (1 / 256, -128), "INT16": (1 / 32768, 0)}[kind]
        scores.table.quantization = emit.quantisation(np.array(steps[:1]), np.array(steps[1:]))
    graph = Subgraph([emit.reshape(logits, row), emit.softmax(row, scores)], [logits], [scores])
    model = Model([graph], [Signature(SIGNATURE, graph, {INPUT_KEY: logits}, {OUTPUT_KEY: scores})])
    link.finish(model, [], None)
    return Object(write(model))


class Runner:
    """A file run by LiteRT on features ``(n, ...)``, one at a time; float32 in and out, whatever the file is of."""

    def __init__(self, content: bytes, threads: int = 2) -> None:
        from ai_edge_litert.interpreter import Interpreter

        with captured():
            try:
                self._interpreter = Interpreter(model_content=content, num_threads=threads)
                self._interpreter.allocate_tensors()
            except (ValueError, RuntimeError) as error:
                raise TfliteError(f"LiteRT cannot run the file ({len(content)} bytes): {error}") from error
        self._entry = self._interpreter.get_input_details()[0]
        self._ends = self._interpreter.get_output_details()

    def __call__(self, x: np.ndarray) -> list[np.ndarray]:
        """What the file gives for each of its outputs ``(n, ...)``, in their order; TfliteError for NaN or infinity."""
        outputs: list[list[np.ndarray]] = [[] for _ in self._ends]
        for row in x:
            self._interpreter.set_tensor(self._entry["index"], quantise(row[None].astype(np.float32), self._entry))
            self._interpreter.invoke()
            for values, end in zip(outputs, self._ends, strict=True):
                values.append(self._interpreter.get_tensor(end["index"])[0])
        return [dequantise(np.stack(rows), end) for rows, end in zip(outputs, self._ends, strict=True)]


def _graph(network: Object, start: str | None, stops: Sequence[str]) -> Subgraph:
    entry = network.image if start is None else network.cut(start)
    ends = [network.cut(name) for name in stops]
    return Subgraph(link.leading_to(ends, network.graph, None if start is None else entry), [entry], ends)


def _range(limits: tuple[float, float], kind: str) -> Any:
    """The quantisation that holds values within limits, and zero exactly."""
    low, high = min(limits[0], 0.0), max(limits[1], 0.0)
    room = np.iinfo(kind.lower())
    if kind == "INT16":  # symmetric
        return emit.quantisation(np.array([max(-low, high, emit.LEAST_SCALE) / room.max]), np.array([0]))
    scale = max((high - low) / (room.max - room.min), emit.LEAST_SCALE)
    return emit.quantisation(np.array([scale]), np.array([round(room.min - low / scale)]))
