"""How far a file's answers are from a float network's: the Kullback-Leibler divergence of its probabilities (KL).

One reading of both ends, so that figures of calibration, of mixed files and of benchmarks can be compared: a single
column is the probability, or the logit, of one of two classes; no probability is less than a millionth, as integers
round small ones to 0.
"""

from __future__ import annotations

import numpy as np

from tflite_export.probabilities import is_probabilities

_LEAST = 1e-6


def divergence(answers: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """KL ``(n,)`` in nats of a file's logits, or probabilities, ``(n, classes)`` from a float network's.

    Each of the two is read as probabilities where the float network's values, or those of one column, can be such.
    """
    return between(logarithms(answers, probabilities=are_probabilities(reference)), logarithms(reference))


def between(answers: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """KL ``(n,)`` of logarithms of probabilities ``(n, classes)`` from others."""
    return np.asarray((np.exp(reference) * (reference - answers)).sum(1))


def logarithms(values: np.ndarray, *, probabilities: bool | None = None) -> np.ndarray:
    """Logarithms ``(n, classes)`` of the probabilities that values are, or are the logits of; None tries which.

    Of one column: of its class, and of the other one.
    """
    real = np.asarray(values, np.float64)
    if are_probabilities(real) if probabilities is None else probabilities:
        both = np.concatenate([real, 1 - real], axis=1) if real.shape[1] == 1 else real
        logits = np.log(both.clip(_LEAST))
    else:
        logits = np.pad(real, ((0, 0), (0, 1))) if real.shape[1] == 1 else real
    away = logits - logits.max(1, keepdims=True)
    shares = np.exp(away).clip(_LEAST)
    return np.asarray(np.log(shares / shares.sum(1, keepdims=True)))


def are_probabilities(values: np.ndarray) -> bool:
    """Whether a float network's answers ``(n, classes)`` are probabilities; one column is where it keeps to 0..1."""
    if values.shape[1] == 1:
        return bool(values.min() >= 0 and values.max() <= 1)
    return is_probabilities(values)
