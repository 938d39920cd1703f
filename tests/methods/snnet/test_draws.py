"""Draws: every configuration, or every interval of cost, as often as any other; what is beaten is halved away."""

from __future__ import annotations

from collections import Counter
from itertools import islice

import pytest

from restnet_tf.methods.snnet import draws

MACS = [1, 2, 3, 4, 100]


def test_uniform_draws_take_every_configuration_equally_often():
    found = Counter(islice(draws.endless(range(5), MACS, "uniform", [0]), 50))
    assert found == dict.fromkeys(range(5), 10)


def test_draws_by_cost_take_every_interval_equally_often():
    """Four cheap ones share what one dear one has alone."""
    found = Counter(islice(draws.endless(range(5), MACS, "cost", [0]), 400))
    assert found[4] == 200
    assert all(30 < found[i] < 70 for i in range(4))


@pytest.mark.parametrize("sampling", ["uniform", "cost", "front"])
def test_only_those_alive_are_drawn_and_the_seed_says_in_what_order(sampling: str):
    one, again, other = (list(islice(draws.endless([1, 3, 4], MACS, sampling, [seed]), 60)) for seed in (0, 0, 1))
    assert set(one) == {1, 3, 4}
    assert one == again != other


def test_what_is_on_the_front_is_hopeful():
    assert draws.hopeful(range(5), MACS, [5, 4, 3, 2, 1], []) == [0, 1, 2, 3, 4]


def test_the_worse_half_of_what_is_beaten_is_out():
    """2 and 3 are behind 1, and 4 is far behind it: of three one goes, and then of two one."""
    kls = [5, 1, 1.5, 1.2, 4]
    assert draws.hopeful(range(5), MACS, kls, []) == [0, 1, 2, 3]
    assert draws.hopeful([0, 1, 2, 3], MACS, kls, []) == [0, 1, 3]
    assert draws.hopeful([0, 1, 3], MACS, kls, []) == [0, 1, 3]  # never the last of them


def test_an_anchor_that_costs_no_more_beats_as_well_and_a_dearer_one_does_not():
    kls = [5.0, 4.0, 3.0, 2.0, 1.0]
    assert draws.hopeful(range(5), MACS, kls, [(1, 0.5)]) == [2, 3, 4]
    assert draws.hopeful(range(5), MACS, kls, [(101, 0.0)]) == [0, 1, 2, 3, 4]
