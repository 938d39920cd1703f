"""What the page's scripts draw from: plain values in base units, each with how to write it and where it comes from."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from typing import Any

from restnet_tf.points import select
from restnet_tf.points.points import CONTROL, SHIPPED, OperatingPoint, turned
from restnet_tf.points.select import Choice
from restnet_tf.report import dials, figures, savings
from restnet_tf.report.contents import Candidate, Report, standing, why_not
from restnet_tf.report.figure import CARD, FILE, POINT, Figure, Line
from restnet_tf.words import sentence

_COLOURS = 6  # of chains, one after the other
_LINES = ("interpreter_test_score", "interpreter_rank_score")  # what is told of a choice beside its costs


def data(report: Report) -> dict[str, Any]:
    """All of it, as JSON has it."""
    reasons = list(dict.fromkeys(pair.reason for pair in report.pairs))
    drawn = _figures(report)
    return {
        "run": shlex.quote(report.run),
        "anchors": dict(report.anchors),
        "figures": [_figure(f) for f in drawn],
        "points": [_point(p, drawn, report) for p in report.points],
        "cascades": _cascades(drawn, report),
        "budget": _budget(report),
        "cuts": {role: list(names) for role, names in report.cuts.items()},
        "cka": [[_short(value) for value in row] for row in report.cka],
        "reasons": reasons,
        "pairFigures": [{"label": f.label, "kind": f.unit.kind, "source": f.source} for f in figures.PAIR_FIGURES],
        "pairs": [_pair(pair, reasons) for pair in report.pairs],
    }


def _figures(report: Report) -> tuple[Figure, ...]:
    """What is drawn or told of a point: the figures of its file first, then its own, then those of devices."""
    drawn = [f for f in figures.FIGURES if f.axis or f.stand_in or f.turned or CARD in f.views]
    listed = [*(f for f in drawn if FILE in f.of), *(f for f in drawn if POINT in f.of)]
    return (*(figures.spoken(f, report.words) for f in listed), *figures.measured(report.measurements))


def _figure(figure: Figure) -> dict[str, Any]:
    return {
        "name": figure.name,
        "label": figure.title or figure.bare,
        "kind": figure.unit.kind,
        "source": figure.source,
        "of": FILE if FILE in figure.of else POINT,
        "card": CARD in figure.views,
        "axis": figure.axis,
        "note": figure.note,
        "standIn": figure.stand_in,
        "worst": figure.worst,
    }


def _point(p: OperatingPoint, drawn: Iterable[Figure], report: Report) -> dict[str, Any]:
    return {
        "name": p.name,
        "standing": standing(p),
        "reason": why_not(p),
        "fronts": {n: {"standing": standing(p, n), "reason": sentence(r.reason)} for n, r in sorted(p.ratings.items())},
        "shipped": p.kind != CONTROL and p.status == SHIPPED,
        "figures": _values(Line(p, report.points), POINT, drawn),
        "files": {name: _values(Line(p, report.points, name), FILE, drawn) for name in sorted(p.files)},
    }


def _values(line: Line, of: str, drawn: Iterable[Figure]) -> dict[str, Any]:
    """The figures of a point or of its file by name, without those that it lacks."""
    values = {f.name: f.unit.plain(f.read(line)) for f in drawn if of in f.of}
    return {name: value for name, value in values.items() if value is not None}


def _cascades(drawn: Sequence[Figure], report: Report) -> list[dict[str, Any]]:
    """Every cascade that is shipped, along the dial of each of its files, and the positions that were chosen."""
    there = [p for p in savings.shipped(report.points) if any(file.dial for file in p.files.values())]
    return [
        {
            "point": p.name,
            "colour": at % _COLOURS,
            "notches": [_values(Line(q, report.points), POINT, drawn) for q in turned(p)],
            "files": {n: _dial(Line(p, report.points, n), drawn) for n, file in sorted(p.files.items()) if file.dial},
        }
        for at, p in enumerate(there)
    ]


def _dial(line: Line, drawn: Iterable[Figure]) -> dict[str, Any]:
    """What figures are at each position of a file's dial, by name; ``at`` is that which it is set to."""
    settings = dials.turns(line)
    along = {f.name: [f.unit.plain(f.turned(line, one)) for one in settings] for f in drawn if f.turned}
    return {
        "at": settings.index(dials.set_to(line)),
        "length": len(settings),
        "figures": {name: values for name, values in along.items() if any(value is not None for value in values)},
    }


def _budget(report: Report) -> dict[str, Any]:
    """What a budget may limit, and the files that it chooses among, those of cascades at every position of their dial.

    The first that it allows is its choice.
    """
    choices = select.choices(report.points, dials=True)
    limits = [figures.spoken(f, report.words) for f in figures.FIGURES if f.term and _tells(f, choices, report)]
    return {
        "terms": [{"name": f.term, "label": f.title, "kind": f.unit.kind} for f in limits],
        "choices": [_choice(choice, [f.term for f in limits], report) for choice in choices],
    }


def _tells(figure: Figure, choices: Iterable[Choice], report: Report) -> bool:
    """Whether a figure says anything of this run's files: means are the costs themselves where no cascade is."""
    return any(figure.read(Line(c.point, report.points, c.precision)) is not None for c in choices)


def _choice(choice: Choice, terms: Iterable[str], report: Report) -> dict[str, Any]:
    line = Line(choice.point, report.points, choice.precision)
    return {
        "point": choice.point.name,
        "precision": choice.precision,
        "path": choice.file.path,
        "at": _position(choice, report),
        "told": _merits(line, report.words),
        "figures": {name: choice.figures[name] for name in terms},
    }


def _position(choice: Choice, report: Report) -> int | None:
    """Where on the dial of its file a choice stands; None of what has no dial."""
    point = next(p for p in report.points if p.name == choice.point.name)
    places = [one.thresholds for one in dials.turns(Line(point, report.points, choice.precision))]
    dial = choice.file.dial
    return places.index(dial.thresholds) if dial is not None and dial.thresholds in places else None


def _merits(line: Line, words: Mapping[str, str]) -> str:
    """How well a choice does, in words."""
    listed = [figures.spoken(f, words) for f in figures.FIGURES if f.name in _LINES]
    return "; ".join(f"{f.bare} {f.unit.phrase(f.read(line))} ({f.source})" for f in listed)


def _pair(pair: Candidate, reasons: list[str]) -> dict[str, Any]:
    return {
        "name": pair.name,
        "front": pair.front,
        "at": [pair.large, pair.small],
        "status": pair.status,
        "reason": reasons.index(pair.reason),
        "figures": [_short(f.read(pair)) for f in figures.PAIR_FIGURES],
    }


def _short(value: float | None) -> float | None:
    return None if value is None or not isfinite(value) else round(value, 4)
