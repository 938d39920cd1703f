"""What thresholds do on both splits, and thresholds for other precisions."""

from __future__ import annotations

import numpy as np
import pytest
from stage_answers import candidate, labels

from restnet_tf.cascades.outcome import settle, turn
from restnet_tf.cascades.thresholds import ALWAYS, NEVER, hand

TRUTH = labels()
CANDIDATES = [candidate(n, s, TRUTH) for n, s in (("small", 0.6), ("middle", 1.2), ("large", 1.9))]
STAGES = [c.probabilities for c in CANDIDATES]
MACS = [10, 30, 100]


def test_an_outcome_is_that_of_stages_run_by_hand():
    at = turn(STAGES, TRUTH, MACS, "margin", [0.5, 0.4])
    for split, outcome in (("rank", at.rank), ("test", at.test)):
        scores, stage = hand([s[split] for s in STAGES], [0.5, 0.4], "margin")
        answers = scores.argmax(axis=1)
        assert (outcome.score.right == (answers == TRUTH[split])).all()
        assert outcome.score.agreement == np.mean(answers == STAGES[-1][split].argmax(axis=1))
        assert outcome.reach == (1, np.mean(stage > 0), np.mean(stage > 1))
        assert outcome.mean_macs == pytest.approx(10 + outcome.reach[1] * 30 + outcome.reach[2] * 100)
        assert outcome.errors[1] == pytest.approx((outcome.reach[1] * (1 - outcome.reach[1]) / 300) ** 0.5)
        assert outcome.mean_macs_error == pytest.approx(np.array([10, 40, 140])[stage].std() / 300**0.5)


def test_settling_the_same_stages_changes_nothing():
    planned = turn(STAGES, TRUTH, MACS, "max", [0.7, 0.6])
    (settled,) = settle(STAGES, TRUTH, MACS, "max", [planned.rank.reach])
    assert settled.rank == planned.rank


def test_another_precision_keeps_the_deferral():
    """Quantised, and surer throughout: the thresholds move, the shares stay."""
    sharp = [{k: v**2 / (v**2).sum(axis=1, keepdims=True) for k, v in s.items()} for s in STAGES]
    rough = [{k: (np.round(v * 256).clip(0, 255) / 256).astype(np.float32) for k, v in s.items()} for s in sharp]
    planned = turn(STAGES, TRUTH, MACS, "max", [0.7, 0.6])
    (settled,) = settle(rough, TRUTH, MACS, "max", [planned.rank.reach])
    assert settled.rank.reach == pytest.approx(planned.rank.reach, abs=0.02)
    assert settled.thresholds[0] > planned.thresholds[0] + 0.05


def test_equal_confidences_part_at_the_nearest_share():
    coarse = [{k: np.round(v * 4) / 4 for k, v in s.items()} for s in STAGES]
    (settled,) = settle(coarse[:2], TRUTH, MACS[:2], "max", [(1.0, 0.5)])
    sureness = coarse[0]["rank"].max(axis=1)
    shares = [np.mean(sureness < value) for value in (0, *np.unique(sureness), 2)]
    assert abs(settled.rank.reach[1] - 0.5) == min(abs(s - 0.5) for s in shares)


def test_never_and_always_stay():
    never, always = settle(STAGES, TRUTH, MACS, "max", [(1.0, 0.0, 0.0), (1.0, 1.0, 1.0)])
    assert never.thresholds[0] == NEVER
    assert always.thresholds == (float(np.float32(ALWAYS)),) * 2
    assert (never.test.reach, always.test.reach) == ((1, 0, 0), (1, 1, 1))
