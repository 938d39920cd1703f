"""What the tensors inside a file hold on given images, and the ranges of their integers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from tflite_export.chatter import captured
from tflite_export.errors import TfliteError
from tflite_export.flatbuffer import Tensor, only, read, write
from tflite_export.integers import quantise
from tflite_export.precision import INPUT_KEY


@dataclass(frozen=True)
class Activation:
    """A tensor of 8 bits: the least and greatest value that it can hold, and its values ``(n, ...)``, float32."""

    low: float
    high: float
    values: np.ndarray


def integers(content: bytes, batches: Iterable[np.ndarray], *, behind: int = 0) -> list[Activation]:
    """All int8 results of a file's operators on raw images ``(b, h, w, c)``, without those of the first ``behind``.

    Raises TfliteError for a file that LiteRT cannot run.
    """
    from ai_edge_litert.interpreter import Interpreter

    model = read(content)
    graph = only(model)
    results = [t for op in graph.operators[behind:] for t in op.outputs if t.type == "INT8" and t.scales]
    graph.outputs[:] = results
    entry = model.signatures[0]
    entry.outputs.clear()
    entry.outputs.update({str(number): tensor for number, tensor in enumerate(results)})
    with captured():
        try:
            interpreter = Interpreter(model_content=write(model))
            interpreter.allocate_tensors()
            runner = interpreter.get_signature_runner()
        except (ValueError, RuntimeError) as error:
            raise TfliteError(f"LiteRT cannot run the file ({len(content)} bytes): {error}") from error
    details = runner.get_input_details()[INPUT_KEY]
    rows: list[list[np.ndarray]] = [[] for _ in results]
    for batch in batches:
        for image in quantise(np.asarray(batch), details):
            outputs = runner(**{INPUT_KEY: image[None]})
            for number, values in enumerate(rows):
                values.append(outputs[str(number)])
    return [_activation(tensor, np.concatenate(values)) for tensor, values in zip(results, rows, strict=True)]


def limits(tensor: Tensor) -> tuple[float, float]:
    """The least and the greatest value that a tensor of 8 bits can hold."""
    scale, zero, room = float(tensor.scales[0]), int(tensor.zero_points[0]), np.iinfo(tensor.type.lower())
    return scale * (room.min - zero), scale * (room.max - zero)


def _activation(tensor: Tensor, values: np.ndarray) -> Activation:
    real = (values.astype(np.float32) - tensor.zero_points[0]) * np.float32(tensor.scales[0])
    return Activation(*limits(tensor), real)
