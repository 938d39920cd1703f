"""The rule of the front: by any points it keeps what nothing of no more cost beats."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from restnet_tf.methods.snnet import draws
from restnet_tf.methods.stitchnet import nets
from restnet_tf.methods.stitchnet.search import Net
from restnet_tf.points import front

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
