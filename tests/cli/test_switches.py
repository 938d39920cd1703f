"""What every command can be told of its output: JSON in place of tables, errors alone, and what a shell completes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import click
import finished
import paths
import pytest
from click.testing import CliRunner
from console import ask

from restnet_tf.cli import screen
from restnet_tf.cli.main import main
from restnet_tf.commands import bench, build, doctor, verify
from restnet_tf.commands.build import Done
from restnet_tf.points.verified import Checks, Verified, VerifiedCascade
from restnet_tf.records import RestnetWarning
from tflite_export.devices.measurements import Measurement
from tflite_export.verify import Agreement

LONG = ("build", "cascade", "compose", "doctor", "similarity", "train", "bench", "export", "link", "optimize", "verify")
SHELLS = ("bash", "zsh", "fish")


def switches(name: str) -> set[str]:
    return {word for option in main.commands[name].params for word in option.opts}


def test_what_prints_a_table_prints_json_too() -> None:
    """And so do those that print a list of figures or findings."""
    folder = Path(screen.__file__).parent
    shown = re.compile(r"screen\.(table|show)\(")
    tables = {name for name in main.commands if shown.search((folder / f"{name}.py").read_text())}
    assert tables == {"build", "cascade", "compose", "inspect", "gate", "bench", "verify"}
    assert {name for name in main.commands if "--json" in switches(name)} == tables | {"select", "doctor"}


def test_long_work_can_be_quiet() -> None:
    folder = Path(screen.__file__).parent
    long = {name for name in main.commands if "screen.progress(" in (folder / f"{name}.py").read_text()}
    assert long == set(LONG)
    assert {name for name in main.commands if "--quiet" in switches(name)} == set(LONG)


def test_what_is_no_error_is_not_said_where_errors_alone_are_wanted() -> None:
    def work() -> None:
        warnings.warn("two", RestnetWarning, stacklevel=1)
        with screen.progress() as report:
            report.stage("three")
            report.say("four")
        screen.say("five")

    from restnet_tf.cli import switches

    group = screen.Group(commands={"work": click.command("work")(switches.quiet(work))})
    loud = CliRunner().invoke(group, ["work"])
    assert [word in loud.output for word in ("two", "three", "four", "five")] == [True] * 4
    assert CliRunner().invoke(group, ["work", "--quiet"]).output == ""
    assert "five" in CliRunner().invoke(group, ["work"]).output


@pytest.mark.slow
def test_a_cascade_prints_json_alone_or_nothing(colours: Path, tmp_path: Path) -> None:
    models = [colours / f"{role}.int8.tflite" for role in ("small", "large")]
    words = ["cascade", *models, "--data", colours / "data.npz", "--out", tmp_path / "run", "--quiet"]
    answer = ask(*words, "--json")
    assert (answer.code, answer.err) == (0, "")
    content = json.loads(answer.out)
    assert [point["point"] for point in content["points"]] == ["small", "small>large", "large"]
    file = content["points"][1]["files"]["int8"]
    assert file["path"] == "tflite/small-then-large.int8.tflite"
    assert file["mean.macs"] < file["macs"]
    again = ask(*words)
    assert (again.code, again.out, again.err) == (0, "", "")
    missed = ask(*words, "--budget", "latency<=0.01us", "--json")
    assert missed.code == 1
    assert json.loads(missed.out)["shortfall"] in missed.err
    assert missed.err.count("\n") == 1


def test_points_as_json_are_those_of_the_run() -> None:
    done = Done(Path("runs/a"), finished.POINTS, "accuracy", "one\ntwo", "none fits")
    content = json.loads(build.as_json(done))
    assert (content["run"], content["summary"], content["shortfall"]) == ("runs/a", ["one", "two"], "none fits")
    small = content["points"][0]
    score = finished.POINTS[0].test
    assert small == {
        **{"point": "small", "kind": "anchor", "standing": "anchor", "route": "the way of small", "reason": ""},
        **{"score": score.value, "interval": [*score.interval]},
        **{"macs": 1_000_000, "mean.macs": 1_000_000, "params": 10_000, "files": small["files"]},
    }
    assert small["files"]["float32"]["flash"] == 100_000


def test_checks_as_json_have_no_infinity() -> None:
    agreement = Agreement(3, 1.0, 0.0, float("inf"))
    one = Verified("a", "int8", {"keras": 0.5}, {"linked": agreement}, 0.0, {"linked": 3}, 1.0)
    stages = VerifiedCascade("a>b", "int8", (0.5,), (0.5,), (0.5,), 3, 0.2, 0, 0.0)
    content = json.loads(verify.as_json(Checks((one,), (), (stages,), 3)))
    assert content["networks"][0]["to_keras"]["linked"]["sqnr_db"] is None
    assert content["cascades"][0]["thresholds"] == [0.5]
    assert content["count"] == 3


def test_figures_and_findings_as_json() -> None:
    figure = Measurement("a", "int8", "host", "latency", 3.0, "device", "LiteRT", "0" * 64)
    content = json.loads(bench.as_json(bench.Benched((figure, replace(figure, value=4.0)), (), ("b failed",))))
    assert [one["value"] for one in content["measurements"]] == [3.0, 4.0]
    assert content["failures"] == ["b failed"]
    assert json.loads(doctor.as_json([doctor.Finding("ok", "loads")])) == [{"level": "ok", "text": "loads"}]


# ---- completion --------------------------------------------------------------------------------

COMPLETE = (
    "import sys\n"
    "from restnet_tf.cli.main import main\n"
    "try:\n"
    "    main(prog_name='restnet-tf')\n"
    "finally:\n"
    "    print(sorted({'tensorflow', 'keras', 'numpy'} & set(sys.modules)))\n"
)


def completed(words: str) -> list[str]:
    """What bash is told to offer for the last of some words, and what of the heavy libraries that took."""
    typed = words.split(" ")
    settings = {"_RESTNET_TF_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(len(typed) - 1)}
    run = [sys.executable, "-c", COMPLETE]
    environment = {**os.environ, **settings}
    return subprocess.run(run, env=environment, cwd=paths.ROOT, capture_output=True, text=True).stdout.splitlines()


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("restnet-tf bui", ["plain,build"]),
        ("restnet-tf build --larg", ["plain,--large", "plain,--large-arch", "plain,--large-preprocess"]),
        ("restnet-tf export runs/demo --toge", ["plain,--together"]),
        ("restnet-tf build --order s", ["plain,small-large"]),
    ],
)
def test_words_are_completed_without_tensorflow(words: str, offered: list[str]) -> None:
    *lines, heavy = completed(words)
    assert lines[: len(offered)] == offered
    assert heavy == "[]"


@pytest.mark.parametrize("shell", SHELLS)
def test_the_page_says_how_each_shell_completes(shell: str) -> None:
    page = (paths.ROOT / "docs" / "commands.md").read_text()
    assert f"_RESTNET_TF_COMPLETE={shell}_source restnet-tf" in page
    environment = {**os.environ, "_RESTNET_TF_COMPLETE": f"{shell}_source"}
    run = subprocess.run(
        [sys.executable, "-c", COMPLETE], env=environment, cwd=paths.ROOT, capture_output=True, text=True
    )
    assert f"{shell}_complete restnet-tf" in run.stdout or f"_RESTNET_TF_COMPLETE={shell}_complete" in run.stdout
