"""Budgets: ``"macs<=30M, flash<=500KB"`` -> the best operating point that fits."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from benchmarks.points import CONTROL, SHIPPED, File, OperatingPoint
from benchmarks.records import BenchError

_SCALES: dict[str, dict[str, float]] = {
    "count": {"": 1, "K": 1e3, "M": 1e6, "G": 1e9},
    "bytes": {"": 1, "B": 1, "KB": 1e3, "KIB": 1024, "MB": 1e6, "MIB": 1024**2},
    "time": {"US": 1, "MS": 1e3, "S": 1e6},
}


@dataclass(frozen=True)
class Figure:
    """What a budget term reads: its unit, and the figure of a point in one precision."""

    unit: str
    of: Callable[[OperatingPoint, File], float]
    source: str


FIGURES = {
    "macs": Figure("count", lambda p, f: p.macs, "counted in the graph"),
    "params": Figure("count", lambda p, f: p.params, "counted in the graph"),
    "flash": Figure("bytes", lambda p, f: f.flash_bytes, "size of the file"),
    "ram": Figure("bytes", lambda p, f: f.arena_bytes, "planned from the file"),
    "latency": Figure("time", lambda p, f: f.latency_median_us, "measured on this host, median"),
}


@dataclass(frozen=True)
class Term:
    """One limit of a budget, in the figure's base unit (counts, bytes, microseconds)."""

    name: str
    limit: float
    text: str


@dataclass(frozen=True)
class Choice:
    """The point that a budget selects and the precision of its file."""

    point: OperatingPoint
    precision: str

    @property
    def file(self) -> File:
        """The file to flash."""
        return self.point.files[self.precision]


def parse(text: str) -> tuple[Term, ...]:
    """Terms of a budget; raises ``BenchError`` naming the term that is not understood."""
    terms = [_term(part.strip()) for part in text.split(",") if part.strip()]
    if not terms:
        raise BenchError(f"the budget {text!r} is empty; {_known()}")
    return tuple(terms)


def select(points: Iterable[OperatingPoint], terms: Iterable[Term]) -> Choice:
    """The shipped file that meets every term and does best on the rank split; ties go to the cheaper.

    The test split has no say: it only reports. Raises ``BenchError`` where none fits: what the nearest
    misses, and by how much.
    """
    terms = tuple(terms)
    choices = [
        Choice(point, precision)
        for point in points
        if point.kind != CONTROL and point.status == SHIPPED
        for precision in sorted(point.files)
    ]
    if not choices:
        raise BenchError("the run ships no .tflite file to choose from")
    fitting = [c for c in choices if not _misses(c, terms)]
    if fitting:
        return max(fitting, key=lambda c: (c.file.rank.value, -c.point.macs, -c.file.flash_bytes))
    nearest = min(choices, key=lambda c: max(over for _, over in _misses(c, terms)))
    missed = ", ".join(
        f"{term.text} (it has {amount(term.name, _figure(nearest, term))}, {over:.0%} over)"
        for term, over in _misses(nearest, terms)
    )
    raise BenchError(
        f"no point meets the budget; the nearest, {nearest.point.name} {nearest.precision}, misses {missed}"
    )


def exceeded(terms: Iterable[Term], **figures: float) -> str:
    """Which of the terms these figures miss, in words; empty where none. Other terms are passed over."""
    missed = [t for t in terms if t.name in figures and figures[t.name] > t.limit]
    return ", ".join(f"over the budget {t.text}: {amount(t.name, figures[t.name])}" for t in missed)


def amount(name: str, value: float) -> str:
    """A figure with its unit, as a person reads it."""
    scales = _SCALES[FIGURES[name].unit]
    fitting = [(scale, unit) for unit, scale in scales.items() if "I" not in unit and value >= scale]
    scale, unit = max(fitting, default=(1, "US" if FIGURES[name].unit == "time" else ""))
    return f"{value / scale:.3g} {unit.lower() if FIGURES[name].unit == 'time' else unit}".strip()


def _term(text: str) -> Term:
    match = re.fullmatch(r"([a-z0-9.\-]+)\s*<=?\s*([0-9]*\.?[0-9]+(?:e[0-9]+)?)\s*([a-z]*)", text, re.IGNORECASE)
    if match is None:
        raise BenchError(f"budget term {text!r} is not understood; write name<=number with a unit; {_known()}")
    name, number, unit = match[1].lower(), float(match[2]), match[3].upper()
    if name not in FIGURES:
        raise BenchError(f"unknown budget term {name!r}; {_known()}")
    scales = _SCALES[FIGURES[name].unit]
    if unit not in scales:
        units = ", ".join(u or "none" for u in scales)
        raise BenchError(f"{text!r}: {name} has no unit {match[3]!r}; units: {units}")
    return Term(name, number * scales[unit], text)


def _known() -> str:
    return f"terms are: {', '.join(FIGURES)}; for example macs<=30M, flash<=500KB, ram<=128KB, latency<=10ms"


def _figure(choice: Choice, term: Term) -> float:
    return FIGURES[term.name].of(choice.point, choice.file)


def _misses(choice: Choice, terms: Iterable[Term]) -> list[tuple[Term, float]]:
    """The terms a choice misses, with the share by which it is over."""
    figures = [(term, _figure(choice, term)) for term in terms]
    return [
        (term, value / term.limit - 1 if term.limit else float("inf")) for term, value in figures if value > term.limit
    ]
