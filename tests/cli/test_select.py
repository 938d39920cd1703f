"""What restnet-tf select says of the file that a budget selects."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import finished
import pytest
from console import ask, refused

from restnet_tf.points import points
from restnet_tf.points.points import CASCADE, Cascade, Dial
from tflite_export.devices import measurements
from tflite_export.devices.measurements import Measurement


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


def with_cascade(run: Path) -> Path:
    """The run with a cascade of its anchors, and what a device says of these."""
    meta, family = points.read(run / "points.json")
    dial = Dial((0.83,), (1.0, 0.3), (1.0, 0.25), (10.0, 100.0))
    file = replace(finished.file("tflite/small-then-large.float32.tflite", 10**6, 198, 100.0), dial=dial)
    made_of = Cascade(("small", "large"), (1_000_000, 9_000_000), "max", (0.83,), (1.0, 0.3), (1.0, 0.25))
    cascade = finished.point("small>large", CASCADE, 10_000_000, 198, cascade=made_of, files={"float32": file})
    (run / "points.json").write_text(json.dumps(points.to_json((*family, cascade), meta)))
    cycles = (("small", 2e5), ("large", 3e6))
    said = [Measurement(n, "float32", "ethos-u55-128", "cycles", v, "compiler", "Vela 4", "0" * 64) for n, v in cycles]
    (run / "measurements.json").write_text(json.dumps(measurements.to_json(said)))
    return run


def test_select_says_what_a_cascade_costs_at_worst_and_in_the_mean(run: Path) -> None:
    answer = ask("select", with_cascade(run), "--budget", "mean.macs<=4M, macs<=10M, mean.ethos-u55-128.cycles<=1.2M")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.startswith("small>large float32: the way of small>large\n")
    told = answer.out.splitlines()
    assert (
        "  set threshold_1 to 0.83: small goes on where its largest probability is under it, for 25.0 % [19.5, 31.4] of"
        " 200 test images"
    ) in told
    assert "  macs 10 M (counted in the graph)" in told
    assert any(line.startswith("  mean.macs 3.7 M (expected as the images of the rank split go on") for line in told)
    assert any(line.startswith("  latency 100 us (") for line in told)
    assert any(line.startswith("  mean.latency 37 us (expected as the images of the rank split go on") for line in told)
    compiler = "estimated by a compiler, Vela 4)"
    assert f"  ethos-u55-128.cycles 3.2 M (summed over stages; {compiler}" in told
    assert f"  mean.ethos-u55-128.cycles 1.1 M (summed over stages as rank images go on; {compiler}" in told
    content = json.loads(ask("select", run, "--budget", "mean.macs<=4M", "--json").out)
    assert (content["point"], content["thresholds"]) == ("small>large", [0.83])


def test_select_tells_no_mean_of_what_always_costs_the_same(run: Path) -> None:
    answer = ask("select", with_cascade(run), "--budget", "macs<=9M")
    assert answer.out.startswith("large float32")
    assert "mean." not in answer.out
    assert "goes on" not in answer.out


def test_a_mean_that_nothing_meets_is_told(run: Path) -> None:
    said = refused("select", with_cascade(run), "--budget", "mean.macs<=500K")
    assert "the nearest, small float32, misses mean.macs<=500K (it has 1 M, 100% over)" in said
    assert "flash is the same for every image; write flash" in refused("select", run, "--budget", "mean.flash<=1KB")
