"""Routes as paths over the places of all anchors: blocks run, and jumps between them.

A jump leads from a cut to another anchor, ahead in the same one (blocks left out), or to the classes (an exit). Every
route is such a path: a stitched pair has one jump, a network that leaves blocks out has one for each gap.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from math import nan

from restnet_tf.graph.costs import Costs
from restnet_tf.records import Cut, Piece, Plan, Reason, RestnetError
from restnet_tf.stitches import stitch

# By role, the cuts of an anchor from the first on, and behind them the classes where exits can go on there.
Places = Mapping[str, Sequence[Cut]]
Place = tuple[str, int]  # role and index
# The places that a jump leaves and goes on at; a path is jumps in their order, with a block run between two.
Jump = tuple[Place, Place]
Path = tuple[Jump, ...]

# Of the anchor's MACs, what a path that stays in it keeps at least, but for an exit: with less, training no longer
# makes up for what is gone.
LEAST_SHARE = 0.5
EXIT = "exit"


def ahead(role: str, cuts: Sequence[Cut]) -> tuple[Jump, ...]:
    """Every jump ahead to a cut of the same shape whose stitch costs less than what it leaves out."""
    pairs = ((a, b) for a in cuts for b in cuts if a.index < b.index and a.layout == b.layout)
    every = (((role, a.index), (role, b.index)) for a, b in pairs if not stitch.compatible(a, b))
    return tuple(jump for jump in every if saved({role: cuts}, jump) > 0)


def exits(role: str, cuts: Sequence[Cut]) -> tuple[Jump, ...]:
    """The jump from every grid and sequence of tokens to the classes; none where exits cannot go on there."""
    last = cuts[-1]
    if not _classes(last):
        return ()
    every = (((role, cut.index), (role, last.index)) for cut in cuts if cut.kind != "vector")
    return tuple(jump for jump in every if saved({role: cuts}, jump) > 0)


def saved(places: Places, jump: Jump) -> int:
    """MACs between two places of an anchor that a jump saves, less those of its stitch."""
    a, b = ends(places, jump)
    return b.macs_before - a.macs_before - stitch.macs(a.layout, b.layout)


def ends(places: Places, jump: Jump) -> tuple[Cut, Cut]:
    """The cuts of a jump."""
    (one, i), (other, j) = jump
    return places[one][i], places[other][j]


def is_exit(places: Places, jump: Jump) -> bool:
    """Whether a jump leads to the classes."""
    return _classes(ends(places, jump)[1])


def plan(
    path: Path,
    places: Places,
    whole: Mapping[str, Costs],
    refuse: Callable[[int, int], Reason | None] = lambda macs, params: None,
) -> Plan:
    """The route of a path, with what it costs: a candidate, or out for a reason; ``whole`` are anchors by role."""
    macs, params = _costs(path, places, whole)
    roles = {role for jump in path for role, _ in jump}
    alone = len(roles) == 1 and not is_exit(places, path[-1])
    short = alone and macs < LEAST_SHARE * whole[min(roles)].macs
    reason = Reason("too_little_left", limit=LEAST_SHARE) if short else refuse(macs, params)
    return Plan(
        name=name(path, places),
        route=tuple(pieces(path, places)),
        macs=macs,
        params=params,
        cka=nan,
        r2=nan,
        status="rejected" if reason else "candidate",
        reason=reason,
        cuts=tuple(index for jump in path for _, index in jump),
    )


def _costs(path: Path, places: Places, whole: Mapping[str, Costs]) -> tuple[int, int]:
    """MACs, and parameters: a stretch that a route runs twice has its weights once."""
    macs, params, weights = 0, 0, {}
    for (role, start), (_, stop) in _stretches(path, places):
        cuts = places[role]
        macs += _at(cuts, stop, whole[role].macs, "macs_before") - _at(cuts, start, 0, "macs_before")
        bounds = [(at, at + 1) for at in range(start, stop)]
        for one, other in bounds:
            before = _at(cuts, one, 0, "params_before")
            weights[role, one] = _at(cuts, other, whole[role].params, "params_before") - before
    for jump in path:
        a, b = (cut.layout for cut in ends(places, jump))
        macs, params = macs + stitch.macs(a, b), params + stitch.params(a, b)
    return macs, params + sum(weights.values())


def _at(cuts: Sequence[Cut], index: int, beyond: int, figure: str) -> int:
    """A figure up to a place: -1 is the input, one behind the last place the output."""
    if index < 0:
        return 0
    return int(getattr(cuts[index], figure)) if index < len(cuts) else beyond


def _stretches(path: Path, places: Places) -> Iterator[tuple[Place, Place]]:
    """What a path runs, each from a place of an anchor (-1: its input) to another one (behind the last: its output)."""
    starts = [(path[0][0][0], -1), *(landing for _, landing in path)]
    last = path[-1][1][0]
    return zip(starts, [*(leaving for leaving, _ in path), (last, len(places[last]))], strict=True)


def name(path: Path, places: Places) -> str:
    """The places that a path leaves and goes on at, in turns.

    ``L3-L5-L12-L14`` leaves out blocks 4, 5, 13 and 14, ``L3-exit`` ends at the classes.
    """
    return "-".join(
        EXIT if _classes(places[role][index]) else f"{role[0].upper()}{index}" for jump in path for role, index in jump
    )


def pieces(path: Path, places: Places) -> Iterator[Piece]:
    """The stretches of anchors that a path runs through."""

    def cut(place: Place) -> str | None:
        role, index = place
        return places[role][index].name if 0 <= index < len(places[role]) else None

    return (Piece(start[0], cut(start), cut(stop)) for start, stop in _stretches(path, places))


def check(plans: Sequence[Plan], places: Places, possible: Sequence[Jump]) -> None:
    """Refuse (``RestnetError``) chosen plans that are no path of these jumps."""
    allowed = set(possible)
    for one in plans:
        if one.status != "chosen":
            continue
        if len(one.route) < 2:
            raise RestnetError(
                f"plan {one.name} has {len(one.route)} piece; a route has two or more, and jumps from each to the next"
            )
        through = path(one, places)
        runs = [(start, stop) for (_, start), (_, stop) in _stretches(through, places)]
        if not allowed.issuperset(through) or any(stop <= start for start, stop in runs):
            raise RestnetError(
                f"plan {one.name} cannot be built: a route jumps ahead in the large anchor to a cut of the same shape,"
                " to a cut of another anchor that a stitch can join, or at last to the classes, with a block run"
                " between two jumps"
            )


def between(one: Plan) -> bool:
    """Whether a route has one jump, from an anchor to another."""
    return [piece.anchor for piece in one.route] in (["large", "small"], ["small", "large"])


def inside(one: Plan) -> bool:
    """Whether a route jumps and stays in one anchor."""
    return len(one.route) > 1 and len({piece.anchor for piece in one.route}) == 1


def path(one: Plan, places: Places) -> Path:
    """The jumps of a route; raises ``RestnetError`` where it names no place of an anchor."""
    return tuple(
        (_place(one, places, a.anchor, a.stop), _place(one, places, b.anchor, b.start)) for a, b in pairwise(one.route)
    )


def _place(one: Plan, places: Places, role: str, name: str | None) -> Place:
    names = [cut.name for cut in places.get(role, ())]
    if name not in names:
        raise RestnetError(
            f"plan {one.name} names no cut of the {role} anchor with {name}; there are: {', '.join(names)}"
        )
    return role, names.index(name)


def _classes(cut: Cut) -> bool:
    return cut.kind == "vector" and not cut.macs_after
