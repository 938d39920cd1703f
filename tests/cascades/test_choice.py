"""A few settings out of many: evenly spread, simple where nothing tells them apart, one with a low worst case."""

from __future__ import annotations

import numpy as np
import pytest

from restnet_tf.cascades.chains import StageChain
from restnet_tf.cascades.choice import spread, why_not
from restnet_tf.cascades.courses import Course
from restnet_tf.cascades.weighing import Place, Weighed
from restnet_tf.records import Reason

IMAGES = 100


def weighed(
    name: str, macs: tuple[int, ...], right: dict[float, int], agreeing: dict[float, int] | None = None
) -> Weighed:
    """A chain whose settings cost so much on the mean and are right on the first so many images; all worth having."""
    chain = StageChain(tuple(name.split(">")), macs, (False,) * len(macs))
    hits, like = (np.arange(IMAGES) < np.array(list(c.values()))[:, None] for c in (right, agreeing or right))
    course = Course(
        chain, "max", np.zeros((len(right), len(macs) - 1)), np.array(list(right)), hits, like, np.zeros(len(right))
    )
    return Weighed(course, np.ones(len(right), bool))


def told(places: list[Place]) -> list[tuple[str, float]]:
    return [(p.course.chain.name, p.mean_macs) for p in places]


PAIR = weighed("a>c", (10, 90), {20.0: 60, 30.0: 65, 40.0: 70, 60.0: 80, 80.0: 85, 90.0: 90})


def test_places_are_the_dearest_of_even_steps():
    assert told(spread([PAIR], 4, 10)) == [("a>c", 30), ("a>c", 40), ("a>c", 60), ("a>c", 90)]
    assert told(spread([PAIR], 1, 10)) == [("a>c", 90)]
    assert spread([], 4, 10) == []


def test_the_last_step_is_where_the_best_chain_ends():
    worse = weighed("a>b", (10, 150), {155.0: 80})
    assert told(spread([PAIR, worse], 2, 10)) == [("a>c", 40), ("a>c", 90)]
    as_good = weighed("b>c", (30, 80), {70.0: 90})
    assert told(spread([PAIR, as_good], 2, 10)) == [("a>c", 40), ("b>c", 70)]


@pytest.mark.parametrize(("right", "chosen"), [(81, "a>c"), (82, "a>b>c")])
def test_more_stages_need_a_lead_of_more_than_noise(right: int, chosen: str):
    """One image more is one standard error, two are more than one."""
    three = weighed("a>b>c", (10, 20, 90), {60.0: right})
    two = weighed("a>c", (10, 90), {60.0: 80})
    assert told(spread([three, two], 1, 10)) == [(chosen, 60)]
    simpler = Reason("simpler", rival="a>c")
    if chosen == "a>c":
        assert why_not(three, spread([three, two], 1, 10), 1) == simpler


def test_what_a_cheaper_place_beats_is_left_out():
    """By as many right images and as many answers of the dearest network; more of these are worth a place."""
    flat = {40.0: 80, 90.0: 80}
    assert told(spread([weighed("a>c", (10, 90), flat)], 2, 10)) == [("a>c", 40)]
    liker = weighed("a>c", (10, 90), flat, {40.0: 80, 90.0: 95})
    assert told(spread([liker], 2, 10)) == [("a>c", 40), ("a>c", 90)]


def test_a_chain_that_a_place_beats_everywhere_says_so():
    worse = weighed("b>c", (30, 60), {95.0: 70})
    assert why_not(worse, spread([PAIR], 4, 10), 4) == Reason("dominated_on_mean", rival="a>c")
    better = weighed("b>c", (30, 60), {95.0: 99})
    assert why_not(better, spread([PAIR], 4, 10), 4) == Reason("thinned", count=4)


def test_one_place_has_half_the_worst_case():
    low = weighed("a>b", (10, 40), {35.0: 62})
    assert told(spread([PAIR, low], 4, 10)) == [("a>b", 35), ("a>c", 40), ("a>c", 60), ("a>c", 90)]
    assert told(spread([PAIR, low], 1, 10)) == [("a>c", 90)]
    high = weighed("a>b", (10, 41), {35.0: 62})
    assert told(spread([PAIR, high], 4, 10))[0] == ("a>c", 30)


def test_a_low_worst_case_replaces_nothing_where_there_is_room():
    flat = weighed("a>c", (10, 90), {40.0: 80, 90.0: 80})
    low = weighed("a>b", (10, 40), {45.0: 62})
    assert told(spread([flat, low], 2, 10)) == [("a>c", 40), ("a>b", 45)]
