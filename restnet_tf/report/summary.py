"""What a command says of a family when it has ended: which points ship, what they are worth, what it took."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from restnet_tf.points import front
from restnet_tf.points.points import ANCHOR, CONTROL, DISTILLED, DOMINATED, SHIPPED, STITCHED, OperatingPoint
from restnet_tf.records import Tally
from restnet_tf.report import advice, losses, rivals, savings, shared, units
from restnet_tf.schema import SCHEMA
from restnet_tf.words import sentence
from tflite_export.inputs import noted

_NAMED = 8  # points at most; a longer list is the table's


@dataclass(frozen=True)
class Nouns:
    """What a method calls its points and anchors, each as one and as many, and what it did to a point."""

    point: tuple[str, str] = ("point between the anchors", "points between the anchors")
    anchor: tuple[str, str] = ("anchor", "anchors")
    verb: str = "fitted"


_NETS = Nouns(("composed net", "composed nets"), ("member", "members"), "kept")
# What a person may look for in a run, in this order.
_FILES = {
    "tflite": "tflite/",
    "elastic.*.tflite": "elastic.*.tflite",
    "points.json": "points.json",
    "points.png": "points.png",
    "similarity.png": "similarity.png",
    "plans.json": "plans.json",
    "search": "search/",
}


def family(
    path: Path,
    meta: Mapping[str, Any],
    points: Sequence[OperatingPoint],
    nouns: Nouns = Nouns(),
) -> list[str]:
    """What a build shipped between its anchors, in sentences.

    ``path`` is the run, ``meta`` that of its ``points.json``.
    """
    return [
        *_shipped(points, nouns),
        *_fronts(points),
        *_beaten(points, nouns),
        *losses.sentences(points, str(meta["metric"])),
        *_distilled(points, nouns, noted(meta).many),
        *rivals.sentences(points, str(meta["metric"])),
        *_frugal(points),
        *(f"on the test split {line}" for line in rivals.beaten(points, str(meta["metric"]))),
        *_files(path),
        *shared.sentences(meta),
        *_from_chord(points, str(meta["metric"])),
        *savings.sentences(points, str(meta["metric"]), noted(meta).many),
        *_trained(meta, points),
    ]


def cascaded(path: Path, meta: Mapping[str, Any], points: Sequence[OperatingPoint]) -> list[str]:
    """What cascades of models as they are came to, in sentences; as ``family``."""
    many = noted(meta).many
    return [*savings.sentences(points, str(meta["metric"]), many), *_files(path), *shared.sentences(meta)]


def composed(
    path: Path,
    meta: Mapping[str, Any],
    points: Sequence[OperatingPoint],
    seconds: Mapping[str, float],
) -> list[str]:
    """What a composition shipped, in sentences: beside its members, how its search went, and what it took.

    As ``family``; ``seconds`` are what each part took.
    """
    return [
        f"{_count(meta['nets'], 'net')} composed of {_count(len(meta['anchors']), 'member')}",
        *_shipped(points, _NETS),
        *_beaten(points, _NETS),
        *_files(path),
        *_compared(points, noted(meta).many),
        *savings.sentences(points, str(meta["metric"]), noted(meta).many),
        *(f"paths that ended for {sentence(one.reason)}: {one.count}" for one in _ended(meta)),
        *_correlated(meta["correlation"], meta["nets"]),
        *_folded(meta["folded"]),
        _took(seconds, meta["new_in_pool"], noted(meta).many),
    ]


def following(path: Path, points: Sequence[OperatingPoint]) -> str:
    """The command to go on with: a choice by a budget that a shipped point meets, or the report where none is."""
    budget = advice.budget(points)
    if budget is None:
        return f"next: restnet-tf report {shlex.quote(str(path))}"
    return f'next: restnet-tf select {shlex.quote(str(path))} --budget "{budget[0]}"'


def in_short(points: Sequence[OperatingPoint], metric: str) -> list[str]:
    """What the file that ``following`` chooses is worth beside the costliest anchor; nothing where it is an anchor."""
    best = advice.budget(points)
    if best is None or best[1].point.kind == ANCHOR:
        return []
    choice, anchor = best[1], max((p for p in points if p.kind == ANCHOR), key=lambda p: p.macs)
    beside = anchor.files.get(choice.precision)
    own, its = (100 * test.value for test in (choice.file.test, beside.test if beside else anchor.test))
    mean, worst = (round(100 * choice.figures[term] / anchor.macs) for term in ("mean.macs", "macs"))
    cost = (
        f"{mean} % of its MACs on average and {worst} % at worst" if choice.point.cascade else f"{worst} % of its MACs"
    )
    return [f"in short: {choice.name} has {own:.1f} % {metric} on the test split, {anchor.name} {its:.1f} %, at {cost}"]


def _files(path: Path) -> list[str]:
    there = [name for pattern, name in _FILES.items() if any(path.glob(pattern))]
    return [f"files in {path}: {', '.join(there)}"] if there else []


def _ended(meta: Mapping[str, Any]) -> tuple[Tally, ...]:
    return SCHEMA.read(tuple[Tally, ...], meta["ended"], "ended")


def _shipped(points: Sequence[OperatingPoint], nouns: Nouns) -> list[str]:
    between = [p for p in points if p.kind == STITCHED]
    names = [p.name for p in between if p.status == SHIPPED]
    one, many = nouns.point
    if not names:
        rest = " and ".join([f"the {nouns.anchor[1]}", *(p.name for p in points if _taught(p) and p.status == SHIPPED)])
        return [f"no {one} is shipped: {_none(len(between), nouns.verb)}; {rest} are what is shipped"]
    subject = f"{one} is" if len(names) == 1 else f"{many} are"
    others = f", of {len(between)} that were {nouns.verb}" if len(between) > len(names) else ""
    listed = f": {', '.join(names)}" if len(names) <= _NAMED else ""
    return [f"{len(names)} {subject} shipped{others}{listed}"]


def _none(count: int, verb: str) -> str:
    """Why nothing is shipped of so many."""
    if not count:
        return f"none was {verb}"
    which = f"the one that was {verb}" if count == 1 else f"each of the {count} that were {verb}"
    return f"{which} is beaten by what costs no more"


def _fronts(points: Sequence[OperatingPoint]) -> list[str]:
    """What is shipped in each precision, where that is not the same in all."""
    decided = [p for p in points if p.kind in (STITCHED, DISTILLED) and p.ratings]
    fronts = {name: [p.name for p in decided if p.ships(name)] for p in decided for name in p.ratings}
    if len({tuple(names) for names in fronts.values()}) < 2:
        return []
    told = "; ".join(f"{name}: {', '.join(names) or 'none'}" for name, names in fronts.items())
    return [f"each precision has a front of its own, by the scores of its files: {told}"]


def _beaten(points: Sequence[OperatingPoint], nouns: Nouns) -> list[str]:
    """What beats the points that are not shipped, where that is known: anchors, or others of their kind."""
    better = [p.reason.rival for p in points if p.kind == STITCHED and p.status == DOMINATED and p.reason]
    kinds = Counter({p.name: p.kind for p in points}.get(str(rival), STITCHED) for rival in better)
    words = {ANCHOR: f"by the {nouns.anchor[1]}", DISTILLED: "by the small anchor distilled"}
    words[CONTROL] = "by their own twins behind random fronts"
    words[STITCHED] = f"by other {nouns.point[1]}"
    counts = [f"{kinds[kind]} {what}" for kind, what in words.items() if kinds[kind]]
    counted = " and ".join(filter(None, (", ".join(counts[:-1]), *counts[-1:])))
    return [f"not shipped, as they are beaten at no more cost: {counted}"] if counted else []


def _frugal(points: Sequence[OperatingPoint]) -> list[str]:
    told = rivals.frugal(points)
    return [f"shipped for their memory, as what costs no more MACs answers better: {told}"] if told else []


def _distilled(points: Sequence[OperatingPoint], nouns: Nouns, many: str) -> list[str]:
    """What teaching the small anchor is worth beside the stitches; nothing of a run that taught none."""
    taught = next(filter(_taught, points), None)
    between = [p for p in points if p.kind == STITCHED]
    if taught is None:
        return []
    if taught.status != SHIPPED:
        return [f"distilling the small anchor gains nothing that {taught.rank.n} rank {many} could tell"]
    beaten = sum(p.macs >= taught.macs and front.beats(taught, p) for p in between)
    if not beaten:
        return [f"distilling the small anchor gives {taught.name}, which beats none of the {nouns.point[1]}"]
    count = "each" if beaten == len(between) else str(beaten)
    which = f"{count} of the {len(between)} {nouns.point[1]}" if len(between) > 1 else f"the {nouns.point[0]}"
    return [f"distil the small anchor: {taught.name} costs no more than {which} and does as well or better"]


def _taught(point: OperatingPoint) -> bool:
    return point.kind == DISTILLED


def _from_chord(points: Sequence[OperatingPoint], metric: str) -> list[str]:
    """How far the shipped points lie from the line between the anchors; nothing where none is shipped."""
    count = sum(p.kind == STITCHED and p.status == SHIPPED for p in points)
    if not count or not front.chorded(points):
        return []
    whose = f"its {metric} lies" if count == 1 else f"on average their {metric} lies"
    test, rank = (savings.from_chord(100 * front.above_chord(points, split)) for split in ("test", "rank"))
    return [f"{whose} {test} the chord between the anchors on the test split, {rank} it on the rank split"]


def _trained(meta: Mapping[str, Any], points: Sequence[OperatingPoint]) -> list[str]:
    spent, distilling = meta["training_macs"], meta.get("distilling_macs", 0)
    if not any(p.kind == STITCHED for p in points):
        return []
    if not spent:
        return ["nothing was trained: the stitches are what the closed form gives"]
    told = f"the build took {spent / 1e12:.3g}T MACs with all statistics, trials, validations and rivals"
    return [f"{told}; distilling the small anchor took {distilling / 1e12:.3g}T of them" if distilling else told]


def _compared(points: Sequence[OperatingPoint], many: str) -> list[str]:
    """The best and the cheapest net by validation, each beside the best member within its MACs."""
    nets = [p for p in points if p.kind == STITCHED and p.status == SHIPPED]
    members = [p for p in points if p.kind == ANCHOR]
    if not nets:
        return [f"best member: {_described(min(members, key=_loss), many)}"]
    lines = []
    for title, net in (("least log loss", min(nets, key=_loss)), ("fewest MACs", min(nets, key=lambda p: p.macs))):
        within = [m for m in members if m.macs <= net.macs]
        rival = _described(min(within, key=_loss), many) if within else "none is so small"
        lines += [f"of {title}: {_described(net, many)}", f"  best member within its MACs: {rival}"]
    return [*lines, f"best member of all: {_described(min(members, key=_loss), many)}"]


def _loss(point: OperatingPoint) -> tuple[float, int, str]:
    return point.rank.kl or 0.0, point.macs, point.name


def _described(point: OperatingPoint, many: str) -> str:
    return (
        f"{point.name} ({point.route}), {point.macs / 1e6:.4g}M MACs: {100 * point.rank.value:.1f} % in"
        f" cross-validation, {units.SCORE.phrase(point.test)} of {point.test.n} test {many}"
    )


def _correlated(correlations: Mapping[str, Sequence[float]], count: int) -> list[str]:
    words = {
        "accuracy": "validation accuracy",
        "loss": "validation log loss",
        "knn": "the nearest neighbours' accuracy",
    }
    return [
        f"overall score and {words[name]} of {_count(count, 'net')}: Pearson {pearson:+.2f}, Spearman {spearman:+.2f}"
        for name, (pearson, spearman) in correlations.items()
    ]


def _folded(folds: Mapping[str, Sequence[float]]) -> list[str]:
    if not folds:
        return []
    saved = ", ".join(f"{name} ({count}, {macs / 1e6:.3g}M MACs)" for name, (count, macs) in folds.items())
    return [f"stitches folded into the next layer in float32, which saves MACs not taken off above: {saved}"]


def _took(seconds: Mapping[str, float], new: Sequence[str], many: str) -> str:
    parts = ", ".join(f"{name} {value:.0f}" for name, value in seconds.items())
    personal = sum(value for name, value in seconds.items() if name != "pool")
    verb = "was" if len(new) == 1 else "were"
    pool = (
        f"{_count(len(new), 'member')} {verb} new to the pool, which the next user's net does not wait for"
        if new
        else "every member was in the pool already, so this is what a second user waits"
    )
    return f"seconds: {parts}; {personal:.0f} from the {many} to the files beside the pool's; {pool}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
