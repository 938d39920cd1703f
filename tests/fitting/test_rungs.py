"""The list of rungs: which words allow which, what each may take, which points go on to the costly ones."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from restnet_tf.fitting import rungs
from restnet_tf.fitting.rungs import FINE_TUNES, RUNGS, rung_named
from restnet_tf.records import RestnetError


def test_the_words_allow_their_rungs_and_none_but_its_own_unshares_weights():
    words = {
        "auto": ("stitch", "norm", "relu"),
        "stitch": ("stitch",),
        "norm": ("stitch", "norm"),
        "relu": ("stitch", "norm", "relu"),
        "back": ("stitch", "norm", "back"),
    }
    assert words == FINE_TUNES


def test_each_rung_is_a_word_and_no_costly_one_is_climbed_for_another():
    assert set(FINE_TUNES) == {"auto", *(rung.name for rung in RUNGS)}
    for word, names in FINE_TUNES.items():
        if word != "auto":
            assert names[-1] == word
            assert not any(rung_named(name).costly for name in names[:-1])


def test_an_unknown_rung_is_refused_with_those_there_are():
    names = ", ".join(rung.name for rung in RUNGS)
    with pytest.raises(RestnetError, match=f"no rung of the ladder is called roof; there are {names}"):
        rung_named("roof")


def test_a_large_back_leaves_the_stitch_images_of_the_norms_share():
    stitch, norm = rung_named("stitch"), rung_named("norm")
    assert rungs.budgets("auto", 1.0, 10**6) == {rung.name: int(rung.work) for rung in RUNGS if not rung.unshares}
    large = rungs.budgets("auto", 1.0, 10**9)
    assert large["stitch"] == 2 * stitch.least_images * 10**9
    assert large["stitch"] + large["norm"] == stitch.work + norm.work
    huge = rungs.budgets("auto", 1.0, 10**11)
    assert huge["stitch"] == huge["norm"]
    assert rungs.budgets("stitch", 1.0, 10**11) == {"stitch": int(stitch.work)}
    assert rungs.budgets("norm", 0.5, 10**6) == {"stitch": int(stitch.work / 2), "norm": int(norm.work / 2)}


CLIMBED = dict.fromkeys("abcde", 2)


def test_points_go_on_where_one_that_costs_less_is_as_near():
    """The dearer ones here: b is beaten by a, d by c, a by the small anchor."""
    kls = {"a": 0.9, "b": 0.95, "c": 0.3, "d": 0.3001, "e": 0.1}
    assert rungs.onward("auto", kls, CLIMBED, 0.8) == ("a", "b", "d")
    assert rungs.onward("auto", kls, CLIMBED, 2.0) == ("b", "d")
    assert rungs.onward("auto", {"a": 0.5}, CLIMBED, 0.5) == ()  # as near is near enough, as in the ladder
    assert rungs.onward("auto", kls, {**CLIMBED, "b": 3}, 2.0) == ("d",)  # no rung is left for b


def test_other_words_send_all_points_or_none():
    kls = {"a": 0.9, "b": 0.1}
    assert rungs.onward("back", kls, CLIMBED, 0.5) == ("a", "b")
    assert rungs.onward("norm", kls, CLIMBED, 0.5) == ()


@pytest.mark.parametrize("seed", range(50))
def test_rounds_come_to_what_one_point_after_the_other_does(seed):
    """Each point to its end, held against the ends of those that cost less, is the rule; rounds let none wait."""
    rng = np.random.default_rng(seed)
    names = [str(i) for i in range(6)]
    # The KL after so many rungs: it falls, or a rung was not kept.
    paths = {name: np.minimum.accumulate(rng.uniform(0, 1, 3) * rng.choice([1, 0.3])) for name in names}
    small, costly = float(rng.uniform(0, 1)), len(FINE_TUNES["auto"]) - 2
    expected, nearest = {}, small
    for name in names:
        taken = 0
        while taken < costly and paths[name][taken] > nearest:
            taken += 1
        expected[name] = taken
        nearest = min(nearest, paths[name][taken])
    taken = dict.fromkeys(names, 0)
    while onward := rungs.onward(
        "auto", {n: paths[n][taken[n]] for n in names}, {n: 2 + taken[n] for n in names}, small
    ):
        for name in onward:
            taken[name] += 1
    assert taken == expected


def test_the_list_is_light_to_import():
    script = "import restnet_tf.fitting.rungs, sys; print({'tensorflow', 'keras', 'numpy'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300, check=True)
    assert run.stdout.strip() == "set()"
