"""Run two files on the same images and say how far they agree."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tflite_export.chatter import captured
from tflite_export.errors import TfliteError
from tflite_export.flatbuffer import only, read, write
from tflite_export.integers import dequantise, quantise
from tflite_export.precision import INPUT_KEY, OUTPUT_KEY

_LOGITS = "logits"
# What may stand behind a softmax: where a file gives floats, or the softmax is in sixteen bits.
_CASTS = ("DEQUANTIZE", "QUANTIZE")


@dataclass(frozen=True)
class Outputs:
    """What a file answers: float32 ``scores`` and ``logits``, both ``(n, classes)``.

    Where a file ends in no softmax the two are the same.
    """

    scores: np.ndarray
    logits: np.ndarray


@dataclass(frozen=True)
class Agreement:
    """How one file's outputs compare with a reference's on ``n`` images.

    ``top1`` is the share of images with the same answer, ``difference`` the largest of any score,
    ``sqnr_db`` the power of the reference's logits over that of their difference, in decibels;
    infinite where they are equal.
    """

    n: int
    top1: float
    difference: float
    sqnr_db: float


def run(content: bytes, batches: Iterable[np.ndarray], threads: int = 2, *, alone: bool = False) -> Outputs:
    """Run a file on raw images ``(b, h, w, c)`` of 0..255, one at a time, in LiteRT.

    ``alone``: without its outputs beside the scores, of which an object has one a cut.

    Raises TfliteError for a file that LiteRT cannot run, no images, and values that are not finite.
    """
    from ai_edge_litert.interpreter import Interpreter

    with captured():
        try:
            interpreter = Interpreter(model_content=with_logits(content, alone=alone), num_threads=threads)
            interpreter.allocate_tensors()  # here, since LiteRT speaks of its delegate
            runner = interpreter.get_signature_runner()
        except (ValueError, RuntimeError) as error:
            raise TfliteError(f"LiteRT cannot run the file ({len(content)} bytes): {error}") from error
    entry, ends = runner.get_input_details()[INPUT_KEY], runner.get_output_details()
    rows: dict[str, list[np.ndarray]] = {name: [] for name in ends}
    for batch in batches:
        for image in quantise(np.asarray(batch), entry):
            for name, values in runner(**{INPUT_KEY: image[None]}).items():
                rows[name].append(values.reshape(-1))
    if not rows[OUTPUT_KEY]:
        raise TfliteError("no images to run; the batches given hold none")
    real = {name: dequantise(np.stack(values), ends[name]) for name, values in rows.items()}
    return Outputs(real[OUTPUT_KEY], real.get(_LOGITS, real[OUTPUT_KEY]))


def compare(outputs: Outputs, reference: Outputs) -> Agreement:
    """How ``outputs`` agree with ``reference`` on the same images; raises TfliteError for other shapes."""
    if outputs.scores.shape != reference.scores.shape:
        raise TfliteError(f"outputs of {outputs.scores.shape} and {reference.scores.shape} cannot be compared")
    noise = float(np.sum(np.square(outputs.logits - reference.logits, dtype=np.float64)))
    power = float(np.sum(np.square(reference.logits, dtype=np.float64)))
    return Agreement(
        n=len(outputs.scores),
        top1=float(np.mean(outputs.scores.argmax(1) == reference.scores.argmax(1))),
        difference=float(np.abs(outputs.scores - reference.scores).max()),
        sqnr_db=10 * float(np.log10(power / noise)) if noise else float("inf"),
    )


def with_logits(content: bytes, *, alone: bool = False) -> bytes:
    """The same file with what its last softmax reads as a second output; ``alone`` drops all but the scores."""
    model = read(content)
    graph = only(model)
    if alone:
        signature = model.signatures[0]
        graph.outputs = [signature.outputs[OUTPUT_KEY]]
        signature.outputs = {OUTPUT_KEY: graph.outputs[0]}
    makers = {id(t): op for op in graph.operators for t in op.outputs}
    last = makers.get(id(graph.outputs[0]))
    while last is not None and last.name in _CASTS:
        last = makers.get(id(last.inputs[0]))
    if last is None or last.name != "SOFTMAX":
        return write(model) if alone else content
    logits: Any = last.inputs[0]
    graph.outputs.append(logits)
    model.signatures[0].outputs[_LOGITS] = logits
    return write(model)
