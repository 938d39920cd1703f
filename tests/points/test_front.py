"""The rule of the front: by any points it keeps what nothing of no more cost beats."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from measured_points import cascade, point, scored

from restnet_tf.methods.snnet import draws
from restnet_tf.methods.stitchnet import nets
from restnet_tf.methods.stitchnet.search import Net
from restnet_tf.points import front
from restnet_tf.points.front import Footprint
from restnet_tf.points.points import (
    ANCHOR,
    CASCADE,
    CONTROL,
    DISTILLED,
    DOMINATED,
    FROM_SCRATCH,
    SHIPPED,
    STITCHED,
    OperatingPoint,
    Rating,
)
from restnet_tf.records import Reason

PAIRS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=12)


@dataclass(frozen=True)
class Called(Net):
    """A net without parts."""

    called: str = ""

    @property
    def name(self) -> str:
        return self.called


def called(pairs: list[tuple[int, int]]) -> list[Net]:
    return [Called((), 1.0, macs, 0, float(loss), called=f"n{i:02}") for i, (macs, loss) in enumerate(pairs)]


def test_what_costs_more_or_is_no_better_is_no_rival():
    points = [(1, 5), (2, 3), (2, 4), (3, 3)]
    better = [front.rivals(p, points, lambda p: p[0], lambda one, other: one[1] < other[1]) for p in points]
    assert better == [[], [], [(2, 3)], []]


def test_a_cascade_stays_as_it_is_and_beats_nothing_of_fixed_cost():
    small, large = point("small", 10, 120, ANCHOR), point("large", 100, 180, ANCHOR)
    stitched = point("L1-S0", 150, 150)
    joined = cascade(small, large, (0.9,))  # better than the stitched point, at fewer MACs even at worst
    beaten = replace(joined, name="beaten", status=DOMINATED)
    decided = front.decide((small, large, joined, beaten, replace(stitched, macs=120)))
    assert decided[2:4] == (joined, beaten)
    assert [p.status for p in front.decide((small, joined, stitched))] == [SHIPPED] * 3
    assert [p.status for p in front.decide((small, replace(large, kind=STITCHED, macs=110), stitched))][-1] == DOMINATED


def test_the_distilled_anchor_is_decided_as_any_other_point_and_beats_stitches():
    small, large = point("small", 10, 120, ANCHOR), point("large", 100, 180, ANCHOR)
    taught = point("small*", 10, 150, DISTILLED)
    beaten, better = point("L1-S0", 30, 140), point("S0-L1", 60, 170)
    decided = {p.name: p for p in front.decide((small, large, taught, beaten, better))}
    assert {n for n, p in decided.items() if p.status == SHIPPED} == {"small", "large", "small*", "S0-L1"}
    assert decided["L1-S0"].reason == Reason("dominated", rival="small*")
    useless = {p.name: p for p in front.decide((small, large, replace(taught, rank=small.rank), beaten))}
    assert (useless["small*"].status, useless["small*"].reason) == (DOMINATED, Reason("dominated", rival="small"))


def test_a_point_that_does_not_beat_the_middle_one_of_its_random_twins_is_not_shipped():
    small, large = point("small", 10, 100, ANCHOR), point("large", 100, 180, ANCHOR)
    stitched, dearer = point("L1-S0", 30, 140), point("L2-S0", 50, 140)

    def twins(*rights: int) -> list[OperatingPoint]:
        names = [f"random-{i}" for i in range(len(rights))]
        return [point(n, 30, r, CONTROL, status=CONTROL, twin_of="L1-S0") for n, r in zip(names, rights, strict=True)]

    def decided(*rights: int) -> dict[str, OperatingPoint]:
        return {p.name: p for p in front.decide((small, large, stitched, dearer, *twins(*rights)))}

    assert decided()["L1-S0"].status == SHIPPED
    assert decided(110)["L1-S0"].status == SHIPPED
    assert decided(139)["L1-S0"].reason == Reason("random_twin", rival="random-0")  # by one image: within the error
    assert decided(150, 110, 120)["L1-S0"].status == SHIPPED  # one of three was lucky
    again = decided(150, 110, 139)
    assert again["L1-S0"].reason == Reason("random_twin", rival="random-2")
    assert again["L2-S0"].reason == Reason("dominated", rival="L1-S0")  # which does as well, whatever that is owed to
    assert front.decide(again.values()) == tuple(again.values())


def test_a_point_with_weights_of_its_own_beats_its_network_from_nothing_too_or_is_not_shipped():
    stitched = point("L1-S0", 30, 140)
    behind = point("random", 30, 110, CONTROL, status=CONTROL, twin_of="L1-S0")

    def decided(right: int, of: str) -> OperatingPoint:
        scratch = point("scratch", 30, right, CONTROL, status=CONTROL, twin_of=of, rung=FROM_SCRATCH)
        return front.decide((stitched, behind, scratch))[0]

    assert decided(100, "L1-S0").status == SHIPPED
    assert decided(139, "L1-S0").reason == Reason("scratch_twin", rival="scratch")
    assert decided(139, "").status == SHIPPED  # of a point that shares its weights it decides nothing


def rated(name: str, macs: int, rights: dict[str, int], kind: str = STITCHED, **more: Any) -> OperatingPoint:
    """A point with a file of each precision that has so many rank images right; ``takes`` are flash and arena."""
    takes = more.pop("takes", (1000, 500))
    ratings = {precision: Rating(*takes, scored(right)) for precision, right in rights.items()}
    return replace(point(name, macs, max(rights.values()), kind), ratings=ratings, **more)


def test_the_distilled_anchor_is_shipped_where_it_is_ahead_of_itself_by_more_than_noise():
    small = rated("small", 10, {"float32": 100, "int8": 100}, ANCHOR)
    taught = rated("small*", 10, {"float32": 110, "int8": 101}, DISTILLED)  # by one image: within the error
    stitched = rated("L1-S0", 10, {"int8": 101})
    decided = {p.name: p for p in front.decide((small, taught))}["small*"]
    assert (decided.ships("float32"), decided.ships("int8")) == (True, False)
    assert decided.ratings["int8"].reason == Reason("no_better", rival="small")
    assert front.decide((small, stitched))[1].ships("int8")  # another network is no copy


def test_each_precision_has_a_front_of_its_own_by_the_scores_of_its_files():
    small = rated("small", 10, {"float32": 100, "int8": 100}, ANCHOR)
    large = rated("large", 100, {"float32": 180, "int8": 180}, ANCHOR)
    exact = rated("L1-S0", 30, {"float32": 150, "int8": 90})  # rounding costs it more than it is ahead
    robust = rated("L2-S0", 40, {"float32": 140, "int8": 139})
    lost = rated("L3-S0", 50, {"float32": 120, "int8": 95})
    decided = {p.name: p for p in front.decide((small, large, exact, robust, lost))}
    ships = {n: [name for name in p.ratings if p.ships(name)] for n, p in decided.items()}
    both = ["float32", "int8"]
    assert ships == {"small": both, "large": both, "L1-S0": ["float32"], "L2-S0": ["int8"], "L3-S0": []}
    assert decided["L1-S0"].ratings["int8"].reason == Reason("dominated", rival="small")
    assert decided["L2-S0"].ratings["float32"].reason == Reason("dominated", rival="L1-S0")
    assert [decided[n].status for n in ("L1-S0", "L2-S0", "L3-S0")] == [SHIPPED, SHIPPED, DOMINATED]
    assert [decided[n].reason for n in ("L1-S0", "L2-S0")] == [None, None]
    assert decided["L3-S0"].reason == Reason("dominated", rival="L1-S0")
    assert front.decide(decided.values()) == tuple(decided.values())


@pytest.mark.parametrize(
    ("takes", "status"),
    [
        ((200, 500), SHIPPED),  # a fifth of the flash
        ((1000, 400), SHIPPED),  # a smaller arena
        ((990, 490), DOMINATED),  # so little less that nobody would choose by it
        ((1000, 500), DOMINATED),
        ((2000, 900), DOMINATED),
    ],
)
def test_what_saves_flash_or_arena_at_equal_macs_is_not_dominated(takes: tuple[int, int], status: str):
    better = rated("L1-S0", 30, {"int8": 150})
    worse = rated("L2-S0", 30, {"int8": 120}, takes=takes)
    assert {p.name: p.status for p in front.decide((better, worse))} == {"L1-S0": SHIPPED, "L2-S0": status}


def test_what_owes_nothing_to_its_stitch_is_shipped_in_no_precision():
    stitched = rated("L1-S0", 30, {"float32": 140, "int8": 139})
    twin = point("random", 30, 139, CONTROL, status=CONTROL, twin_of="L1-S0")
    decided, _ = front.decide((stitched, twin))
    assert [r.reason for r in decided.ratings.values()] == [Reason("random_twin", rival="random")] * 2
    assert not decided.ships("float32")


def test_a_file_that_nobody_has_to_score_is_far_behind_in_all_that_is_planned():
    good, far, near = point("good", 30, 180), point("far", 40, 100), point("near", 40, 172)
    same = {p.name: Footprint(100, 100) for p in (good, far, near)}
    assert front.hopeless((good, far, near), same) == {"far"}
    assert front.hopeless((good, far, near), same | {"far": Footprint(100, 50)}) == set()
    assert front.hopeless((good, far, near), same | {"far": Footprint(50, 100)}) == set()
    assert front.hopeless((replace(good, macs=41), far), same) == set()


def test_the_chord_of_cascades_is_at_the_mean_cost_of_the_split():
    small, large = point("small", 10, 100, ANCHOR), point("large", 90, 180, ANCHOR)
    joined = cascade(small, large, (0.25,))  # 140 right at 10 + 0.25 * 90 MACs, or at 10 + 0.3 * 90 on the test split
    assert front.above_chord((small, large, joined), kind=CASCADE) == pytest.approx(0.7 - 0.5 - 0.4 * 27 / 80)
    assert front.above_chord((small, large, joined), "rank", CASCADE) == pytest.approx(0.7 - 0.5 - 0.4 * 22.5 / 80)
    assert front.above_chord((small, large, joined)) == 0.0


@given(PAIRS)
def test_a_front_of_nets_loses_less_with_every_step_of_cost(pairs: list[tuple[int, int]]):
    every = called(pairs)
    best = nets._front(every)
    assert [n.macs for n in best] == sorted({n.macs for n in best})
    assert [n.loss for n in best] == sorted({n.loss for n in best}, reverse=True)
    for net in every:
        assert any(b.macs <= net.macs and b.loss <= net.loss for b in best)


@given(PAIRS, st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6).map(float)), max_size=2))
def test_hopeful_keeps_all_that_nothing_beats(pairs: list[tuple[int, int]], rivals: list[tuple[int, float]]):
    macs, kls = [p[0] for p in pairs], [float(p[1]) for p in pairs]
    kept = draws.hopeful(range(len(pairs)), macs, kls, rivals)
    others = [*zip(macs, kls, strict=True), *rivals]
    unbeaten = [i for i in range(len(pairs)) if not any(m <= macs[i] and k < kls[i] for m, k in others)]
    assert set(unbeaten) <= set(kept)
    beaten = len(pairs) - len(unbeaten)
    assert len(kept) == len(pairs) - beaten // 2


def test_a_distilled_anchor_that_was_taught_nothing_is_the_anchor_whatever_its_files_round_to():
    small = rated("small", 10, {"float32": 120, "int8": 110}, ANCHOR, takes=(1000, 500))
    large = rated("large", 100, {"float32": 180, "int8": 180}, ANCHOR)
    taught = replace(rated("small*", 10, {"float32": 120, "int8": 119}, DISTILLED, takes=(1020, 500)), rank=small.rank)
    decided = front.decide((small, large, taught))[-1]
    reason = Reason("dominated", rival="small")
    assert (decided.status, decided.reason) == (DOMINATED, reason)
    assert {(v.status, v.reason) for v in decided.ratings.values()} == {(DOMINATED, reason)}
