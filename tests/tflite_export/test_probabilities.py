"""What passes for probabilities, and what is said of what does not."""

from __future__ import annotations

import classifiers
import numpy as np
import pytest

from tflite_export import classifier, probabilities
from tflite_export.errors import TfliteError
from tflite_export.probabilities import is_probabilities


def softmax(classes: int, n: int = 50) -> np.ndarray:
    logits = np.random.default_rng(0).normal(0, 4, (n, classes))
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


@pytest.mark.parametrize("classes", [2, 10, 1000])
def test_softmax_is_in_floats_and_rounded_to_steps(classes: int):
    exact = softmax(classes)
    assert is_probabilities(exact.astype(np.float32))
    assert is_probabilities(exact.astype(np.float16))
    bytes_ = np.minimum(np.rint(exact * 256), 255) / 256
    assert is_probabilities(bytes_, 1 / 256)
    assert is_probabilities(np.minimum(np.rint(exact * 32768), 32767) / 32768, 1 / 32768)


def test_other_scores_are_not():
    exact = softmax(10)
    assert not is_probabilities(np.log(exact))
    assert not is_probabilities(exact - 0.01)
    assert not is_probabilities(np.clip(exact * 3, 0, 1))  # as of a sigmoid a class
    assert not is_probabilities(exact * 100)
    assert not is_probabilities(np.array([[0.9, 0.3, -0.2]]))
    assert not is_probabilities(np.eye(1, 1000) * 1.5, 1 / 256)
    assert not is_probabilities(np.where(exact > 2, exact, np.nan))
    assert not is_probabilities(np.vstack([exact, np.zeros(10)]))
    assert not is_probabilities(np.random.default_rng(0).normal(0, 4, (5, 1000)), 1 / 4)


def test_logits_are_refused_with_what_would_help():
    one = classifier.of_file(classifiers.file("INT8", softmax=False), "net.tflite")
    scores = np.array([[3.0, -1, 0, 0], [9, 0, 0, 1]])
    words = (
        "net.tflite gives no probabilities: on 2 images a row of scores sums to 2..10, and its last operator is "
        "AVERAGE_POOL_2D, no softmax; give --logits to append one"
    )
    with pytest.raises(TfliteError) as refusal:
        probabilities.check(one, scores)
    assert str(refusal.value) == words
    probabilities.check(one, np.array([[0.5, 0.5, 0, 0]]))
