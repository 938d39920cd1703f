"""How sure a stage is of its answer, 0..1: what a cascade compares with its threshold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

# Under every probability that matters, so that p log p is 0 where p is 0, and a normal float32.
_TINY = np.float32(1e-30)


@dataclass(frozen=True)
class Confidence:
    """A measure of sureness: ``of`` takes probabilities ``(n, c)`` to float32 ``(n,)``, 0 or more and 1 at most."""

    name: str
    of: Callable[[np.ndarray], np.ndarray]


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


CONFIDENCES = {
    confidence.name: confidence
    for confidence in (Confidence("max", _max), Confidence("margin", _margin), Confidence("entropy", _entropy))
}
