"""Scores of networks in Keras, against the labels, or the largest anchor's answers where there are none."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from restnet_tf import atomic, records
from restnet_tf.family import answering
from restnet_tf.family.answering import Assembly, FittedVariant, WholeAnchor
from restnet_tf.family.answers import SPLITS
from restnet_tf.fitting.loss import kl_divergence
from restnet_tf.points.points import ANCHOR, CONTROL, SHIPPED, STITCHED, OperatingPoint, Score
from restnet_tf.stitches import stitch

if TYPE_CHECKING:
    import keras

    from restnet_tf.family.controls import Control
    from restnet_tf.family.family import Family
    from restnet_tf.fitting.results import Fitted
    from restnet_tf.records import Plan


class Scorer:
    """Scores networks on the rank and the test split of a family."""

    def __init__(self, family: Family) -> None:
        self._splits = answering.splits(family.data)
        self._teacher = of_anchors(family)[family.largest]

    def __call__(self, model: keras.Model) -> dict[str, Score]:
        """Of a network from images to logits, by split."""
        return self.by_split(answering.logits(model, self._splits))

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
    networks = [WholeAnchor(source) for source in family.named.values()]
    every = _answers(family, networks, "answers of the anchors on the rank and test split")
    return dict(zip(family.anchors, every, strict=True))


def of_variants(family: Family, plans: Sequence[Plan]) -> Iterator[dict[str, np.ndarray]]:
    """The logits of variants that the run has stitches for, by split, in the order of the plans."""
    networks = [FittedVariant(family.run.path, plan, family.sources) for plan in plans]
    yield from _answers(family, networks, "answers of the points on the rank and test split")


def besides(family: Family, scorer: Scorer, rivals: Sequence[Control]) -> Iterator[OperatingPoint]:
    """Networks that the points between the anchors are held against, with their scores."""
    networks = [rival.network for rival in rivals]
    every = _answers(family, networks, "answers of what the points are held against, on the rank and test split")
    for rival, logits in zip(rivals, every, strict=True):
        yield _beside(rival, scorer.by_split(logits))


def _answers(family: Family, networks: Sequence[Assembly], title: str) -> Iterator[dict[str, np.ndarray]]:
    """Logits by split, kept in the run while it is built: tracing a network takes longer than loading them."""
    paths = [family.run.cache_path(f"answers-{_key(family, network)}.npz") for network in networks]
    missing = {path: network for path, network in zip(paths, networks, strict=True) if not path.exists()}
    if missing:
        every = answering.of_all([*missing.values()], family.images, title, family.execute, family.report)
        for path, logits in zip(missing, every, strict=True):
            atomic.write_npz(path, logits)
    for path in paths:
        with np.load(path) as arrays:
            yield {name: arrays[name] for name in SPLITS}


def _key(family: Family, network: Assembly) -> str:
    """Of all that decides the answers of a network."""
    digest = hashlib.sha256(repr((network, family.images)).encode())
    for path in network.fits:
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


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


def _all(
    family: Family, scorer: Scorer, chosen: Sequence[Plan], fitted: Mapping[str, Fitted], rivals: Sequence[Control]
) -> Iterator[OperatingPoint]:
    yield from anchors(family, scorer)
    for plan, logits in zip(chosen, of_variants(family, chosen), strict=True):
        yield stitched(family, scorer, plan, fitted[plan.name], logits)
    yield from besides(family, scorer, rivals)


def _beside(rival: Control, scores: Mapping[str, Score]) -> OperatingPoint:
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
