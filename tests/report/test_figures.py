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
from measured_points import file, point, scored
from rich.console import Console

from restnet_tf.points import select
from restnet_tf.points.points import ANCHOR, CONTROL, DOMINATED
from restnet_tf.records import Reason
from restnet_tf.report import figures, pagedata, sheets, tables, terminal, units, webpage
from restnet_tf.report.contents import Report
from restnet_tf.report.figure import ACROSS, CSV, FILE, POINT, Figure, Line

FAMILY = (
    point("small", 1_000_000, 120, ANCHOR),
    point("L1-S0", 5_000_000, 160, rung="norm", unshared_params=700),
    point("L2-S0", 6_000_000, 130, status=DOMINATED, reason=Reason("dominated", rival="small"), files={}),
    point("large", 9_000_000, 180, ANCHOR),
    point("distilled", 1_000_000, 110, CONTROL, status=CONTROL, files={}),
)
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
    plain = {"point", "kind", "file", "precision", "reason", "standing", "status"}  # words of a point or a pair
    names = {f.name for f in figures.FIGURES} | {f.term for f in figures.FIGURES if f.term}
    assert not [name for name in names - plain if re.search(rf"\b{name}\b", scripts)]


def test_names_are_one_entry_each():
    names = [figure.name for figure in figures.FIGURES]
    assert len(names) == len(set(names))
    assert {f.stand_in for f in figures.FIGURES if f.stand_in} <= set(names)


def test_figures_that_a_budget_limits_are_those_that_select_reads():
    limited = [figure for figure in figures.FIGURES if figure.term]
    assert {figure.term for figure in limited} == {"macs", "flash", "ram", "latency"}
    for choice in select.choices(FAMILY):
        line = Line(choice.point, FAMILY, choice.precision)
        assert {f.term: f.read(line) for f in limited} == {f.term: choice.figures[f.term] for f in limited}


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
