"""Builds that are refused: every bad input is one clean line and exit code 1, and leaves nothing."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import networks
import numpy as np
import pytest
from console import BAD, ask, build, other_weights, refused, refused_late

from restnet_tf.run.plans_file import read_plans
from restnet_tf.words import sentence


@pytest.mark.slow
@pytest.mark.parametrize(("option", "make", "words"), BAD.values(), ids=BAD)
def test_bad_inputs_are_one_clean_line_and_leave_nothing(
    inputs: Path, tmp_path: Path, option: str, make: Any, words: str
) -> None:
    value = make(tmp_path)
    out = tmp_path / "out" / "run"
    assert re.search(words, refused(*build(inputs, out, **{option: value})))
    assert not out.parent.exists()


def test_weights_of_another_architecture_name_both(inputs: Path, tmp_path: Path) -> None:
    path, out = other_weights(tmp_path / "net.weights.h5"), tmp_path / "out"
    said = refused(*build(inputs, out, "--large-arch", "MobileNet:alpha=0.25,input=32", large=path))
    assert "net.weights.h5" in said
    assert "MobileNet" in said
    assert not out.exists()


def test_anchors_the_wrong_way_round_bind_no_directory(inputs: Path, tmp_path: Path) -> None:
    swapped = {"large": inputs / "small.keras", "small": inputs / "large.keras"}
    said = refused(*build(inputs, tmp_path / "out", **swapped))
    assert re.search(r"large anchor small costs [\d.]+M MACs .* large, [\d.]+M; --large must be the costlier", said)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--budget", "speed<=3", r"unknown budget term 'speed'; terms are: macs, .*latency"),
        ("--budget", "macs=3", r"'macs=3' is not understood; write name<=number"),
        ("--budget", "macs<=3KB", r"macs has no unit 'KB'; units: "),
        ("--precision", "float32,int4", r"unknown precision 'int4'; choose one of .*int8"),
        ("--precision", ",", r"unknown precision ''; choose one of"),
    ],
)
def test_words_that_mean_nothing_are_refused_before_any_work(
    inputs: Path, tmp_path: Path, option: str, value: str, words: str
) -> None:
    answer = ask(*build(inputs, tmp_path / "out", option, value))
    assert (answer.code, answer.out) == (1, "")
    assert re.search(words, answer.complaint)
    assert answer.err.count("\n") == 1
    assert not (tmp_path / "out").exists()


PLANS = {
    "missing": (None, r"plans\.json is not a plans file"),
    "no JSON": ("{", r"plans\.json is not a plans file"),
    "no plans": ('{"format": 1}', r"plans\.json is not a plans file"),
    "no route": ('{"plans": [{"name": "a"}]}', r"plans\.json is not a plans file: plans\[0\]\.route: missing"),
}
GOOD_PLAN: dict[str, Any] = {
    "name": "L1-S0",
    "route": [
        {"anchor": "large", "start": None, "stop": "0.1.out"},
        {"anchor": "small", "start": "0.0.out", "stop": None},
    ],
    **{"macs": 1, "params": 1, "cka": 0.5, "r2": None, "kl": 0.1, "status": "chosen", "reason": ""},
}


def edited(**changes: Any) -> str:
    return json.dumps({"format": 1, "plans": [{**GOOD_PLAN, **changes}]})


PLANS |= {
    "status": (edited(status="maybe"), r"plan L1-S0 has status 'maybe'; use one of .*chosen"),
    "extra word": (edited(colour="red"), r"plans\[0\]: a field 'colour' that nothing knows"),
    "one piece": (edited(route=GOOD_PLAN["route"][:1]), r"plan L1-S0 has 1 piece; a route has two or more"),
    "no such cut": (
        edited(route=[{"anchor": "large", "start": None, "stop": "9.9"}, GOOD_PLAN["route"][1]]),
        r"the large anchor has no cut named 9\.9; it has: .*0\.1\.out",
    ),
    "no adapter": (
        edited(route=[{"anchor": "large", "start": None, "stop": "pool"}, GOOD_PLAN["route"][1]]),
        r"plan L1-S0 cannot be built: |no cut named pool; it has",
    ),
}


@pytest.mark.parametrize(("content", "words"), PLANS.values(), ids=PLANS)
def test_a_broken_plans_file_is_refused(inputs: Path, tmp_path: Path, content: str | None, words: str) -> None:
    path = tmp_path / "plans.json"
    if content is not None:
        path.write_text(content)
    assert re.search(words, refused(*build(inputs, tmp_path / "out", "--plans", path)))
    assert not (tmp_path / "out").exists()


def test_an_output_below_a_file_cannot_be_written(inputs: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    said = refused(*build(inputs, tmp_path / "file" / "run"))
    assert re.search(r"cannot write to .*file/run: .*file is no folder; give another --out", said)
    assert (tmp_path / "file").read_text() == "mine"
    said = refused(*build(inputs, tmp_path / "file"))
    assert "cannot write to" in said


def test_a_folder_of_something_else_is_left_alone(inputs: Path, tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_text("dear")
    said = refused(*build(inputs, tmp_path))
    assert re.search(r"is not a run directory and holds photo\.jpg; give an empty folder as --out", said)
    assert {p.name for p in tmp_path.iterdir()} == {"photo.jpg"}


@pytest.fixture(scope="module")
def another_run(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a build that ended early, as a budget can make it, but which is claimed."""
    out = tmp_path_factory.mktemp("claimed") / "run"
    said = refused_late(*build(inputs, out, "--budget", "macs<=1"))
    assert re.search(
        r"no pair of cuts is left to stitch: .* over the budget macs<=1; .*plans\.json has every reason", said
    )
    return out


@pytest.mark.slow
def test_a_budget_below_every_plan_says_so_in_the_plans(another_run: Path) -> None:
    said = [sentence(plan.reason) for plan in read_plans(another_run / "plans.json")]
    assert any(reason.startswith("over the budget macs<=1: ") for reason in said)
    assert not (another_run / "points.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "changes", "named"),
    [
        (["--seed", "3"], {}, "data"),
        (["--effort", "0.5"], {}, "effort"),
        (["--max-points", "2"], {}, "max_points"),
        ([], {"small": "tiny.keras"}, "small anchor"),
        ([], {"data": "more.npz"}, "data"),
    ],
)
def test_the_output_of_another_run_names_what_differs(
    inputs: Path, another_run: Path, tmp_path: Path, words: list[str], changes: dict[str, str], named: str
) -> None:
    networks.anchor((4, 5), 1, seed=5, name="tiny").model.save(tmp_path / "tiny.keras")
    np.savez(tmp_path / "more.npz", x=networks.images(50), y=np.arange(50) % networks.CLASSES)
    before = {p: p.read_bytes() for p in another_run.rglob("*") if p.is_file()}
    others = {option: tmp_path / name for option, name in changes.items()}
    said = refused(*build(inputs, another_run, "--budget", "macs<=1", *words, **others))
    assert f"holds a run with another {named}: " in said
    assert said.endswith("now; give another --out, or delete it")
    assert {p: p.read_bytes() for p in another_run.rglob("*") if p.is_file()} == before


def test_one_anchor_alone_says_what_goes_together() -> None:
    assert "--large, --small and --data together, or none" in " ".join(ask("build", "--large", "x").err.split())


@pytest.mark.slow
def test_ctrl_c_is_one_line_and_exit_130(inputs: Path, tmp_path: Path) -> None:
    words = [str(word) for word in build(inputs, tmp_path / "out", "--effort", "50", "--no-controls")]
    code = "from restnet_tf.cli.main import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell that runs the tests in its background has all of them ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        if line.startswith("similarity of all pairs"):
            process.send_signal(signal.SIGINT)
            break
    out, err = process.communicate(timeout=300)
    assert process.returncode == 130, "".join(lines) + err
    assert out == ""
    last = err.splitlines()[-1]
    assert last == "restnet-tf: stopped; what was finished is kept, run the same command to go on"
    assert "Traceback" not in err
    assert (tmp_path / "out" / "run.json").exists()
    assert not list((tmp_path / "out").rglob("*.tmp*"))
