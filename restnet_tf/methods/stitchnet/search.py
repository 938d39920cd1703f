"""Composing a net of a pool's fragments: a depth-first search that CKA leads.

The net so far ends in activations of the user's own images. A fragment of any member can follow: its score is the CKA
between these and the fragment's native activations at its start. The best few are tried, the rest
is not; a net is complete where a member's last fragment, which ends at its features, is in it.
A member's next fragment needs no stitch behind the one before it; all others get a ridge map.

Source: StitchNet, Teerapittayanon, Comiter, McDanel & Kung 2023 (arXiv 2301.01947), with debiased CKA in place of the
biased one, and with images passed on by maps that were fitted without them (``crossfit``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Protocol

import numpy as np

from restnet_tf.methods.stitchnet import crossfit
from restnet_tf.methods.stitchnet.crossfit import CrossFit
from restnet_tf.methods.stitchnet.fragments import Fragment
from restnet_tf.records import Cut, Piece, Reason, Stitch
from restnet_tf.similarity import cka
from restnet_tf.stitches import stitch

SCORES = ("cka", "biased-cka")
RANKINGS = ("score", "loss")
# What real losses are computed of, for each candidate that may go on.
_TRIALS = 3
HEAD = "head"


@dataclass(frozen=True)
class Limits:
    """How far a search goes: the paper's K, T, TT and L, and how many nets of one start are enough."""

    top: int = 2
    least: float = 0.0
    least_overall: float = 0.5
    depth: int = 16
    nets: int = 40


@dataclass(frozen=True)
class Link:
    """A fragment in a net, how alike its start was to what came before, and what joins them.

    ``r2`` is of the stitch, on images that it was not fitted on; None where none is needed.
    """

    fragment: Fragment
    score: float = 1.0
    r2: float | None = None


@dataclass(frozen=True)
class Net:
    """A complete net: its links, the product of their scores, costs with a head of the user's classes.

    ``loss``, ``accuracy`` and ``knn`` are of its head in cross-validation on the few images, and so is
    ``right``, image by image. ``refused`` says why it was not gone on with; None of a complete one.
    """

    links: tuple[Link, ...]
    overall: float
    macs: int
    params: int
    loss: float = inf
    accuracy: float = 0.0
    knn: float = 0.0
    right: tuple[bool, ...] = ()
    refused: Reason | None = None

    @property
    def name(self) -> str:
        """``A2-B3_4-C6``: A up to its second fragment, B's third and fourth, C from its sixth on."""
        return named([link.fragment for link in self.links])


@dataclass
class SearchResult:
    """What a search came upon: complete nets, those refused with the reason, and how many paths ended for what."""

    nets: list[Net] = field(default_factory=list)
    refused: list[Net] = field(default_factory=list)
    ended: Counter[Reason] = field(default_factory=Counter)


class Activations(Protocol):
    """What a search reads of a pool, on the user's few images."""

    def native(self, member: str, cut: Cut) -> np.ndarray:
        """A member's own activations at a cut ``(n, ...)``, float32."""

    def profile(self, member: str, cut: Cut) -> np.ndarray:
        """Their CKA profile."""

    def run(self, fragment: Fragment, x: np.ndarray) -> np.ndarray:
        """What a fragment makes of activations at its start: those at its stop ``(n, ...)``, float32."""


Judge = Callable[[np.ndarray], tuple[float, float, float, tuple[bool, ...]]]
Refuse = Callable[[Sequence[Fragment], int, int], Reason | None]


@dataclass(frozen=True)
class SearchSpace:
    """What to compose for: the pool's fragments by member, images in folds, a head of so many classes.

    ``judge`` gives of features ``(n, d)`` the head's log loss, accuracy, the neighbours' accuracy and which images are
    right. ``refuse`` says why fragments with so many MACs and parameters at the least fit no budget.
    """

    fragments: Mapping[str, tuple[Fragment, ...]]
    activations: Activations
    folds: tuple[np.ndarray, ...]
    classes: int
    judge: Judge
    refuse: Refuse = lambda fragments, macs, params: None
    score: str = "cka"
    rank_by: str = "score"
    limits: Limits = Limits()

    @property
    def debiased(self) -> bool:
        """Which CKA the scores are."""
        return self.score == "cka"

    def head(self, last: Fragment) -> tuple[int, int]:
        """MACs and parameters of a head behind a member's last fragment."""
        width = last.stop.layout.channels
        return width * self.classes, (width + 1) * self.classes


def named(fragments: Sequence[Fragment]) -> str:
    """A short name for a route, of the fragments that each member gives, counted from 1."""
    parts = []
    for index, piece in enumerate(_runs(fragments)):
        first, last = piece[0], piece[-1]
        ends = [str(first.index + 1)] if index else []
        ends += [] if last.last or (index and first is last) else [str(last.index + 1)]
        parts.append(first.member + "_".join(ends))
    return "-".join(parts)


def route(fragments: Sequence[Fragment]) -> tuple[Piece, ...]:
    """A complete net's pieces, the last of them the head."""
    ends = [(run[0].start, run[-1]) for run in _runs(fragments)]
    pieces = [Piece(last.member, start.name if start else None, last.stop.name) for start, last in ends]
    return (*pieces, Piece(HEAD, None, None))


def follows(one: Fragment, other: Fragment) -> bool:
    """Whether a fragment goes on where another of its member ends: no stitch is needed."""
    return (one.member, one.index + 1) == (other.member, other.index)


def starts(space: SearchSpace) -> list[Fragment]:
    """The fragments that take images, in the order of the pool."""
    return [parts[0] for parts in space.fragments.values()]


def search(space: SearchSpace, first: Fragment) -> SearchResult:
    """All nets from one start that the limits let through, in the order in which they are come upon."""
    walk = _Walk(space)
    cost = first.macs, first.params
    reason = space.refuse([first], *_least(space, cost, [first]))
    if reason:
        walk.result.ended[reason.kind] += 1
        return walk.result
    walk.extend((Link(first),), 1.0, cost, None)
    return walk.result


def refitted(space: SearchSpace, net: Net) -> tuple[tuple[Stitch, ...], np.ndarray]:
    """A net's stitches again, and the features ``(n, d)`` that its head is fitted on."""
    stitches: list[Stitch] = []
    x: np.ndarray | None = None
    before: Fragment | None = None
    for link in net.links:
        x, fit = _advanced(space, before, x, link.fragment)
        stitches += [fit.stitch] if fit else []
        before = link.fragment
    assert before is not None
    features = _end(space, before, x)
    return tuple(stitches), features.reshape(len(features), -1)


class _Walk:
    """One depth-first walk; ``x`` are the activations at the path's end, None where they are the member's own."""

    def __init__(self, space: SearchSpace) -> None:
        self.space, self.result = space, SearchResult()

    def extend(self, path: tuple[Link, ...], overall: float, cost: tuple[int, int], x: np.ndarray | None) -> None:
        """Complete the path, or try what may follow it."""
        end, limits = path[-1].fragment, self.space.limits
        if end.last:
            self._complete(path, overall, cost, x)
            return
        if len(path) >= limits.depth:
            self.result.ended[Reason("too_deep", count=limits.depth)] += 1
            return
        for link in self._ranked(path, overall, cost, x):
            if len(self.result.nets) >= limits.nets:
                self.result.ended[Reason("enough_nets", count=limits.nets)] += 1
                return
            further, fit = _advanced(self.space, end, x, link.fragment)
            link = Link(link.fragment, link.score, fit.r2 if fit else None)
            self.extend((*path, link), overall * max(link.score, 0.0), _added(cost, end, link.fragment), further)

    def _complete(self, path: tuple[Link, ...], overall: float, cost: tuple[int, int], x: np.ndarray | None) -> None:
        features = _end(self.space, path[-1].fragment, x)
        loss, accuracy, knn, right = self.space.judge(features.reshape(len(features), -1))
        macs, params = _plus(cost, self.space.head(path[-1].fragment))
        self.result.nets.append(Net(path, overall, macs, params, loss, accuracy, knn, right))

    def _ranked(
        self, path: tuple[Link, ...], overall: float, cost: tuple[int, int], x: np.ndarray | None
    ) -> list[Link]:
        """The candidates that are tried, the best first; what the budget or a threshold ends is noted."""
        space, limits, end = self.space, self.space.limits, path[-1].fragment
        fitting = [f for f in self._candidates(path) if not self._over(path, overall, cost, f)]
        if not fitting:
            return []
        profile = _profile(space, end, x)
        scored = [Link(f, cka.alike(profile, space.activations.profile(f.member, _start(f)))) for f in fitting]
        scored.sort(key=lambda link: (-link.score, link.fragment.member, link.fragment.index))
        if space.rank_by == "loss":
            tried = scored[: _TRIALS * limits.top]
            losses = {link.fragment.key: self._loss(end, x, link.fragment) for link in tried}
            scored = sorted(tried, key=lambda link: (losses[link.fragment.key], link.fragment.key))
        links = []
        for link in scored[: limits.top]:
            product = overall * max(link.score, 0.0)
            if link.score < limits.least:
                reason = Reason("low_score", limit=limits.least)
            elif product < limits.least_overall:
                reason = Reason("low_overall", limit=limits.least_overall)
            else:
                links.append(link)
                continue
            self._refuse((*path, link), product, _added(cost, end, link.fragment), reason)
        return links

    def _candidates(self, path: tuple[Link, ...]) -> list[Fragment]:
        used, end = {link.fragment.key for link in path}, path[-1].fragment
        return [
            f
            for parts in self.space.fragments.values()
            for f in parts[1:]
            if f.key not in used and (follows(end, f) or not stitch.compatible(end.stop, _start(f)))
        ]

    def _over(self, path: tuple[Link, ...], overall: float, cost: tuple[int, int], candidate: Fragment) -> bool:
        """Whether no net that goes on with a candidate can be within the budget."""
        fragments = [*(link.fragment for link in path), candidate]
        cost = _added(cost, path[-1].fragment, candidate)
        reason = self.space.refuse(fragments, *_least(self.space, cost, fragments))
        if reason:
            self._refuse((*path, Link(candidate)), overall, cost, reason)
        return reason is not None

    def _refuse(self, path: tuple[Link, ...], overall: float, cost: tuple[int, int], reason: Reason) -> None:
        self.result.ended[reason.kind] += 1
        last = path[-1].fragment
        if last.last:
            macs, params = _plus(cost, self.space.head(last))
            self.result.refused.append(Net(path, overall, macs, params, refused=reason))

    def _loss(self, end: Fragment, x: np.ndarray | None, candidate: Fragment) -> float:
        """The head's log loss where the rest of the candidate's member follows it."""
        before = end
        for fragment in self.space.fragments[candidate.member][candidate.index :]:
            x, _ = _advanced(self.space, before, x, fragment)
            before = fragment
        features = _end(self.space, before, x)
        return self.space.judge(features.reshape(len(features), -1))[0]


def _advanced(
    space: SearchSpace, before: Fragment | None, x: np.ndarray | None, fragment: Fragment
) -> tuple[np.ndarray | None, CrossFit | None]:
    """The activations behind one more fragment, None where they are its member's own, and the stitch before it."""
    if before is None:
        return None, None
    if follows(before, fragment):
        return None if x is None else space.activations.run(fragment, x), None
    start = _start(fragment)
    native = space.activations.native(fragment.member, start)
    fit = crossfit.join(before.stop, start, _end(space, before, x), native, space.folds)
    return space.activations.run(fragment, fit.features), fit


def _end(space: SearchSpace, end: Fragment, x: np.ndarray | None) -> np.ndarray:
    return space.activations.native(end.member, end.stop) if x is None else x


def _profile(space: SearchSpace, end: Fragment, x: np.ndarray | None) -> np.ndarray:
    if x is None:
        return space.activations.profile(end.member, end.stop)
    return cka.profile(x, f"what reaches {end.stop.name}", debiased=space.debiased)


def _start(fragment: Fragment) -> Cut:
    assert fragment.start is not None  # only what follows something is asked for its start
    return fragment.start


def _added(cost: tuple[int, int], end: Fragment, fragment: Fragment) -> tuple[int, int]:
    """Costs with one more fragment and the stitch before it."""
    whole = _plus(cost, (fragment.macs, fragment.params))
    if follows(end, fragment):
        return whole
    ends = end.stop.layout, _start(fragment).layout
    return _plus(whole, (stitch.macs(*ends), stitch.params(*ends)))


def _least(space: SearchSpace, cost: tuple[int, int], fragments: Sequence[Fragment]) -> tuple[int, int]:
    """What a net that begins so costs at the least: a last fragment and its head are always needed."""
    if fragments[-1].last:
        return _plus(cost, space.head(fragments[-1]))
    ends = [parts[-1] for parts in space.fragments.values()]
    rest = [_plus((end.macs, end.params), space.head(end)) for end in ends]
    return _plus(cost, (min(macs for macs, _ in rest), min(params for _, params in rest)))


def _plus(one: tuple[int, int], other: tuple[int, int]) -> tuple[int, int]:
    return one[0] + other[0], one[1] + other[1]


def _runs(fragments: Sequence[Fragment]) -> list[list[Fragment]]:
    """Fragments that follow each other in one member, together."""
    runs: list[list[Fragment]] = []
    for fragment in fragments:
        if runs and follows(runs[-1][-1], fragment):
            runs[-1].append(fragment)
        else:
            runs.append([fragment])
    return runs
