"""When a rung stops: nothing gained for long, or its rival out of reach."""

from __future__ import annotations

from math import inf, nan

import pytest

from restnet_tf.fitting.curve import Curve


def curve(*kls: float, reach: float = inf) -> Curve:
    one = Curve(kls[0], reach)
    for kl in kls[1:]:
        one.add(kl)
    return one


def test_the_best_is_the_lowest_and_what_is_no_number_gains_nothing():
    one = curve(1.0, 0.5, 0.7, nan, 0.6)
    assert (one.best, one.stale, one.over) == (0.5, 3, False)
    one.add(0.5)
    assert (one.stale, one.over) == (4, True)
    one.add(0.4)
    assert (one.best, one.stale, one.over) == (0.4, 0, False)


@pytest.mark.parametrize(
    ("kls", "reach", "hopeless"),
    [
        ((1.0, 0.8, 0.7), 0.57, False),  # 0.56, were the rest as good as the first stretch
        ((1.0, 0.8, 0.7), 0.55, True),
        ((1.0, 0.8), 0.1, False),  # too early to tell
        ((1.0, 0.8, 0.7, 0.69), 0.6, True),  # now the first stretch is long ago
        ((1.0, 0.8, 0.7, 0.69), 0.7, False),  # reached
        ((1.0, 0.8, 0.7), inf, False),
    ],
)
def test_a_rung_is_given_up_where_its_best_stretch_again_would_not_do(kls, reach, hopeless):
    one = curve(*kls, reach=reach)
    assert one.hopeless is hopeless
    assert one.over is hopeless
