"""Paths that leave blocks out: what is possible, which are best, what they cost, what is refused."""

from __future__ import annotations

from itertools import combinations, pairwise

import keras
import networks
import numpy as np
import pytest

from restnet_tf.graph import costs, cuts
from restnet_tf.graph.costs import Costs
from restnet_tf.methods.restnet import jumps
from restnet_tf.records import Cut, Piece, Plan, Reason, RestnetError, Stitch
from restnet_tf.stitches import variant

WHOLE = 100_000


def chain(stages: tuple[int, ...] = (4, 4), whole: int = WHOLE) -> tuple[Cut, ...]:
    """Stages of so many blocks, each of as many MACs, at sizes that differ."""
    shapes = [(8 // 2**stage, 8 // 2**stage, 2) for stage, blocks in enumerate(stages) for _ in range(blocks)]
    step = whole // (len(shapes) + 1)
    return tuple(
        Cut(f"c{i}", i, "grid", shape, (None, None), step * (i + 1), whole - step * (i + 1), 10 * i, 0)
        for i, shape in enumerate(shapes)
    )


def test_jumps_go_ahead_to_the_same_shape_and_save_something():
    assert jumps.possible(chain((3, 2))) == ((0, 1), (0, 2), (1, 2), (3, 4))
    # A block has 166 MACs, a map of 2 to 2 channels 256 at 64 places and 64 at 16: of the first stage one is too few.
    dear = chain((3, 2), whole=1000)
    assert jumps.possible(dear) == ((0, 2), (3, 4))
    assert [jumps.saved(dear, jump) for jump in ((0, 1), (0, 2), (3, 4))] == [0, 2 * 166 - 256, 166 - 64]


def test_a_path_has_six_jumps_at_most(monkeypatch):
    monkeypatch.setattr(jumps, "saved", lambda cut_list, jump: 1_000)
    damages = {(i, i + 1): 0.0 for i in range(0, 16, 2)}
    assert {len(path) for path in jumps.paths(chain((18,)), damages, WHOLE)} == {1, 2, 3, 4, 5, 6}


def brute(cut_list: tuple[Cut, ...], damages: dict[jumps.Jump, float]) -> dict[jumps.Path, float]:
    """The damage of every path, by looking at all of them."""
    every: dict[jumps.Path, float] = {}
    for count in range(1, 5):
        for path in combinations(sorted(damages), count):
            steps = [cut for jump in path for cut in jump]
            if all(a < b for a, b in pairwise(steps)):
                every[path] = sum(damages[jump] for jump in path)
    return every


def test_the_best_paths_are_those_of_all(monkeypatch):
    monkeypatch.setattr(jumps, "saved", lambda cut_list, jump: 7_000 * (jump[1] - jump[0]))
    cut_list = chain((4, 5))
    rng = np.random.default_rng(0)
    possible = [(a.index, b.index) for a in cut_list for b in cut_list if a.index < b.index and a.shape == b.shape]
    damages = {jump: float(rng.uniform()) * (jump[1] - jump[0]) for jump in possible}
    found = jumps.paths(cut_list, damages, WHOLE)
    best: dict[tuple[int, int], float] = {}
    for path, damage in brute(cut_list, damages).items():
        saved = sum(7_000 * (j - i) for i, j in path)
        if saved <= WHOLE * (1 - jumps.LEAST_SHARE):
            key = saved, len(path)
            best[key] = min(damage, best.get(key, np.inf))
    assert {(sum(7_000 * (j - i) for i, j in path), len(path)) for path in found} == set(best)
    for path, damage in found.items():
        assert damage == pytest.approx(best[sum(7_000 * (j - i) for i, j in path), len(path)])
    assert max(len(path) for path in found) > 2


def zeros(source: Cut, target: Cut) -> Stitch:
    width, ends = source.layout.channels, (source.layout, target.layout)
    return Stitch(np.zeros((width, width), np.float32), np.zeros(width, np.float32), *ends, target.clamp)


def test_a_path_costs_what_its_network_costs():
    anchor = networks.anchor((4, 6), 4)
    cut_list, calls = cuts.find(anchor.model), costs.nodes(anchor.model)
    path = ((1, 3), (5, 6))
    made = jumps.plan("large", cut_list, path, Costs(costs.macs(calls), costs.params(calls)))
    assert (made.name, made.cuts, made.status) == ("L1-L3-L5-L6", (1, 3, 5, 6), "candidate")
    stitches = [zeros(cut_list[i], cut_list[j]) for i, j in path]
    model = variant.assemble(made, {"large": anchor}, *stitches)
    layers = [layer for layer in model.layers if isinstance(layer, keras.Model)]
    assert made.macs == sum(costs.macs(costs.nodes(layer)) for layer in layers)
    assert made.params == sum(costs.params(costs.nodes(layer)) for layer in layers)
    assert jumps.path(made, cut_list) == path


def test_what_is_too_short_or_over_the_budget_says_so():
    cut_list, whole = chain((1, 1, 8)), Costs(WHOLE, 100)
    short = jumps.plan("large", cut_list, ((2, 9),), whole)
    assert (short.status, short.reason) == ("rejected", Reason("too_little_left", limit=jumps.LEAST_SHARE))
    over = jumps.plan("large", cut_list, ((2, 3),), whole, lambda macs, params: Reason.note(f"{macs} is too much"))
    assert over.reason == Reason.note(f"{over.macs} is too much")


def route(*ends: int, role: str = "large") -> Plan:
    names = [None, *(f"c{end}" for end in ends), None]
    pieces = [Piece(role, names[i], names[i + 1]) for i in range(0, len(names), 2)]
    return Plan("mine", tuple(pieces), 1, 1, 0.0, 0.0, None, "chosen")


def test_plans_by_hand():
    jumps.check([route(0, 2), route(0, 1, 4, 6)], "large", chain())
    jumps.check([Plan("out", (Piece("small", None, "x"),), 1, 1, 0.0, 0.0, None, "rejected")], "large", chain())


@pytest.mark.parametrize(
    "wrong", [route(2, 0), route(0, 5), route(0, 1, 1, 2), route(), route(0, 2, role="small"), route(0, 12)]
)
def test_routes_that_are_no_paths_are_refused(wrong):
    with pytest.raises(RestnetError, match="plan mine"):
        jumps.check([wrong], "large", chain())
