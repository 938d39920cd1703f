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
    CHAIN, "max", np.zeros((4, 1)), np.array([10.0, 30.0, 60.0, 100.0]), HITS, np.array([0.3, 0.2, 0.1, 0]), np.ones(4)
)


def test_leads_are_those_of_scores():
    lead, error = proof.leads(HITS[:2], HITS)
    for i, j in np.ndindex(2, 4):
        assert (lead[i, j], error[i, j]) == pytest.approx(Score.of(HITS[i]).lead(Score.of(HITS[j])))


def test_the_chord_is_a_coin_between_the_stages():
    macs, right = np.array([10.0, 90.0]), HITS[[0, 3]]
    lead, error = proof.over_chord(COURSE, macs, right)
    share = (60 - 10) / (90 - 10)
    difference = HITS[2] - ((1 - share) * right[0] + share * right[1])
    assert (lead[2], error[2]) == pytest.approx((difference.mean(), difference.std() / 77**0.5))
    assert lead[0] == pytest.approx(0)
    assert lead[3] == pytest.approx(0)  # dearer than the last stage alone: beside that


def test_of_three_stages_a_useless_one_is_not_on_the_chord():
    macs, scores = np.array([10.0, 50.0, 90.0]), np.array([0.5, 0.4, 0.9])
    assert proof._hull(macs, scores) == [0, 2]
    assert proof._mixtures(np.array([50.0]), macs, scores).tolist() == [[0.5, 0, 0.5]]
    assert proof._hull(macs, np.array([0.5, 0.8, 0.9])) == [0, 1, 2]
    assert proof._hull(macs, np.array([0.9, 0.8, 0.9])) == [0]


def test_only_networks_of_no_more_cost_are_rivals():
    best = np.ones((1, 77), bool)
    ratio, rival = proof.over_fixed(COURSE, np.array([1.0, 60.0]), np.concatenate([HITS[:1], best]))
    assert ratio[0] == 0
    assert ratio[1] > 0
    assert (rival[2], rival[3]) == (1, 1)
    assert ratio[2] < 0


def test_the_useful_range_ends_where_nothing_is_left():
    """By labels first; where they cannot tell, by the answers that would still become others."""
    flat = np.repeat(HITS[:1], 4, axis=0)
    flat[1:, :30] = True
    early = replace(COURSE, hits=flat, differing=np.array([0.3, 0.0, 0, 0]))
    late = replace(COURSE, hits=flat, differing=np.array([0.3, 0.2, 0.1, 0]))
    assert proof.useful_end(early) == 1
    assert proof.useful_end(late) == 3
    assert proof.useful_end(replace(late, hits=np.repeat(HITS[:1], 4, axis=0))) == 0
