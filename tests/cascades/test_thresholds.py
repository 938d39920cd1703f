"""On which side of a tie images fall, and which shares of images thresholds part."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from restnet_tf.cascades.thresholds import ALWAYS, NEVER, at_deferral, hand, places, reach

SURENESS = st.lists(st.floats(0, 1, width=32), min_size=1, max_size=30).map(lambda c: np.array(c, np.float32))


def of_two(*sureness: float) -> np.ndarray:
    """Probabilities of two classes, of which the first is the answer."""
    first = np.array(sureness, np.float32)
    return np.stack([first, 1 - first], axis=1)


def test_a_stage_answers_where_its_confidence_equals_the_threshold():
    small, large = of_two(0.75, np.nextafter(np.float32(0.75), np.float32(0))), of_two(0.9, 0.9)
    scores, stage = hand([small, large], [0.75], "max")
    assert stage.tolist() == [0, 1]
    assert scores.tolist() == [small[0].tolist(), large[1].tolist()]


def test_the_comparison_is_one_of_float32():
    """Of these numbers some lie above the float32 that is nearest to them, others below."""
    for threshold in (0.7, 0.8, 0.9):
        assert hand([of_two(threshold), of_two(1)], np.array([threshold]), "max")[1].tolist() == [0]


def test_0_always_answers_and_above_1_always_goes_on():
    unsure, sure = np.full((1, 4), 0.25, np.float32), np.eye(4, dtype=np.float32)[:1]
    for confidence in ("max", "margin", "entropy"):
        assert hand([unsure, sure], [NEVER], confidence)[1].tolist() == [0]
        assert hand([sure, sure], [ALWAYS], confidence)[1].tolist() == [1]


def test_three_stages():
    first, second, third = of_two(0.9, 0.6, 0.6), of_two(0.5, 0.8, 0.7), of_two(1, 1, 1)
    scores, stage = hand([first, second, third], [0.9, 0.8], "max")
    assert stage.tolist() == [0, 1, 2]
    assert scores[:, 0].tolist() == [np.float32(0.9), np.float32(0.8), 1]
    assert reach(stage, 3) == (1.0, 2 / 3, 1 / 3)


def test_thresholds_lie_half_way_between_images():
    thresholds, deferrals = places(np.array([0.5, 0.25, 0.5, 1.0]))
    assert thresholds.tolist() == [NEVER, 0.375, 0.75, np.float32(ALWAYS)]
    assert deferrals.tolist() == [0, 0.25, 0.75, 1]


def test_neighbours_in_float32_are_parted_too():
    low = np.float32(0.9)
    high = np.nextafter(low, np.float32(1))
    thresholds, _ = places(np.array([low, high]))
    assert thresholds[1] == high


@given(SURENESS)
def test_every_threshold_defers_what_it_says(sureness: np.ndarray):
    thresholds, deferrals = places(sureness)
    assert thresholds.dtype == np.float32
    assert [float(np.mean(sureness < t)) for t in thresholds] == deferrals.tolist()
    assert (np.diff(deferrals) > 0).all()
    assert ((thresholds[:-1] >= 0) & (thresholds[:-1] <= 1)).all()


@given(SURENESS, st.lists(st.floats(0, 1), min_size=1, max_size=5))
def test_the_nearest_share_is_taken(sureness: np.ndarray, shares: list[float]):
    _, deferrals = places(sureness)
    for share, threshold in zip(shares, at_deferral(sureness, shares), strict=True):
        assert abs(np.mean(sureness < threshold) - share) == np.abs(deferrals - share).min()
