"""What a ranking of pairs of cuts is worth: its order, and the loss that its shortlist comes to."""

from __future__ import annotations

import pytest

from benchmarks import rankings as bench
from restnet_tf import methods
from restnet_tf.records import Piece, Plan
from restnet_tf.similarity import rankings


def plan(index: int, kl: float | None, cka: float, r2: float) -> Plan:
    route = (Piece("large", None, f"l{index}"), Piece("small", f"s{index}", None))
    return Plan(f"L{index}-S0", route, 100 * index, 10, cka=cka, r2=r2, kl=kl, status="candidate")


# Two in each quarter of the cost; R2 has the better one first, CKA the worse.
PLANS = [plan(i, kl=1.0 + i % 2, cka=float(i % 2), r2=-float(i % 2)) for i in range(8)]


def test_a_shortlist_comes_to_the_best_of_its_first_in_each_interval():
    one = bench.reached(PLANS, 1, seed=0)
    assert (one["r2"], one["cka"]) == (1.0, 2.0)
    assert 1.0 <= one["random"] <= 2.0
    assert bench.reached(PLANS, 2, seed=0) == dict.fromkeys(rankings.RANKINGS, 1.0)


def test_the_page_has_a_row_for_each_ranking():
    text = bench.page([*PLANS, plan(9, None, 1.0, 1.0)], seed=0)
    assert text.startswith("| 8 pairs | Spearman | least KL of the first 1 |")
    assert "| R2 | +1.00 | 1.000 | 1.000 |" in text
    assert "| CKA | -1.00 | 2.000 | 1.000 |" in text


@pytest.mark.parametrize(("count", "told"), [(4, {}), (5, {"CKA", "R2", "chance"})])
def test_of_few_pairs_no_order_is_told(count: int, told: set[str]):
    assert set(rankings.foretold(PLANS[:count], 0)[1]) == set(told)


def test_what_measurement_prefers_is_the_default():
    assert methods.defaults("restnet")["rank_by"] == "r2"


def test_paths_inside_an_anchor_are_no_pairs():
    inside = [Plan("L1-L2", (Piece("large", None, "a"), Piece("large", "b", None)), 1, 1, cka=0.0, r2=0.0, kl=1.0)]
    assert rankings.foretold(inside * 6, 0) == (0, {}, None)
