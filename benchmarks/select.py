"""Budgets: ``"macs<=30M, flash<=500KB"`` -> the best operating point that fits."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from benchmarks.points import CONTROL, SHIPPED, SOURCES, File, OperatingPoint
from benchmarks.records import BenchError
from tflite_export.budget import Term, amount, over


@dataclass(frozen=True)
class Figure:
    """What a budget term reads: the figure of a point in one precision."""

    of: Callable[[OperatingPoint, File], float]
    source: str


FIGURES = {
    "macs": Figure(lambda p, f: p.macs, SOURCES["macs"]),
    "params": Figure(lambda p, f: p.params, SOURCES["params"]),
    "flash": Figure(lambda p, f: f.flash_bytes, SOURCES["flash"]),
    "ram": Figure(lambda p, f: f.arena_bytes, SOURCES["ram"]),
    "latency": Figure(lambda p, f: f.latency_median_us, SOURCES["latency"]),
}


@dataclass(frozen=True)
class Choice:
    """The point that a budget selects and the precision of its file."""

    point: OperatingPoint
    precision: str

    @property
    def file(self) -> File:
        """The file to flash."""
        return self.point.files[self.precision]


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
    fitting = [c for c in choices if not over(terms, _figures(c))]
    if fitting:
        return max(fitting, key=lambda c: (c.file.rank.value, -c.point.macs, -c.file.flash_bytes))
    nearest = min(choices, key=lambda c: max(over(terms, _figures(c)).values()))
    missed = ", ".join(
        f"{term.text} (it has {amount(term.name, _figures(nearest)[term.name])}, {share:.0%} over)"
        for term, share in over(terms, _figures(nearest)).items()
    )
    raise BenchError(
        f"no point meets the budget; the nearest, {nearest.point.name} {nearest.precision}, misses {missed}"
    )


def exceeded(terms: Iterable[Term], **figures: float) -> str:
    """Which of the terms these figures miss, in words; empty where none. Other terms are passed over."""
    missed = [t for t in terms if t.name in figures and figures[t.name] > t.limit]
    return ", ".join(f"over the budget {t.text}: {amount(t.name, figures[t.name])}" for t in missed)


def _figures(choice: Choice) -> dict[str, float]:
    return {name: figure.of(choice.point, choice.file) for name, figure in FIGURES.items()}
