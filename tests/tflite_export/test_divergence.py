"""One KL: of logits or of probabilities, of many classes or of one column, as it is defined."""

from __future__ import annotations

import numpy as np
import pytest

from tflite_export.divergence import are_probabilities, between, divergence, logarithms

RNG = np.random.default_rng(0)
LOGITS, OTHERS = RNG.normal(0, 1.5, (2, 20, 6))


def shares(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits)
    return powers / powers.sum(1, keepdims=True)


def test_it_is_the_mean_logarithm_of_the_ratio():
    p, q = shares(LOGITS), shares(OTHERS)
    expected = (p * np.log(p / q)).sum(1)
    np.testing.assert_allclose(divergence(OTHERS, LOGITS), expected, rtol=1e-3)
    np.testing.assert_allclose(divergence(q, p), expected, rtol=1e-3)
    np.testing.assert_allclose(divergence(OTHERS + 50, LOGITS - 7), expected, rtol=1e-3)


def test_logits_may_be_held_against_probabilities():
    of = between(logarithms(OTHERS, probabilities=False), logarithms(shares(LOGITS), probabilities=True))
    np.testing.assert_allclose(of, divergence(OTHERS, LOGITS), rtol=1e-9)


def test_one_column_is_one_of_two_classes():
    p, q = np.full((1, 1), 0.25), np.full((1, 1), 0.5)
    expected = 0.25 * np.log(0.5) + 0.75 * np.log(1.5)
    assert divergence(q, p)[0] == pytest.approx(expected)
    logits = np.log(np.array([[1 / 3], [2.0]]))
    assert divergence(np.zeros((2, 1)), logits)[0] == pytest.approx(expected)
    assert divergence(p, p)[0] == 0


def test_what_integers_round_to_nothing_is_a_millionth_at_both_ends():
    sure, unsure = np.array([[1.0, 0.0, 0.0]]), np.array([[0.0, 1.0, 0.0]])
    assert divergence(sure, sure)[0] == 0
    assert divergence(unsure, sure)[0] == pytest.approx(-np.log(1e-6), rel=1e-3)
    assert divergence(60 * unsure, 60 * sure)[0] == pytest.approx(-np.log(1e-6), rel=1e-3)


def test_values_of_a_column_beyond_one_are_logits():
    assert are_probabilities(np.array([[0.2], [1.0]]))
    assert not are_probabilities(np.array([[0.2], [1.5]]))
    assert not are_probabilities(LOGITS)
