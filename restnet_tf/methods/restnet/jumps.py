"""Blocks left out of one anchor: jumps ahead to a cut of the same shape, and the paths that a sum of them makes best.

A jump alone does a damage that is measured: the KL of its closed-form stitch through the real rest of the network. A
path of several is taken to do as much as all of them together; what it really does is tried for the best few alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from math import nan

from restnet_tf.graph.costs import Costs
from restnet_tf.records import Cut, Piece, Plan, Reason, RestnetError
from restnet_tf.stitches import stitch

# The cuts, by index, that a jump leaves and goes on at; a path is jumps in their order, with a block run between two.
Jump = tuple[int, int]
Path = tuple[Jump, ...]

# Of the anchor's MACs, what a path keeps at least: with less, training no longer makes up for what is gone.
LEAST_SHARE = 0.5
_MOST_JUMPS = 6
# MACs saved are told apart in such shares of the whole: of paths that save as much, the best one is kept.
_SHARES = 128


def possible(cuts: Sequence[Cut]) -> tuple[Jump, ...]:
    """Every jump ahead to a cut of the same shape whose stitch costs less than what it leaves out."""
    ahead = ((a, b) for a in cuts for b in cuts if a.index < b.index and a.layout == b.layout)
    fitting = ((a.index, b.index) for a, b in ahead if not stitch.compatible(a, b))
    return tuple(jump for jump in fitting if saved(cuts, jump))


def saved(cuts: Sequence[Cut], jump: Jump) -> int:
    """MACs that a jump saves; 0 where it saves none."""
    a, b = (cuts[i] for i in jump)
    return max(0, b.macs_before - a.macs_before - stitch.macs(a.layout, b.layout))


def paths(cuts: Sequence[Cut], damages: Mapping[Jump, float], whole: int) -> dict[Path, float]:
    """For every number of jumps and every saving up to half of ``whole`` MACs, the path of the least damage in sum."""
    steps: dict[int, list[tuple[Jump, int]]] = {}
    for jump in damages:
        steps.setdefault(jump[0], []).append((jump, saved(cuts, jump)))
    most = int(whole * (1 - LEAST_SHARE))
    # At each cut: the best paths that come to it over a block, and those that have just landed there.
    running: list[_Best] = [{(0, 0): (0.0, 0, ())}, *({} for _ in cuts)]
    landed: list[_Best] = [{} for _ in cuts]
    for at in range(len(cuts)):
        for jump, gain in steps.get(at, ()):
            for damage, before, path in running[at].values():
                if before + gain <= most and len(path) < _MOST_JUMPS:
                    _keep(landed[jump[1]], (damage + damages[jump], before + gain, (*path, jump)), whole)
        for state in (*running[at].values(), *landed[at].values()):
            _keep(running[at + 1], state, whole)
    return {path: damage for damage, _, path in running[-1].values() if path}


_State = tuple[float, int, Path]  # the damage, the MACs saved, and the jumps
_Best = dict[tuple[int, int], _State]


def _keep(best: _Best, state: _State, whole: int) -> None:
    """Take a path in where it is the best of its saving and number of jumps."""
    key = state[1] * _SHARES // whole, len(state[2])
    if key not in best or state < best[key]:
        best[key] = state


def plan(
    role: str,
    cuts: Sequence[Cut],
    path: Path,
    whole: Costs,
    refuse: Callable[[int, int], Reason | None] = lambda macs, params: None,
) -> Plan:
    """The route of a path through an anchor, with what it costs: a candidate, or out for a reason."""
    macs, params = whole.macs, whole.params
    for a, b in _ends(cuts, path):
        macs -= saved(cuts, (a.index, b.index))
        params += stitch.params(a.layout, b.layout) - (b.params_before - a.params_before)
    short = macs < LEAST_SHARE * whole.macs
    reason = Reason("too_little_left", limit=LEAST_SHARE) if short else refuse(macs, params)
    return Plan(
        name=name(role, path),
        route=tuple(pieces(role, cuts, path)),
        macs=macs,
        params=params,
        cka=nan,
        r2=nan,
        status="rejected" if reason else "candidate",
        reason=reason,
        cuts=tuple(cut for jump in path for cut in jump),
    )


def name(role: str, path: Path) -> str:
    """The cuts that a path leaves and goes on at, in turns: ``L3-L5-L12-L14`` leaves out blocks 4, 5, 13 and 14."""
    return "-".join(f"{role[0].upper()}{cut}" for jump in path for cut in jump)


def check(plans: Sequence[Plan], role: str, cuts: Sequence[Cut]) -> None:
    """Refuse (``RestnetError``) chosen plans that are no path through the anchor of this role."""
    allowed = set(possible(cuts))
    for one in plans:
        if one.status != "chosen":
            continue
        through = path(one, cuts)
        steps = [cut for jump in through for cut in jump]
        strange = {piece.anchor for piece in one.route} - {role}
        if strange or not through or not allowed.issuperset(through) or any(b <= a for a, b in pairwise(steps)):
            raise RestnetError(
                f"plan {one.name} cannot be built: a route that leaves blocks out goes through the {role} anchor alone,"
                " ahead from cut to cut of the same shape, with a block run between two jumps"
            )


def inside(one: Plan) -> bool:
    """Whether a route jumps and stays in one anchor."""
    return len(one.route) > 1 and len({piece.anchor for piece in one.route}) == 1


def path(one: Plan, cuts: Sequence[Cut]) -> Path:
    """The jumps of a route through one anchor; raises ``RestnetError`` where it names no cut of it."""
    index = {cut.name: cut.index for cut in cuts}
    names = [(str(a.stop), str(b.start)) for a, b in pairwise(one.route)]
    if unknown := [name for pair in names for name in pair if name not in index]:
        raise RestnetError(f"plan {one.name} names no cut with {unknown[0]}; there are: {', '.join(index)}")
    return tuple((index[a], index[b]) for a, b in names)


def _ends(cuts: Sequence[Cut], path: Path) -> Iterator[tuple[Cut, Cut]]:
    return ((cuts[i], cuts[j]) for i, j in path)


def pieces(role: str, cuts: Sequence[Cut], path: Path) -> Iterator[Piece]:
    """The stretches of an anchor that a path runs through."""
    starts = [None, *(cuts[j].name for _, j in path)]
    stops = [*(cuts[i].name for i, _ in path), None]
    return (Piece(role, start, stop) for start, stop in zip(starts, stops, strict=True))
