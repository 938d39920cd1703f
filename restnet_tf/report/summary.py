"""What came of a build, in lines for a person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from restnet_tf.points import front
from restnet_tf.points.points import ANCHOR, SHIPPED, STITCHED, OperatingPoint
from restnet_tf.records import Tally
from restnet_tf.schema import SCHEMA
from restnet_tf.words import sentence


def family(path: Path, meta: Mapping[str, Any], points: Sequence[OperatingPoint]) -> list[str]:
    """Of a family between anchors."""
    between = [p for p in points if p.kind == STITCHED and p.status == SHIPPED]
    lead = {split: f"{100 * front.above_chord(points, split):+.1f}" for split in ("test", "rank")}
    spent, whole = meta["training_macs"], meta["whole_large_training_macs"]
    return [
        f"{len(between)} operating points between the anchors; files in {path}: tflite/, elastic.*.tflite, points.json,"
        " points.png, similarity.png, plans.json",
        f"their {meta['metric']} lies on average {lead['test']} points from the chord between the anchors on the test"
        f" split, {lead['rank']} on the rank split",
        f"training took {spent / 1e12:.2f}T MACs; fine-tuning the whole large model on as many images would take"
        f" {whole / 1e12:.2f}T, {whole / spent:.1f} times as much",
    ]


def composed(
    path: Path, meta: Mapping[str, Any], points: Sequence[OperatingPoint], seconds: Mapping[str, float]
) -> list[str]:
    """Of nets composed of a pool."""
    nets = [p for p in points if p.kind == STITCHED]
    folds = meta["folded"]
    lines = [
        f"{meta['nets']} nets composed of {len(meta['anchors'])} members, {len(nets)} of them shipped; files in"
        f" {path}: tflite/, elastic.*.tflite, points.json, points.png, plans.json, search/",
        *_compared(points),
        *(f"paths that ended for {sentence(one.reason)}: {one.count}" for one in _ended(meta)),
        *_correlated(meta["correlation"], meta["nets"]),
    ]
    if folds:
        saved = ", ".join(f"{n} ({count}, {macs / 1e6:.3g}M MACs)" for n, (count, macs) in folds.items())
        lines.append(f"stitches folded into the next layer in float32, which saves MACs not taken off above: {saved}")
    return [*lines, _took(seconds, meta["new_in_pool"])]


def _ended(meta: Mapping[str, Any]) -> tuple[Tally, ...]:
    return SCHEMA.read(tuple[Tally, ...], meta["ended"], "ended")


def following(path: Path, points: Sequence[OperatingPoint]) -> str:
    """The command to go on with."""
    middle = sorted(p.macs for p in points if p.kind == STITCHED)
    limit = f"macs<={middle[len(middle) // 2] / 1e6:.4g}M" if middle else "macs<=10M"
    return f'next: restnet-tf select {path} --budget "{limit}"'


def _compared(found: Sequence[OperatingPoint]) -> list[str]:
    """The best net by validation beside the best member, and the best member within its MACs."""
    made = [p for p in found if p.kind == STITCHED]
    if not made:
        return ["no composed net loses less than a pool member of its cost: the members are what is shipped"]
    members = [p for p in found if p.kind == ANCHOR]
    lines = []
    for name, p in (("least log loss", min(made, key=_loss)), ("fewest MACs", min(made, key=lambda p: p.macs))):
        rivals = [m for m in members if m.macs <= p.macs]
        lines.append(f"of {name}: {_worded(p)}")
        lines.append(
            f"  best member within its MACs: {_worded(min(rivals, key=_loss)) if rivals else 'none is so small'}"
        )
    lines.append(f"best member of all: {_worded(min(members, key=_loss))}")
    return lines


def _loss(point: OperatingPoint) -> tuple[float, int, str]:
    return point.rank.kl or 0.0, point.macs, point.name


def _worded(point: OperatingPoint) -> str:
    low, high = point.test.interval
    return (
        f"{point.name} ({point.route}), {point.macs / 1e6:.4g}M MACs: {100 * point.rank.value:.1f} % in"
        f" cross-validation, {100 * point.test.value:.1f} % [{100 * low:.1f}, {100 * high:.1f}] of {point.test.n} test"
        " images"
    )


def _correlated(found: Mapping[str, Sequence[float]], count: int) -> list[str]:
    words = {
        "accuracy": "validation accuracy",
        "loss": "validation log loss",
        "knn": "the nearest neighbours' accuracy",
    }
    return [
        f"overall score and {words[name]} of {count} nets: Pearson {pearson:+.2f}, Spearman {spearman:+.2f}"
        for name, (pearson, spearman) in found.items()
    ]


def _took(seconds: Mapping[str, float], new: Sequence[str]) -> str:
    parts = ", ".join(f"{name} {value:.0f}" for name, value in seconds.items())
    personal = sum(value for name, value in seconds.items() if name != "pool")
    pool_words = (
        f"{len(new)} members were new to the pool, which the next user's net does not wait for"
        if new
        else "every member was in the pool already, so this is what a second user waits"
    )
    return f"seconds: {parts}; {personal:.0f} from the images to the files beside the pool's; {pool_words}"
