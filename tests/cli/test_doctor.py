"""What restnet-tf doctor says of models, good and bad."""

from __future__ import annotations

import re
from pathlib import Path

import classifiers
import colours
import numpy as np
import pytest
from console import ask


def test_a_model_that_cannot_be_loaded_is_a_problem(tmp_path: Path) -> None:
    answer = ask("doctor", tmp_path / "gone.keras")
    assert answer.code == 1
    assert answer.out.startswith("problem ")
    assert "gone.keras" in answer.out
    assert "Traceback" not in answer.err


def test_a_file_is_looked_into_and_held_against_the_target(tmp_path: Path) -> None:
    (tmp_path / "a.tflite").write_bytes(classifiers.file("FLOAT32"))
    answer = ask("doctor", tmp_path / "a.tflite", "--target", "ethos-u55-128")
    assert answer.code == 1
    assert "problem ethos-u55-128 would refuse it" in answer.out
    assert "ok      MACs: " in answer.out


@pytest.mark.slow
def test_a_model_is_loaded_cut_looked_at_and_compiled(inputs: Path) -> None:
    answer = ask("doctor", inputs / "small.keras", "--data", inputs / "data.npz", "--target", "ethos-u55-128")
    assert "cuts, " in answer.out
    assert "no better than chance" in answer.out  # of random weights
    assert "compiles to int8" in answer.out
    assert re.search(r"a build of it alone, .* takes about .* of memory a process, .* of disk in runs/", answer.out)
    assert answer.code == 1


@pytest.mark.slow
def test_a_build_of_two_is_foretold_without_images(inputs: Path) -> None:
    answer = ask("doctor", inputs / "small.keras", "--small", inputs / "large.keras")
    assert re.search(r"a build of both takes about .* of disk in runs/large-small-photographs", answer.out)
    alone = ask("doctor", inputs / "small.keras")
    assert "note    what a build takes here depends on the images: give --data" in alone.out


def test_a_file_is_asked_labelled_images(tmp_path: Path) -> None:
    (tmp_path / "a.tflite").write_bytes(colours.file("large"))
    x, y = colours.images(400)
    np.savez(tmp_path / "images.npz", x=x, y=y)
    np.savez(tmp_path / "others.npz", x=x, y=(y + 1) % colours.CLASSES)
    answer = ask("doctor", tmp_path / "a.tflite", "--data", tmp_path / "images.npz", "--target", "web")
    assert re.search(r"^ok      \d+\.\d % of \d+ labelled images right$", answer.out, re.M)
    assert answer.code == 0
    answer = ask("doctor", tmp_path / "a.tflite", "--data", tmp_path / "others.npz", "--target", "web")
    assert re.search(
        r"^problem model \(a\.tflite\) has .* with --classes=ROLE=[\d,]+ \(restnet-tf cascade\)", answer.out, re.M
    )
    assert answer.code == 1
    answer = ask("doctor", tmp_path / "a.tflite", "--data", tmp_path / "gone")
    assert "problem " in answer.out
    assert answer.code == 1
