"""What reaches a person: our warnings and errors in one line each, whoever raises them and wherever."""

from __future__ import annotations

import ast
import threading
import warnings
from collections.abc import Callable
from pathlib import Path

import click
import networks
import numpy as np
import paths
from click.testing import CliRunner, Result
from console import ask, build, images_in

from restnet_tf.cli import screen
from restnet_tf.data import splits
from restnet_tf.data.images import Files
from restnet_tf.records import RestnetError, RestnetWarning

PACKAGES = ("restnet_tf", "tflite_export")


def ran(work: Callable[[], None]) -> Result:
    """A command line whose one command does this."""
    group = screen.Group(commands={"work": click.command("work")(work)})
    return CliRunner().invoke(group, ["work"])


# ---- warnings --------------------------------------------------------------------------------


def test_images_in_two_splits_are_told(inputs: Path, tmp_path: Path) -> None:
    x = networks.images(60)
    np.savez(tmp_path / "twice.npz", x_train=x, x_val=networks.images(8, seed=1), x_test=x[:10])
    words = ["similarity", *build(inputs, tmp_path / "map", data=tmp_path / "twice.npz")[1:]]
    for _ in range(2):  # told each time, also where one process runs two commands
        answer = ask(*words)
        assert answer.code == 0, answer
        told = [line for line in answer.err.splitlines() if "warning" in line]
        assert told == [
            "restnet-tf: warning: twice: 10 of the test images are train images too (the splits are used as given)"
        ]


def test_files_and_arrays_that_are_not_used_are_told(inputs: Path, tmp_path: Path) -> None:
    images_in(tmp_path / "photos", 3, 20)
    (tmp_path / "photos" / "class0" / "notes.txt").write_text("mine")
    answer = ask("similarity", *build(inputs, tmp_path / "map", data=tmp_path / "photos")[1:])
    assert "restnet-tf: warning: " in answer.err
    assert "1 files without an image suffix left out" in answer.err
    np.savez(tmp_path / "more.npz", x=networks.images(60), lables=np.zeros(60))
    answer = ask("similarity", *build(inputs, tmp_path / "map", data=tmp_path / "more.npz")[1:])
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
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call) and ast.unparse(call.func) in ("warnings.warn", "warn")
    ]
    assert len(calls) >= 3
    assert [str(path) for path, call in calls if "RestnetWarning" not in map(ast.unparse, call.args)] == []


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
