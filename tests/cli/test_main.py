"""All commands: usage errors, help, and how fast it comes."""

from __future__ import annotations

import re
import resource
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import finished
import pytest
from console import ask

from restnet_tf.cli import screen
from restnet_tf.cli.main import main

COMMANDS = (
    "train",
    "build",
    "cascade",
    "compose",
    "inspect",
    "doctor",
    "similarity",
    "bench",
    "export",
    "select",
    "gate",
    "link",
    "optimize",
    "verify",
    "report",
)


@pytest.mark.parametrize(
    "words",
    [
        ["build", "--large", "a.keras"],
        ["build", "--small", "a.keras", "--data", "digits"],
        ["build", "--order", "sideways"],
        ["build", "--rank-by", "luck"],
        ["build", "--fine-tune", "all"],
        ["build", "--large-preprocess", "magic"],
        ["build", "--effort", "0"],
        ["build", "--max-points", "-1"],
        ["build", "--seed", "-1"],
        ["build", "--no-such-option"],
        ["similarity", "--large", "a", "--small", "b"],
        ["select", "runs/demo"],
        ["gate", "runs/demo", "score>=-1"],
        ["gate", "runs/demo", "speed>=-1", "--against", "runs/old"],
        ["inspect"],
        ["assemble"],
        ["train", "ViT"],
    ],
    ids=" ".join,
)
def test_usage_errors_are_exit_code_2(words: list[str]) -> None:
    answer = ask(*words)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith("Usage: ")
    assert "Traceback" not in answer.err


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_an_example_of_the_command(command: str) -> None:
    answer = ask(command, "--help")
    assert answer.code == 0
    example = re.search(r"Example:\n +restnet-tf (\w+) ", answer.out)
    assert example is not None
    assert example[1] == command


def test_the_list_of_commands_is_cut_short_nowhere() -> None:
    answer = ask("--help")
    listed = answer.out.split("Commands:\n")[1].splitlines()
    assert len(listed) == len(COMMANDS)
    assert not [line for line in listed if "..." in line or len(line) > 80]


def test_a_run_that_is_not_there_is_told_as_such(tmp_path: Path) -> None:
    answer = ask("select", tmp_path / "none", "--budget", "macs<=1M")
    assert answer.complaint.endswith(f"there is no folder {tmp_path / 'none'}; name the one that a build wrote")
    (tmp_path / "none").mkdir()
    assert "the build has not finished" in ask("select", tmp_path / "none", "--budget", "macs<=1M").complaint


def test_the_folder_of_runs_is_none_of_them(tmp_path: Path) -> None:
    finished.written(tmp_path / "runs" / "demo")
    answer = ask("select", tmp_path / "runs", "--budget", "macs<=1M")
    assert answer.complaint.endswith(f"is no run; name the folder of one, as {tmp_path / 'runs' / 'demo'}")


def test_every_command_is_known_here() -> None:
    assert tuple(sorted(main.commands)) == tuple(sorted(COMMANDS))


def test_help_comes_at_once() -> None:
    """In half a second of a processor, whatever else it does; the best of three counts."""
    code = "from restnet_tf.cli.main import main; main(['--help'])"

    def seconds() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=300)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(seconds() for _ in range(3)) < 0.5


def test_every_command_has_a_file_of_its_name() -> None:
    for name, command in main.commands.items():
        assert command.callback is not None
        assert command.callback.__module__ == f"restnet_tf.cli.{name}"
        if name not in ("cascade", "compose"):  # builds by other methods
            assert import_module(f"restnet_tf.commands.{name}").__doc__


def test_the_command_line_calls_commands_alone() -> None:
    """Beside them it may read what options can say, what it shows, and how a process with TensorFlow starts."""
    ours = re.compile(r"^ *from ((?:restnet_tf|tflite_export)[\w.]*) import ([\w, ]+)", re.M)
    rest = {
        f"{room}.{name}"
        for path in Path(screen.__file__).parent.glob("*.py")
        for room, names in ours.findall(path.read_text())
        for name in names.split(", ")
        if room not in ("restnet_tf.cli", "restnet_tf.cli.devices", "restnet_tf.commands")
    }
    assert rest == {
        "restnet_tf.atomic",
        "restnet_tf.commands.build.Done",
        "restnet_tf.commands.inspect.Inspection",
        "restnet_tf.fitting.rungs.FINE_TUNES",
        "restnet_tf.methods",
        "restnet_tf.progress.Crew",
        "restnet_tf.progress.Reporter",
        "restnet_tf.progress.Running",
        "restnet_tf.progress.Silent",
        "restnet_tf.records.Cut",
        "restnet_tf.records.RestnetError",
        "restnet_tf.records.RestnetWarning",
        "restnet_tf.report.terminal",
        "restnet_tf.work.places.Cluster",
        "restnet_tf.work.start",
        "restnet_tf.work.tasks",
        "restnet_tf.work.times",
        "restnet_tf.work.times.Portion",
        "restnet_tf.work.times.Times",
        "tflite_export.devices.devices",
        "tflite_export.devices.subjects.DeviceOptions",
        "tflite_export.errors.DomainError",
        "tflite_export.kernels.CORES",
        "tflite_export.kernels.LIBRARIES",
    }
