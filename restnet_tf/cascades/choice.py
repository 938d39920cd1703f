"""A few settings of chains, spread evenly by mean cost, out of all that are worth having."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from restnet_tf.cascades import proof
from restnet_tf.cascades.weighing import Place, Weighed
from restnet_tf.records import Reason


def spread(weighed: Sequence[Weighed], count: int, least: float) -> list[Place]:
    """At most ``count`` places, none beaten by one before it, at even steps of mean cost from ``least`` up.

    At each step the simplest chain that is within a standard error of the best there. The last step is the end of
    the chain that is the best at the end of its own range; of those within a standard error of it, the cheapest.
    The worst case is a budget of its own, so one place is for the best chain of half the others' worst case or less.
    """
    ends = [p for w in weighed if (p := w.dearest(0, np.inf)) is not None]
    places: list[Place] = []
    if ends:
        steps = np.linspace(least, min(p.mean_macs for p in _as_good(ends)), count + 1)
        for over, limit in pairwise(steps.tolist()):
            within = [p for w in weighed if (p := w.dearest(over, limit)) is not None]
            place = min(_as_good(within), key=lambda p: p.course.chain.simplicity, default=None)
            if place is not None and not any(_beats(before, place) for before in places):
                places.append(place)
    return _with_lower_worst_case(places, ends, count)


def _with_lower_worst_case(places: list[Place], ends: Sequence[Place], count: int) -> list[Place]:
    """With one more at the end of its range, or with that instead of the one of the nearest mean cost."""
    least = min((p.course.chain.worst_macs for p in places), default=0)
    best = max((p for p in ends if p.course.chain.worst_macs <= least / 2), key=_merit, default=None)
    if best is None or count < 2:
        return places
    nearest = min(places, key=lambda p: abs(p.mean_macs - best.mean_macs))
    others = places if len(places) < count else [p for p in places if p is not nearest]
    return sorted([*others, best], key=lambda p: p.mean_macs)


def why_not(weighed: Weighed, places: Sequence[Place], count: int) -> Reason:
    """Why a chain that is worth having is not among the places that were chosen."""
    course, own = weighed.course, weighed.worthy
    for place in places:
        lead, error = (x[0] for x in proof.leads(place.hits[None], course.hits[own]))
        better = (lead > error) | ((lead >= 0) & (place.agreement >= course.agreement[own]))
        if (better & (place.mean_macs <= course.mean_macs[own])).all():
            return Reason("dominated_on_mean", rival=place.course.chain.name)
    for place in places:
        near = weighed.dearest(0, place.mean_macs)
        if near and place.course.chain.simplicity < near.course.chain.simplicity and place in _as_good([near, place]):
            return Reason("simpler", rival=place.course.chain.name)
    return Reason("thinned", count=count)


def _beats(rival: Place, place: Place) -> bool:
    """By more than a standard error; or by no less, with as many answers that are the dearest candidate's."""
    lead, error = (x.item() for x in proof.leads(rival.hits[None], place.hits[None]))
    return lead > error or (lead >= 0 and rival.agreement >= place.agreement)


def _as_good(places: Sequence[Place]) -> list[Place]:
    """The best one, and those that it leads by no more than a standard error."""
    if not places:
        return []
    best = max(places, key=_merit)
    lead, error = proof.leads(best.hits[None], np.stack([p.hits for p in places]))
    return [p for p, near in zip(places, (lead <= error)[0].tolist(), strict=True) if near]


def _merit(place: Place) -> tuple[float, int, int, float]:
    """The better one; of equals the simpler, and the cheaper."""
    stages, macs, _ = place.course.chain.simplicity
    return place.score, -stages, -macs, -place.mean_macs
