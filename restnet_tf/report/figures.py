"""The figures of a report: one list, of which the terminal, the page, Markdown, CSV and the page's plot are made.

To add a figure is to add an entry here. What devices measured and what the rungs of a fit gave are not known before
a run, so their entries are made of what it holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from restnet_tf.points.front import chord, chorded
from restnet_tf.points.points import ANCHOR, CONTROL, DISTILLED, SOURCES, STITCHED, File, Share
from restnet_tf.report import dials, losses, units
from restnet_tf.report.contents import Candidate, Ladder, place, standing, why_not
from restnet_tf.report.figure import (
    ACROSS,
    BENCH,
    CARD,
    CASCADES,
    CSV,
    EVERYWHERE,
    FILE,
    ONLY_CSV,
    POINT,
    TABLE,
    TABLES,
    UP,
    WRITTEN,
    Figure,
    Line,
)
from restnet_tf.report.units import Unit
from tflite_export.devices.measurements import KINDS, UNITS, Measurement

_FILES, _IN_FULL = frozenset((FILE,)), frozenset((TABLE, CSV))


def _file(
    name: str, label: str, read: Callable[[File], Any], unit: Unit = units.WORDS, source: str = "", **more: Any
) -> Figure:
    def of_file(line: Line) -> Any:
        return None if line.file is None else read(line.file)

    return Figure(name, label, of_file, unit, source, frozenset((FILE,)), **more)


def _between(line: Line, value: Any) -> Any:
    """What anchors and controls have none of."""
    return None if line.point.kind in (ANCHOR, CONTROL) else value


FIGURES = (
    Figure("point", "point", lambda of: of.point.name, of=frozenset((POINT, FILE)), views=TABLES | {BENCH, CASCADES}),
    Figure("standing", "front", lambda of: place(of.point), views=TABLES),
    Figure("kind", "kind", lambda of: of.point.kind, views=ONLY_CSV),
    Figure("status", "status", lambda of: of.point.status, views=ONLY_CSV),
    Figure("test_images", "test {many}", lambda of: of.point.test.n, units.COUNT, views=ONLY_CSV),
    Figure("rank_images", "rank {many}", lambda of: of.point.rank.n, units.COUNT, views=ONLY_CSV),
    Figure(
        "keras_test_score",
        "{metric}",
        lambda of: of.point.test,
        units.SCORE,
        "{ran} on the test split; interval by Wilson",
        views=EVERYWHERE | {CASCADES},
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
        lambda of: _between(of, chord(of.family, of.point.test_mean_macs) if chorded(of.family) else None),
        units.SHARE,
        "straight line between the anchors over MACs (mean ones of cascades), test split",
        views=TABLES | {CASCADES},
        gloss="chord: what picking one of the anchors by chance gives at this mean cost",
    ),
    Figure(
        "keras_test_agreement",
        "as large",
        lambda of: of.point.test.agreement,
        units.SHARE,
        "same answer as the large anchor, {ran} on the test split",
        title="same answer as the large anchor",
        gloss="as large: {many} answered as the large one answers them",
        note="% ({ran})",
        axis=UP,
    ),
    Figure(
        "keras_test_kl",
        "{loss}",
        lambda of: of.point.test.kl,
        units.NATS,
        "{of}, {ran} on the test split",
        views=WRITTEN,
        title="{loss} {of}",
        note="nats ({ran}); lower is better",
        axis=UP,
    ),
    Figure(
        "test_goes_on",
        "goes on",
        dials.chosen(lambda dial, point: dials.deferral(dial.test_reach, point.test.n)),
        units.DEFERRAL,
        "share of test {many} on which a stage is below its threshold; interval by Wilson",
        views=WRITTEN | {CASCADES},
    ),
    Figure(
        "rank_goes_on",
        "goes on (rank split)",
        dials.chosen(lambda dial, point: dials.deferral(dial.rank_reach, point.rank.n)),
        units.DEFERRAL,
        "share of rank {many} on which a stage is below its threshold; interval by Wilson",
        views=WRITTEN,
    ),
    Figure(
        "thresholds",
        "thresholds",
        dials.chosen(lambda dial, point: dial.thresholds),
        units.THRESHOLDS,
        "a stage answers at or above its own; chosen on the rank split",
        views=WRITTEN | {CASCADES},
    ),
    Figure(
        "test_mean_macs",
        "mean MMACs, test",
        dials.mean(lambda of: dials.set_macs(of, "test")),
        units.MILLIONS,
        "what stages add, by the share of test {many} that each ran on",
        views=WRITTEN | {CASCADES},
        title="mean MACs of one {one}",
        axis=ACROSS,
        turned=lambda of, setting: dials.mean_macs(of, setting.test_reach),
        worst="macs",
    ),
    Figure(
        "mean_macs",
        "mean MMACs",
        dials.mean(lambda of: dials.set_macs(of, "rank")),
        units.MILLIONS,
        "what stages add, by the share of rank {many} that each ran on",
        views=EVERYWHERE | {CASCADES},
        title="mean MACs (rank split)",
        term="mean.macs",
        turned=lambda of, setting: dials.mean_macs(of, setting.rank_reach),
        worst="macs",
    ),
    Figure(
        "macs",
        "{worst}MMACs",
        lambda of: of.point.macs,
        units.MILLIONS,
        SOURCES["macs"],
        views=EVERYWHERE | {CASCADES},
        title="{worst}MACs of one {one}",
        axis=ACROSS,
        term="macs",
    ),
    Figure(
        "params",
        "params",
        lambda of: of.point.params,
        units.THOUSANDS,
        SOURCES["params"],
        views=WRITTEN,
        title="parameters",
        axis=ACROSS,
    ),
    Figure(
        "unshared_params",
        "unshared",
        lambda of: of.point.unshared_params if of.point.kind in (STITCHED, DISTILLED) else None,
        units.THOUSANDS,
        "parameters that no anchor has, counted in the fitted stitch",
        views=WRITTEN,
    ),
    Figure("rung", "rung", lambda of: of.point.rung, views=WRITTEN),
    Figure("route", "route", lambda of: of.point.route, views=WRITTEN),
    Figure("reason", "why not", lambda of: why_not(of.point), views=_IN_FULL),
    Figure(
        "precision",
        "precision",
        lambda of: of.precision,
        of=frozenset((FILE,)),
        views=TABLES | {BENCH},
    ),
    Figure("standing_of_file", "front", lambda of: standing(of.point, of.precision), of=_FILES, views=_IN_FULL),
    _file(
        "interpreter_test_score",
        "{metric}",
        lambda file: file.test,
        units.SCORE,
        SOURCES["score"],
        title="{metric}",
        note="% of test {many}; bars: 95 % interval",
        axis=UP,
        stand_in="keras_test_score",
        turned=lambda of, setting: Share(setting.test.value, of.point.test.n),
    ),
    Figure(
        "interpreter_rank_score",
        "rank split",
        lambda of: None if (rank := losses.rank(of.point, of.precision)) is None else rank.value,
        units.SHARE,
        SOURCES["rank_score"],
        _FILES,
        gloss="rank split: the {many} that choose what ships; those of the test split only report",
        turned=lambda of, setting: setting.rank.value,
    ),
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
        gloss="arena: memory beside the flash, planned from the file",
    ),
    Figure(
        "test_goes_on_in_file",
        "goes on",
        dials.chosen(lambda dial, point: dials.deferral(dial.test_reach, point.test.n)),
        units.DEFERRAL,
        "share of test {many} on which a stage of the file is below its threshold, run by the interpreter",
        _FILES,
        _IN_FULL,
        turned=lambda of, setting: dials.deferral(setting.test_reach, of.point.test.n),
    ),
    Figure(
        "rank_goes_on_in_file",
        "goes on (rank split)",
        dials.chosen(lambda dial, point: dials.deferral(dial.rank_reach, point.rank.n)),
        units.DEFERRAL,
        "share of rank {many} on which a stage of the file is below its threshold, run by the interpreter",
        frozenset((FILE,)),
        ONLY_CSV,
        turned=lambda of, setting: dials.deferral(setting.rank_reach, of.point.rank.n),
    ),
    Figure(
        "thresholds_of_file",
        "thresholds",
        dials.chosen(lambda dial, point: dial.thresholds),
        units.THRESHOLDS,
        "a stage answers at or above its own; chosen on the rank split, in the file's metadata",
        frozenset((FILE,)),
        _IN_FULL,
        turned=lambda of, setting: setting.thresholds,
    ),
    Figure(
        "test_mean_host_latency",
        "mean latency, test",
        dials.mean(lambda of: of.file and of.file.test_mean_latency_us),
        units.MILLISECONDS,
        "medians on the building host by the stage that answers, by the share of test {many} that it answered",
        _FILES,
        _IN_FULL,
        title="mean latency (building host)",
        axis=ACROSS,
        turned=lambda of, setting: dials.mean_latency(of, setting.test_reach),
        worst="host_latency_median",
    ),
    Figure(
        "mean_host_latency",
        "mean latency",
        dials.mean(lambda of: of.file and of.file.mean_latency_us),
        units.MILLISECONDS,
        "medians on the building host by the stage that answers, by the share of rank {many} that it answered",
        frozenset((FILE,)),
        title="mean latency (rank split)",
        term="mean.latency",
        turned=lambda of, setting: dials.mean_latency(of, setting.rank_reach),
        worst="host_latency_median",
    ),
    _file(
        "host_latency_median",
        "{worst}latency",
        lambda file: file.latency_median_us,
        units.MILLISECONDS,
        SOURCES["latency"],
        title="{worst}latency (building host)",
        axis=ACROSS,
        term="latency",
    ),
    _file(
        "host_latency_p90",
        "p90",
        lambda file: file.latency_p90_us,
        units.MILLISECONDS,
        "measured on the building host, nine of ten runs are faster",
        views=WRITTEN,
    ),
    _file(
        "run_by",
        "run by",
        lambda file: f"{file.tool}, {file.threads} thread{'s' if file.threads > 1 else ''}",
        views=frozenset((TABLE, CARD)),
    ),
    _file("host_threads", "threads", lambda file: file.threads, units.COUNT, views=ONLY_CSV),
    _file("host_tool", "tool", lambda file: file.tool, views=ONLY_CSV),
    _file("file", "file", lambda file: file.path, views=ONLY_CSV),
    _file("sha256", "sha256", lambda file: file.sha256, views=ONLY_CSV),
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
    texts = {name: getattr(figure, name).format(**words) for name in ("label", "source", "title", "note", "gloss")}
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
