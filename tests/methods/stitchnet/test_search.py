"""Searching for nets: exact on small pools by brute force, within budgets, and what the paper's score misses."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from restnet_tf import words
from restnet_tf.methods.stitchnet import fragments, search
from restnet_tf.methods.stitchnet.fragments import FEATURES, Fragment, Member
from restnet_tf.methods.stitchnet.search import Limits, SearchSpace
from restnet_tf.records import Cut, Excess, Reason
from restnet_tf.similarity import cka
from restnet_tf.stitches import stitch

N, CLASSES = 12, 3
ALL = Limits(top=100, least=-2.0, least_overall=0.0, depth=100, nets=10_000)


def cut(index: int, side: int, channels: int, macs: int, name: str = "") -> Cut:
    return Cut(name or f"c{index}", index, "grid", (side, side, channels), (None, None), macs, 0, macs // 10, 0)


def member(sides: tuple[int, ...], width: int, macs: int) -> Member:
    found = tuple(cut(i, side, width + i, macs * (i + 1)) for i, side in enumerate(sides))
    return Member("net", "0", (8, 8, 3), found, cut(len(sides), 1, width, macs * (len(sides) + 1), FEATURES))


@dataclass
class Linear:
    """A pool whose fragments are fixed random maps of pooled activations: fast, seeded, and no network."""

    pool: dict[str, tuple[Fragment, ...]]
    debiased: bool = True
    runs: list[tuple[str, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        rng = np.random.default_rng(0)
        image = rng.normal(size=(N, 6))
        self._natives = {}
        for role, found in self.pool.items():
            x = image
            for fragment in found:
                x = self._made(fragment, x)
                self._natives[role, fragment.stop.name] = x

    def _made(self, fragment: Fragment, x: np.ndarray) -> np.ndarray:
        flat = x.reshape(len(x), -1)
        seed = [ord(fragment.member), fragment.index]
        weights = np.random.default_rng(seed).normal(size=(flat.shape[1], int(np.prod(fragment.stop.shape))))
        return np.tanh(flat @ weights / np.sqrt(len(weights))).reshape(N, *fragment.stop.shape).astype(np.float32)

    def native(self, member: str, cut: Cut) -> np.ndarray:
        return self._natives[member, cut.name]

    def profile(self, member: str, cut: Cut) -> np.ndarray:
        return cka.profile(self.native(member, cut), debiased=self.debiased)

    def run(self, fragment: Fragment, x: np.ndarray) -> np.ndarray:
        self.runs.append(fragment.key)
        return self._made(fragment, x)


def over(term: str, figure: str, value: float) -> Reason:
    return Reason("over_budget", excess=(Excess(term, figure, value),))


def judge(features: np.ndarray) -> tuple[float, float, float, tuple[bool, ...]]:
    return float(np.abs(features).mean()), 0.5, 0.5, (True,) * len(features)


def space(**options: object) -> SearchSpace:
    members = {"A": member((4, 2), 3, 100), "B": member((4, 4, 2), 4, 300)}
    pool = {role: fragments.split(role, m, 6) for role, m in members.items()}
    folds = tuple(np.arange(N)[i::3] for i in range(3))
    return SearchSpace(pool, Linear(pool), folds, CLASSES, judge, **{"limits": ALL, **options})  # type: ignore[arg-type]


def every_net(space: SearchSpace) -> list[search.Net]:
    return [net for first in search.starts(space) for net in search.search(space, first).nets]


def brute_force(space: SearchSpace) -> set[tuple[tuple[str, int], ...]]:
    """All routes, by trying every fragment behind every other."""
    everything = [f for found in space.fragments.values() for f in found]
    done, open_ = set(), [(f,) for f in everything if f.start is None]
    while open_:
        path = open_.pop()
        if path[-1].last:
            done.add(tuple(f.key for f in path))
            continue
        for f in everything:
            joins = f.start is not None and f not in path
            if joins and (search.follows(path[-1], f) or not stitch.compatible(path[-1].stop, f.start)):
                open_.append((*path, f))
    return done


def test_an_unlimited_search_finds_every_route_once():
    asked = space()
    nets = every_net(asked)
    routes = [tuple(link.fragment.key for link in net.links) for net in nets]
    assert len(routes) == len(set(routes)) > 20
    assert set(routes) == brute_force(asked)
    assert len({net.name for net in nets}) == len(nets)


def test_costs_are_those_of_the_parts():
    asked = space()
    net = next(n for n in every_net(asked) if n.name == "A1-B3")
    a, b = asked.fragments["A"], asked.fragments["B"]
    joint = a[0].stop.layout, b[2].start.layout  # type: ignore[union-attr]
    head = asked.head(b[-1])
    assert net.macs == a[0].macs + stitch.macs(*joint) + sum(f.macs for f in b[2:]) + head[0]
    assert net.params == a[0].params + stitch.params(*joint) + sum(f.params for f in b[2:]) + head[1]


def test_going_on_in_a_member_is_exact_and_runs_nothing():
    asked = space()
    whole = next(n for n in every_net(replace(asked, limits=replace(ALL, top=1))) if n.name == "A")
    assert whole.overall == pytest.approx(1.0)
    assert all(link.r2 is None for link in whole.links)
    activations = asked.activations
    assert isinstance(activations, Linear)
    activations.runs.clear()
    stitches, features = search.refitted(asked, whole)
    assert not stitches
    assert not activations.runs
    np.testing.assert_array_equal(features, activations.native("A", asked.fragments["A"][-1].stop).reshape(N, -1))


def test_stitches_of_a_net_are_found_again():
    asked = space()
    net = next(n for n in every_net(asked) if n.name.count("-") == 2)
    stitches, features = search.refitted(asked, net)
    assert len(stitches) == 2
    assert judge(features)[0] == net.loss


def test_top_and_thresholds_cut_the_search():
    wide = every_net(space())
    narrow = every_net(space(limits=replace(ALL, top=1)))
    assert len(narrow) == 2 < len(wide)
    high = space(limits=replace(ALL, least_overall=0.5))
    found = [search.search(high, first) for first in search.starts(high)]
    kept = {n.name for f in found for n in f.nets}
    assert kept == {n.name for n in wide if n.overall >= 0.5}
    assert any("--least-overall" in words.sentence(n.refused) for f in found for n in f.refused)
    deep = every_net(space(limits=replace(ALL, depth=3)))
    assert {n.name for n in deep} == {n.name for n in wide if len(n.links) <= 3}


@pytest.mark.parametrize("figure", ["macs", "params"])
def test_a_budget_in_the_search_loses_no_net_that_fits(figure):
    wide = every_net(space())
    limit = sorted(getattr(n, figure) for n in wide)[len(wide) // 3]

    def refuse(parts, macs, params):
        value = {"macs": macs, "params": params}[figure]
        return over(f"{figure}<={limit}", figure, value) if value > limit else None

    asked = space(refuse=refuse)
    within = every_net(asked)
    assert {n.name for n in within} == {n.name for n in wide if getattr(n, figure) <= limit}
    runs = [sum(1 for _ in t.activations.runs) for t in (asked, space())]  # type: ignore[attr-defined]
    assert runs[0] < len(wide) * 3  # it did not run what cannot fit
    narrow = every_net(space(limits=replace(ALL, top=2)))
    fitting = {n.name for n in narrow if getattr(n, figure) <= limit}
    assert fitting <= {n.name for n in every_net(space(limits=replace(ALL, top=2), refuse=refuse))}


def test_nothing_within_a_budget_is_said_of_the_start():
    found = search.search(
        space(refuse=lambda parts, macs, params: over("macs<=1", "macs", macs)), space().fragments["A"][0]
    )
    assert not found.nets
    assert {words.sentence(r): n for r, n in found.ended.items()} == {"over the budget macs<=1": 1}


def test_enough_nets_of_one_start_end_the_search():
    asked = space(limits=replace(ALL, nets=3))
    found = search.search(asked, search.starts(asked)[0])
    assert len(found.nets) == 3
    assert any("enough" in words.sentence(reason) for reason in found.ended)


def test_the_real_loss_ranks_instead():
    by_loss = space(rank_by="loss", limits=replace(ALL, top=1))
    first = search.starts(by_loss)[0]
    net = search.search(by_loss, first).nets[0]
    walk, losses = search._Walk(by_loss), {}
    for found in by_loss.fragments.values():
        for f in found[1:]:
            if search.follows(first, f) or not stitch.compatible(first.stop, f.start):  # type: ignore[arg-type]
                losses[f.key] = walk._loss(first, None, f)
    profile = by_loss.activations.profile("A", first.stop)
    known = {f.key: f for found in by_loss.fragments.values() for f in found}
    scores = {k: cka.alike(profile, by_loss.activations.profile(k[0], known[k].start)) for k in losses}  # type: ignore
    shortlist = sorted(losses, key=lambda k: (-scores[k], k))[:3]
    assert net.links[1].fragment.key == min(shortlist, key=lambda k: (losses[k], k))
    by_score = search.search(replace(by_loss, rank_by="score"), first).nets[0]
    assert by_score.links[1].fragment.key == shortlist[0]


def test_the_papers_score_takes_noise_for_likeness():
    rng = np.random.default_rng(0)
    biased, debiased = [], []
    for _ in range(10):
        x, y = rng.normal(size=(32, 3000)), rng.normal(size=(32, 3000))
        biased.append(cka.alike(*(cka.profile(z, debiased=False) for z in (x, y))))
        debiased.append(cka.alike(*(cka.profile(z) for z in (x, y))))
        assert debiased[-1] == pytest.approx(cka.cka(x, y))
    assert min(biased) > 0.95
    assert abs(np.mean(debiased)) < 0.05
    assert np.max(np.abs(debiased)) < 0.2


def test_names_and_pieces_of_a_route():
    pool = space().fragments
    a, b = pool["A"], pool["B"]
    parts = [a[0], b[1], b[2], a[2]]
    assert search.named(parts) == "A1-B2_3-A3"
    pieces = search.route(parts)
    assert [(p.anchor, p.start, p.stop) for p in pieces] == [
        ("A", None, "c0"),
        ("B", "c0", "c2"),
        ("A", "c1", FEATURES),
        ("head", None, None),
    ]
