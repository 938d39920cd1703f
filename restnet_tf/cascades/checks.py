"""What cannot be planned from, and what would deceive."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from math import sqrt

import numpy as np

from restnet_tf.cascades.chains import StageCandidate
from restnet_tf.records import RestnetError, RestnetWarning

# With these the share that goes on is known to within 14 points at worst (two standard errors of a half), and so is
# the mean cost; with fewer, a budget could not be kept.
LEAST = 50
_MANY = 100  # images of which less than one in two hundred is wrong: more than luck
_ALL_RIGHT = 0.995
_NEARLY_ALL_RIGHT = 0.97
_SIGNIFICANT = 3.0  # standard errors


def check(candidates: Sequence[StageCandidate], labels: Mapping[str, np.ndarray], labelled: bool, many: str) -> None:
    """Raise ``RestnetError`` for what cannot be planned from; warn of anchors that know the images by heart."""
    check_count(len(labels["rank"]), many)
    twice = {c.name for c in candidates if sum(c.name == other.name for other in candidates) > 1}
    if twice:
        raise ValueError(f"candidates of one name: {', '.join(sorted(twice))}")
    for candidate in candidates:
        for split, probabilities in candidate.probabilities.items():
            _check_shape(candidate, probabilities, candidates[0].probabilities[split], labels[split], many)
            _check_probabilities(candidate.name, probabilities)
    if labelled:
        _warn_of_memory(candidates, labels, many)


def check_count(count: int, many: str = "images") -> None:
    """Refuse (``RestnetError``) too few inputs of the rank split, which people call so."""
    if count < LEAST:
        raise RestnetError(
            f"{count} {many} in the rank split; the thresholds of a cascade need {LEAST} or more, so give more {many}"
        )


def _check_shape(
    candidate: StageCandidate, probabilities: np.ndarray, first: np.ndarray, labels: np.ndarray, many: str
) -> None:
    if len(probabilities) != len(labels):
        raise ValueError(f"{candidate.name} has answers to {len(probabilities)} images, not to {len(labels)}")
    classes = probabilities.shape[1]
    if classes != first.shape[1]:
        raise RestnetError(
            f"{candidate.name} tells {classes} classes apart and another stage {first.shape[1]}; the stages of a"
            " cascade need the same classes"
        )
    if classes < 2:
        raise RestnetError(
            f"{candidate.name} gives one score an {many[:-1]}; a cascade needs a probability of each of two or more"
            " classes"
        )


def are_probabilities(scores: np.ndarray) -> bool:
    """Whether scores ``(n, c)`` are such, rounded to int8 perhaps.

    In int8 each of c probabilities is off by half of 1/256 at most, and so the sum by c times that.
    """
    off = 0.01 + scores.shape[1] / 512
    sums = np.asarray(scores, np.float64).sum(axis=1)
    within = float(np.min(scores)) >= 0 and float(np.max(scores)) <= 1.001
    return bool(np.isfinite(sums).all() and within and (np.abs(sums - 1) <= off).all())


def _check_probabilities(name: str, probabilities: np.ndarray) -> None:
    if are_probabilities(probabilities):
        return
    sums = np.asarray(probabilities, np.float64).sum(axis=1)
    low, high = float(np.min(probabilities)), float(np.max(probabilities))
    raise RestnetError(
        f"{name} gives no probabilities: scores from {low:.3g} to {high:.3g}, with sums from {sums.min():.3g} to"
        f" {sums.max():.3g}; a cascade compares probabilities, so end the model in a softmax"
    )


def _warn_of_memory(candidates: Sequence[StageCandidate], labels: Mapping[str, np.ndarray], many: str) -> None:
    for candidate in candidates:
        rank, test = (float(np.mean(candidate.probabilities[s].argmax(axis=1) == labels[s])) for s in ("rank", "test"))
        if _memorised(rank, test, len(labels["rank"]), len(labels["test"])):
            warnings.warn(
                f"{candidate.name} is right on {rank:.1%} of the rank {many} ({test:.1%} of test): if it was trained on"
                f" them, thresholds chosen there send too few {many} on; rank on {many} that no anchor was trained on",
                RestnetWarning,
                stacklevel=4,
            )


def _memorised(rank: float, test: float, rank_images: int, test_images: int) -> bool:
    pooled = (rank * rank_images + test * test_images) / (rank_images + test_images)
    error = sqrt(pooled * (1 - pooled) * (1 / rank_images + 1 / test_images))
    falls = rank >= _NEARLY_ALL_RIGHT and rank - test > _SIGNIFICANT * error
    return falls or (rank >= _ALL_RIGHT and rank_images >= _MANY)
