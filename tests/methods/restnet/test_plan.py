"""What is proposed, what is refused and why, what is chosen; by sums that can be worked by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from restnet_tf import records, words
from restnet_tf.graph.costs import Costs
from restnet_tf.methods.restnet import plan
from restnet_tf.records import Cut, Piece, Plan, Reason, RestnetError
from restnet_tf.similarity import rankings
from restnet_tf.similarity.features import Statistics
from restnet_tf.stitches import stitch
from restnet_tf.stitches.step import Solution

ANCHORS = {"large": Costs(1000, 300), "small": Costs(200, 50)}
BOUNDS = ANCHORS["small"].macs, ANCHORS["large"].macs


def cut(role: str, index: int, before: int, after: int, shape: tuple[int, ...] = (2, 2, 3)) -> Cut:
    return Cut(f"{role}{index}", index, "grid", shape, (None, None), before, after, before // 10, after // 10)


CUTS = {
    "large": (cut("l", 0, 250, 750), cut("l", 1, 500, 500), cut("l", 2, 750, 250, (8, 8, 3))),
    "small": (cut("s", 0, 50, 150), cut("s", 1, 150, 50)),
}
CKA = np.array([[0.9, 0.2], [0.5, 0.8], [0.1, 0.3]])


def statistics() -> Statistics:
    keys = [("large", i, j) for i in range(2) for j in range(2)] + [("small", i, j) for i in range(2) for j in range(2)]
    solutions = {
        key: Solution(np.zeros((3, 3), np.float32), np.zeros(3, np.float32), 0.1 * n) for n, key in enumerate(keys)
    }
    return Statistics(128, 64, CKA, solutions)


def proposed(**options: object) -> dict[str, Plan]:
    return {p.name: p for p in plan.propose(CUTS, statistics(), ANCHORS, **options)}


def test_every_pair_is_there_both_ways():
    found = proposed()
    large = {f"L{i}-S{j}" for i in range(3) for j in range(2)}
    assert set(found) == large | {f"S{j}-L{i}" for i in range(3) for j in range(2)}
    assert all((p.reason is not None) == (p.status == "rejected") for p in found.values())
    assert found["L1-S0"].route == (Piece("large", None, "l1"), Piece("small", "s0", None))
    assert found["S0-L1"].route == (Piece("small", None, "s0"), Piece("large", "l1", None))
    assert (found["L1-S0"].cuts, found["S0-L1"].cuts) == ((1, 0), (0, 1))


@pytest.mark.parametrize(("order", "fronts"), [("large-small", {"L"}), ("small-large", {"S"}), ("both", {"L", "S"})])
def test_orders(order, fronts):
    assert {name[0] for name in proposed(order=order)} == fronts


def test_costs_by_hand():
    found = proposed()
    # front + back + a 1x1 map of 3 to 3 channels at 2x2 positions
    assert (found["L1-S0"].macs, found["L1-S0"].params) == (500 + 150 + 36, 50 + 15 + 12)
    assert (found["S1-L0"].macs, found["S1-L0"].params) == (150 + 750 + 36, 15 + 75 + 12)


def test_similarity_is_that_of_the_pair():
    found = proposed()
    assert (found["L1-S0"].cka, found["S0-L1"].cka) == (0.5, 0.5)
    assert (found["L0-S1"].cka, found["S1-L0"].cka) == (0.2, 0.2)
    assert (found["L1-S0"].r2, found["S1-L0"].r2) == pytest.approx((0.2, 0.6))
    assert np.isnan(found["L2-S0"].r2)


def test_reasons():
    found = proposed()
    assert words.sentence(found["L2-S0"].reason) == "resolutions too far apart: 8x8 to 2x2"
    assert found["S1-L0"].status == "candidate"
    cheap = {**ANCHORS, "small": Costs(700, 50)}
    plans = {p.name: p for p in plan.propose(CUTS, statistics(), cheap)}
    assert words.sentence(plans["L1-S0"].reason) == "costs no more than the small anchor"
    dear = {**ANCHORS, "large": Costs(686, 50)}
    plans = {p.name: p for p in plan.propose(CUTS, statistics(), dear)}
    assert words.sentence(plans["L1-S0"].reason) == "costs no less than the large anchor"


def test_the_budget_refuses_in_its_own_words():
    asked = []

    def refuse(macs: int, params: int) -> Reason | None:
        asked.append((macs, params))
        return Reason.note(f"over {macs}") if macs > 600 else None

    found = proposed(refuse=refuse)
    assert (686, 77) in asked
    assert (found["L1-S0"].status, found["L1-S0"].reason) == ("rejected", Reason.note("over 686"))
    assert found["L0-S0"].status == "candidate"
    # A reason that holds for everybody comes first: the budget is not asked about it.
    assert words.sentence(found["L2-S0"].reason).startswith("resolutions")


def test_plans_whose_files_are_over_the_budget_leave_their_places_on_the_shortlist():
    big = Reason.note("its file is too large")
    small = {p.name for p in proposed().values() if p.status == "candidate"} - {"L1-S0"}

    def within(plans: Sequence[Plan]) -> list[Plan]:
        return [replace(p, status="rejected", reason=big) if p.name == "L1-S0" else p for p in plans]

    found = proposed(within=within)
    assert found["L1-S0"].reason == big
    assert {n for n, p in found.items() if p.status == "candidate"} == small


def many(n: int = 40) -> tuple[dict[str, tuple[Cut, ...]], Statistics]:
    """One small cut, ``n`` large ones at evenly spread costs; CKA rises with the index, R2 falls."""
    cuts = {"large": tuple(cut("l", i, 200 + 15 * i, 800 - 15 * i) for i in range(n)), "small": (cut("s", 0, 50, 20),)}
    solutions = {
        ("large", i, 0): Solution(np.zeros((3, 3), np.float32), np.zeros(3, np.float32), -i / n) for i in range(n)
    }
    return cuts, Statistics(128, 64, np.arange(n)[:, None] / n, solutions)


@pytest.mark.parametrize("rank_by", ["cka", "r2"])
@pytest.mark.parametrize("points", [1, 2, 4])
def test_shortlist_holds_the_best_of_each_interval(rank_by, points):
    cuts, found = many()
    plans = plan.propose(cuts, found, ANCHORS, order="large-small", rank_by=rank_by, points=points)
    assert len(plans) == 40
    width = (1000 - 200) / points
    for k in range(points):
        inside = [p for p in plans if k * width <= p.macs - 200 < (k + 1) * width]
        order = sorted(inside, key=lambda p: -getattr(p, rank_by))
        assert inside
        assert {p.name for p in inside if p.status == "candidate"} == {p.name for p in order[: plan.TRIALS]}
        for p in order[plan.TRIALS :]:
            assert p.status == "rejected"
            assert rank_by.upper() in words.sentence(p.reason)


def test_a_random_order_shortlists_by_its_seed_alone():
    cuts, found = many()

    def listed(**more):
        plans = plan.propose(cuts, found, ANCHORS, order="large-small", rank_by="random", points=2, **more)
        assert all(p.reason == Reason("not_shortlisted", count=6, figure="random") for p in plans if p.reason)
        assert all("were drawn" in words.sentence(p.reason) for p in plans if p.reason)
        return [p.name for p in plans if p.status == "candidate"]

    assert listed(seed=1) == listed(seed=1) != listed(seed=2)
    assert len(listed(seed=1)) == 2 * plan.TRIALS


def test_the_order_of_the_loss_is_told_by_each_figure():
    """CKA rises with the index and R2 falls; a higher one should go with a lower loss."""
    cuts, found = many()
    plans = plan.propose(cuts, found, ANCHORS, order="large-small", points=4)
    tried = [replace(p, kl=1 - p.cka) if p.status == "candidate" else p for p in plans]
    told = rankings.order(tried, seed=0)
    assert told["cka"] == pytest.approx(-1)
    assert told["r2"] == pytest.approx(1)
    assert abs(told["random"]) < 0.5
    assert rankings.order(plans, seed=0) == {}


def test_the_lowest_kl_of_each_interval_is_chosen():
    cuts, found = many()
    plans = plan.propose(cuts, found, ANCHORS, order="large-small", points=4)
    kls = {p.name: ((p.macs * 7919) % 101) / 100 for p in plans}
    ranked = [replace(p, kl=kls[p.name] if p.status == "candidate" else None) for p in plans]
    decided = plan.choose(ranked, BOUNDS, 4)
    assert [p.name for p in decided] == [p.name for p in plans]
    chosen = [p for p in decided if p.status == "chosen"]
    assert 1 < len(chosen) <= 4
    for winner in chosen:
        k = (winner.macs - 200) // 200
        rivals = [p for p in ranked if p.status == "candidate" and (p.macs - 200) // 200 == k]
        assert winner.kl == min(p.kl for p in rivals if p.kl is not None)
        losers = [p for p in decided if p.name in {r.name for r in rivals} - {winner.name}]
        assert {(p.status, words.sentence(p.reason)) for p in losers} <= {
            ("rejected", f"{winner.name} costs about as much and has a lower KL")
        }
    untouched = [p for p in plans if p.status == "rejected"]
    assert [p for p in decided if p.name in {u.name for u in untouched}] == untouched


def test_of_equal_kl_the_cheaper_is_chosen():
    cuts, found = many()
    plans = plan.propose(cuts, found, ANCHORS, order="large-small", points=1)
    decided = plan.choose([replace(p, kl=0.5) for p in plans], BOUNDS, 1)
    (winner,) = [p for p in decided if p.status == "chosen"]
    assert winner.macs == min(p.macs for p in plans if p.status == "candidate")


def test_proposing_twice_gives_the_same():
    assert repr(proposed()) == repr(proposed())


# --- plans edited by hand -------------------------------------------------------------------------


def edited(front: Piece, *back: Piece, status: str = "chosen") -> Plan:
    return Plan("mine", (front, *back), 1, 1, 0.5, 0.5, None, status)


def test_good_plans_pass_and_have_a_key():
    found = list(proposed().values())
    plan.check(found, CUTS)
    assert plan.key(proposed()["S1-L0"], CUTS) == ("small", 1, 0)
    assert records.title(proposed()["S1-L0"], {"large": "R56", "small": "R20"}) == "R20 to s1 + R56 from l0"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            edited(Piece("large", None, "l9"), Piece("small", "s0", None)),
            "the large anchor has no cut named l9; it has: l0, l1, l2",
        ),
        (edited(Piece("large", None, "l0"), Piece("small", "l0", None)), "the small anchor has no cut named l0"),
        (edited(Piece("large", None, "l0")), "plan mine has 1 pieces"),
        (edited(Piece("large", None, "l0"), Piece("large", "l1", None)), "must join the front of one anchor"),
        (edited(Piece("large", None, None), Piece("small", "s0", None)), "must join the front of one anchor"),
        (edited(Piece("large", None, "l2"), Piece("small", "s0", None)), "plan mine cannot be built: resolutions"),
    ],
)
def test_wrong_plans_are_refused(wrong, message):
    with pytest.raises(RestnetError, match=message):
        plan.check([wrong], CUTS)


@pytest.mark.parametrize("anchor", ["medium", "Large", ""])
def test_an_unknown_anchor_is_refused(anchor):
    wrong = edited(Piece(anchor, None, "l0"), Piece("large" if anchor != "Large" else "small", "l0", None))
    with pytest.raises(RestnetError):
        plan.check([wrong], CUTS)


def test_a_rejected_plan_may_be_impossible():
    plan.check([edited(Piece("large", None, "l2"), Piece("small", "s0", None), status="rejected")], CUTS)
    assert stitch.compatible(CUTS["large"][2], CUTS["small"][0])


def test_a_front_that_is_an_embedding_alone_makes_no_new_network():
    """Before the back's own embedding there is nothing else to exchange; further on there is."""
    linear = {role: (replace(cuts[0], linear=True), *cuts[1:]) for role, cuts in CUTS.items()}
    plans = {p.name: p for p in plan.propose(linear, statistics(), {"large": Costs(10**6, 1), "small": Costs(1, 1)})}
    assert plans["L0-S0"].reason == Reason("anchor_again", rival="small")
    assert plans["S0-L0"].reason == Reason("anchor_again", rival="large")
    others = [p for p in plans.values() if p.name not in ("L0-S0", "S0-L0")]
    assert "anchor_again" not in {p.reason.code for p in others if p.reason}
    coarser = {**linear, "small": (replace(linear["small"][0], shape=(1, 1, 3)), *linear["small"][1:])}
    again = plan.propose(coarser, statistics(), {"large": Costs(10**6, 1), "small": Costs(1, 1)})
    assert "anchor_again" not in {p.reason.code for p in again if p.reason}
