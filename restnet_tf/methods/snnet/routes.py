"""From windows to configurations: every route through neighbouring anchors, chosen or rejected with its reason."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import nan

from restnet_tf.graph.costs import Costs
from restnet_tf.methods.snnet import windows
from restnet_tf.methods.snnet.windows import Sliding, Window
from restnet_tf.records import Cut, Piece, Plan, Reason
from restnet_tf.stitches import stitch

ORDERS = ("small-large", "large-small", "both")


@dataclass(frozen=True)
class Chain:
    """Anchors in the order of their costs: cuts, costs and image sizes, by role from the cheapest on."""

    cut_lists: Mapping[str, Sequence[Cut]]
    costs: Mapping[str, Costs]
    sizes: Mapping[str, int]

    @property
    def neighbours(self) -> list[tuple[str, str]]:
        """Each anchor with the next costlier one."""
        roles = list(self.costs)
        return list(pairwise(roles))

    def windows(self, front: str, back: str, sliding: Sliding) -> tuple[Window, ...]:
        """The windows from one anchor to another."""
        return windows.between(self.cut_lists, front, back, sliding, self.sizes[front] / self.sizes[back])

    def cut(self, role: str, index: int) -> Cut:
        """A cut of an anchor."""
        return next(c for c in self.cut_lists[role] if c.index == index)


def propose(
    chain: Chain,
    sliding: Sliding,
    *,
    order: str = "small-large",
    two_stitch: bool = False,
    most: int | None = None,
    refuse: Callable[[int, int], Reason | None] = lambda macs, params: None,
    within: Callable[[Sequence[Plan]], Sequence[Plan]] = tuple,
) -> tuple[Plan, ...]:
    """All configurations of neighbouring anchors, chosen or rejected; ``most`` of them at most, evenly by cost.

    ``two_stitch`` adds routes that leave an anchor for its neighbour and come back (SN-Netv2), through the
    last pair of each window. ``refuse`` turns MACs and parameters over the user's budget into a reason, and
    ``within`` rejects plans whose files would be over it.
    """
    plans: dict[str, Plan] = {}
    for small, large in chain.neighbours:
        bounds = chain.costs[small].macs, chain.costs[large].macs
        ways = {"small-large": [(small, large)], "large-small": [(large, small)]}
        for front, back in ways.get(order, ways["small-large"] + ways["large-small"]):
            ends = [(front, i, back, j) for w in chain.windows(front, back, sliding) for i, j in w.pairs]
            assessed = [_assessed(chain, [end], bounds, refuse) for end in ends]
            plans |= {p.name: p for p in assessed}
        if two_stitch:
            assessed = [_assessed(chain, ends, bounds, refuse) for ends in _returning(chain, small, large, sliding)]
            plans |= {p.name: p for p in assessed}
    return _thinned(tuple(within(tuple(plans.values()))), most)


def joints(plan: Plan, cut_lists: Mapping[str, Sequence[Cut]]) -> list[tuple[str, int, str, int]]:
    """Where a route changes anchors: (front, cut, back, cut), cuts by index."""
    index = {role: {c.name: c.index for c in cuts} for role, cuts in cut_lists.items()}
    return [
        (a.anchor, index[a.anchor][str(a.stop)], b.anchor, index[b.anchor][str(b.start)])
        for a, b in pairwise(plan.route)
    ]


_Joint = tuple[str, int, str, int]


def _returning(chain: Chain, small: str, large: str, sliding: Sliding) -> list[list[_Joint]]:
    """Pairs of joints: away from an anchor to its neighbour, at least one block there, and forwards again."""
    pairs: list[list[_Joint]] = []
    sliding = replace(sliding, share=True)  # or every pair were a window
    for outer, inner in ((small, large), (large, small)):
        there, again = ([w.pairs[-1] for w in chain.windows(*way, sliding)] for way in ((outer, inner), (inner, outer)))
        for i, j in there:
            pairs += [[(outer, i, inner, j), (inner, k, outer, m)] for k, m in again if k > j and m > i]
    return pairs


def _assessed(
    chain: Chain,
    ends: Sequence[_Joint],
    bounds: tuple[int, int],
    refuse: Callable[[int, int], Reason | None],
) -> Plan:
    """The route through these joints, with what it costs and why it is out, if it is."""
    pairs = [(chain.cut(front, i), chain.cut(back, j)) for front, i, back, j in ends]
    reason = next((r for a, b in pairs if (r := stitch.compatible(a, b))), None)
    if len(pairs) == 1:
        reason = reason or stitch.exchanged(*pairs[0], ends[0][2])
    macs = pairs[0][0].macs_before + pairs[-1][1].macs_after
    params = pairs[0][0].params_before + pairs[-1][1].params_after
    for (_, start), (stop, _) in pairwise(pairs):
        macs += stop.macs_before - start.macs_before
        params += stop.params_before - start.params_before
    if not reason:
        macs += sum(stitch.macs(a.layout, b.layout) for a, b in pairs)
        params += sum(stitch.params(a.layout, b.layout) for a, b in pairs)
        if macs >= bounds[1]:
            reason = Reason("as_dear_as_neighbour")
        elif macs <= bounds[0]:
            reason = Reason("as_cheap_as_neighbour")
        else:
            reason = refuse(macs, params)
    return Plan(
        name="-".join(f"{front}{i}-{back}{j}" for front, i, back, j in ends),
        route=_pieces(ends, pairs),
        macs=macs,
        params=params,
        cka=nan,
        r2=nan,
        status="rejected" if reason else "chosen",
        reason=reason,
        cuts=tuple(index for _, i, _, j in ends for index in (i, j)),
    )


def _pieces(ends: Sequence[_Joint], pairs: Sequence[tuple[Cut, Cut]]) -> tuple[Piece, ...]:
    starts = [(ends[0][0], None), *((end[2], b.name) for end, (_, b) in zip(ends, pairs, strict=True))]
    stops = [*(a.name for a, _ in pairs), None]
    return tuple(Piece(role, start, stop) for (role, start), stop in zip(starts, stops, strict=True))


def _thinned(plans: tuple[Plan, ...], most: int | None) -> tuple[Plan, ...]:
    """Without those beyond ``most``: what is kept lies evenly in the order of cost."""
    chosen = _by_cost(p for p in plans if p.status == "chosen")
    if most is None or len(chosen) <= most:
        return plans
    names = {chosen[(2 * i + 1) * len(chosen) // (2 * most)].name for i in range(most)}
    reason = Reason("thinned", count=most)
    return tuple(
        replace(p, status="rejected", reason=reason) if p.status == "chosen" and p.name not in names else p
        for p in plans
    )


def _by_cost(plans: Iterable[Plan]) -> list[Plan]:
    return sorted(plans, key=lambda p: (p.macs, p.name))
