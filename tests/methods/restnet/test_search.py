"""The search over paths of several jumps: against all paths that there are, and what a sum says of single jumps."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from restnet_tf.methods.restnet import jumps, search
from restnet_tf.methods.restnet.jumps import Path
from restnet_tf.methods.restnet.search import JumpGraph
from restnet_tf.records import Cut
from restnet_tf.stitches import stitch

WHOLE = {"large": 90_000, "small": 30_000}


def anchor(role: str, blocks: int) -> tuple[Cut, ...]:
    """Cuts of one shape, of as many MACs between each two, and the classes."""
    whole, shape = WHOLE[role], (4, 4, 2)
    step = whole // (blocks + 1)
    grids = [
        Cut(f"{role}{i}", i, "grid", shape, (None, None), step * (i + 1), whole - step * (i + 1), 0, 0)
        for i in range(blocks)
    ]
    return (*grids, Cut("classes", blocks, "vector", (3,), (None, None), whole, 0, 0, 0))


def graph() -> JumpGraph:
    """All jumps that there are, with drawn damages."""
    places = {"large": anchor("large", 5), "small": anchor("small", 2)}
    every = [jump for role, cuts in places.items() for jump in (*jumps.ahead(role, cuts), *jumps.exits(role, cuts))]
    for one, other in (("large", "small"), ("small", "large")):
        every += [
            ((one, a.index), (other, b.index)) for a in places[one] for b in places[other] if a.kind == b.kind == "grid"
        ]
    rng = np.random.default_rng(0)
    return JumpGraph(places, WHOLE, {"large": 0.0, "small": 0.4}, {jump: 0.4 + float(rng.uniform()) for jump in every})


GRAPH = graph()


def every_path(path: Path, most: int) -> Iterator[Path]:
    """All paths that go on from one, by looking at all jumps."""
    for jump in GRAPH.kls:
        if not path or (jump[0][0] == path[-1][1][0] and jump[0][1] > path[-1][1][1]):
            longer = (*path, jump)
            yield longer
            if len(longer) < most:
                yield from every_path(longer, most)


def macs(path: Path) -> int:
    (role, _), at, total = path[0][0], -1, 0
    for jump in path:
        a, b = jumps.ends(GRAPH.places, jump)
        total += GRAPH.run(role, at, jump[0][1])[0] + stitch.macs(a.layout, b.layout)
        role, at = jump[1]
    return total + GRAPH.run(role, at, len(GRAPH.places[role]))[0]


def kind(path: Path) -> tuple[int, int, str, bool]:
    """Of a path the share of the cost, the number of jumps, the anchor at its end, and whether it leaves its anchor."""
    apart = len({role for jump in path for role, _ in jump}) > 1 or jumps.is_exit(GRAPH.places, path[-1])
    return macs(path) // (WHOLE["large"] // 128), len(path), path[-1][1][0], apart


def test_the_best_paths_are_those_of_all(monkeypatch):
    monkeypatch.setattr(search, "MOST_JUMPS", 3)
    monkeypatch.setattr(stitch, "macs", lambda *layouts: 0)  # so that no two costs are told apart by rounding alone
    best: dict[tuple[int, int, str, bool], float] = {}
    for path in every_path((), 3):
        if len(path) > 1 and macs(path) < WHOLE["large"]:
            best[kind(path)] = min(search.estimate(GRAPH, path), best.get(kind(path), np.inf))
    listed = search.paths(GRAPH, 0, WHOLE["large"] - 1)
    assert {kind(path) for path in listed} == set(best)
    for path, damage in listed.items():
        assert damage == pytest.approx(search.estimate(GRAPH, path))
        assert damage == pytest.approx(best[kind(path)])
    names = [jumps.name(path, GRAPH.places) for path in listed]
    assert any(name.count("S") == name.count("L") == 2 for name in names)
    assert any(name.endswith("exit") for name in names)


def test_of_a_single_jump_the_sum_is_what_was_measured():
    for jump, kl in GRAPH.kls.items():
        assert search.estimate(GRAPH, (jump,)) == pytest.approx(kl)


def test_no_path_costs_more_or_less_than_it_may():
    listed = search.paths(GRAPH, 30_000, 40_000)
    assert listed
    assert all(30_000 <= macs(path) <= 40_000 for path in listed)
