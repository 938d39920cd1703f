"""From two finished runs and limits to what became worse: a report for continuous integration."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from math import isfinite
from pathlib import Path
from typing import Any

from restnet_tf.family.opening import content_of
from restnet_tf.points import gate as gates
from restnet_tf.points import points, select
from restnet_tf.points.gate import Change, Gate, GateRun, Unknown
from restnet_tf.records import RestnetError
from restnet_tf.run.directory import Run
from tflite_export import budget as budgets
from tflite_export.budget import FIGURE, MEAN, SCORE, Limit, Term
from tflite_export.devices import devices, measurements
from tflite_export.inputs import noted

_SHOWN = 5  # names of a list
_LATENCY = "latency"


def limits(text: str) -> tuple[Limit, ...]:
    """Limits in words; raises ``TfliteError`` for what is not understood and for a device that nobody knows."""
    read = budgets.limits(text)
    devices.check(limit.device for limit in read if limit.device)
    return read


def budget(text: str) -> tuple[Term, ...]:
    """Terms of a budget in words; raises ``TfliteError`` as ``limits`` does."""
    read = budgets.parse(text)
    devices.check(term.device for term in read if term.device)
    return read


def gate(
    run: Path, against: Path, limits: Sequence[Limit], *, budget: Sequence[Term] = (), names: Sequence[str] = ()
) -> Gate:
    """Hold the files of a finished run against those of an earlier one (``points.gate.compare``).

    Of each run ``points.json`` is read, and ``run.json`` and ``measurements.json`` where they are there. Raises
    ``RestnetError`` where a run is not finished or there is nothing to compare.
    """
    return gates.compare(_read(run), _read(against), limits, budget=budget, names=names)


def _read(path: Path) -> GateRun:
    run = Run(path)
    meta, listed = points.read(run.points_path)
    sizes = {precision: sizes["bytes"] for precision, sizes in meta.get("elastic", {}).items()}
    measured = measurements.read(run.measurements_path)
    images, test = _images(run, str(meta.get("test_sha256", "")))
    return GateRun(str(path), str(meta["metric"]), listed, measured, images, sizes, noted(meta).many, test)


def _images(run: Run, test: str) -> tuple[str, str]:
    """What stands for all images with their splits, and for the test images: each with the classes that were taken."""
    try:
        inputs = run.inputs()
    except RestnetError:  # points.json alone was kept, or a version wrote it that noted other things
        return "", test
    data, classes = inputs.get("data"), inputs.get("classes") or ""
    whole = content_of(data) if isinstance(data, str) else ""
    images, tested = (f"{noted} {classes}".strip() if noted else "" for noted in (whole, test))
    return images, tested


def as_json(comparison: Gate) -> str:
    """Every change with its limit, not only those that the table shows; figures in base units, scores in percent."""
    return json.dumps(
        {
            "run": comparison.new.path,
            "against": comparison.old.path,
            "holds": comparison.holds,
            "metric": comparison.new.metric,
            "split": "test",
            "paired": comparison.paired,
            "changes": [_plain(change) for change in comparison.changes],
            "unknown": [
                {"limit": gap.limit.text, "figure": gap.limit.name, "run": gap.run, "files": list(gap.files)}
                for gap in comparison.unknown
            ],
            "gone": list(comparison.gone),
            "added": list(comparison.added),
        },
        indent=1,
    )


def _plain(change: Change) -> dict[str, Any]:
    low, high = change.spread or (None, None)
    return {
        "file": change.pair.new.name,
        "file_before": change.pair.old.name,
        "limit": change.limit.text,
        "figure": change.limit.name,
        "before": change.old,
        "now": change.new,
        "of": change.limit.change,
        "value": change.value if isfinite(change.value) else None,
        "low": low,
        "high": high,
        "holds": change.holds,
        "unsure": change.unsure,
    }


def lines(comparison: Gate) -> list[str]:
    """What came of it in sentences, and what a reader of the table has to know."""
    return [*_verdict(comparison), *map(_gap, comparison.unknown), *_scores(comparison), *_notes(comparison)]


def _verdict(comparison: Gate) -> Iterator[str]:
    every, broken = len(comparison.changes), len(comparison.broken)
    if broken:
        yield f"{broken} of {every} comparisons break{'s' if broken == 1 else ''} a limit."
    elif every:
        yield f"No limit is broken, in {every} comparison{'s' if every > 1 else ''}."


def _gap(gap: Unknown) -> str:
    """What a run lacks, and what would bring it."""
    lacking = f"{gap.limit.name} of {_listed(gap.files)} is not known in {gap.run}"
    if gap.limit.device:
        return f"{lacking}; {select.commands([gap.limit.name], gap.run)} would measure it."
    return f"{lacking}; build it again."


def _scores(comparison: Gate) -> Iterator[str]:
    """Of which images scores are, and how they were compared."""
    changes = [change for change in comparison.changes if change.limit.name == SCORE]
    if not changes:
        return
    old, new = (file.test.n if file.test else 0 for file in (changes[0].pair.old, changes[0].pair.new))
    many = comparison.new.many
    reference = "" if comparison.new.metric == "accuracy" else " (with the largest model of the same run)"
    said = f"Score: {comparison.new.metric}{reference} of the files on the test split, in percent with 95 % intervals; "
    if comparison.paired:
        yield f"{said}both runs have the same {new} test {many}, compared one by one."
    else:
        noted_both = comparison.new.images and comparison.old.images
        other = (
            "the runs are not of the same data"
            if noted_both
            else f"that both runs test on the same {many} is not noted"
        )
        yield f"{said}{other} ({old} test {many} before, {new} now)."


def _notes(comparison: Gate) -> Iterator[str]:
    """What may have changed beside the models."""
    unsure = {c.limit.name == SCORE for c in (*comparison.broken, *comparison.nearest) if c.unsure}
    if True in unsure:
        yield f"Unsure of a score: the test {comparison.new.many} are too few to tell it from chance."
    if False in unsure:
        yield "Unsure of a latency: its repeats lie too far apart to tell."
    if any(pair.old.name != pair.new.name for pair in comparison.pairs):
        yield f"Within the budget: {comparison.pairs[0].old.name} before, {comparison.pairs[0].new.name} now."
    if rerouted := [pair.new.name for pair in comparison.pairs if pair.rerouted]:
        yield f"Described otherwise under the same name: {_listed(rerouted)}; it may be another network."
    limited = any(c.limit.name.removeprefix(MEAN) == _LATENCY for c in comparison.changes if c.limit.change != FIGURE)
    if limited and (tools := next((pair.tools for pair in comparison.pairs if pair.tools), None)):
        before, now = (f"{tool} with {threads} thread{'s' if threads > 1 else ''}" for tool, threads in tools)
        yield f"Latency by {before} before, by {now} now."
    for words, names in (("before alone", comparison.gone), ("now alone", comparison.added)):
        if names:
            yield f"Shipped {words}, not compared: {_listed(names)}."


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
