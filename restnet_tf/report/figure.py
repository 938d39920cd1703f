"""What a figure of a report is: a column of tables and an axis of the plot, read of a line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from restnet_tf.points.points import File, OperatingPoint, Setting
from restnet_tf.report import units
from restnet_tf.report.units import Unit

# Where a figure is shown: tables of the page and Markdown, on the terminal, in CSV, on the card of a point.
TABLE, TERMINAL, CSV, CARD, BENCH, CASCADES = "table", "terminal", "csv", "card", "bench", "cascades"
EVERYWHERE = frozenset((TABLE, TERMINAL, CSV, CARD))
WRITTEN = EVERYWHERE - {TERMINAL}
TABLES = frozenset((TABLE, TERMINAL, CSV))
ONLY_CSV = frozenset((CSV,))
# What it is a figure of; and the axis of the plot that it may stand along.
POINT, FILE = "point", "file"
ACROSS, UP = "across", "up"


@dataclass(frozen=True)
class Line:
    """What a row of a table is of: a point among its family, and one of its files where the table has a row a file."""

    point: OperatingPoint
    family: tuple[OperatingPoint, ...]
    precision: str = ""

    @property
    def file(self) -> File | None:
        """The file in this precision; None where the run has none."""
        return self.point.files.get(self.precision)


@dataclass(frozen=True)
class Figure:
    """A column of tables: what it is called, how it is read of a line, written, and where it comes from.

    ``name`` is that of CSV and of scripts, ``label`` the head; ``{metric}`` and the like stand for the run's words.
    ``source`` is empty for words. ``over`` is a device, which stands before the label; ``kind`` says where a figure
    comes from, where a table may hold others of its name. ``title`` and ``note`` are what the plot says along its axis;
    ``stand_in`` names the figure of a point that is drawn there where it has no file; ``term`` is what a budget calls
    it. ``turned`` reads it of a cascade whose dial is turned to another setting; ``worst`` names the figure that has
    the worst case of this mean. ``gloss`` says below a table of the terminal what its head means.
    """

    name: str
    label: str
    read: Callable[[Line], Any]
    unit: Unit = units.WORDS
    source: str = ""
    of: frozenset[str] = frozenset((POINT,))
    views: frozenset[str] = EVERYWHERE
    over: str = ""
    kind: str = ""
    title: str = ""
    note: str = ""
    axis: str = ""
    stand_in: str = ""
    term: str = ""
    turned: Callable[[Line, Setting], Any] | None = None
    worst: str = ""
    gloss: str = ""

    @property
    def bare(self) -> str:
        """The label without its unit."""
        return f"{self.over}: {self.label}" if self.over else self.label

    @property
    def head(self) -> str:
        """The head of its column in one line."""
        unit = f", {self.unit.word}" if self.unit.word else ""
        return f"{self.bare}{unit}" + (f" ({self.kind})" if self.over else "")

    @property
    def stacked(self) -> str:
        """The head of its column on a terminal, which is narrow."""
        middle = f"{self.label} {self.unit.word}".rstrip()
        return "\n".join(part for part in (self.over, middle, f"({self.kind})" if self.kind else "") if part)
