"""How sure a stage is of its answer, 0..1: what a cascade compares with its threshold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tflite_export import emit
from tflite_export.flatbuffer import Operator, Tensor

# Under every probability that matters, so that p log p is 0 where p is 0, and a normal float32.
_TINY = np.float32(1e-30)


@dataclass(frozen=True)
class Confidence:
    """A measure of sureness: ``of`` takes probabilities ``(n, c)`` to float32 ``(n,)``, 0 or more and 1 at most.

    ``emit`` gives the operators that do the same in a file, from the scores ``(1, c)`` of whatever type; the last one
    gives float32 ``(1,)``.
    """

    name: str
    words: str  # for people
    of: Callable[[np.ndarray], np.ndarray]
    emit: Callable[[Tensor], list[Operator]]


def _max(probabilities: np.ndarray) -> np.ndarray:
    return np.asarray(probabilities, np.float32).max(axis=1)


def _margin(probabilities: np.ndarray) -> np.ndarray:
    second, first = np.partition(np.asarray(probabilities, np.float32), -2, axis=1)[:, -2:].T
    return first - second


def _entropy(probabilities: np.ndarray) -> np.ndarray:
    """One less the entropy over that of an even distribution; even ones are not below 0 by rounding."""
    p = np.asarray(probabilities, np.float32)
    scale = np.float32(1 / np.log(p.shape[1]))
    return np.maximum(np.float32(1) + (p * np.log(np.maximum(p, _TINY))).sum(axis=1) * scale, np.float32(0))


def _emitted_max(scores: Tensor) -> list[Operator]:
    """The largest of the scores' own integers, which is one step as a float.

    TensorFlow Lite Micro has no REDUCE_MAX of 16 bits; that of the floats is the same value.
    """
    if scores.type == "INT16":
        lead = emit.dequantize(scores)
        return [lead, emit.reduced(lead.outputs[0], "REDUCE_MAX")]
    largest = emit.reduced(scores, "REDUCE_MAX")
    return [largest, *_floats(largest.outputs[0])]


def _emitted_margin(scores: Tensor) -> list[Operator]:
    """The largest less the largest of the others; nothing where two are the largest."""
    lead = _floats(scores)
    p = lead[-1].outputs[0] if lead else scores
    largest = emit.reduced(p, "REDUCE_MAX")
    which = emit.elementwise("GREATER_EQUAL", [p, largest.outputs[0]])
    first = emit.cast(which.outputs[0])
    taken = emit.elementwise("MUL", [p, first.outputs[0]])
    rest = emit.elementwise("SUB", [p, taken.outputs[0]])
    second = emit.reduced(rest.outputs[0], "REDUCE_MAX")
    apart = emit.elementwise("SUB", [largest.outputs[0], second.outputs[0]])
    count = emit.reduced(first.outputs[0], "SUM")
    alone = emit.elementwise("LESS", [count.outputs[0], emit.constant(np.array([1.5], np.float32), "cascade/one")])
    factor = emit.cast(alone.outputs[0])
    margin = emit.elementwise("MUL", [apart.outputs[0], factor.outputs[0]])
    return [*lead, largest, which, first, taken, rest, second, apart, count, alone, factor, margin]


def _emitted_entropy(scores: Tensor) -> list[Operator]:
    lead = _floats(scores)
    p = lead[-1].outputs[0] if lead else scores
    tiny, scale, one, zero = (
        emit.constant(np.array([value], np.float32), f"cascade/{name}")
        for name, value in (("tiny", _TINY), ("scale", 1 / np.log(p.shape[1])), ("one", 1), ("zero", 0))
    )
    above = emit.elementwise("MAXIMUM", [p, tiny])
    logs = emit.elementwise("LOG", [above.outputs[0]])
    terms = emit.elementwise("MUL", [p, logs.outputs[0]])
    total = emit.reduced(terms.outputs[0], "SUM")
    share = emit.elementwise("MUL", [total.outputs[0], scale])
    sure = emit.elementwise("ADD", [share.outputs[0], one])
    return [*lead, above, logs, terms, total, share, sure, emit.elementwise("MAXIMUM", [sure.outputs[0], zero])]


def _floats(x: Tensor) -> list[Operator]:
    return [] if x.type == "FLOAT32" else [emit.dequantize(x)]


_ALL = (
    Confidence("max", "largest probability", _max, _emitted_max),
    Confidence("margin", "lead of the largest probability", _margin, _emitted_margin),
    Confidence("entropy", "certainty (1 less the entropy)", _entropy, _emitted_entropy),
)
CONFIDENCES = {confidence.name: confidence for confidence in _ALL}


def entropy_terms(scale: float, zero_point: int, classes: int) -> tuple[np.ndarray, float]:
    """``p log p`` float32 ``(256,)`` of the probabilities that -128 to 127 stand for, and what their sum is times."""
    p = np.float32(scale) * (np.arange(-128, 128) - zero_point).astype(np.float32)
    return p * np.log(np.maximum(p, _TINY)), float(np.float32(1 / np.log(classes)))
