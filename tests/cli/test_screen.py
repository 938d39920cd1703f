"""What reaches a person: our warnings and errors in one line each, whoever raises them and wherever."""

from __future__ import annotations

import ast
import threading
import warnings
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import click
import networks
import numpy as np
import paths
import pytest
from click.testing import CliRunner, Result
from console import ask, build, images_in
from rich.console import Console
from rich.progress import Progress, TextColumn

from restnet_tf.cli import screen, time_table
from restnet_tf.data import splits
from restnet_tf.data.images import Files
from restnet_tf.progress import Crew, Running
from restnet_tf.records import RestnetError, RestnetWarning
from restnet_tf.work import tasks
from restnet_tf.work.times import StageTime, TaskTime, Times, Wave

PACKAGES = ("restnet_tf", "tflite_export")


def ran(work: Callable[[], None]) -> Result:
    """A command line whose one command does this."""
    group = screen.Group(commands={"work": click.command("work")(work)})
    return CliRunner().invoke(group, ["work"])


# ---- warnings --------------------------------------------------------------------------------


def similarity(inputs: Path, out: Path, data: Path) -> list[object]:
    """The command on a small network and itself: what is told here is of the data."""
    return ["similarity", *build(inputs, out, large=inputs / "small.keras", data=data)[1:]]


def test_images_in_two_splits_are_told(inputs: Path, tmp_path: Path) -> None:
    x = networks.images(60)
    np.savez(tmp_path / "twice.npz", x_train=x, x_val=networks.images(8, seed=1), x_test=x[:10])
    words = similarity(inputs, tmp_path / "map", tmp_path / "twice.npz")
    for _ in range(2):  # told each time, also where one process runs two commands
        answer = ask(*words)
        assert answer.code == 0, answer
        told = [line for line in answer.err.splitlines() if "warning" in line]
        assert told == [
            "restnet-tf: warning: twice: 10 of the test images are train images too (the splits are used as given)"
        ]


def test_files_and_arrays_that_are_not_used_are_told(inputs: Path, tmp_path: Path) -> None:
    images_in(tmp_path / "photos", 2, 15)
    (tmp_path / "photos" / "class0" / "notes.txt").write_text("mine")
    answer = ask(*similarity(inputs, tmp_path / "map", tmp_path / "photos"))
    assert "restnet-tf: warning: " in answer.err
    assert "1 files without an image suffix left out" in answer.err
    np.savez(tmp_path / "more.npz", x=networks.images(60), lables=np.zeros(60))
    answer = ask(*similarity(inputs, tmp_path / "map", tmp_path / "more.npz"))
    assert f"restnet-tf: warning: {tmp_path / 'more.npz'}: not used: lables" in answer.err.splitlines()


def test_warnings_of_libraries_are_not_for_the_terminal() -> None:
    def work() -> None:
        warnings.warn("of a library", UserWarning, stacklevel=1)
        warnings.warn("of another", DeprecationWarning, stacklevel=1)
        np.array([1e300]) * np.array([1e300])

    result = ran(work)
    assert (result.exit_code, result.output) == (0, "")


def test_ours_come_from_any_thread() -> None:
    def work() -> None:
        thread = threading.Thread(target=warnings.warn, args=("from afar", RestnetWarning))
        thread.start()
        thread.join()

    assert ran(work).stderr == "restnet-tf: warning: from afar\n"


def test_a_command_leaves_warnings_as_they_were() -> None:
    before = warnings.showwarning, list(warnings.filters)
    ran(lambda: None)
    assert (warnings.showwarning, list(warnings.filters)) == before


def test_every_warning_of_the_project_is_ours() -> None:
    calls = [
        (path, call)
        for package in PACKAGES
        for path in (paths.ROOT / package).rglob("*.py")
        if "warn(" in (source := path.read_text())
        for call in ast.walk(ast.parse(source))
        if isinstance(call, ast.Call) and ast.unparse(call.func) in ("warnings.warn", "warn")
    ]
    assert len(calls) >= 3
    assert [str(path) for path, call in calls if "RestnetWarning" not in map(ast.unparse, call.args)] == []


# ---- processes -------------------------------------------------------------------------------

AT_WORK = Crew(
    *(3, 8, 2),
    (Running("fitting L1-S0", "process 2", 94.0, 1_200_000_000), Running("fitting L3-S0", "process 1", 3.0, 10**9)),
)


def test_a_log_hears_of_the_processes_once_in_a_while(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with screen.progress() as report:
        report.stage("fitting L1-S0")
        report.crew(AT_WORK)
        monkeypatch.setattr(screen, "_PLAIN_S", 0.0)
        report.crew(AT_WORK)
    assert capsys.readouterr().err.splitlines() == [
        "fitting L1-S0",
        "  3 of 8 tasks done, 2 under way (2 workers), the slowest for 94 s: fitting L1-S0, process 2;"
        " they hold 2.2 GB",
    ]


def test_a_terminal_shows_every_process_below_the_stage() -> None:
    console = Console(file=StringIO(), force_terminal=True, width=120)
    with Progress(TextColumn("{task.description}"), console=console) as bars:
        report = screen.StageBars(bars)
        report.stage("fitting")
        report.crew(AT_WORK)
    assert isinstance(console.file, StringIO)
    drawn = console.file.getvalue()
    assert "process 2: fitting L1-S0, 94 s, 1.2 GB" in drawn
    assert "process 1: fitting L3-S0, 3 s, 1.0 GB" in drawn


def test_of_many_workers_a_terminal_shows_the_slowest_and_what_all_hold() -> None:
    console = Console(file=StringIO(), force_terminal=True, width=120)
    many = [Running("fitting", f"worker tcp://there:{n}", 90.0 - n, 10**9) for n in range(60)]
    with Progress(TextColumn("{task.description}"), console=console) as bars:
        report = screen.StageBars(bars)
        report.stage("fitting")
        report.crew(Crew(0, 90, 64, tuple(many)))
    assert isinstance(console.file, StringIO)
    drawn = console.file.getvalue()
    assert "60 of 64 workers at it, 60.0 GB; the slowest:" in drawn
    assert "worker tcp://there:0: fitting, 90 s, 1.0 GB" in drawn
    assert "there:7: " in drawn
    assert "there:8: " not in drawn


def test_where_the_time_went_is_told_in_words() -> None:
    fits = TaskTime("fitting L1-S0", tasks.FITS, "here:1", 6.0, 6.0, 10**9)
    spent = Times(2, 75.0, (Wave(1.0, 4.0, (fits,)),), (StageTime("linking", 4.0),))
    console = Console(file=StringIO(), width=160)
    console.print(time_table.of(spent))
    assert isinstance(console.file, StringIO)
    lines = [" ".join(line.strip("│┃ \n").split()) for line in console.file.getvalue().splitlines()]
    assert lines[0] == "Where the time went: 1 min 15 s by the clock, 2 processes"
    assert "fits: training stitches │ 1 │ 6.0 │ 8%" in lines
    assert "between tasks: linking │ │ 71.0 │ 91%" in lines
    told = " ".join(lines)
    assert "at them 100% of the time. The longest: fitting L1-S0, 6.0 s; the most memory of a process: 1.0 GB" in told


def test_every_kind_of_task_has_words() -> None:
    kinds = {value for name, value in vars(tasks).items() if name.isupper() and isinstance(value, str)}
    assert kinds == set(time_table.WORDS)


# ---- errors ----------------------------------------------------------------------------------


def test_an_image_that_vanishes_in_the_middle_is_one_line(tmp_path: Path) -> None:
    split = splits.load(str(images_in(tmp_path / "photos", 2, 60))).fit
    assert isinstance(split.images, Files)
    last = Path(split.images.paths[-1])

    def work() -> None:
        for number, _ in enumerate(split.batches((8, 8, 3), 4)):
            if number == 1:
                last.unlink()

    result = ran(work)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"restnet-tf: {last} could be read at the start, but not now: ")
    assert result.stderr.count("\n") == 1


def test_an_error_of_ours_is_one_line_whatever_it_holds() -> None:
    def work() -> None:
        raise RestnetError("two\n  lines")

    result = ran(work)
    assert (result.exit_code, result.stderr) == (1, "restnet-tf: two lines\n")


def test_no_error_is_taken_for_ours_by_its_words() -> None:
    def work() -> None:
        raise RuntimeError("RestnetError: it is not")

    result = ran(work)
    assert isinstance(result.exception, RuntimeError)
    assert "restnet-tf" not in result.output


def test_a_stop_says_how_to_go_on() -> None:
    def work() -> None:
        raise KeyboardInterrupt

    result = ran(work)
    assert result.exit_code == 130
    assert result.stderr == "restnet-tf: stopped; what was finished is kept, run the same command to go on\n"
