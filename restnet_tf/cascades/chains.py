"""Candidates and the chains that can be made of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations, pairwise

import numpy as np

# Chains of three are as many as the third power of the stages that they are made of: 220 of these.
_MOST_IN_THREES = 12


@dataclass(frozen=True, eq=False)
class StageCandidate:
    """A network of fixed cost that a stage can be, with its probabilities ``(n, c)`` by split ("rank", "test").

    ``resumes`` maps the name of a possible stage before it to the MACs that going on from that one's own front
    takes, where that is possible.
    """

    name: str
    macs: int
    probabilities: Mapping[str, np.ndarray]
    resumes: Mapping[str, int] = field(default_factory=dict)

    def after(self, stage: StageCandidate) -> int:
        """The MACs that this one adds behind another stage."""
        return min(self.macs, self.resumes.get(stage.name, self.macs))


@dataclass(frozen=True)
class StageChain:
    """Stages by name, cheapest first, the MACs that each adds when it runs, and whether it goes on from a front."""

    stages: tuple[str, ...]
    macs: tuple[int, ...]
    resumed: tuple[bool, ...]

    @property
    def name(self) -> str:
        """As users write it: ``small>large``."""
        return ">".join(self.stages)

    @property
    def worst_macs(self) -> int:
        """Of an input that goes through all stages."""
        return sum(self.macs)

    @property
    def simplicity(self) -> tuple[int, int, str]:
        """Of two chains that nothing tells apart, the one of the lesser key is taken."""
        return len(self.stages), self.worst_macs, self.name


def chains(candidates: Iterable[StageCandidate], front: Sequence[StageCandidate]) -> tuple[StageChain, ...]:
    """All chains of two, and those of three whose stages are on the front or near it; each stage dearer than the last.

    A chain that can go on from its first stage's front does so: its answers are the same, and it costs less.
    """
    pairs = combinations(by_cost(candidates), 2)
    threes = combinations(_thinned(by_cost(front)), 3)
    return tuple(_chain(stages) for stages in (*pairs, *threes) if _dearer_each(stages))


def by_cost(candidates: Iterable[StageCandidate]) -> list[StageCandidate]:
    """The cheapest first."""
    return sorted(candidates, key=lambda c: (c.macs, c.name))


def _dearer_each(stages: Sequence[StageCandidate]) -> bool:
    return all(one.macs < other.macs for one, other in pairwise(stages))


def _chain(stages: Sequence[StageCandidate]) -> StageChain:
    added = [later.after(stage) for stage, later in pairwise(stages)]
    return StageChain(
        tuple(s.name for s in stages),
        (stages[0].macs, *added),
        (False, *(more < later.macs for more, later in zip(added, stages[1:], strict=True))),
    )


def _thinned(front: list[StageCandidate]) -> list[StageCandidate]:
    """At most so many, both ends among them, spread evenly over the order of their costs."""
    if len(front) <= _MOST_IN_THREES:
        return front
    return [front[i] for i in np.linspace(0, len(front) - 1, _MOST_IN_THREES).round().astype(int)]
