"""Which settings of a chain are worth having, and why none is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from restnet_tf.cascades import proof
from restnet_tf.cascades.chains import StageCandidate, StageChain
from restnet_tf.cascades.courses import ROUNDING, Course
from restnet_tf.points.select import exceeded
from restnet_tf.records import Reason
from tflite_export.budget import Term


@dataclass(frozen=True, eq=False)
class Grounds:
    """What chains are weighed by: candidates, the cheapest first, labels ``(n,)`` of the rank split, and limits."""

    candidates: tuple[StageCandidate, ...]
    labels: np.ndarray
    terms: tuple[Term, ...]

    @cached_property
    def macs(self) -> np.ndarray:
        """Of the candidates ``(m,)``."""
        return np.array([c.macs for c in self.candidates], float)

    @cached_property
    def right(self) -> np.ndarray:
        """Hits of the candidates ``(m, n)``."""
        return np.stack([c.probabilities["rank"].argmax(axis=1) == self.labels for c in self.candidates])

    @property
    def mean_macs_limit(self) -> float:
        """Of the budget."""
        return min((t.limit for t in self.terms if t.name == "mean.macs"), default=np.inf)

    def rows(self, chain: StageChain) -> list[int]:
        """Where a chain's stages stand among the candidates."""
        names = [c.name for c in self.candidates]
        return [names.index(stage) for stage in chain.stages]

    def near_front(self) -> list[StageCandidate]:
        """Candidates that no other of no more cost beats by more than noise."""
        lead, error = proof.leads(self.right, self.right)
        beaten = np.any((lead > error) & (self.macs[:, None] <= self.macs[None]), axis=0)
        return [c for c, out in zip(self.candidates, beaten.tolist(), strict=True) if not out]

    def over_chord(self, course: Course) -> tuple[np.ndarray, np.ndarray]:
        """The lead ``(s,)`` of a course over the chord of its stages, with its standard error."""
        stages = self.rows(course.chain)
        return proof.over_chord(course, self.macs[stages], self.right[stages])


@dataclass(frozen=True, eq=False)
class Place:
    """A course at one of its settings."""

    course: Course
    setting: int

    @property
    def hits(self) -> np.ndarray:
        """Which images of the rank split are right ``(n,)``."""
        return self.course.hits[self.setting]

    @property
    def score(self) -> float:
        """The share of them."""
        return float(self.hits.mean())

    @property
    def mean_macs(self) -> float:
        """On the rank split."""
        return float(self.course.mean_macs[self.setting])

    @property
    def agreement(self) -> float:
        """The share of images that are answered as the dearest candidate does."""
        return float(self.course.agreement[self.setting])


@dataclass(frozen=True, eq=False)
class Weighed:
    """A course, which of its settings ``(s,)`` are worth having, and the reason where none is."""

    course: Course
    worthy: np.ndarray
    reason: Reason | None = None

    def dearest(self, over: float, limit: float) -> Place | None:
        """The last setting that is worth having, of more than one mean cost and no more than another."""
        macs = self.course.mean_macs
        (within,) = np.nonzero(self.worthy & (macs > over * ROUNDING) & (macs <= limit * ROUNDING))
        return Place(self.course, int(within[-1])) if len(within) else None


def weigh(course: Course, grounds: Grounds) -> Weighed:
    """Worth having is what is useful, within the budget, and better than its rivals by more than a standard error.

    Rivals are the networks of fixed cost, and the chord of the chain's own stages. The useful range begins with the
    first setting that goes on at all, and ends where going on more often gains nothing that can be told.
    """
    places = np.arange(len(course.mean_macs))
    useful = (places > 0) & (places <= proof.useful_end(course))
    within = useful & (course.mean_macs <= grounds.mean_macs_limit)
    ratio, rival = proof.over_fixed(course, grounds.macs, grounds.right)
    lead, error = grounds.over_chord(course)
    worthy = within & (ratio > 1) & (lead > error)
    if worthy.any():
        return Weighed(course, worthy)
    if not useful.any():
        return Weighed(course, worthy, Reason("no_better_on_mean", rival=course.chain.stages[0]))
    if not within.any():
        cheapest = float(course.mean_macs[useful].min())
        return Weighed(course, worthy, exceeded(grounds.terms, **{"mean.macs": cheapest}))
    best = int(np.where(within, course.scores, -1).argmax())
    if ratio[best] > 1:
        return Weighed(course, worthy, Reason("on_chord"))
    return Weighed(course, worthy, Reason("no_better_on_mean", rival=grounds.candidates[rival[best]].name))


def over_budget(chain: StageChain, terms: Sequence[Term]) -> Reason | None:
    """Whether its worst case is over the budget."""
    return exceeded(terms, macs=chain.worst_macs)
