"""What is better than noise: by labels, or by likeness to the dearest network where the labels cannot tell."""

from __future__ import annotations

import numpy as np
import pytest
from stage_answers import CLASSES, MACS, probabilities

from restnet_tf.cascades.chains import StageCandidate, chains
from restnet_tf.cascades.courses import Course, courses
from restnet_tf.cascades.weighing import Grounds, Weighed, weigh
from restnet_tf.records import Reason

TRUTH = np.zeros(200, np.int64)


def stage(name: str, answers: np.ndarray, unsure: np.ndarray, macs: int = 0) -> StageCandidate:
    """Unsure of some images, of each a little less or more than of another, in no order."""
    sureness = np.where(unsure, 0.4, 0.8) + np.arange(200) * 37 % 200 / 1200
    values = probabilities(answers, np.ones(200, bool), sureness)
    return StageCandidate(name, macs or MACS[name], {"rank": values, "test": values})


def first(images: int, answer: int = 1) -> np.ndarray:
    """Another answer than the right one to so many images."""
    return np.where(np.arange(200) < images, answer, 0)


def weighed(*stages: StageCandidate, labels: np.ndarray = TRUTH) -> Weighed:
    grounds = Grounds(stages, labels, ())
    return weigh(_course(stages, labels), grounds)


def _course(stages: tuple[StageCandidate, ...], labels: np.ndarray) -> Course:
    ends = (stages[0], stages[-1])
    return courses(chains(ends, ()), stages, labels, "max")[0]


UNSURE = np.arange(200) < 40
SMALL = stage("small", first(40), UNSURE)


def test_a_lead_by_labels():
    result = weighed(SMALL, stage("large", first(10), UNSURE))
    assert result.worthy.any()
    assert result.reason is None
    assert not result.worthy[0]
    place = result.dearest(0, 1e9)
    assert place is not None
    assert place.score == pytest.approx(0.95)
    assert result.dearest(place.mean_macs, 1e9) is None
    assert result.dearest(0, place.mean_macs).setting == place.setting


def test_where_labels_cannot_tell_likeness_to_the_dearest_does():
    """Of 80 unsure images each is wrong of 40, and half of those are the same: what is gained is lost elsewhere."""
    unsure = np.arange(200) < 80
    small = stage("small", first(40), unsure)
    large = stage("large", np.where(unsure & (np.arange(200) % 2 == 0), 2, 0), unsure)
    result = weighed(small, large)
    assert result.course.scores.max() < 0.85
    assert result.worthy.any()


def test_likeness_to_a_worse_network_is_none():
    result = weighed(SMALL, stage("large", first(80, answer=2), UNSURE))
    assert not result.worthy.any()
    assert result.reason == Reason("no_better_on_mean", rival="small")
    unsure = np.arange(200) < 80
    wrong = unsure & (np.arange(200) % 2 == 0) | (np.arange(200) == 100)  # one more than the small one
    result = weighed(stage("small", first(40), unsure), stage("large", np.where(wrong, 2, 0), unsure))
    assert not result.worthy.any()


def test_likeness_does_not_outweigh_a_loss():
    """The large one is no worse on the whole, but where the small one is unsure."""
    answers = np.where(UNSURE, 2, 0)
    small = stage("small", np.where(np.arange(200) >= 150, 1, 0), UNSURE)
    result = weighed(small, stage("large", answers, UNSURE))
    assert not result.worthy.any()


def test_a_middle_network_that_does_as_well_is_named():
    middle = stage("middle", first(10), UNSURE, macs=11_000_000)
    result = weighed(SMALL, middle, stage("large", first(10), UNSURE))
    assert result.reason == Reason("no_better_on_mean", rival="middle")


def test_a_coin_does_as_well_where_confidence_says_nothing():
    """The unsure images are one in five of the right and of the wrong."""
    spread = np.arange(200) % 5 == 0
    labels = (np.arange(200) % 3 == 0).astype(np.int64)
    small = stage("small", np.where(np.arange(200) % 4 < 2, labels, (labels + 1) % CLASSES), spread)
    result = weighed(small, stage("large", labels, spread), labels=labels)
    assert not result.worthy[:9].any()


def test_the_front_for_three_stages_leaves_out_what_is_beaten():
    beaten = stage("middle", first(120), UNSURE)
    grounds = Grounds((SMALL, beaten, stage("large", first(10), UNSURE)), TRUTH, ())
    assert [c.name for c in grounds.near_front()] == ["small", "large"]
