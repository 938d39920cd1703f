"""From the points of a run to its cascades: planned on what the files answer, joined, set, timed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from restnet_tf import atomic
from restnet_tf.cascades import outcome, planner
from restnet_tf.cascades.chains import StageCandidate
from restnet_tf.cascades.checks import LEAST, are_probabilities
from restnet_tf.cascades.outcome import Turn
from restnet_tf.cascades.planner import Policy
from restnet_tf.cascades.thresholds import hand
from restnet_tf.family import stage_runs, strips
from restnet_tf.points import metadata, points
from restnet_tf.points.points import (
    ANCHOR,
    CASCADE,
    DISTILLED,
    SHIPPED,
    STITCHED,
    Cascade,
    Dial,
    File,
    OperatingPoint,
    Score,
    Setting,
)
from restnet_tf.records import RestnetError
from tflite_export import cascades, memory
from tflite_export.cascades import GOES_ON, Stage
from tflite_export.devices import host
from tflite_export.devices.records import Latency
from tflite_export.inputs import noted

if TYPE_CHECKING:
    from restnet_tf.family.shop import Shop
    from restnet_tf.progress import Reporter
    from restnet_tf.run.directory import Run
    from tflite_export.budget import Term

_THREADS, _REPEATS = 1, 50
_CHECKED_IMAGES = 8


@dataclass(frozen=True)
class Rest:
    """What an anchor adds behind the front that it shares with a point: MACs, and weights that are not there yet."""

    macs: int
    params: int


@dataclass(frozen=True)
class Scope:
    """What the cascades of a run may be, and how they are judged.

    ``labels`` ``(n,)`` are by split, None where there are none: then answers count that are the dearest network's.
    ``precisions`` are those that were asked for, one word or one a stage (``int8>float32``); ``own`` those of points
    that have just one. ``rests`` say by anchor from which points it can go on.
    """

    labels: Mapping[str, np.ndarray] | None
    precisions: tuple[str, ...]
    count: int
    terms: tuple[Term, ...] = ()
    own: Mapping[str, str] = field(default_factory=dict)
    rests: Mapping[str, Mapping[str, Rest]] = field(default_factory=dict)
    many: str = "images"  # what inputs are called

    @property
    def shares(self) -> bool:
        """Whether there is a precision in which a stage can go on from the front of the one before."""
        return any(len(stage_runs.single([word])) == 1 for word in self.precisions)

    def of(self, word: str, stages: Sequence[str]) -> tuple[str, ...]:
        """The precision of each stage, where this one was asked for."""
        parts = stage_runs.each(word, len(stages))
        return tuple(self.own.get(name, part) for name, part in zip(stages, parts, strict=True))


def planned(
    candidates: Sequence[StageCandidate], statics: Sequence[OperatingPoint], scope: Scope, report: Reporter
) -> tuple[OperatingPoint, ...]:
    """The cascades that are worth having, without files; raises ``RestnetError`` as the planner does.

    ``candidates`` are what the ``statics``, the points of those names, answer.
    """
    labels, candidates = _labels(candidates, scope), _sure(candidates, report)
    if (count := len(labels["rank"])) < LEAST:
        few = f"{count} rank {scope.many} are too few to choose thresholds on"
        report.say(f"no cascades: {few}; {LEAST} or more are needed")
        return ()
    labelled = scope.labels is not None
    plans = planner.plan(candidates, labels, count=scope.count, terms=scope.terms, labelled=labelled, many=scope.many)
    by_chain: dict[str, list[Policy]] = {}
    for policy in plans.policies:
        by_chain.setdefault(policy.chain.name, []).append(policy)
    answers = {c.name: c.probabilities for c in candidates}
    return tuple(
        _point(policies, _notches(policies, answers, labels), scope, {p.name: p for p in statics})
        for policies in by_chain.values()
    )


def added(
    shop: Shop,
    listed: Sequence[OperatingPoint],
    scope: Scope,
    meta: Mapping[str, Any],
    earlier: Sequence[OperatingPoint],
) -> tuple[OperatingPoint, ...]:
    """The cascades of a run's points with their files; a file that an earlier decision left as it is now stays."""
    statics = _statics(listed, scope)
    if scope.count < 1 or len(statics) < 2:
        return ()
    shop.report.stage("cascades of all files, on the rank split")
    candidates = _candidates(shop, statics, scope)
    there = {p.name: [name for name in p.files if p.ships(name)] for p in statics}
    stock = _Stock(shop, scope, _labels(candidates, scope), meta, {p.name: p for p in earlier}, there)
    chains = stock.filled(planned(candidates, statics, scope, shop.report))
    first = {p.name: scope.of(scope.precisions[0], p.cascade.stages)[0] for p in chains if p.cascade}
    strips.draw(shop, first, chains, noted(meta))
    return chains


def _statics(listed: Sequence[OperatingPoint], scope: Scope) -> list[OperatingPoint]:
    """What is shipped in the precision that decides, the cheapest first."""
    shipped = [p for p in listed if p.kind in (ANCHOR, STITCHED, DISTILLED) and p.status == SHIPPED]
    ordered = sorted(shipped, key=lambda p: p.macs)
    deciding = scope.of(scope.precisions[0], [p.name for p in ordered])
    return [p for p, precision in zip(ordered, deciding, strict=True) if p.ships(precision)]


def forget(run: Run, earlier: Sequence[OperatingPoint], kept: Sequence[OperatingPoint]) -> None:
    """Delete the files of points that are not among those that are kept, as what is beaten by now."""
    names = {(p.name, precision) for p in kept for precision in p.files}
    for point in earlier:
        for precision in {*point.files, *point.ratings}:
            if (point.name, precision) not in names:
                run.tflite_path(point.name, precision).unlink(missing_ok=True)


def asked_for(count: int, precisions: Sequence[str]) -> dict[str, Any]:
    """How many cascades were asked for, in which precisions, as a run keeps it."""
    return {"count": count, "precisions": list(precisions)}


def _labels(candidates: Sequence[StageCandidate], scope: Scope) -> Mapping[str, np.ndarray]:
    if scope.labels is not None:
        return scope.labels
    largest = max(candidates, key=lambda c: (c.macs, c.name))
    return {name: p.argmax(axis=1) for name, p in largest.probabilities.items()}


def _candidates(shop: Shop, statics: Sequence[OperatingPoint], scope: Scope) -> list[StageCandidate]:
    """All that may be a stage, with what its file answers: in the precision asked for first."""
    precisions = scope.of(scope.precisions[0], [p.name for p in statics])
    return [
        StageCandidate(p.name, p.macs, shop.unseen(p.name, shop.answers.of(p.name, precision)), resumes(scope, p.name))
        for p, precision in zip(statics, precisions, strict=True)
    ]


def _sure(candidates: Sequence[StageCandidate], report: Reporter) -> list[StageCandidate]:
    """Those that give probabilities, which say how sure a network is; with a word on the others."""
    sure = [c for c in candidates if all(map(are_probabilities, c.probabilities.values()))]
    if others := [c.name for c in candidates if c not in sure]:
        report.say(
            f"in no cascade: {', '.join(others)}, {'whose' if len(others) > 1 else 'its'} scores are no probabilities;"
            " end the models in a softmax"
        )
    return sure


def resumes(scope: Scope, name: str) -> dict[str, int]:
    """The MACs that a network adds behind each point whose front it can go on from."""
    if not scope.shares:
        return {}
    return {first: rest.macs for first, rest in scope.rests.get(name, {}).items()}


def _notches(
    policies: Sequence[Policy], answers: Mapping[str, Mapping[str, np.ndarray]], labels: Mapping[str, np.ndarray]
) -> tuple[Turn, ...]:
    """The dial of a chain at each place that was chosen, by the confidence of the last: a file has one."""
    chain, last = policies[-1].chain, policies[-1]
    reaches = [policy.turn.rank.reach for policy in policies]
    return outcome.settle([answers[n] for n in chain.stages], labels, chain.macs, last.confidence, reaches)


def _point(
    policies: Sequence[Policy], turns: Sequence[Turn], scope: Scope, statics: Mapping[str, OperatingPoint]
) -> OperatingPoint:
    chain, last = policies[-1].chain, turns[-1]
    stages = [statics[name] for name in chain.stages]
    going_on = tuple(name for name, resumed in zip(chain.stages, chain.resumed, strict=True) if resumed)
    cascade = Cascade(
        chain.stages,
        chain.macs,
        policies[-1].confidence,
        last.thresholds,
        last.rank.reach,
        last.test.reach,
        tuple(map(_setting, policies[-1].curve)),
        going_on,
        tuple(map(_setting, turns)),
    )
    route = ", where unsure ".join(stage.route for stage in stages)
    params = _params(stages, going_on, scope)
    return OperatingPoint(
        GOES_ON.join(chain.stages),
        CASCADE,
        route,
        sum(chain.macs),
        params,
        last.rank.score,
        last.test.score,
        cascade=cascade,
    )


def _params(stages: Sequence[OperatingPoint], going_on: Sequence[str], scope: Scope) -> int:
    """Weights of all stages, those of a front that two have in common once."""
    before = dict(zip((s.name for s in stages[1:]), stages, strict=False))
    return sum(scope.rests[s.name][before[s.name].name].params if s.name in going_on else s.params for s in stages)


def _setting(turn: Turn) -> Setting:
    return Setting(turn.thresholds, turn.rank.reach, turn.test.reach, turn.rank.score, turn.test.score)


@dataclass(frozen=True)
class _Draft:
    """A file of a cascade before it is timed: its bytes, its dial without latencies, and what it scores by split."""

    point: str
    precision: str
    content: bytes
    dial: Dial
    scores: tuple[Score, Score]
    image: np.ndarray  # (h, w, c)

    @property
    def name(self) -> str:
        """Of the file, among others."""
        return f"{self.point}/{self.precision}"


@dataclass(frozen=True)
class _Stock:
    """Files of cascades; ``earlier`` are those that the run had, by name, ``there`` the precisions of each stage."""

    shop: Shop
    scope: Scope
    labels: Mapping[str, np.ndarray]
    meta: Mapping[str, Any]
    earlier: Mapping[str, OperatingPoint]
    there: Mapping[str, Sequence[str]]

    def filled(self, bare: Sequence[OperatingPoint]) -> tuple[OperatingPoint, ...]:
        """Cascades with a file in every precision that was asked for; all new ones are timed in turns."""
        drafts = {p.name: self._drafts(p) for p in bare}
        known = {d.name: file for each in drafts.values() for d in each if (file := self._known(d))}
        files = known | self._timed([d for each in drafts.values() for d in each if d.name not in known])
        return tuple(replace(p, files={d.precision: files[d.name] for d in drafts[p.name]}) for p in bare)

    def _timed(self, drafts: Sequence[_Draft]) -> dict[str, File]:
        if not drafts:
            return {}
        contents, images = {d.name: d.content for d in drafts}, {d.name: d.image for d in drafts}
        took = host.stage_latencies(contents, images, threads=_THREADS, repeats=_REPEATS)
        return {d.name: self._written(d, took[d.name]) for d in drafts}

    def _drafts(self, point: OperatingPoint) -> list[_Draft]:
        """One for each precision that a cascade was to have and can; with a word on the others."""
        cascade = point.cascade
        assert cascade is not None
        precisions = dict.fromkeys(self.scope.of(word, cascade.stages) for word in self.scope.precisions)
        hindrances = {each: self._hindrance(cascade, each) for each in precisions}
        for each, hindrance in hindrances.items():
            if hindrance:
                self.shop.report.say(f"{point.name} has no file of {stage_runs.title(each)}: {hindrance}")
        return [self._draft(point, cascade, each) for each, hindrance in hindrances.items() if not hindrance]

    def _hindrance(self, cascade: Cascade, precisions: Sequence[str]) -> str:
        """Why a cascade cannot have a file of these precisions, one a stage, in words; empty where it can."""
        lacking = [f"{n} {one}" for n, one in zip(cascade.stages, precisions, strict=True) if one not in self.there[n]]
        if lacking:
            return f"{', '.join(lacking)} {'are' if len(lacking) > 1 else 'is'} not shipped"
        if stage_runs.joinable(cascade, precisions):
            return ""
        resumed = ", ".join(cascade.resumes)
        return f"{resumed} goes on from the front of the stage before, which both have in one precision"

    def _draft(self, point: OperatingPoint, cascade: Cascade, precisions: Sequence[str]) -> _Draft:
        stages, precision = stage_runs.stages(cascade, precisions, self.shop.makers), stage_runs.title(precisions)
        answers = self._answers(cascade, precisions, stages)
        chosen, *curve = self._turns(cascade, answers)
        dial = Dial(chosen.thresholds, chosen.rank.reach, chosen.test.reach, (), tuple(map(_setting, curve)))
        scores = chosen.rank.score, chosen.test.score
        note = metadata.own(point, dial, scores, precision, self.meta)
        content, images = cascades.file(stages, cascade.confidence, note), self._first_images(stages)
        _check(point.name, content, images, answers, dial.thresholds, cascade.confidence)
        return _Draft(point.name, precision, content, dial, scores, images[0])

    def _known(self, draft: _Draft) -> File | None:
        """What was measured of these very bytes before."""
        earlier = self.earlier.get(draft.point)
        file = None if earlier is None else earlier.files.get(draft.precision)
        if file is None or not self.shop.run.tflite_path(draft.point, draft.precision).exists():
            return None
        return file if file.sha256 == hashlib.sha256(draft.content).hexdigest() else None

    def _written(self, draft: _Draft, took: Sequence[Latency]) -> File:
        path = self.shop.run.tflite_path(draft.point, draft.precision)
        atomic.write_bytes(path, draft.content)
        dial = replace(draft.dial, latencies_us=tuple(one.median_us for one in took))
        file = points.record(str(path.relative_to(self.shop.run.path)), draft.content, took[-1], *draft.scores)
        return replace(file, dial=dial)

    def _answers(
        self, cascade: Cascade, precisions: Sequence[str], stages: Sequence[Stage]
    ) -> list[Mapping[str, np.ndarray]]:
        """What each stage answers to the cascade's own image."""
        every = stage_runs.answers(cascade, precisions, stages, self.shop.answers)
        return [self.shop.unseen(name, answers) for name, answers in zip(cascade.stages, every, strict=True)]

    def _turns(self, cascade: Cascade, answers: Sequence[Mapping[str, np.ndarray]]) -> tuple[Turn, ...]:
        """The dial where it was planned to stand and along its whole way, by this file's own confidences."""
        reaches = [cascade.rank_reach, *(setting.rank_reach for setting in cascade.curve)]
        return outcome.settle(answers, self.labels, cascade.macs, cascade.confidence, reaches)

    def _first_images(self, stages: Sequence[Stage]) -> np.ndarray:
        shape = cascades.image_of(stages).shape[1:]
        return np.asarray(next(self.shop.images("test", shape)))[:_CHECKED_IMAGES]


def _check(
    point: str,
    content: bytes,
    images: np.ndarray,
    answers: Sequence[Mapping[str, np.ndarray]],
    thresholds: Sequence[float],
    confidence: str,
) -> None:
    """Refuse a file that does not answer as its stages do by hand; and one whose arena cannot be planned."""
    memory.ranges(content)
    scores, stage = host.answers(content, [images], thresholds=thresholds)
    expected, place = hand([a["test"][: len(images)] for a in answers], thresholds, confidence)
    wrong = int(np.sum(stage != place))
    if wrong or not np.allclose(scores, expected, atol=1e-6):
        raise RestnetError(
            f"the file of {point} answers otherwise than its stages do one by one ({wrong} of {len(images)} at"
            " another stage); build with --cascades 0 and report this"
        )
