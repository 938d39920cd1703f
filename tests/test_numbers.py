"""Numbers on the first pages are figures of a run's record, which ``docs/results/make.py`` wrote.

A paragraph or a row of a table that has numbers names the figures in their order, in a comment:
``<!-- figures: RECORD: figure, figure -->``. Pages of results that are older than the records are named as
``<!-- page: results/NAME.md -->``, for as long as no record of their name is there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import paths
import pytest
from test_links import script

DOCS = paths.ROOT / "docs"
RECORDS = DOCS / "results" / "runs"
FIRST = (paths.ROOT / "README.md", DOCS / "index.md")
# Numbers that measure nothing.
NO_FIGURES = ("Python 3.11", "32 photos", "intervals of 95 %", "exit 1")
# Neither of a name, as ResNet-56, int8 or 0.35 of MobileNetV2-0.35, nor of a heading's number.
NUMBER = re.compile(r"(?<![\w.,-])\d+(?:\.\d+)?(?![\w-]|\.\d)")
MARK = re.compile(r"<!-- (figures|page): (.*?) -->", re.S)


def blocks(text: str) -> Iterator[str]:
    """Paragraphs, and rows of tables one by one; not what is code."""
    text = re.sub(r"^```.*?^```$|^    .*$", "", text, flags=re.M | re.S) if "```" in text else text
    for paragraph in re.split(r"\n\s*\n", text):
        rows = paragraph.splitlines()
        yield from rows if all(row.startswith("|") for row in rows) else [paragraph]


def numbers(block: str) -> list[float]:
    """The numbers that a reader sees, without code and the targets of links."""
    seen = MARK.sub("", block)
    seen = re.sub(r"`[^`]*`|\]\([^)]*\)|^    .*$", "", seen, flags=re.M)
    for phrase in NO_FIGURES:
        seen = seen.replace(phrase, "")
    return [float(number) for number in NUMBER.findall(seen)]


def faults(text: str) -> list[str]:
    """Blocks whose numbers are not those of the figures that they name."""
    wrong = []
    for block in blocks(text):
        shown, marks = numbers(block), MARK.findall(block)
        if shown and not marks:
            wrong.append(f"no run is named for {shown}: {block[:80]}")
        for kind, words in marks:
            wrong += beside_page(words, shown) if kind == "page" else beside_record(words, shown)
    return wrong


def beside_record(words: str, shown: list[float]) -> list[str]:
    name, _, names = words.partition(":")
    known = json.loads((RECORDS / f"{name.strip()}.json").read_text())["figures"]
    expected = [known[" ".join(figure.split())] for figure in names.split(",")]
    return [] if shown == expected else [f"{name} has {expected}, the page {shown}"]


def beside_page(name: str, shown: list[float]) -> list[str]:
    page = DOCS / name
    if (RECORDS / f"{page.stem}.json").exists():
        return [f"{name} has a record by now: name its figures"]
    there = {float(number) for number in re.findall(r"\d+(?:\.\d+)?", page.read_text().replace(",", ""))}
    return [f"{name} has no {number:g}" for number in shown if number not in there]


@pytest.mark.parametrize("page", FIRST, ids=lambda page: page.name)
def test_every_number_of_a_first_page_is_of_a_run(page: Path) -> None:
    assert faults(page.read_text()) == []


def test_no_number_of_the_readme_is_older_than_the_records() -> None:
    assert [kind for kind, _ in MARK.findall(FIRST[0].read_text()) if kind != "figures"] == []


def test_the_readme_has_figures() -> None:
    assert sum(bool(numbers(block)) for block in blocks(FIRST[0].read_text())) >= 6


def test_a_number_without_a_run_or_another_one_is_found() -> None:
    assert len(faults("it is 12 % faster")) == 1
    assert faults("Python 3.11, ResNet-56, `--images 32`, int8, [a](b#3), MobileNetV2-0.35\n\n    run 3\n") == []
    mark = "<!-- figures: resnet56-resnet8: stitches, stitches shipped -->"
    assert faults(f"8 and 1 {mark}") == []
    assert faults(f"8 and 2 {mark}") == ["resnet56-resnet8 has [8, 1], the page [8.0, 2.0]"]
    assert faults(f"8 {mark}") == ["resnet56-resnet8 has [8, 1], the page [8.0]"]
    assert faults("| a | 88.4 <!-- page: results/clothes.md --> |") == []
    assert faults("| a | 99.99 <!-- page: results/clothes.md --> |") == ["results/clothes.md has no 99.99"]
    assert faults("8 <!-- page: results/resnet56-resnet8.md -->") == [
        "results/resnet56-resnet8.md has a record by now: name its figures"
    ]


@pytest.mark.parametrize("path", sorted(RECORDS.glob("*.json")), ids=lambda path: path.stem)
def test_a_record_says_where_its_figures_are_from(path: Path) -> None:
    record = json.loads(path.read_text())
    assert set(record) == {"title", "command", "commit", "date", "machine", "metric", "figures"}
    assert record["command"].startswith("restnet-tf ")
    page = (DOCS / "results" / f"{path.stem}.md").read_text()
    assert f"# {record['title']}\n" in page
    assert record["command"] in page
    assert f"- commit: {record['commit']}\n" in page


def test_figures_are_those_of_the_run(tmp_path: Path) -> None:
    import finished

    from restnet_tf.records import Reason
    from restnet_tf.report.contents import Report

    beaten = finished.point(
        "L2-S1", "stitched", 4_000_000, 170, status="dominated", reason=Reason("dominated", rival="small")
    )
    points = (*finished.POINTS[:2], beaten, *finished.POINTS[3:])
    figures = script("results/make.py").figures(Report("runs/a", "t", "accuracy", {}, {}, "build", points))
    assert figures["test"] == 200
    assert (figures["stitches"], figures["stitches shipped"], figures["stitches beaten by small"]) == (2, 1, 1)
    assert (figures["large score"], figures["small score"]) == (96.5, 74.0)
    assert (figures["small mean"], figures["small worst"], figures["small.float32 bytes"]) == (11, 11, 11)
    assert "distilled score" not in figures
