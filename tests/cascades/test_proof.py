"""Leads and their standard errors, beside the same from first principles."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from restnet_tf.cascades import proof
from restnet_tf.cascades.chains import StageChain
from restnet_tf.cascades.courses import Course
from restnet_tf.points.points import Score

RANDOM = np.random.default_rng(0)
HITS = RANDOM.random((4, 77)) < np.array([[0.5], [0.6], [0.7], [0.8]])
CHAIN = StageChain(("small", "large"), (10, 90), (False, False))
COURSE = Course(
    CHAIN,
    "max",
    thresholds=np.zeros((4, 1)),
    mean_macs=np.array([10.0, 30.0, 60.0, 100.0]),
    hits=HITS,
    agreeing=HITS,
    differing=np.array([0.3, 0.2, 0.1, 0]),
)


def test_leads_are_those_of_scores():
    lead, error = proof.leads(HITS[:2], HITS)
    for i, j in np.ndindex(2, 4):
        assert (lead[i, j], error[i, j]) == pytest.approx(Score.of(HITS[i]).lead(Score.of(HITS[j])))


def test_the_chord_is_a_coin_between_the_stages():
    macs, right = np.array([10.0, 90.0]), HITS[[0, 3]]
    shares = proof.chord(COURSE.mean_macs, macs, right.mean(axis=1))
    assert shares.tolist() == [[1, 0], [0.75, 0.25], [0.375, 0.625], [0, 1]]
    lead, error = proof.over_mixtures(HITS, right, shares)
    difference = HITS[2] - (0.375 * right[0] + 0.625 * right[1])
    assert (lead[2], error[2]) == pytest.approx((difference.mean(), difference.std() / 77**0.5))
    mean = (HITS - shares @ right).mean(axis=0)
    assert proof.along_mixtures(HITS, right, shares) == (
        pytest.approx(mean.mean()),
        pytest.approx(mean.std() / 77**0.5),
    )
    assert (lead[[0, 3]], error[[0, 3]]) == (pytest.approx(0), pytest.approx(0, abs=1e-6))


def test_of_three_stages_a_useless_one_is_not_on_the_chord():
    macs, scores = np.array([10.0, 50.0, 90.0]), np.array([0.5, 0.4, 0.9])
    assert proof._hull(macs, scores) == [0, 2]
    assert proof.chord(np.array([50.0]), macs, scores).tolist() == [[0.5, 0, 0.5]]
    assert proof._hull(macs, np.array([0.5, 0.8, 0.9])) == [0, 1, 2]
    assert proof._hull(macs, np.array([0.9, 0.8, 0.9])) == [0]


def test_the_useful_range_ends_where_nothing_is_left():
    """By labels first; where they cannot tell, by the answers that would still become others."""
    gains = np.repeat(HITS[:1], 4, axis=0)
    gains[1:, :30] = True
    early = replace(COURSE, hits=gains, differing=np.array([0.3, 0.0, 0, 0]))
    late = replace(COURSE, hits=gains, differing=np.array([0.3, 0.2, 0.1, 0]))
    assert (proof.useful_end(early), proof.useful_end(late)) == (1, 3)
    late_gain = gains.copy()
    late_gain[1, :30] = HITS[0, :30]
    assert proof.useful_end(replace(early, hits=late_gain)) == 2


def test_a_worse_last_stage_leaves_nothing_to_gain():
    losses = np.repeat(HITS[:1], 4, axis=0)
    losses[1:, :30] = False
    assert proof.useful_end(replace(COURSE, hits=losses)) == 0


def test_few_images_tell_little_of_what_is_left():
    """One image in 77 that would still change may be two, and a gain of one image in ten more."""
    gains = np.repeat(HITS[:1], 4, axis=0)
    gains[3, :3] = ~gains[3, :3]
    gain, error = proof.leads(gains[3:], gains[:1])
    little = 0.001 * 0.3 / (gain + error).item()
    sure, unsure = (replace(COURSE, hits=gains, differing=np.array([0.3, d, 0, 0])) for d in (0, 0.9 * little))
    assert proof.useful_end(sure) == 1
    assert proof.useful_end(unsure) == 2
