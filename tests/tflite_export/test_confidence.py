"""What the confidences say of sure, even and tied answers."""

from __future__ import annotations

import numpy as np
import pytest

from tflite_export.confidence import CONFIDENCES

SURE, EVEN, TIED = (1.0, 0.0, 0.0, 0.0), (0.25, 0.25, 0.25, 0.25), (0.5, 0.5, 0.0, 0.0)


@pytest.mark.parametrize(
    ("name", "expected"), [("max", (1.0, 0.25, 0.5)), ("margin", (1.0, 0.0, 0.0)), ("entropy", (1.0, 0.0, 0.5))]
)
def test_sure_even_and_tied_answers(name, expected):
    confidence = CONFIDENCES[name].of(np.array([SURE, EVEN, TIED]))
    assert confidence.dtype == np.float32
    assert confidence == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("name", list(CONFIDENCES))
def test_a_threshold_of_0_always_answers_and_one_above_1_never(name):
    classes = [np.full((1, c), 1 / c, np.float32) for c in range(2, 200)]
    rough = np.random.default_rng(0).dirichlet(np.full(10, 0.02), 500).astype(np.float32)
    for probabilities in [*classes, rough, np.eye(7, dtype=np.float32)]:
        confidence = CONFIDENCES[name].of(probabilities)
        assert ((confidence >= 0) & (confidence <= 1)).all()
