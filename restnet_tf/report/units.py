"""How values are written: as cells of tables, as columns of CSV, as plain values for the page's scripts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

from restnet_tf.points.points import Score, Share


@dataclass(frozen=True)
class Cell:
    """What is shown, and what is sorted by: a number in the unit of the column, words, or None for nothing."""

    text: str
    value: float | str | None


@dataclass(frozen=True)
class Unit:
    """A way to write values, which are raw: words, or shares, counts, bytes, microseconds, nats.

    ``kind`` names it for scripts, ``word`` stands behind the head of a column, ``cell`` writes a value there.
    ``parts`` are the columns that a value fills in CSV, by what their names end in; what it is in JSON is their
    values, alone where there is one. ``sentence`` writes a value in one, where that is no cell with the word behind it.
    """

    kind: str
    word: str
    cell: Callable[[Any], Cell]
    parts: Mapping[str, Callable[[Any], Any]]
    sentence: Callable[[Any], str] | None = None

    def phrase(self, value: Any) -> str:
        """A value in a sentence, with its unit."""
        return self.sentence(value) if self.sentence else f"{self.cell(value).text} {self.word}".strip()

    def shown(self, value: Any) -> Cell:
        """The cell of a value; an empty one of none."""
        return Cell("", None) if absent(value) else self.cell(value)

    def spread(self, value: Any) -> dict[str, Any]:
        """The columns of CSV that a value fills, by what their names end in."""
        return {end: None if absent(value) else part(value) for end, part in self.parts.items()}

    def plain(self, value: Any) -> Any:
        """A value as JSON has it."""
        if absent(value):
            return None
        values = list(self.spread(value).values())
        return values[0] if len(values) == 1 else values


def absent(value: Any) -> bool:
    """Whether there is nothing to show."""
    return value is None or value == "" or (isinstance(value, float) and not isfinite(value))


def millions(count: float) -> str:
    """Of MACs or parameters, three digits or more."""
    return f"{count / 1e6:.{1 if count >= 1e7 else 2 if count >= 1e6 else 3}f}"


def _unit(kind: str, word: str, base: str, scale: Callable[[float], float], digits: int) -> Unit:
    def cell(value: float) -> Cell:
        return Cell(f"{scale(value):.{digits}f}", scale(value))

    return Unit(kind, word, cell, {f"_{base}": lambda value: value})


def _interval(score: Score | Share) -> Cell:
    low, high = (100 * end for end in score.interval)
    return Cell(f"{100 * score.value:.1f} [{low:.1f}, {high:.1f}]", 100 * score.value)


def _several(kind: str, of_each: Unit, most: int = 2) -> Unit:
    """Of a value for each stage but the last: in a row, and sorted by the first."""

    def cell(values: Sequence[Any]) -> Cell:
        return Cell(", ".join(of_each.cell(value).text for value in values), of_each.cell(values[0]).value)

    def part(read: Callable[[Any], Any], at: int) -> Callable[[Any], Any]:
        return lambda values: read(values[at]) if at < len(values) else None

    parts = {f"_{at + 1}{end}": part(read, at) for at in range(most) for end, read in of_each.parts.items()}
    return Unit(kind, of_each.word, cell, parts)


WORDS = Unit("words", "", lambda text: Cell(str(text), str(text)), {"": str})
SCORE = Unit(
    "score",
    "% [95 %]",
    _interval,
    {
        "_share": lambda score: score.value,
        "_low95_share": lambda score: score.interval[0],
        "_high95_share": lambda score: score.interval[1],
    },
    lambda score: "{:.1f} % [{:.1f}, {:.1f}]".format(*(100 * share for share in (score.value, *score.interval))),
)
SHARE = _unit("share", "%", "share", lambda share: 100 * share, 1)
NATS = _unit("nats", "nats", "nats", lambda nats: nats, 3)
RATIO = _unit("ratio", "", "share", lambda ratio: ratio, 3)
COUNT = _unit("count", "", "count", lambda count: count, 0)
STEPS = _unit("count", "steps", "count", lambda count: count, 0)
THOUSANDS = _unit("count", "K", "count", lambda count: count / 1e3, 1)
MILLIONS = Unit(
    "count",
    "",  # the head says it
    lambda count: Cell(millions(count), count / 1e6),
    {"_count": lambda count: count},
)
KILOBYTES = _unit("bytes", "KB", "bytes", lambda size: size / 1e3, 1)
MILLISECONDS = _unit("time", "ms", "us", lambda time: time / 1e3, 3)
# Of a cascade, whose stages but the last go on.
DEFERRAL = _several("deferral", SCORE)
THRESHOLDS = _several("thresholds", Unit("threshold", "", lambda t: Cell(f"{t:.4g}", t), {"": lambda t: t}))
# Of what devices report, by the kind of its unit.
MEASURED = {"bytes": KILOBYTES, "time": MILLISECONDS, "count": COUNT}
