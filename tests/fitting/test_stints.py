"""Who trains on: the better half of the candidates, until it is hopeless; and that no work is lost or made."""

from __future__ import annotations

from collections import Counter
from math import inf

import pytest

from restnet_tf.fitting.results import CLOSED_FORM, Fitted, RungResult
from restnet_tf.fitting.stints import Contest, Entrant, Standing, Stint, halved
from restnet_tf.records import Layout, Stitch

SHARES = {"stitch": 10_000, "norm": 90_000, "relu": 10_000}
TAUGHT = Entrant("small*", {"norm": 50_000, "back": 50_000})
NOTHING = Stitch([], [], Layout((1,)), Layout((1,)), (None, None))


class Fits:
    """Fits that go by a formula: each KL falls by a rate of its own the more is trained, the hopeless stop half-way."""

    def __init__(self, rates):
        self.rates, self.results, self.rounds = rates, {}, []

    def of(self, name):
        results = self.results.get(name, [])
        return Fitted(NOTHING, CLOSED_FORM, 0.0, 1.0, tuple(results))

    def standings(self):
        return {name: self.of(name).standing(len(results)) for name, results in self.results.items()}

    def take(self, name, stint):
        for rung, budget in stint.rungs.items():
            done = sum(r.work for r in self.results.get(name, []))
            end = (1 + (done + budget) / 1000) ** -self.rates[name]
            given_up = rung == list(stint.rungs)[-1] and end > stint.reach
            work = budget // 2 if given_up else budget
            kl = (1 + (done + work) / 1000) ** -self.rates[name]
            self.results.setdefault(name, []).append(RungResult(rung, kl, 1, work, work, given_up=given_up))

    def run(self, contest):
        for stints in contest.rounds(self.standings):
            self.rounds.append(stints)
            for name, stint in stints.items():
                self.take(name, stint)
        return self


def entrants(count, points):
    return [Entrant(name, SHARES, i * points // count) for i, name in enumerate("abcdefgh"[:count])]


def spent(fits, names):
    work = fits.results
    return sum(r.work for name in names for r in work[name] if r.rung not in ("relu", "back"))


def test_the_candidate_of_the_best_outlook_goes_on_in_each_place():
    """It learns more, though another one is nearer for now."""
    fast, steady = Standing(0.5, 0.52, frozenset(), 0), Standing(0.6, 1.0, frozenset(), 0)
    standing = {"a": fast, "b": steady, "c": steady, "d": fast}
    assert halved(entrants(4, 2), standing) == {"a": "b", "d": "c"}
    assert halved(entrants(4, 4), standing) == {}
    begun_badly = Standing(0.81, 2.1, frozenset(), 0)  # it was further off to begin with, and still is
    assert halved(entrants(2, 1), {"a": begun_badly, "b": Standing(0.45, 0.52, frozenset(), 0)}) == {"a": "b"}


def test_a_tenth_tells_the_candidates_apart_and_the_whole_work_stays():
    contest = Contest(entrants(6, 3), "norm", inf)
    fits = Fits(dict(zip("abcdef", (0.3, 0.1, 0.2, 0.4, 0.5, 0.6), strict=True))).run(contest)
    assert contest.dropped == {"b": "a", "c": "d", "e": "f"}
    trial = {name: sum(stint.rungs.values()) for name, stint in fits.rounds[0].items()}
    assert trial == dict.fromkeys("abcdef", 5_000)  # of six, a tenth of three shares
    assert set(fits.rounds[1]) == set("adf")
    assert spent(fits, "abcdef") == pytest.approx(3 * 100_000, abs=6)


def test_what_cannot_reach_its_rival_is_given_up_and_others_get_its_work():
    contest = Contest([TAUGHT, *entrants(6, 3)], "auto", 0.9)
    rates = dict(zip("abcdef", (0.01, 0.02, 0.1, 0.1, 0.9, 0.9), strict=True)) | {"small*": 0.3}
    fits = Fits(rates).run(contest)
    given_up = {name for name, results in fits.results.items() if any(r.given_up for r in results)}
    assert given_up == {"b", "c"}
    assert [list(stints) for stints in fits.rounds[2:]] == [["small*", "e"]]  # no costly rung for the hopeless
    assert spent(fits, "abcdef") + fits.results["small*"][-1].work == pytest.approx(3 * 100_000, abs=6)


def test_what_costs_less_in_one_thing_alone_is_no_rival():
    """The dearer one of few parameters may ship beside it, however far it is."""
    far = {"a": 0.9, "b": 0.9, "c": 0.01, "d": 0.01}

    def given_up(*params):
        every = [Entrant(n, SHARES, i // 2, (i, p)) for i, (n, p) in enumerate(zip("abcd", params, strict=True))]
        fits = Fits(far).run(Contest(every, "norm", inf))
        return {name for name, results in fits.results.items() if any(r.given_up for r in results)}

    assert given_up(9, 9, 5, 5) == set()
    assert given_up(9, 9, 9, 9) == {"c"}


@pytest.mark.parametrize(("small", "reach"), [((5, 5), inf), ((1, 5), 0.2), ((1, 9), inf), ((), 0.2)])
def test_the_small_anchor_is_no_rival_of_what_costs_less(small, reach):
    exits = Contest([Entrant("a", SHARES, 0, (3, 7))], "norm", 0.2, small)
    assert next(exits.rounds(dict))["a"].reach == reach


def test_none_gets_more_than_as_much_again():
    contest = Contest(entrants(8, 4), "auto", 0.9)
    fits = Fits(dict.fromkeys("abcdefgh", 0.001) | {"c": 0.9}).run(contest)
    assert sum(fits.rounds[2]["c"].rungs.values()) == 100_000
    assert set(fits.rounds[2]) == {"c"}


def test_one_candidate_a_place_takes_all_in_one_go():
    contest = Contest(entrants(3, 3), "auto", 0.9)
    fits = Fits({"a": 0.3, "b": 0.2, "c": 0.4}).run(contest)
    assert fits.rounds[0] == dict.fromkeys("abc", Stint({"stitch": 10_000, "norm": 90_000}, reach=0.9))
    assert fits.rounds[1:] == [{"b": Stint({"relu": 10_000})}]  # a is nearer and costs less


@pytest.mark.parametrize(("fine_tune", "shares"), [("back", ("stitch", "norm", "back")), ("stitch", ("stitch",))])
def test_a_rung_that_was_asked_for_is_not_spared(fine_tune, shares):
    every = [Entrant(name, dict.fromkeys(shares, 30_000), i // 2) for i, name in enumerate("abcd")]
    fits = Fits({"a": 0.3, "b": 0.2, "c": 0.3, "d": 0.1}).run(Contest(every, fine_tune, 1e-9))
    assert {r.rung for r in fits.results["c"]} == set(shares)
    hopeless = any(r.given_up for r in fits.results["c"])
    assert hopeless == (fine_tune == "stitch")  # the back may still do it


def unsharing(rates, fine_tune="auto", **back):
    """Who got weights of its own, in this order, of points that each have an anchor at 0.5 for a rival."""
    shares = SHARES | {"back": 30_000}
    every = [Entrant(name, shares, i, (9 - i, i)) for i, name in enumerate(rates)]
    fits = Fits(rates)
    take = fits.take

    def gains(name, stint):
        take(name, stint)
        if "back" in stint.rungs:
            fits.results[name][-1] = RungResult("back", back[name], 1, 30_000, 30_000)

    fits.take = gains
    fits.run(Contest(every, fine_tune, 0.5))
    return [name for stints in fits.rounds for name, stint in stints.items() if "back" in stint.rungs]


# Their KLs behind all shared rungs: about 0.62, 0.54 and 0.40; given up is none, for their rival is at 0.5.
BEHIND = {"a": 0.1, "b": 0.13, "c": 0.2}


def test_what_stays_behind_gets_weights_of_its_own_the_nearest_to_its_rival_first(monkeypatch):
    monkeypatch.setattr(Contest, "_reach", lambda self, kl: inf)
    assert unsharing(BEHIND, a=0.45, b=0.45) == ["b", "a"]
    assert unsharing(BEHIND, b=0.52) == ["b"]  # which did not come ahead, and a is further off
    assert unsharing(BEHIND, "norm") == []
    assert unsharing({"c": 0.2}) == []


def test_what_was_given_up_gets_no_weights_of_its_own():
    assert unsharing(BEHIND) == []


def test_a_course_that_was_interrupted_goes_on_as_it_would_have():
    """Standings are replayed: whatever fits have reached beyond, decisions are the same."""
    rates = dict(zip("abcdef", (0.3, 0.1, 0.2, 0.4, 0.5, 0.6), strict=True)) | {"small*": 0.25}
    whole = Fits(rates).run(Contest([TAUGHT, *entrants(6, 3)], "auto", 0.9))
    contest, results, replayed = Contest([TAUGHT, *entrants(6, 3)], "auto", 0.9), Counter(), []
    ends = {name: whole.of(name) for name in whole.results}
    for stints in contest.rounds(lambda: {name: fit.standing(results[name]) for name, fit in ends.items()}):
        replayed.append(stints)
        results.update({name: len(stint.rungs) for name, stint in stints.items()})
    assert replayed == whole.rounds
