"""The figures of a report: one list, of which the terminal, the page, Markdown, CSV and the page's plot are made.

To add a figure is to add an entry here. What devices measured and what the rungs of a fit gave are not known before
a run, so their entries are made of what it holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from restnet_tf.points.front import chord
from restnet_tf.points.points import SOURCES, STITCHED, File, OperatingPoint
from restnet_tf.report import units
from restnet_tf.report.contents import Candidate, Ladder, standing
from restnet_tf.report.units import Unit
from restnet_tf.words import sentence
from tflite_export.devices.measurements import KINDS, UNITS, Measurement

# Where a figure is shown: tables of the page and Markdown, on the terminal, in CSV, on the card of a point.
TABLE, TERMINAL, CSV, CARD, BENCH = "table", "terminal", "csv", "card", "bench"
EVERYWHERE = frozenset((TABLE, TERMINAL, CSV, CARD))
_TABLES = frozenset((TABLE, TERMINAL, CSV))
_CSV = frozenset((CSV,))
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
    it.
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


def _file(
    name: str, label: str, read: Callable[[File], Any], unit: Unit = units.WORDS, source: str = "", **more: Any
) -> Figure:
    def of_file(line: Line) -> Any:
        return None if line.file is None else read(line.file)

    return Figure(name, label, of_file, unit, source, frozenset((FILE,)), **more)


def _between(line: Line, value: Any) -> Any:
    """What only points between the anchors have."""
    return value if line.point.kind == STITCHED else None


FIGURES = (
    Figure("point", "point", lambda of: of.point.name, of=frozenset((POINT, FILE)), views=_TABLES | {BENCH}),
    Figure("standing", "front", lambda of: standing(of.point), views=_TABLES),
    Figure("kind", "kind", lambda of: of.point.kind, views=_CSV),
    Figure("status", "status", lambda of: of.point.status, views=_CSV),
    Figure("test_images", "test images", lambda of: of.point.test.n, units.COUNT, views=_CSV),
    Figure("rank_images", "rank images", lambda of: of.point.rank.n, units.COUNT, views=_CSV),
    Figure(
        "keras_test_score",
        "{metric}",
        lambda of: of.point.test,
        units.SCORE,
        "{ran} on the test split; interval by Wilson",
    ),
    Figure(
        "keras_rank_score",
        "rank split",
        lambda of: of.point.rank.value,
        units.SHARE,
        "{ran} {ranked}",
        views=frozenset((TABLE, CSV)),
    ),
    Figure(
        "chord_test_score",
        "chord",
        lambda of: _between(of, chord(of.family, of.point.macs)),
        units.SHARE,
        "straight line between the anchors over MACs, test split",
        views=_TABLES,
    ),
    Figure(
        "keras_test_agreement",
        "as large",
        lambda of: of.point.test.agreement,
        units.SHARE,
        "same answer as the large anchor, {ran} on the test split",
        title="same answer as the large anchor",
        note="% ({ran})",
        axis=UP,
    ),
    Figure(
        "keras_test_kl",
        "{loss}",
        lambda of: of.point.test.kl,
        units.NATS,
        "{of}, {ran} on the test split",
        title="{loss} {of}",
        note="nats ({ran}); lower is better",
        axis=UP,
    ),
    Figure(
        "macs",
        "MMACs",
        lambda of: of.point.macs,
        units.MILLIONS,
        SOURCES["macs"],
        title="MACs of one image",
        axis=ACROSS,
        term="macs",
    ),
    Figure(
        "params",
        "params",
        lambda of: of.point.params,
        units.THOUSANDS,
        SOURCES["params"],
        title="parameters",
        axis=ACROSS,
    ),
    Figure(
        "unshared_params",
        "unshared",
        lambda of: _between(of, of.point.unshared_params),
        units.THOUSANDS,
        "parameters that no anchor has, counted in the fitted stitch",
    ),
    Figure("rung", "rung", lambda of: of.point.rung),
    Figure("route", "route", lambda of: of.point.route),
    Figure("reason", "why not", lambda of: sentence(of.point.reason), views=_TABLES),
    Figure(
        "precision",
        "precision",
        lambda of: of.precision,
        of=frozenset((FILE,)),
        views=_TABLES | {BENCH},
    ),
    _file(
        "interpreter_test_score",
        "{metric}",
        lambda file: file.test,
        units.SCORE,
        SOURCES["score"],
        title="{metric}",
        note="% of test images; bars: 95 % interval",
        axis=UP,
        stand_in="keras_test_score",
    ),
    _file("interpreter_rank_score", "rank split", lambda file: file.rank.value, units.SHARE, SOURCES["rank_score"]),
    _file(
        "flash",
        "flash",
        lambda file: file.flash_bytes,
        units.KILOBYTES,
        SOURCES["flash"],
        title="flash",
        axis=ACROSS,
        term="flash",
        views=EVERYWHERE | {BENCH},
    ),
    _file(
        "arena_planned",
        "arena",
        lambda file: file.arena_bytes,
        units.KILOBYTES,
        SOURCES["ram"],
        title="arena (planned)",
        axis=ACROSS,
        term="ram",
        kind="plan",
        views=EVERYWHERE | {BENCH},
    ),
    _file(
        "host_latency_median",
        "latency",
        lambda file: file.latency_median_us,
        units.MILLISECONDS,
        SOURCES["latency"],
        title="latency (building host)",
        axis=ACROSS,
        term="latency",
    ),
    _file(
        "host_latency_p90",
        "p90",
        lambda file: file.latency_p90_us,
        units.MILLISECONDS,
        "measured on the building host, nine of ten runs are faster",
    ),
    _file(
        "run_by",
        "run by",
        lambda file: f"{file.tool}, {file.threads} thread{'s' if file.threads > 1 else ''}",
        views=frozenset((TABLE, CARD)),
    ),
    _file("host_threads", "threads", lambda file: file.threads, units.COUNT, views=_CSV),
    _file("host_tool", "tool", lambda file: file.tool, views=_CSV),
    _file("file", "file", lambda file: file.path, views=_CSV),
    _file("sha256", "sha256", lambda file: file.sha256, views=_CSV),
)


@dataclass(frozen=True)
class PairFigure:
    """A figure of a pair of cuts, on the card of the map of similarities."""

    label: str
    read: Callable[[Candidate], float | None]
    unit: Unit
    source: str


PAIR_FIGURES = (
    PairFigure("MACs", lambda pair: pair.macs, units.COUNT, "counted in the graph"),
    PairFigure("R2", lambda pair: pair.r2, units.RATIO, "of the ridge solution, features on the fit split"),
    PairFigure("KL", lambda pair: pair.kl, units.NATS, "closed-form stitch, run in Keras on the rank split"),
)


def shown(view: str, of: str) -> tuple[Figure, ...]:
    """The figures of points or of files that a view shows, in the order of the list."""
    return tuple(figure for figure in FIGURES if view in figure.views and of in figure.of)


def spoken(figure: Figure, words: Mapping[str, str]) -> Figure:
    """A figure of the list with a run's words for what stands in braces."""
    if figure not in FIGURES:
        return figure  # made of what a run holds: any brace is its own
    texts = {name: getattr(figure, name).format(**words) for name in ("label", "source", "title", "note")}
    return replace(figure, **texts)


def measured(measurements: Iterable[Measurement]) -> tuple[Figure, ...]:
    """A figure for each device, figure, kind and tool: nothing that differs in these shares a column."""
    values: dict[tuple[str, str, str, str], dict[tuple[str, str], float]] = {}
    for m in measurements:
        values.setdefault(origin(m), {})[m.point, m.precision] = m.value
    return tuple(_measured(key, of_file) for key, of_file in sorted(values.items()))


def origin(m: Measurement) -> tuple[str, str, str, str]:
    """What measurements in one column have in common."""
    return m.device, m.figure, m.kind, m.tool


def _measured(key: tuple[str, str, str, str], values: Mapping[tuple[str, str], float]) -> Figure:
    device, figure, kind, tool = key
    return Figure(
        f"{device} {figure}",
        figure,
        lambda line: values.get((line.point.name, line.precision)),
        units.STEPS if figure == "difference" else units.MEASURED[UNITS[figure]],
        f"{KINDS[kind]} by {tool}",
        frozenset((FILE,)),
        over=device,
        kind=kind,
        title=f"{device}: {figure}",
        axis=ACROSS,
    )


def climbed(ladders: Mapping[str, Ladder]) -> tuple[Figure, ...]:
    """A figure for each rung that any fit tried, in nats."""
    names = dict.fromkeys(step for ladder in ladders.values() for step in ladder.steps)
    return tuple(_climbed(name, ladders) for name in names)


def _climbed(name: str, ladders: Mapping[str, Ladder]) -> Figure:
    def read(line: Line) -> float | None:
        ladder = ladders.get(line.point.name)
        return ladder.steps.get(name) if ladder else None

    source = "KL to the large anchor's outputs, run in Keras on the rank split while fitting"
    return Figure(f"rank_kl_{name.replace(' ', '_')}", name, read, units.NATS, source)
