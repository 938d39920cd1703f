"""What cannot be planned from, and images that networks know by heart."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from stage_answers import candidate, labels

from restnet_tf.cascades.chains import StageCandidate
from restnet_tf.cascades.checks import LEAST
from restnet_tf.cascades.planner import plan
from restnet_tf.records import RestnetError, RestnetWarning

TRUTH = labels()
SMALL, LARGE = (candidate(name, skill, TRUTH) for name, skill in (("small", 0.6), ("large", 1.9)))


def other(values: np.ndarray) -> StageCandidate:
    return StageCandidate("odd", 50_000_000, dict.fromkeys(TRUTH, values))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.log(SMALL.probabilities["rank"]), "odd gives no probabilities: scores from -"),
        (np.tile([1.0, 0.2, -0.1, -0.1, 0.0], (300, 1)), "scores from -0.1 to 1, with sums from 1 to 1"),
        (4 * SMALL.probabilities["rank"], "end the model in a softmax"),
        (np.where(np.arange(300)[:, None] == 7, np.nan, SMALL.probabilities["rank"]), "no probabilities"),
        (np.full((300, 7), 1 / 7), "odd tells 7 classes apart and another stage 5"),
    ],
)
def test_no_probabilities_and_other_classes(values: np.ndarray, message: str):
    with pytest.raises(RestnetError, match=message):
        plan([SMALL, other(values)], TRUTH)


def test_one_score_an_image():
    with pytest.raises(RestnetError, match="gives one score an image"):
        plan(
            [other(np.full((300, 1), 0.5))] * 1 + [StageCandidate("b", 1, other(np.full((300, 1), 0.5)).probabilities)],
            TRUTH,
        )


@pytest.mark.parametrize("classes", [5, 1000])
def test_probabilities_of_int8_are_probabilities(classes: int):
    """Of a thousand classes almost all are rounded to nothing, or all."""
    truth = {split: np.arange(100) % classes for split in ("rank", "test")}
    random = np.random.default_rng(0)
    values = random.dirichlet(np.full(classes, 0.05), 100)
    values[0] = 1 / classes
    rough = np.round(values * 256).clip(0, 255) / 256
    stages = [
        StageCandidate(n, m, {split: rough.astype(np.float32) for split in truth}) for n, m in (("a", 1), ("b", 2))
    ]
    assert plan(stages, truth).policies == ()


def test_too_few_images():
    def of(images: int) -> None:
        truth = labels(images)
        plan([candidate("small", 0.6, truth), candidate("large", 1.9, truth)], truth)

    with pytest.raises(RestnetError, match=f"{LEAST - 1} images in the rank split; .* need {LEAST} or more"):
        of(LEAST - 1)
    of(LEAST)


def by_heart(test: float) -> StageCandidate:
    right = {"rank": np.ones(300, bool), "test": np.arange(300) < 300 * test}
    values = {split: np.eye(5, dtype=np.float32)[(TRUTH[split] + ~right[split]) % 5] for split in TRUTH}
    return StageCandidate("large", 100_000_000, values)


def test_images_that_a_network_knows_by_heart():
    with pytest.warns(RestnetWarning, match=r"large is right on 100.0% of the rank images \(90.0% of test\)"):
        plan([SMALL, by_heart(0.9)], TRUTH)


def test_images_that_are_too_easy_on_both_splits():
    with pytest.warns(RestnetWarning, match=r"100.0% of the rank images \(100.0% of test\)"):
        plan([SMALL, by_heart(1)], TRUTH)


def test_a_fall_from_rank_to_test():
    truth = TRUTH
    right = {"rank": np.arange(300) < 294, "test": np.arange(300) < 240}
    values = {split: np.eye(5, dtype=np.float32)[(truth[split] + ~right[split]) % 5] for split in truth}
    with pytest.warns(RestnetWarning, match="right on 98.0%"):
        plan([SMALL, StageCandidate("large", 100_000_000, values)], truth)


def test_no_warning_of_good_networks_nor_of_the_one_that_others_are_compared_with():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plan([SMALL, LARGE], TRUTH)
        answers = {split: LARGE.probabilities[split].argmax(axis=1) for split in TRUTH}
        plan([SMALL, LARGE], answers, labelled=False)
