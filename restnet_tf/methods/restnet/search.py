"""The best paths of several jumps: what each jump does alone is measured, and a path is taken to do all of it together.

A jump alone does a damage: the KL of its closed-form stitch through the real rest of its network. A block of an anchor
that is worse than the teacher does its share of that anchor's own KL; so what is summed up along the path of a single
jump is what was measured of it. Dynamic programming finds the least sum at every cost; what the few best paths really
do is for trials of the whole to say.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from restnet_tf.methods.restnet import jumps
from restnet_tf.methods.restnet.jumps import Jump, Path, Place, Places
from restnet_tf.stitches import stitch

MOST_JUMPS = 6
# Costs are told apart in such shares of the dearest anchor: of paths that cost as much, the best one is kept.
_SHARES = 128


@dataclass(frozen=True)
class JumpGraph:
    """What paths lead through.

    ``whole`` are the MACs of the anchors by role, ``bases`` what each alone is from the teacher (KL, nats), and
    ``kls`` those of the networks of one jump.
    """

    places: Places
    whole: Mapping[str, int]
    bases: Mapping[str, float]
    kls: Mapping[Jump, float]

    def run(self, role: str, start: int, stop: int) -> tuple[int, float]:
        """MACs and damage of the blocks between two places: -1 is the input, one behind the last the output."""
        cuts, whole = self.places[role], self.whole[role]
        before, behind = (0 if at < 0 else cuts[at].macs_before if at < len(cuts) else whole for at in (start, stop))
        return behind - before, self.bases[role] * (behind - before) / max(1, whole)

    def jump(self, jump: Jump) -> tuple[int, float]:
        """MACs of a stitch, and the damage that it does beside that of the blocks around it."""
        (front, i), (back, j) = jump
        a, b = jumps.ends(self.places, jump)
        around = self.run(front, -1, i)[1] + self.run(back, j, len(self.places[back]))[1]
        return stitch.macs(a.layout, b.layout), self.kls[jump] - around


_State = tuple[float, int, Path]  # the damage, the MACs, and the jumps
# By the share of the cost, and whether a path has been in more than one anchor or at the classes: the best of each.
_Best = dict[tuple[int, bool], _State]


def paths(graph: JumpGraph, least: int, most: int) -> dict[Path, float]:
    """The paths of the least damage in sum that cost from ``least`` to ``most`` MACs, with that sum.

    One for every cost, number of jumps (two or more) and anchor at the end; of those that stay in one anchor to its
    own classifier one more.
    """
    leaving: dict[Place, list[Jump]] = {}
    for jump in graph.kls:
        leaving.setdefault(jump[0], []).append(jump)
    unit = max(1, max(graph.whole.values()) // _SHARES)
    # At each place the best paths that have just landed there; at first those that begin at an input.
    landed: dict[Place, _Best] = {(role, -1): {(0, False): (0.0, 0, ())} for role in graph.places}
    ended: dict[Path, float] = {}
    for count in range(MOST_JUMPS + 1):
        onward: dict[Place, _Best] = {}
        for role in graph.places:
            running = _through(graph, role, landed, unit, most)
            if count > 1:
                whole = running.pop((role, len(graph.places[role]))).values()
                ended |= {path: damage for damage, macs, path in whole if macs >= least}
            for place, best in running.items():
                for jump in leaving.get(place, ()):
                    apart = jump[0][0] != jump[1][0] or jumps.is_exit(graph.places, jump)
                    _take(onward.setdefault(jump[1], {}), best, graph.jump(jump), unit, most, (jump,), apart)
        landed = onward
    return ended


def _through(graph: JumpGraph, role: str, landed: Mapping[Place, _Best], unit: int, most: int) -> dict[Place, _Best]:
    """The best paths that come to each place of an anchor, and to its output, over a block at least."""
    running: dict[Place, _Best] = {}
    for at in range(len(graph.places[role]) + 1):
        step = graph.run(role, at - 1, at)
        here = running.setdefault((role, at), {})
        for before in (running.get((role, at - 1), {}), landed.get((role, at - 1), {})):
            _take(here, before, step, unit, most)
    return running


def _take(
    best: _Best,
    states: _Best,
    step: tuple[int, float],
    unit: int,
    most: int,
    more: tuple[Jump, ...] = (),
    apart: bool = False,
) -> None:
    """Take paths in that go one step further, each where it is the best of its cost."""
    for (_, already), (damage, macs, path) in states.items():
        state = damage + step[1], macs + step[0], (*path, *more)
        key = state[1] // unit, already or apart
        if state[1] <= most and (key not in best or state < best[key]):
            best[key] = state


def estimate(graph: JumpGraph, path: Path) -> float:
    """What a path is taken to do: the sum of the damages along it."""
    return sum(damage for _, damage in _steps(graph, path))


def _steps(graph: JumpGraph, path: Path) -> Iterator[tuple[int, float]]:
    (role, _), *_ = path[0]
    at = -1
    for jump in path:
        yield graph.run(role, at, jump[0][1])
        yield graph.jump(jump)
        role, at = jump[1]
    yield graph.run(role, at, len(graph.places[role]))
