"""What an experiment tracker is told of a run: plain records, whatever the tracker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from restnet_tf.points.points import CONTROL, OperatingPoint
from restnet_tf.points.select import FIGURES
from restnet_tf.report.contents import Report
from tflite_export.cascades import in_files

_SCORE, _RANK_SCORE = "score", "rank_score"
_LOSS, _OVER_COST = "loss", "score over mean.macs"


@dataclass(frozen=True)
class Tracked:
    """A run as trackers keep it: ``parameters`` in words, ``figures`` and ``series`` by their names.

    A series is ``(step, value)`` in order; ``rungs`` are the names of the steps of a loss, by its name. ``figures``
    are in base units, those of ``restnet-tf select``, as ``flash/L1-S0.int8``; scores are shares. ``text`` is the
    report as Markdown, ``files`` all that is kept, by their paths in the run.
    """

    name: str
    title: str
    parameters: Mapping[str, str]
    figures: Mapping[str, float]
    series: Mapping[str, tuple[tuple[int, float], ...]]
    rungs: Mapping[str, tuple[str, ...]]
    text: str
    files: Mapping[str, Path] = field(default_factory=dict)


def of(report: Report, options: Mapping[str, Any], text: str, files: Mapping[str, Path]) -> Tracked:
    """What is told of a run by its report, the options that it was built with, and its files."""
    losses = {f"{_LOSS}/{in_files(name)}": ladder.steps for name, ladder in report.ladders.items()}
    series = {name: tuple(enumerate(steps.values())) for name, steps in losses.items()}
    return Tracked(
        name=Path(report.run).resolve().name,
        title=report.title,
        parameters=_parameters(options) | {"metric": report.metric},
        figures=_figures(report.points),
        series={**series, **_over_cost(report.points)},
        rungs={name: tuple(steps) for name, steps in losses.items()},
        text=text,
        files=files,
    )


def _parameters(options: Mapping[str, Any]) -> dict[str, str]:
    """Options in words, without those that were not given."""
    given = {name: value for name, value in options.items() if value not in (None, "", [], ())}
    return {
        name: ", ".join(map(str, v)) if isinstance(v, Sequence) and not isinstance(v, str) else str(v)
        for name, v in given.items()
    }


def _figures(points: Sequence[OperatingPoint]) -> dict[str, float]:
    """Of every file that a run has, by figure and file."""
    told: dict[str, float] = {}
    for point in points:
        for precision, file in point.files.items():
            name = in_files(f"{point.name}.{precision}")
            told |= {f"{_SCORE}/{name}": file.test.value, f"{_RANK_SCORE}/{name}": file.rank.value}
            told |= {f"{figure}/{name}": float(one.of(point, file)) for figure, one in FIGURES.items()}
    return told


def _over_cost(points: Sequence[OperatingPoint]) -> dict[str, tuple[tuple[int, float], ...]]:
    """By precision, the scores of files on the test split over what an image costs on average, as steps."""
    kept = [point for point in points if point.kind != CONTROL]
    curves: dict[str, dict[int, float]] = {}
    for point in kept:
        for precision, file in point.files.items():
            cost = round(FIGURES["mean.macs"].of(point, file))
            curve = curves.setdefault(in_files(precision), {})
            curve[cost] = max(file.test.value, curve.get(cost, 0.0))
    return {f"{_OVER_COST}/{precision}": tuple(sorted(curve.items())) for precision, curve in curves.items()}
