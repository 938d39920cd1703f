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

    @cached_property
    def agreeing(self) -> np.ndarray:
        """Where the candidates answer as the dearest one does ``(m, n)``."""
        answers = np.stack([c.probabilities["rank"].argmax(axis=1) for c in self.candidates])
        return answers == answers[-1]

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
        return proof.over_mixtures(course.hits, self.right[stages], self._chord(course, stages))

    def above_chord(self, course: Course, useful: np.ndarray) -> np.ndarray:
        """Whether each setting ``(s,)`` is better than a coin that picks one of the stages.

        None is unless the useful ones together are: of forty settings chance lifts one above the chord in every
        fourth chain whose confidence says nothing.
        """
        stages = self.rows(course.chain)
        shares = self._chord(course, stages)
        sides = (course.hits, self.right[stages]), (course.agreeing, self.agreeing[stages])
        each = [proof.over_mixtures(hits, right, shares) for hits, right in sides]
        together = [proof.along_mixtures(hits[useful], right, shares[useful]) for hits, right in sides]
        return _proved(course, *each) & _proved(course, *together)

    def rival_leads(self, course: Course) -> tuple[np.ndarray, np.ndarray]:
        """How each setting does beside each candidate of no more mean cost ``(s, m)``: proved better, and its lead.

        The lead is in standard errors; beside candidates of more cost it is infinite.
        """
        lead, error = proof.leads(course.hits, self.right)
        better = _proved(course, (lead, error), proof.leads(course.agreeing, self.agreeing))
        dearer = self.macs[None] > course.mean_macs[:, None] * ROUNDING
        ratio = np.where(error > 0, lead / np.maximum(error, 1e-9), 0.0)
        return better | dearer, np.where(dearer, np.inf, ratio)

    def _chord(self, course: Course, stages: list[int]) -> np.ndarray:
        return proof.chord(course.mean_macs, self.macs[stages], self.right[stages].mean(axis=1))


def _proved(
    course: Course, by_labels: tuple[np.ndarray, np.ndarray], by_agreement: tuple[np.ndarray, np.ndarray]
) -> np.ndarray:
    """Where a lead is more than a standard error; or the labels cannot tell, and that in agreement is.

    As on the front of all points, what the labels of a few images cannot tell apart is told by likeness to the dearest
    network. That counts only where the last stage is no worse than the first: else there is nothing in going on.
    """
    trusted = course.scores[-1] >= course.scores[0]
    (lead, error), (agreement_lead, agreement_error) = by_labels, by_agreement
    return (lead > error) | (trusted & (lead >= -error) & (agreement_lead > agreement_error))


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
    """Worth having is what is useful, within the budget, and better than its rivals by more than noise.

    Rivals are the networks of fixed cost, and the chord of the chain's own stages. The useful range begins with the
    first setting that goes on at all, and ends where going on more often gains nothing that can be told.
    """
    places = np.arange(len(course.mean_macs))
    useful = (places > 0) & (places <= proof.useful_end(course))
    within = useful & (course.mean_macs <= grounds.mean_macs_limit)
    if not useful.any():
        return Weighed(course, useful, Reason("no_better_on_mean", rival=course.chain.stages[0]))
    better, ratio = grounds.rival_leads(course)
    worthy = within & better.all(axis=1) & grounds.above_chord(course, useful)
    if worthy.any():
        return Weighed(course, worthy)
    if not within.any():
        cheapest = float(course.mean_macs[useful].min())
        return Weighed(course, worthy, exceeded(grounds.terms, **{"mean.macs": cheapest}))
    best = int(np.where(within, course.scores, -1).argmax())
    if better[best].all():
        return Weighed(course, worthy, Reason("on_chord"))
    rival = grounds.candidates[int(np.where(better[best], np.inf, ratio[best]).argmin())]
    return Weighed(course, worthy, Reason("no_better_on_mean", rival=rival.name))


def over_budget(chain: StageChain, terms: Sequence[Term]) -> Reason | None:
    """Whether its worst case is over the budget."""
    return exceeded(terms, macs=chain.worst_macs)
