"""Scores of networks in Keras, against the labels, or the largest anchor's answers where there are none."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from restnet_tf import atomic, records
from restnet_tf.family.answers import SPLITS
from restnet_tf.fitting.ladder import kl_divergence
from restnet_tf.graph import cuts, infer
from restnet_tf.points.points import ANCHOR, CONTROL, SHIPPED, STITCHED, OperatingPoint, Score
from restnet_tf.records import RestnetError
from restnet_tf.run.directory import Run
from restnet_tf.stitches import stitch, variant
from restnet_tf.work import sources
from restnet_tf.work.sources import AnchorSource, DataSource
from restnet_tf.work.tasks import SCORINGS, Progress, Task

if TYPE_CHECKING:
    import keras

    from restnet_tf.data.splits import Data, Split
    from restnet_tf.family.controls import Control
    from restnet_tf.family.family import Family
    from restnet_tf.fitting.results import Fitted
    from restnet_tf.records import Anchor, Plan


class Scorer:
    """Scores networks on the rank and the test split of a family."""

    def __init__(self, family: Family) -> None:
        self._splits = _splits(family.data)
        self._teacher = of_anchors(family)[family.largest]

    def __call__(self, model: keras.Model) -> dict[str, Score]:
        """Of a network from images to logits, by split."""
        return self.by_split(_logits(model, self._splits))

    def by_split(self, logits: Mapping[str, np.ndarray]) -> dict[str, Score]:
        """Of a network's logits ``(n, classes)`` for each split."""
        return {name: self.judged(values, name) for name, values in logits.items()}

    def judged(self, logits: np.ndarray, name: str) -> Score:
        """Of a network's logits ``(n, classes)`` for the split of that name."""
        teacher = self._teacher[name]
        kl = float(np.mean(kl_divergence(teacher, logits)))
        same = float(np.mean(logits.argmax(axis=1) == teacher.argmax(axis=1)))
        return Score.of(self.right(logits, name), kl, same)

    def right(self, outputs: np.ndarray, name: str) -> np.ndarray:
        """Which rows have their highest output where it should be."""
        return np.equal(outputs.argmax(axis=1), self.truth(name))

    def truth(self, name: str) -> np.ndarray:
        """The class ``(n,)`` that each image of a split should be given."""
        labels = self._splits[name].labels
        return self._teacher[name].argmax(axis=1) if labels is None else np.asarray(labels)


def of_anchors(family: Family) -> dict[str, dict[str, np.ndarray]]:
    """The logits ``(n, classes)`` of each anchor by split, kept in the run while it is built."""
    key = hashlib.sha256("\n".join(anchor.sha256 for anchor in family.anchors.values()).encode()).hexdigest()[:16]
    path = family.run.cache_path(f"anchors-{key}.npz")
    if path.exists():
        with np.load(path) as arrays:
            return {role: {name: arrays[f"{role}:{name}"] for name in SPLITS} for role in family.anchors}
    family.report.stage("answers of the anchors on the rank and test split")
    logits: dict[str, dict[str, np.ndarray]] = {}
    for done, (role, anchor) in enumerate(family.anchors.items(), start=1):
        logits[role] = _logits(to_logits(anchor), _splits(family.data))
        family.report.progress(done, len(family.anchors))
    atomic.write_npz(path, {f"{role}:{name}": v for role, each in logits.items() for name, v in each.items()})
    return logits


@dataclass(frozen=True)
class Question:
    """A variant whose answers are wanted: its plan, the stitches that the run has for it, and the images."""

    run: Path
    plan: Plan
    anchors: Mapping[str, AnchorSource]
    images: DataSource


def answers(question: Question, progress: Progress) -> dict[str, np.ndarray]:
    """The logits ``(n, classes)`` of a fitted variant on the rank and the test split, by name; a task."""
    fitted = Run(question.run).load_fitted(question.plan.name)
    if fitted is None:
        raise RestnetError(f"{question.run} has no fitted point {question.plan.name}; run its build again")
    anchors = {piece.anchor: sources.anchor(question.anchors[piece.anchor]) for piece in question.plan.route}
    model = variant.assemble(question.plan, anchors, *fitted.stitches, logits=True)
    return _logits(model, _splits(sources.data(question.images)))


def of_variants(family: Family, plans: Sequence[Plan]) -> Iterator[dict[str, np.ndarray]]:
    """The logits of variants that the run has stitches for, by split, in the order of the plans."""
    title = "answers of the points on the rank and test split"
    questions = [Question(family.run.path, plan, family.sources, family.images) for plan in plans]
    yield from family.execute([Task(title, answers, question, kind=SCORINGS) for question in questions], family.report)


def scored(
    family: Family, scorer: Scorer, chosen: Sequence[Plan], fitted: Mapping[str, Fitted], rivals: Sequence[Control]
) -> list[OperatingPoint]:
    """Every anchor, variant and control of a family, run over the rank and the test split."""
    family.report.stage(f"{family.metric} of all networks on the rank and test split")
    total, points = len(family.anchors) + len(chosen) + len(rivals), []
    for point in _all(family, scorer, chosen, fitted, rivals):
        points.append(point)
        family.report.progress(len(points), total)
    return points


def anchors(family: Family, scorer: Scorer) -> Iterator[OperatingPoint]:
    """The anchors with their scores."""
    for role, logits in of_anchors(family).items():
        cost = family.costs[role]
        scores = scorer.by_split(logits)
        name = family.anchors[role].name
        yield OperatingPoint(role, ANCHOR, name, cost.macs, cost.params, scores["rank"], scores["test"])


def stitched(
    family: Family, scorer: Scorer, plan: Plan, fitted: Fitted, logits: Mapping[str, np.ndarray]
) -> OperatingPoint:
    """A variant with its scores, from its logits by split."""
    names = {role: anchor.name for role, anchor in family.anchors.items()}
    macs, params = (sum(more) for more in zip(*map(stitch.widening, fitted.stitches), strict=True))
    return OperatingPoint(
        name=plan.name,
        kind=STITCHED,
        route=records.title(plan, names),
        macs=plan.macs + macs,
        params=plan.params + params,
        rank=scorer.judged(logits["rank"], "rank"),
        test=scorer.judged(logits["test"], "test"),
        rung=fitted.rung,
        unshared_params=sum(v.size for one in fitted.stitches for v in one.tuned.values()),
        origin=fitted.origin,
    )


def probabilities(logits: np.ndarray) -> np.ndarray:
    """The softmax of logits ``(n, classes)``, float32."""
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True), np.float32)


def to_logits(anchor: Anchor) -> keras.Model:
    """An anchor from raw images to logits."""
    return cuts.between(anchor.model, anchor.model.inputs[0], anchor.logits)


def images(split: Split, shape: tuple[int, ...]) -> Iterator[np.ndarray]:
    """A split in batches, as a network of that input takes it."""
    for batch in split.batches(shape, infer.batch_size(shape)):
        yield np.asarray(batch)


def _all(
    family: Family, scorer: Scorer, chosen: Sequence[Plan], fitted: Mapping[str, Fitted], rivals: Sequence[Control]
) -> Iterator[OperatingPoint]:
    yield from anchors(family, scorer)
    for plan, logits in zip(chosen, of_variants(family, chosen), strict=True):
        yield stitched(family, scorer, plan, fitted[plan.name], logits)
    for rival in rivals:
        yield beside(scorer, rival)


def beside(scorer: Scorer, rival: Control) -> OperatingPoint:
    """A network that the points between the anchors are held against, with its scores."""
    scores = scorer(rival.model)
    return OperatingPoint(
        rival.name,
        rival.kind,
        rival.route,
        rival.macs,
        rival.params,
        scores["rank"],
        scores["test"],
        rival.rung,
        rival.unshared,
        status=CONTROL if rival.kind == CONTROL else SHIPPED,
        twin_of=rival.twin_of,
    )


def _splits(data: Data) -> dict[str, Split]:
    return {name: getattr(data, name) for name in SPLITS}


def _logits(model: keras.Model, splits: Mapping[str, Split]) -> dict[str, np.ndarray]:
    """Compiled once: tracing a network takes longer than running a small one over all images."""
    run, shape = infer.compiled(model), model.input_shape[1:]
    return {name: np.concatenate([np.asarray(run(x)) for x in images(split, shape)]) for name, split in splits.items()}
