"""Which routes are worth building: costs and similarity narrow, the real loss decides.

Decide, then apply: every pair of cuts ends up in the result, chosen or rejected with its reason, so
that a person may read the file, disagree and edit it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from restnet_tf import words
from restnet_tf.graph.costs import Costs
from restnet_tf.records import Cut, Piece, Plan, Reason, RestnetError
from restnet_tf.similarity import rankings
from restnet_tf.similarity.features import Statistics
from restnet_tf.similarity.pair_sums import PairKey, other
from restnet_tf.stitches import stitch

ORDERS = {"both": ("large", "small"), "large-small": ("large",), "small-large": ("small",)}
# Closed-form trials through the real back for each point wanted; each takes about half a second on CIFAR.
TRIALS = 6


def propose(
    cut_lists: Mapping[str, tuple[Cut, ...]],
    statistics: Statistics,
    anchors: Mapping[str, Costs],
    *,
    order: str = "both",
    rank_by: str = "r2",
    points: int = 8,
    refuse: Callable[[int, int], Reason | None] = lambda macs, params: None,
    within: Callable[[Sequence[Plan]], Sequence[Plan]] = tuple,
    seed: int = 0,
) -> tuple[Plan, ...]:
    """A plan for every pair of cuts: candidates (the shortlist) and rejects with their reasons.

    The shortlist holds the pairs of the highest CKA or R2, or some drawn by ``seed``, in each of ``points`` equal
    intervals of cost between the anchors, so that it covers the range. ``refuse`` turns MACs and parameters over
    the user's budget into a reason, and ``within`` rejects plans whose files would be over it.
    """
    assessed = [
        _assess(cut_lists, statistics, anchors, (source, i, j), refuse)
        for source in ORDERS[order]
        for i in range(len(cut_lists[source]))
        for j in range(len(cut_lists[other(source)]))
    ]
    plans = within(assessed)
    rank = rankings.ranks(plans, rank_by, seed)
    reason = Reason("not_shortlisted", count=TRIALS, figure=rank_by)
    bounds = anchors["small"].macs, anchors["large"].macs
    return shortlist(plans, bounds, points, lambda p: -rank[p.name], reason)


def shortlist(
    plans: Iterable[Plan],
    bounds: tuple[int, int],
    points: int,
    rank: Callable[[Plan], float],
    reason: Reason,
    trials: int = TRIALS,
) -> tuple[Plan, ...]:
    """Of the candidates in each interval of cost some of the lowest rank, the others rejected for this reason."""
    plans, shortlisted = tuple(plans), set()
    for group in _intervals([p for p in plans if p.status == "candidate"], *bounds, points):
        shortlisted |= {p.name for p in sorted(group, key=lambda p: (rank(p), p.name))[:trials]}
    return tuple(
        replace(p, status="rejected", reason=reason) if p.status == "candidate" and p.name not in shortlisted else p
        for p in plans
    )


def choose(plans: Iterable[Plan], bounds: tuple[int, int], points: int = 8) -> tuple[Plan, ...]:
    """Of the candidates, the one with the lowest KL in each of ``points`` equal intervals of MACs."""
    plans = tuple(plans)
    chosen: dict[str, str] = {}
    for group in _intervals([p for p in plans if p.status == "candidate"], *bounds, points):
        winner = min(group, key=lambda p: (p.kl if p.kl is not None else float("inf"), p.macs, p.name))
        chosen |= {p.name: winner.name for p in group}

    def decide(plan: Plan) -> Plan:
        winner = chosen.get(plan.name)
        if winner is None:
            return plan
        if winner == plan.name:
            return replace(plan, status="chosen")
        return replace(plan, status="rejected", reason=Reason("higher_kl", rival=winner))

    return tuple(decide(p) for p in plans)


def check(plans: Sequence[Plan], cut_lists: Mapping[str, tuple[Cut, ...]]) -> None:
    """Refuse plans that name what the anchors do not have; raises ``RestnetError``."""
    for plan in plans:
        source, i, j = key(plan, cut_lists)
        reason = stitch.compatible(cut_lists[source][i], cut_lists[other(source)][j])
        if reason and plan.status == "chosen":
            raise RestnetError(f"plan {plan.name} cannot be built: {words.sentence(reason)}")


def key(plan: Plan, cut_lists: Mapping[str, tuple[Cut, ...]]) -> PairKey:
    """The pair of cuts that a one-stitch plan joins; raises ``RestnetError`` where it names no cut."""
    if len(plan.route) != 2:
        raise RestnetError(f"plan {plan.name} has {len(plan.route)} pieces; a stitched route has two")
    front, back = plan.route
    if {front.anchor, back.anchor} != {"large", "small"} or front.stop is None or back.start is None:
        raise RestnetError(f"plan {plan.name} must join the front of one anchor to the back of the other")
    return (
        front.anchor,
        _index(cut_lists, front.anchor, front.stop),
        _index(cut_lists, back.anchor, back.start),
    )


def _assess(
    cut_lists: Mapping[str, tuple[Cut, ...]],
    statistics: Statistics,
    anchors: Mapping[str, Costs],
    pair: PairKey,
    refuse: Callable[[int, int], Reason | None],
) -> Plan:
    source, i, j = pair
    a, b = cut_lists[source][i], cut_lists[other(source)][j]
    reason = stitch.compatible(a, b) or stitch.exchanged(a, b, other(source))
    macs = a.macs_before + b.macs_after
    params = a.params_before + b.params_after
    if not reason:
        macs += stitch.macs(a.layout, b.layout)
        params += stitch.params(a.layout, b.layout)
        if macs >= anchors["large"].macs:
            reason = Reason("as_dear_as_anchor", rival="large")
        elif macs <= anchors["small"].macs:
            reason = Reason("as_cheap_as_anchor", rival="small")
        else:
            reason = refuse(macs, params)
    return Plan(
        name=f"{source[0].upper()}{i}-{other(source)[0].upper()}{j}",
        route=(Piece(source, None, a.name), Piece(other(source), b.name, None)),
        macs=macs,
        params=params,
        cka=float(statistics.cka[i, j] if source == "large" else statistics.cka[j, i]),
        r2=statistics.r2(pair),
        status="rejected" if reason else "candidate",
        reason=reason,
        cuts=(i, j),
    )


def _intervals(plans: Iterable[Plan], low: int, high: int, count: int) -> list[list[Plan]]:
    """Plans by equal intervals of MACs between the anchors; empty ones left out. What costs less has one of its own."""
    groups: dict[int, list[Plan]] = {}
    for plan in plans:
        at = max(-1, min(count - 1, (plan.macs - low) * count // max(1, high - low)))
        groups.setdefault(at, []).append(plan)
    return [groups[at] for at in sorted(groups)]


def _index(cut_lists: Mapping[str, tuple[Cut, ...]], role: str, name: str) -> int:
    for cut in cut_lists[role]:
        if cut.name == name:
            return cut.index
    names = ", ".join(cut.name for cut in cut_lists[role])
    raise RestnetError(f"the {role} anchor has no cut named {name}; it has: {names}")
