"""One list of figures: an entry of it stands in every table, and the page's scripts know none by its name."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from measured_points import cascade, file, point, scored
from rich.console import Console

from restnet_tf.points import select
from restnet_tf.points.points import ANCHOR, CONTROL, DOMINATED, Share
from restnet_tf.records import Reason
from restnet_tf.report import figures, pagedata, sheets, tables, terminal, units, webpage
from restnet_tf.report.contents import COMPOSED, Report
from restnet_tf.report.figure import ACROSS, CSV, FILE, POINT, Figure, Line
from tflite_export.devices.measurements import Measurement

FAMILY = (
    point("small", 1_000_000, 120, ANCHOR),
    point("L1-S0", 5_000_000, 160, rung="norm", unshared_params=700),
    point("L2-S0", 6_000_000, 130, status=DOMINATED, reason=Reason("dominated", rival="small"), files={}),
    point("large", 9_000_000, 180, ANCHOR),
    point("distilled", 1_000_000, 110, CONTROL, status=CONTROL, files={}),
)
WITH_CASCADE = (*FAMILY, cascade(FAMILY[0], FAMILY[3]))
REPORT = Report("runs/demo", "l + s", "accuracy", {"large": "l", "small": "s"}, {"data": "d"}, "build", FAMILY)
OF_A_POINT = Figure(
    "letters", "letters", lambda of: len(of.point.name) / 7, units.NATS, "counted in the name", axis=ACROSS
)
OF_A_FILE = replace(
    OF_A_POINT,
    name="repeats",
    label="repeats",
    read=lambda of: None if of.file is None else len(of.file.latency_repeats_us),
    unit=units.COUNT,
    source="counted on the host",
    of=frozenset((FILE,)),
)


class Data(HTMLParser):
    """The JSON of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.content, self._inside = "", False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._inside = ("id", "data") in attrs

    def handle_data(self, text: str) -> None:
        self.content += text if self._inside else ""


def printed(draw: Callable[..., object]) -> str:
    with (console := Console(width=300)).capture() as captured:
        console.print(draw(FAMILY, "accuracy"))
    return captured.get()


@pytest.mark.parametrize(
    ("figure", "table", "draw"),
    [(OF_A_POINT, "points", terminal.operating_points), (OF_A_FILE, "files", terminal.precisions)],
)
def test_an_entry_of_the_list_stands_everywhere(figure, table, draw, monkeypatch):
    monkeypatch.setattr(figures, "FIGURES", (*figures.FIGURES, figure))
    value = figure.read(Line(FAMILY[1], FAMILY, "int8"))
    text = figure.unit.shown(value).text
    assert figure.stacked in printed(draw)
    column = [line for line in sheets.markdown(REPORT).splitlines() if line == f"- {figure.head}: {figure.source}"]
    assert len(column) == 1
    row = next(r for r in csv.DictReader(sheets.as_csv(REPORT).splitlines()) if r["point"] == "L1-S0")
    assert row[f"{figure.name}_{figure.unit.kind if figure.unit is units.COUNT else 'nats'}"] == str(value)
    page = webpage.html(REPORT)
    assert f">{figure.head}</th>" in page[page.index(f'<section id="{table}">') :]
    assert f'data-value="{figure.unit.shown(value).value}">{text}</td>' in page
    data = json.loads(Data(page).content)
    assert next(f for f in data["figures"] if f["name"] == figure.name)["axis"] == ACROSS
    drawn = next(p for p in data["points"] if p["name"] == "L1-S0")
    assert (drawn["files"]["int8"] if table == "files" else drawn["figures"])[figure.name] == value


def test_scripts_know_no_figure_by_its_name():
    scripts = "\n".join(path.read_text() for path in Path(webpage.__file__).parent.glob("page/*.js"))
    # Words of a point, a pair or a way to write values.
    plain = {"point", "kind", "file", "precision", "reason", "standing", "status", "thresholds"}
    names = {f.name for f in figures.FIGURES} | {f.term for f in figures.FIGURES if f.term}
    assert not [name for name in names - plain if re.search(rf"\b{name}\b", scripts)]


def test_names_are_one_entry_each():
    names = [figure.name for figure in figures.FIGURES]
    assert len(names) == len(set(names))
    assert {f.stand_in for f in figures.FIGURES if f.stand_in} <= set(names)


def test_figures_that_a_budget_limits_are_those_that_select_reads():
    limited = [figure for figure in figures.FIGURES if figure.term]
    assert {figure.term for figure in limited} == {"macs", "flash", "ram", "latency", "mean.macs", "mean.latency"}
    for family in (FAMILY, WITH_CASCADE):
        for choice in select.choices(family):
            read = {f.term: f.read(Line(choice.point, family, choice.precision)) for f in limited}
            told = {term: value for term, value in read.items() if value is not None}
            assert told == {term: choice.figures[term] for term in told}
            assert set(read) - set(told) == (set() if family is WITH_CASCADE else {"mean.macs", "mean.latency"})


def test_what_the_dial_turns_is_told_of_every_position():
    of_small_large = pagedata.data(replace(REPORT, points=WITH_CASCADE))["cascades"][0]
    dial = of_small_large["files"]["int8"]
    assert (of_small_large["point"], dial["length"], dial["at"]) == ("small>large", 9, 2)
    turned = {f.name for f in figures.FIGURES if f.turned}
    assert set(dial["figures"]) == turned
    assert dial["figures"]["mean_macs"] == [1e6 + share / 8 * 9e6 for share in range(9)]
    assert dial["figures"]["mean_host_latency"] == [100 + 800 * share / 8 for share in range(9)]
    assert dial["figures"]["test_mean_macs"][2] == pytest.approx(1e6 + 0.3 * 9e6)
    assert [n["test_mean_macs"] for n in of_small_large["notches"]] == [pytest.approx(1e6 + 0.3 * 9e6)]
    assert pagedata.data(REPORT)["cascades"] == []


def test_a_file_of_its_own_thresholds_has_a_dial_of_its_own():
    joined = WITH_CASCADE[-1]
    own = replace(joined.files["int8"].dial, thresholds=(0.3,), rank_reach=(1.0, 0.5), curve=())
    joined = replace(joined, files={"int8": replace(joined.files["int8"], dial=own)})
    dial = pagedata.data(replace(REPORT, points=(*FAMILY, joined)))["cascades"][0]["files"]["int8"]
    assert (dial["length"], dial["at"]) == (10, 4)
    assert dial["figures"]["thresholds_of_file"][4] == [0.3, None]
    line = Line(joined, (*FAMILY, joined), "int8")
    assert next(f for f in figures.FIGURES if f.name == "mean_macs").read(line) == 1e6 + 0.5 * 9e6


def test_a_share_that_goes_on_has_an_interval_a_stage():
    shares = (Share(0.25, 200), Share(0.05, 200))
    assert units.DEFERRAL.shown(shares).text == "25.0 [19.5, 31.4], 5.0 [2.7, 9.0]"
    assert list(units.DEFERRAL.spread(shares)) == [
        f"_{stage}{end}" for stage in (1, 2) for end in ("_share", "_low95_share", "_high95_share")
    ]
    assert units.DEFERRAL.plain(shares[:1]) == [0.25, *shares[0].interval, None, None, None]
    assert units.THRESHOLDS.shown((0.83, 1.01)).text == "0.83, 1.01"


@pytest.mark.parametrize("value", [None, "", float("nan"), float("inf")])
def test_nothing_is_shown_of_what_is_not_there(value):
    for unit in (units.WORDS, units.SCORE, units.NATS, units.MILLIONS):
        assert unit.shown(value) == units.Cell("", None)
        assert set(unit.spread(value).values()) == {None}
        assert unit.plain(value) is None


def test_a_column_that_no_row_fills_is_left_out():
    bare = tuple(replace(p, rung="", reason=None) for p in FAMILY)
    heads = [column.label for column in tables.networks(replace(REPORT, points=bare)).columns]
    assert not {"rung", "why not", "as large"} & set(heads)
    assert {"rung", "why not"} < {column.label for column in tables.networks(REPORT).columns}


def test_braces_of_a_user_are_text():
    odd = replace(REPORT, metric="{ran} of {x}")
    assert tables.networks(odd).columns[2].label == "{ran} of {x}"
    assert pagedata.data(odd)["figures"][0]["label"] == "{ran} of {x}"


def test_a_score_is_written_with_its_interval():
    score = scored(100)
    assert units.SCORE.shown(score).text == "50.0 [43.1, 56.9]"
    assert units.SCORE.phrase(score) == "50.0 % [43.1, 56.9]"
    assert units.SCORE.plain(score) == [0.5, *score.interval]
    assert units.KILOBYTES.phrase(file().flash_bytes) == "1.0 KB"


def test_every_figure_is_of_something_and_shown_somewhere():
    for figure in figures.FIGURES:
        assert figure.of <= {POINT, FILE}
        assert figure.of
        assert figure.views or figure.axis
        assert bool(figure.source) == (figure.unit is not units.WORDS) or figure.views == {CSV}


def test_devices_that_run_stages_alone_have_a_worst_case_and_a_mean():
    of_stage = Measurement("small", "int8", "ethos-u55-128", "cycles", 1000.0, "compiler", "Vela 5", "ab" * 32)
    both = (of_stage, replace(of_stage, point="large", value=8000.0))
    report = replace(REPORT, points=WITH_CASCADE, measurements=both)
    table = tables.devices(report)
    cells = {cells[0].text: [cell.text for cell in cells[2:]] for cells in table.rows}
    assert [column.label for column in table.columns[2:]] == [
        "cycles",
        "mean cycles of stages",
        "worst cycles of stages",
    ]
    assert cells == {"small": ["1000", "", ""], "large": ["8000", "", ""], "small>large": ["", "3000", "9000"]}
    assert "sum of the stages' own files, by the share of the rank split" in table.columns[3].source
    rows = {(r["point"], r["precision"]): r for r in csv.DictReader(sheets.as_csv(report).splitlines())}
    row = rows["small>large", "int8"]
    assert [value for head, value in row.items() if head.startswith("ethos-u55-128")] == ["", "3000.0", "9000.0"]
    with (console := Console(width=300)).capture() as captured:
        console.print(terminal.measured(both, WITH_CASCADE))
    assert "mean cycles of stages" in captured.get()
    alone = tables.devices(replace(report, measurements=both[:1]))
    assert [column.label for column in alone.columns[2:]] == ["cycles"]


def test_the_scores_of_cascades_are_those_of_files():
    source = {c.name: c.source for c in tables.networks(replace(REPORT, points=WITH_CASCADE)).columns}
    assert (
        source["keras_test_score"] == "run in Keras (cascades by the interpreter) on the test split; interval by Wilson"
    )
    assert tables.networks(replace(REPORT, points=WITH_CASCADE, method=COMPOSED)).note.startswith(
        "Run by the interpreter on"
    )
    assert tables.networks(REPORT).note.startswith("Run in Keras on")


def test_tables_fit_a_hundred_columns_though_names_are_long():
    long = (*FAMILY, point("small>L12-S13>large", 3_000_000, 150), *WITH_CASCADE[-1:])
    for draw in (terminal.operating_points, terminal.precisions):
        with (console := Console(width=300)).capture() as captured:
            console.print(draw(long, "accuracy"))
        widths = [len(line.rstrip()) for line in captured.get().splitlines()]
        assert 80 < max(widths) <= 100
        assert not [line for line in captured.get().splitlines() if "…" in line]
