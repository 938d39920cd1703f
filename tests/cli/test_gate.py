"""What restnet-tf gate says of two runs, and how it exits."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import replace
from pathlib import Path

import finished
import paths
import pytest
from console import Answer, ask, refused

DATA = {"data": "photos, sha256 0123456789abcdef"}
MOVED = {"data": "moved/photos, sha256 0123456789abcdef"}
LIMITS = "score>=-0.5, flash<=+2%, mean.latency<=+5%"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return finished.written(tmp_path / "old", inputs=DATA)


def written(path: Path, inputs: dict[str, str] | None = MOVED, **figures: object) -> Path:
    """A run whose large file has other figures."""
    *others, large, control = finished.POINTS
    large = replace(large, files={"float32": replace(large.files["float32"], **figures)})
    return finished.written(path, (*others, large, control), inputs)


def gate(new: Path, old: Path, *words: object) -> Answer:
    return ask("gate", new, "--against", old, *(words or (LIMITS,)))


def test_a_run_that_is_no_worse_passes(tmp_path: Path, old: Path) -> None:
    answer = gate(written(tmp_path / "new"), old)
    assert (answer.code, answer.err) == (0, "")
    assert "No limit is broken, in 9 comparisons." in answer.out
    assert (
        "accuracy of the files on the test split, in percent with 95 % intervals; both runs have the same 200 test"
        in (answer.out)
    )
    assert max(map(len, answer.out.splitlines()[:8])) <= 100


def test_a_broken_limit_is_exit_code_1_with_a_table(tmp_path: Path, old: Path) -> None:
    answer = gate(written(tmp_path / "new", flash_bytes=990_000, test=finished.score(191)), old)
    assert (answer.code, answer.err) == (1, "")
    (flash,) = [line for line in answer.out.splitlines() if "flash<=+2%" in line]
    assert [cell.strip() for cell in flash.strip("│").split("│")] == [
        "large.float32",
        "flash<=+2%",
        "900 KB",
        "990 KB",
        "+10.0 %",
        "broken",
    ]
    (score,) = [line for line in answer.out.splitlines() if "score>=-0.5" in line]
    assert "-1.0 [-2.4, +0.4]" in score
    assert "broken, unsure" in score
    assert "2 of 9 comparisons break a limit." in answer.out
    assert "Unsure of a score: the test images are too few to tell it from chance." in answer.out


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"data": "photos, sha256 fedcba9876543210"}, "the runs are not of the same data (200 test images before, 200"),
        (MOVED | {"classes": "cat,dog"}, "the runs are not of the same data"),
        ({}, "that both runs test on the same images is not noted (200 test images before, 200 now)"),
        (None, "that both runs test on the same images is not noted"),
    ],
)
def test_other_images_are_told(tmp_path: Path, old: Path, inputs: dict[str, str] | None, words: str) -> None:
    assert words in gate(written(tmp_path / "new", inputs), old).out


def test_what_a_run_lacks_is_exit_code_1_and_says_what_would_bring_it(tmp_path: Path, old: Path) -> None:
    answer = gate(written(tmp_path / "new"), old, "tflm.arena<=+1%")
    assert answer.code == 1
    assert f"is not known in {old}; restnet-tf bench {old} --device tflm would measure it." in answer.out
    assert "No limit is broken" not in answer.out


def test_json_has_every_comparison(tmp_path: Path, old: Path) -> None:
    answer = gate(written(tmp_path / "new", flash_bytes=990_000), old, LIMITS, "--json")
    content = json.loads(answer.out)
    assert (answer.code, content["holds"], content["split"], content["paired"]) == (1, False, "test", True)
    assert len(content["changes"]) == 9
    (broken,) = [change for change in content["changes"] if not change["holds"]]
    assert broken | {"value": 0.1} == {
        "file": "large.float32",
        "file_before": "large.float32",
        "limit": "flash<=+2%",
        "figure": "flash",
        "before": 900_000,
        "now": 990_000,
        "of": "share",
        "value": 0.1,
        "low": None,
        "high": None,
        "holds": False,
        "unsure": False,
    }
    assert broken["value"] == pytest.approx(0.1)


def test_a_budget_says_what_it_chose(tmp_path: Path, old: Path) -> None:
    answer = gate(written(tmp_path / "new", flash_bytes=990_000), old, "score>=-10", "--budget", "flash<=950KB")
    assert answer.code == 0
    assert "Within the budget: large.float32 before, L1-S0.float32 now." in answer.out
    assert "it may be another network" not in answer.out


def test_measuring_tools_that_differ_are_told(tmp_path: Path, old: Path) -> None:
    answer = gate(written(tmp_path / "new", tool="LiteRT 3", threads=2), old)
    assert "Latency by LiteRT with 1 thread before, by LiteRT 3 with 2 threads now." in answer.out
    assert "LiteRT 3" not in gate(tmp_path / "new", old, "flash<=+1%").out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["flash<=2%"], "write flash<=+2%"),
        (["tpu.arena<=+2%"], "unknown device 'tpu'"),
        (["flash<=+2%", "--budget", "flosh<=3"], "unknown budget term 'flosh'"),
        (["flash<=+2%", "--budget", "flash<=1MB", "--point", "large"], "leave --point or --budget out"),
    ],
)
def test_what_is_not_understood_is_exit_code_2(old: Path, words: list[str], message: str) -> None:
    answer = gate(old, old, *words)
    assert (answer.code, answer.out) == (2, "")
    assert message in answer.err


def test_a_run_that_is_not_there_is_one_line(tmp_path: Path, old: Path) -> None:
    assert "nowhere/points.json is missing" in refused("gate", old, "--against", tmp_path / "nowhere", LIMITS)
    assert "ships no lerge; it ships L1-S0.float32" in refused(
        "gate", old, "--against", old, LIMITS, "--point", "lerge"
    )


def test_the_gates_of_the_documents_are_understood(old: Path) -> None:
    text = "\n".join(page.read_text() for page in (*(paths.ROOT / "docs").rglob("*.md"), paths.ROOT / "README.md"))
    typed = re.findall(r"restnet-tf gate \S+ --against \S+ (\"[^\n]*?\")(?=[`|\n ])", text)
    assert len(typed) > 2
    rows = re.findall(
        r"^\| `((?:score|flash|latency)[<>]=[^`]+)` \|", (paths.ROOT / "docs" / "ci.md").read_text(), re.M
    )
    assert len(rows) == 6
    for words in (*map(shlex.split, typed), *([row] for row in rows)):
        assert gate(old, old, *words).code == (1 if {"latency<=-10%", "score>=90", "flash<=500KB"} & {*words} else 0)
