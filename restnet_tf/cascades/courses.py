"""The course of a chain: its settings from never going on to always, and what it answers along them.

A threshold for a wanted deferral is a quantile of confidences: no label is used, and nothing is fitted. Of chains of
three there are many pairs of thresholds of one mean cost, and labels choose among them: along one path on which no
threshold ever falls, so that there is little to choose, and what such a chain answers to an image is what the path
of the other folds answers (cross-validation).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from restnet_tf.cascades.chains import StageCandidate, StageChain
from restnet_tf.cascades.thresholds import at_deferral
from tflite_export.confidence import CONFIDENCES

_STEPS = 41  # of deferral, 2.5 % each
_FOLDS = 5
ROUNDING = 1 + 1e-9  # of costs: sums of the same numbers in another order


@dataclass(frozen=True, eq=False)
class Course:
    """``thresholds`` ``(s, k - 1)`` of s settings in order of ``mean_macs`` ``(s,)``, and ``hits`` ``(s, n)``.

    All on the rank split. ``hits`` are of a chain whose thresholds were chosen without the image. ``agreeing``
    ``(s, n)`` are the images that are answered as the dearest candidate does, and ``differing`` ``(s,)`` the share of
    those that the chain's last stage would answer otherwise.
    """

    chain: StageChain
    confidence: str
    thresholds: np.ndarray
    mean_macs: np.ndarray
    hits: np.ndarray
    agreeing: np.ndarray
    differing: np.ndarray

    @cached_property
    def scores(self) -> np.ndarray:
        """The share of hits ``(s,)``."""
        return self.hits.mean(axis=1)

    @cached_property
    def agreement(self) -> np.ndarray:
        """The share of images that are answered as the dearest candidate does ``(s,)``."""
        return self.agreeing.mean(axis=1)


@dataclass(frozen=True, eq=False)
class _Stage:
    """Of n images: a candidate's answers and hits, and by step the threshold and where it goes on ``(steps, n)``."""

    answers: np.ndarray
    right: np.ndarray
    agrees: np.ndarray  # with the dearest candidate
    thresholds: np.ndarray
    onward: np.ndarray

    @classmethod
    def of(cls, candidate: StageCandidate, labels: np.ndarray, reference: np.ndarray, confidence: str) -> _Stage:
        probabilities = candidate.probabilities["rank"]
        answers, sureness = probabilities.argmax(axis=1), CONFIDENCES[confidence].of(probabilities)
        thresholds = at_deferral(sureness, np.linspace(0, 1, _STEPS))
        onward = sureness[None] < thresholds[:, None]
        return cls(answers, answers == labels, answers == reference, thresholds, onward)


def courses(
    chains: Sequence[StageChain], candidates: Sequence[StageCandidate], labels: np.ndarray, confidence: str
) -> list[Course]:
    """The course of each chain, in their order; ``labels`` ``(n,)`` of the rank split, the dearest candidate last."""
    names = {name for chain in chains for name in chain.stages}
    reference = candidates[-1].probabilities["rank"].argmax(axis=1)
    stages = {c.name: _Stage.of(c, labels, reference, confidence) for c in candidates if c.name in names}
    threes = [chain for chain in chains if len(chain.stages) > 2]
    paths = dict(zip((c.name for c in threes), _paths(threes, stages), strict=True))
    return [
        _of_three(chain, stages, confidence, *paths[chain.name])
        if chain.name in paths
        else _of_two(chain, stages, confidence)
        for chain in chains
    ]


def _of_two(chain: StageChain, stages: Mapping[str, _Stage], confidence: str) -> Course:
    first, last = (stages[name] for name in chain.stages)
    mean_macs = chain.macs[0] + first.onward.mean(axis=1) * chain.macs[1]
    kept = _distinct(mean_macs)
    onward = first.onward[kept]
    return Course(
        chain,
        confidence,
        first.thresholds[kept, None],
        mean_macs[kept],
        hits=np.where(onward, last.right, first.right),
        agreeing=np.where(onward, last.agrees, first.agrees),
        differing=(~onward & (first.answers != last.answers)).mean(axis=1),
    )


def _of_three(
    chain: StageChain, stages: Mapping[str, _Stage], confidence: str, path: np.ndarray, fold_paths: Sequence[np.ndarray]
) -> Course:
    """From the path ``(p, 2)`` of steps for all images, and those for all but each fold."""
    first, second, last = (stages[name] for name in chain.stages)
    mean_macs = _mean_macs(chain, stages, path, slice(None))
    path, mean_macs = path[_distinct(mean_macs)], mean_macs[_distinct(mean_macs)]
    one, two = first.onward[path[:, 0]], second.onward[path[:, 1]]
    differing = np.where(one, ~two & (second.answers != last.answers), first.answers != last.answers)
    return Course(
        chain,
        confidence,
        np.stack([first.thresholds[path[:, 0]], second.thresholds[path[:, 1]]], axis=1),
        mean_macs,
        hits=_held_out(chain, stages, mean_macs, fold_paths),
        agreeing=np.where(one, np.where(two, last.agrees, second.agrees), first.agrees),
        differing=differing.mean(axis=1),
    )


def _held_out(
    chain: StageChain, stages: Mapping[str, _Stage], mean_macs: np.ndarray, fold_paths: Sequence[np.ndarray]
) -> np.ndarray:
    """Hits ``(s, n)`` on each fold at the thresholds that the others choose for a mean cost ``(s,)``."""
    first, second, last = (stages[name] for name in chain.stages)
    hits = np.empty((len(mean_macs), len(first.right)), bool)
    for fold, path in enumerate(fold_paths):
        held, rest = _fold(len(first.right), fold)
        costs = _mean_macs(chain, stages, path, rest)
        ones, twos = path[np.searchsorted(costs, mean_macs * ROUNDING, side="right") - 1].T
        onward = np.where(second.onward[twos][:, held], last.right[held], second.right[held])
        hits[:, held] = np.where(first.onward[ones][:, held], onward, first.right[held])
    return hits


def _distinct(mean_macs: np.ndarray) -> np.ndarray:
    """The last one of all that cost the same."""
    return np.append(mean_macs[1:] > mean_macs[:-1] * ROUNDING, True)


def _mean_macs(
    chain: StageChain, stages: Mapping[str, _Stage], path: np.ndarray, images: slice | np.ndarray
) -> np.ndarray:
    """Of each pair of steps ``(p, 2)`` over some of the images; it never falls along a path."""
    one, two = (stages[name].onward[:, images][steps] for name, steps in zip(chain.stages, path.T, strict=False))
    return chain.macs[0] + one.mean(axis=1) * chain.macs[1] + (one & two).mean(axis=1) * chain.macs[2]


def _fold(images: int, fold: int) -> tuple[np.ndarray, np.ndarray]:
    """Which images a fold holds, and which it does not."""
    held = np.arange(images) % _FOLDS == fold
    return held, ~held


def _paths(
    chains: Sequence[StageChain], stages: Mapping[str, _Stage]
) -> list[tuple[np.ndarray, tuple[np.ndarray, ...]]]:
    """For each chain of three the best path for all images and those for all but each fold."""
    if not chains:
        return []
    scores, costs = (
        np.stack(grids, axis=-1) for grids in zip(*(g for c in chains for g in _grids(c, stages)), strict=True)
    )
    paths = _best_paths(scores, costs).reshape(len(chains), 1 + _FOLDS, -1, 2)
    return [(of_chain[0], tuple(of_chain[1:])) for of_chain in paths]


def _grids(chain: StageChain, stages: Mapping[str, _Stage]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Scores and mean MACs ``(steps, steps)`` at every two steps, over all images and over all but each fold."""
    first, second, last = (stages[name] for name in chain.stages)
    gain = last.right.astype(np.float32) - second.right
    by_fold = []
    for fold in range(_FOLDS):
        held, _ = _fold(len(gain), fold)
        one, two = first.onward[:, held].astype(np.float32), second.onward[:, held].astype(np.float32).T
        early = (~first.onward[:, held] @ first.right[held].astype(np.float32)) + one @ second.right[held]
        score = early[:, None] + one @ (two * gain[held, None])
        macs = chain.macs[0] * held.sum() + one.sum(axis=1)[:, None] * chain.macs[1] + (one @ two) * chain.macs[2]
        by_fold.append((score.astype(np.float64), macs, held.sum()))
    every = [sum(parts) for parts in zip(*by_fold, strict=True)]
    rests = [[whole - part for whole, part in zip(every, parts, strict=True)] for parts in by_fold]
    return [(score / n, macs / n) for score, macs, n in (every, *rests)]


def _best_paths(scores: np.ndarray, costs: np.ndarray) -> np.ndarray:
    """The path of steps ``(b, 2 * steps - 1, 2)`` up through each of b grids ``(steps, steps, b)``.

    The one with the highest mean score over the logarithm of the cost: twice the cost weighs the same anywhere, so
    that the dear end, which is long and flat, does not lay down the cheap one.
    """
    log = np.log(costs)
    area_1 = (scores[1:] + scores[:-1]) / 2 * np.diff(log, axis=0)
    area_2 = (scores[:, 1:] + scores[:, :-1]) / 2 * np.diff(log, axis=1)
    # Along the second axis alone up to each place; a path enters a row once, and goes on along it.
    along = np.concatenate([np.zeros_like(scores[:, :1]), np.cumsum(area_2, axis=1)], axis=1)
    steps = len(scores)
    enters = np.zeros(scores.shape, bool)
    total = along[0]
    for step in range(1, steps):
        entered = total + area_1[step - 1]
        total = along[step] + np.maximum.accumulate(entered - along[step], axis=0)
        enters[step] = entered >= total - 1e-12
    return _back(enters)


def _back(enters: np.ndarray) -> np.ndarray:
    """The places from the first to the last, by whether each is entered along the first axis."""
    steps, _, grids = enters.shape
    ones, twos = np.full(grids, steps - 1), np.full(grids, steps - 1)
    path = [(ones, twos)]
    for _ in range(2 * steps - 2):
        up = (twos == 0) | (enters[ones, twos, np.arange(grids)] & (ones > 0))
        ones, twos = ones - up, twos - ~up
        path.append((ones, twos))
    return np.moveaxis(np.array(path[::-1]), -1, 0)
