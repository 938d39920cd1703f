"""Thresholds between confidences, and what a cascade answers with them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tflite_export.confidence import CONFIDENCES

NEVER, ALWAYS = 0.0, 1.01  # goes on never, and always: no confidence is above 1


def places(confidence: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every threshold ``(t,)`` float32 that parts the confidences ``(n,)`` in another way, and its deferral.

    Each lies half way between two neighbouring confidences and so on no image's, where float32 has a number there;
    the first never goes on and the last always does.
    """
    values, counts = np.unique(np.asarray(confidence, np.float32), return_counts=True)
    below, above = values[:-1], values[1:]
    middle = ((below.astype(np.float64) + above) / 2).astype(np.float32)
    middle = np.where(middle > below, middle, above)  # neighbours in float32: on the upper one, which stays
    thresholds = np.concatenate([[NEVER], middle, [ALWAYS]]).astype(np.float32)
    return thresholds, np.concatenate([[0], np.cumsum(counts)]) / len(confidence)


def at_deferral(confidence: np.ndarray, deferral: Sequence[float] | np.ndarray) -> np.ndarray:
    """The thresholds ``(d,)`` at which the share of images that go on is nearest to each that is given."""
    thresholds, deferrals = places(confidence)
    return thresholds[np.abs(deferrals[None] - np.asarray(deferral)[:, None]).argmin(axis=1)]


def stopped(confidences: Sequence[np.ndarray], thresholds: Sequence[float] | np.ndarray) -> np.ndarray:
    """Which stage answers each of n images, from 0; ``confidences`` ``(n,)`` of all stages but the last."""
    stage = np.full(len(confidences[0]), len(confidences))
    for i in reversed(range(len(confidences))):
        stage[confidences[i] >= np.float32(thresholds[i])] = i
    return stage


def reach(stage: np.ndarray, stages: int) -> tuple[float, ...]:
    """The share of images on which each stage runs."""
    return tuple(float(np.mean(stage >= i)) for i in range(stages))


def hand(
    probabilities: Sequence[np.ndarray], thresholds: Sequence[float], confidence: str
) -> tuple[np.ndarray, np.ndarray]:
    """Scores ``(n, c)`` and the stage that answered ``(n,)``, as stages run by hand give them.

    ``probabilities`` ``(n, c)`` of each stage. A stage answers where its confidence is no less than its threshold,
    both float32, and the last one wherever it runs.
    """
    measure = CONFIDENCES[confidence].of
    stage = stopped([measure(p) for p in probabilities[:-1]], thresholds)
    return np.stack(probabilities)[stage, np.arange(len(stage))], stage
