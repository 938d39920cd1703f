"""Which cascades are worth having, of the probabilities of all networks on the rank split.

Chains are compared at equal mean cost (``courses``), and what counts is what is more than noise (``proof``). The
rank split decides; the test split only reports.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np

from restnet_tf.cascades import choice, proof, weighing
from restnet_tf.cascades.chains import StageCandidate, StageChain, by_cost, chains
from restnet_tf.cascades.checks import check
from restnet_tf.cascades.courses import ROUNDING, Course, courses
from restnet_tf.cascades.outcome import Turn, turn
from restnet_tf.cascades.weighing import Grounds, Place, Weighed
from restnet_tf.records import Reason
from tflite_export.budget import Term
from tflite_export.confidence import CONFIDENCES

_TURNS = 21  # of a curve
# Other confidences are tried on every chain that is chosen, and take operators of their own on the device: that asks
# for more than the luck of one standard error, which one try in six has.
_PROOF = 2.0


@dataclass(frozen=True)
class Policy:
    """A chain at its thresholds (``turn``), and its curve from never going on to always.

    ``held_out`` is its score on the rank split with thresholds that were chosen without the image: that of ``turn``
    may be a little higher where three stages leave a choice. ``over_chord`` and ``over_rival`` are leads on the rank
    split with their standard errors: over a coin that picks one of its stages, and over ``rival``, of the networks of
    fixed cost and no more mean cost the one nearest to it. A lead that is no more than its error is nevertheless none
    of noise: there the agreement with the dearest candidate has decided.
    """

    chain: StageChain
    confidence: str
    turn: Turn
    curve: tuple[Turn, ...]
    held_out: float
    over_chord: tuple[float, float]
    over_rival: tuple[float, float]
    rival: str


@dataclass(frozen=True)
class ChainVerdict:
    """A chain that is not taken, and why."""

    chain: StageChain
    reason: Reason


@dataclass(frozen=True)
class Planned:
    """The cascades worth having, the cheapest on the mean first, and all other chains that were weighed."""

    policies: tuple[Policy, ...] = ()
    verdicts: tuple[ChainVerdict, ...] = ()


def plan(
    candidates: Sequence[StageCandidate],
    labels: Mapping[str, np.ndarray],
    *,
    count: int = 4,
    terms: Sequence[Term] = (),
    confidences: Sequence[str] = tuple(CONFIDENCES),
    labelled: bool = True,
    many: str = "images",
) -> Planned:
    """At most ``count`` cascades, spread evenly by mean MACs, that beat all candidates of no more mean cost.

    ``labels`` ``(n,)`` by split: where there are none, the answers of the dearest candidate, with ``labelled`` False.
    ``terms`` limit ``macs`` (of the worst case) and ``mean.macs``; others are passed over. ``confidences`` are those
    that the device can compute: the first one is used unless another is proved better. Raises ``RestnetError`` for
    probabilities that are none, for other classes and for too few images; warns (``RestnetWarning``) of images that a
    candidate knows by heart. ``many`` is what inputs are called.
    """
    if count < 1 or len(candidates) < 2:
        return Planned()
    check(candidates, labels, labelled, many)
    grounds = Grounds(tuple(by_cost(candidates)), labels["rank"], tuple(terms))
    every = chains(grounds.candidates, grounds.near_front())
    refused = {c: reason for c in every if (reason := weighing.over_budget(c, terms))}
    affordable = [c for c in every if c not in refused]
    weighed = [weighing.weigh(course, grounds) for course in _courses(affordable, grounds, confidences[0])]
    places = choice.spread(weighed, count, float(grounds.macs[0]))
    refused |= {w.course.chain: w.reason or choice.why_not(w, places, count) for w in _others(weighed, places)}
    return Planned(
        tuple(_policy(_best_confidence(place, grounds, confidences), grounds, labels) for place in places),
        tuple(ChainVerdict(chain, reason) for chain, reason in refused.items()),
    )


def _courses(every: Sequence[StageChain], grounds: Grounds, confidence: str) -> list[Course]:
    return courses(every, grounds.candidates, grounds.labels, confidence)


def _others(weighed: Sequence[Weighed], places: Sequence[Place]) -> list[Weighed]:
    taken = {place.course.chain for place in places}
    return [w for w in weighed if w.course.chain not in taken]


def _best_confidence(place: Place, grounds: Grounds, confidences: Sequence[str]) -> Place:
    """The place of the same mean cost with the confidence that is proved better, or as it is."""
    usual, best, proved = place.course, place, _PROOF
    for name in confidences[1:]:
        (course,) = _courses([usual.chain], grounds, name)
        ratio = _lead_along(course, usual)
        setting = int(np.searchsorted(course.mean_macs, place.mean_macs * ROUNDING, side="right")) - 1
        if ratio > proved and setting > 0:
            best, proved = Place(course, setting), ratio
    return best


def _lead_along(course: Course, usual: Course) -> float:
    """The lead over another course of its chain, in standard errors: an image's mean over the useful range."""
    useful = usual.mean_macs[1 : proof.useful_end(usual) + 1]
    settings = np.searchsorted(course.mean_macs, useful * ROUNDING, side="right") - 1
    lead = course.hits[settings].mean(axis=0) - usual.hits[1 : len(useful) + 1].mean(axis=0)
    error = lead.std() / sqrt(len(lead))
    return float(lead.mean() / error) if error > 0 else 0.0


def _policy(place: Place, grounds: Grounds, labels: Mapping[str, np.ndarray]) -> Policy:
    course = place.course
    stages = [grounds.candidates[row].probabilities for row in grounds.rows(course.chain)]
    turns = {
        i: turn(stages, labels, course.chain.macs, course.confidence, course.thresholds[i])
        for i in sorted({*_shown(len(course.mean_macs)), place.setting})
    }
    lead, error = grounds.over_chord(course)
    _, ratio = grounds.rival_leads(course)
    nearest = int(ratio[place.setting].argmin())
    over, over_error = proof.leads(place.hits[None], grounds.right[nearest][None])
    return Policy(
        course.chain,
        course.confidence,
        turns[place.setting],
        tuple(turns.values()),
        place.score,
        (float(lead[place.setting]), float(error[place.setting])),
        (over.item(), over_error.item()),
        grounds.candidates[nearest].name,
    )


def _shown(settings: int) -> list[int]:
    return np.linspace(0, settings - 1, _TURNS).round().astype(int).tolist()
