"""Candidates of a cascade as probabilities, made without networks: easy and hard images, more and less skill."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from restnet_tf.cascades.chains import StageCandidate

CLASSES = 5
MACS = {"small": 10_000_000, "middle": 30_000_000, "large": 100_000_000}
Splits = Mapping[str, np.ndarray]


def labels(images: int = 300) -> dict[str, np.ndarray]:
    return {split: np.arange(images) * 7 % CLASSES for split in ("rank", "test")}


def probabilities(truth: np.ndarray, right: np.ndarray, sureness: np.ndarray) -> np.ndarray:
    """Of n images ``(n, c)``: the right class or the next one has the probability ``sureness``, the others the rest."""
    answers = (truth + ~right) % CLASSES
    values = np.repeat((1 - sureness)[:, None] / (CLASSES - 1), CLASSES, axis=1)
    values[np.arange(len(truth)), answers] = sureness
    return values.astype(np.float32)


def candidate(
    name: str,
    skill: float,
    truth: Splits,
    *,
    macs: int = 0,
    knows: bool = True,
    seed: int = 0,
    resumes: Mapping[str, int] | None = None,
) -> StageCandidate:
    """Right where its skill is above the difficulty of an image, which all candidates of a seed share, and noise.

    It is the surer the easier an image is, or where it ``knows`` nothing of that, as chance has it.
    """
    values = {}
    for split, classes in truth.items():
        shared = np.random.default_rng([seed, *split.encode()])
        own = np.random.default_rng([seed, *split.encode(), *name.encode()])
        difficulty = shared.normal(size=len(classes))
        ease = skill - difficulty + 0.3 * own.normal(size=len(classes))
        felt = ease + 0.4 * own.normal(size=len(classes)) if knows else own.normal(size=len(classes))
        values[split] = probabilities(classes, ease > 0, 0.25 + 0.75 / (1 + np.exp(-felt)))
    return StageCandidate(name, macs or MACS[name], values, dict(resumes or {}))
