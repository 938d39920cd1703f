"""What restnet-tf select says of the file that a budget selects."""

from __future__ import annotations

import json
import re
from pathlib import Path

import finished
import pytest
from console import ask, refused


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return finished.written(tmp_path / "run")


def test_select_says_which_file_and_why(run: Path) -> None:
    answer = ask("select", run, "--budget", "macs<=4M, flash<=400KB")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.startswith("L1-S0 float32: the way of L1-S0\n")
    assert "accuracy 89.0 % [" in answer.out
    assert "of 200 test images" in answer.out
    assert "macs 3 M (counted in the graph)" in answer.out
    assert "flash 300 KB (size of the point's own file)" in answer.out
    assert answer.out.rstrip().endswith(f"file {run / 'tflite/L1-S0.float32.tflite'}")


def test_select_gives_json(run: Path) -> None:
    answer = ask("select", run, "--budget", "macs<=10M", "--json")
    expected = {"point": "large", "precision": "float32", "file": str(run / "tflite/large.float32.tflite")}
    assert json.loads(answer.out) == expected


def test_a_budget_that_nothing_meets_says_what_the_nearest_misses(run: Path) -> None:
    said = refused("select", run, "--budget", "macs<=2M, flash<=50KB")
    assert (
        "no point meets the budget; the nearest, small float32, misses flash<=50KB (it has 100 KB, 100% over)" in said
    )
    assert "no point meets" in refused("select", run, "--budget", "macs<=2M, flash<=50KB", "--json")


@pytest.mark.parametrize(
    ("budget", "words"),
    [
        ("speed<=3", "unknown budget term 'speed'; terms are: macs"),
        ("", "is empty; terms are"),
        ("ram<3parsec", "unit"),
    ],
)
def test_select_names_the_term_it_does_not_know(run: Path, budget: str, words: str) -> None:
    assert words in refused("select", run, "--budget", budget)


def test_select_of_no_run(tmp_path: Path, run: Path) -> None:
    assert re.search(r"nowhere/points\.json is missing", refused("select", tmp_path / "nowhere", "--budget", "macs<=1"))
    (run / "points.json").write_text('{"points": [{"name": "a"}]}')
    assert "points.json is not a list of operating points" in refused("select", run, "--budget", "macs<=1")
