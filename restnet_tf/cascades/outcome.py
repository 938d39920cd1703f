"""What a cascade answers and costs on a split, at given thresholds, and thresholds for another precision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np

from restnet_tf.cascades.thresholds import at_deferral, hand, reach
from restnet_tf.points.points import Score
from tflite_export.confidence import CONFIDENCES

# Of every stage, cheapest first, the probabilities (n, c) by split.
Stages = Sequence[Mapping[str, np.ndarray]]


@dataclass(frozen=True)
class SplitOutcome:
    """Of n images of a split: which are answered as wanted, the share on which each stage runs, the mean MACs.

    ``errors`` are the standard errors of the shares and ``mean_macs_error`` that of the mean.
    """

    score: Score
    reach: tuple[float, ...]
    mean_macs: float
    errors: tuple[float, ...]
    mean_macs_error: float


@dataclass(frozen=True)
class Turn:
    """One place of the dial: thresholds, and what comes of them on both splits."""

    thresholds: tuple[float, ...]
    rank: SplitOutcome
    test: SplitOutcome


def turn(
    stages: Stages, labels: Mapping[str, np.ndarray], macs: Sequence[int], confidence: str, thresholds: Sequence[float]
) -> Turn:
    """What thresholds do; ``labels`` ``(n,)`` by split, ``macs`` what each stage adds when it runs."""
    rank, test = (_outcome(stages, labels, macs, confidence, thresholds, split) for split in ("rank", "test"))
    return Turn(tuple(float(t) for t in thresholds), rank, test)


def settle(
    stages: Stages,
    labels: Mapping[str, np.ndarray],
    macs: Sequence[int],
    confidence: str,
    reaches: Sequence[tuple[float, ...]],
) -> tuple[Turn, ...]:
    """Thresholds at which these stages, of another precision say, run as often on the rank split as was planned.

    ``reaches`` are the planned shares, one tuple a place of the dial. Where confidences are equal, as those of int8
    often are, the nearest share that can be had.
    """
    return tuple(turn(stages, labels, macs, confidence, _thresholds(stages, confidence, r)) for r in reaches)


def _thresholds(stages: Stages, confidence: str, shares: tuple[float, ...]) -> list[float]:
    thresholds: list[float] = []
    onward = np.ones(len(stages[0]["rank"]), bool)
    for stage, share, later in zip(stages, shares, shares[1:], strict=False):
        sureness = CONFIDENCES[confidence].of(stage["rank"])
        # Where no image comes this far, all of them say what would: the threshold still has to be one.
        among = onward if onward.any() else np.ones_like(onward)
        threshold = at_deferral(sureness[among], [later / share if share else 0.0])[0]
        thresholds.append(float(threshold))
        onward = onward & (sureness < threshold)
    return thresholds


def _outcome(
    stages: Stages,
    labels: Mapping[str, np.ndarray],
    macs: Sequence[int],
    confidence: str,
    thresholds: Sequence[float],
    split: str,
) -> SplitOutcome:
    scores, stage = hand([s[split] for s in stages], thresholds, confidence)
    answers = scores.argmax(axis=1)
    agreement = float(np.mean(answers == stages[-1][split].argmax(axis=1)))
    shares = reach(stage, len(stages))
    cost, n = np.cumsum(macs)[stage], len(stage)
    return SplitOutcome(
        Score.of(answers == labels[split], agreement=agreement),
        shares,
        float(cost.mean()),
        tuple(sqrt(share * (1 - share) / n) for share in shares),
        float(cost.std() / sqrt(n)),
    )
