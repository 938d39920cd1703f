"""The closed-form stitches that routes start with, by jump: of all pairs of cuts of two anchors, and inside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from restnet_tf.family import one_pass
from restnet_tf.family.family import Family
from restnet_tf.methods.restnet import jumps
from restnet_tf.methods.restnet.jumps import Jump, Path, Places
from restnet_tf.methods.restnet.options import Options
from restnet_tf.records import Plan, Stitch
from restnet_tf.similarity.pair_sums import PairKey
from restnet_tf.stitches.closed_form import closed
from restnet_tf.stitches.step import Solution


@dataclass(frozen=True)
class Starts:
    """Solutions of jumps: ``between`` two anchors as pairs of cuts, and ``inside`` one."""

    places: Places
    between: Mapping[PairKey, Solution] = field(default_factory=dict)
    inside: Mapping[Jump, Solution] = field(default_factory=dict)

    def of(self, plan: Plan) -> tuple[Stitch, ...]:
        """The stitches of a route, one a jump."""
        path = jumps.path(plan, self.places)
        return tuple(closed(self._solution(jump), *jumps.ends(self.places, jump)) for jump in path)

    def r2(self, path: Path) -> float:
        """Of the jump that explains the least of its target."""
        return min(self._solution(jump).r2 for jump in path)

    def _solution(self, jump: Jump) -> Solution:
        (role, i), (other, j) = jump
        return self.inside[jump] if role == other else self.between[role, i, j]


def inside(family: Family[Options], every: Sequence[Jump]) -> dict[Jump, Solution]:
    """The closed-form stitches of jumps that each stay in one anchor, from the run or computed into it."""
    solved = family.run.load_starts()
    if solved is None:
        solved = {}
        for role in family.anchors:
            ends = [(i, j) for (one, i), (_, j) in every if one == role]
            solutions = one_pass.of_jumps(family, role, ends) if ends else {}
            solved |= {f"{role}.{i}.{j}": one for (i, j), one in solutions.items()}
        family.run.save_starts(solved)
    return {jump: solved[f"{jump[0][0]}.{jump[0][1]}.{jump[1][1]}"] for jump in every}
