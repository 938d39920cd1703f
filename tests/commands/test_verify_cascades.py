"""`restnet-tf verify` of cascades and of models that came as files; a file that was changed is told."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import colours as colour
import numpy as np
import paths
import pytest
from console import ask, refused_late

import restnet_tf
from restnet_tf.commands import verify
from restnet_tf.points.verified import Checks, VerifiedCascade
from restnet_tf.progress import Silent
from restnet_tf.records import RestnetError
from tflite_export import cascades
from tflite_export.cascades import Stage
from tflite_export.flatbuffer import Buffer, only, read, write

pytestmark = pytest.mark.slow

FILE = "tflite/small-then-large.int8.tflite"


@pytest.fixture(scope="session")
def finished(colours: Path, once: paths.Once) -> Path:
    """A run of two files of integers."""

    def fill(folder: Path) -> None:
        models = [str(colours / f"{name}.int8.tflite") for name in ("small", "large")]
        restnet_tf.cascade(*models, data=str(colours / "data.npz"), out=folder / "run")

    return once("verified", fill) / "run"


@pytest.fixture(scope="session")
def resized(colours: Path, once: paths.Once) -> Path:
    """A run of a file of integers and one of floats, which takes larger images and expects 0 to 1."""

    def fill(folder: Path) -> None:
        (folder / "large.tflite").write_bytes(colour.file("large", side=16, largest=1.0))
        models = [str(colours / "small.int8.tflite"), str(folder / "large.tflite")]
        data = str(colour.data(folder / "data.npz", side=16))
        restnet_tf.cascade(*models, data=data, out=folder / "run", preprocess="none,0to1")

    return once("verified resized", fill) / "run"


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return shutil.copytree(finished, tmp_path / "run")


@pytest.mark.parametrize(("kind", "precision"), [("finished", "int8"), ("resized", "int8>float32")])
def test_files_are_equal_to_their_stages_and_to_what_they_came_as(
    request: pytest.FixtureRequest, kind: str, precision: str
) -> None:
    checks = verify.check_run(request.getfixturevalue(kind), "float32,int8", 60, Silent())
    verify.judge(checks)
    assert not checks.networks
    assert {v.point: v.to_original.top1 for v in checks.originals} == {"small": 1, "large": 1}
    assert all(v.right["linked"] > 0.7 for v in checks.originals)
    assert {(v.point, v.precision, v.n, v.equal) for v in checks.cascades} == {("small>large", precision, 60, True)}
    never, chosen, always = (v.deferral for v in checks.cascades)
    assert (never, always) == (0, 1)
    assert 0 < chosen < 1


def test_the_tables_tell_it(resized: Path) -> None:
    answer = ask("verify", resized, "--images", "20")
    assert answer.code == 0
    assert "Files beside those that the models came as" in answer.out
    assert "Cascades beside their stages one by one" in answer.out
    assert "Keras" not in answer.out  # there are none
    rows = [line for line in answer.out.splitlines() if "small>large " in line]
    assert [row.split("│")[-2].strip() for row in rows] == ["yes"] * 3
    alone = ask("verify", resized, "--images", "20", "--precision", "int8>float32")
    assert alone.code == 0
    assert "came as" not in alone.out
    assert "has no files of int16x8 to verify" in refused_late("verify", resized, "--precision", "int16x8")


@pytest.mark.slow
def test_models_of_keras_are_held_against_keras_too(colours: Path, tmp_path: Path) -> None:
    models = [str(colours / name) for name in ("small.int8.tflite", "large.keras")]
    restnet_tf.cascade(*models, data=str(colours / "data.npz"), out=tmp_path / "run", precision="float32")
    checks = verify.check_run(tmp_path / "run", "float32,int8", 60, Silent())
    verify.judge(checks)
    assert [v.point for v in checks.networks] == ["large"]
    assert [v.point for v in checks.originals] == ["small"]
    assert [v.equal for v in checks.cascades] == [True] * 3


def other_thresholds(run: Path) -> None:
    """Let a file say that others were chosen."""
    model = read((run / FILE).read_bytes())
    note = json.loads(model.metadata["restnet_tf"].data.tobytes())
    note["points"][0]["cascade"]["thresholds"] = [0.5]
    model.metadata["restnet_tf"] = Buffer(np.frombuffer(json.dumps(note).encode(), np.uint8))
    (run / FILE).write_bytes(write(model))


def other_stages(*names: str) -> Callable[[Path], None]:
    """Let a file run others."""

    def change(run: Path) -> None:
        stages = [Stage(only(read((run / f"tflite/{name}.int8.tflite").read_bytes()))) for name in names]
        note = json.loads(read((run / FILE).read_bytes()).metadata["restnet_tf"].data.tobytes())
        (run / FILE).write_bytes(cascades.file(stages, "max", note))

    return change


def no_cascade(run: Path) -> None:
    shutil.copy(run / "tflite/small.int8.tflite", run / FILE)


def other_model(run: Path) -> None:
    """Let a stage's own file be another's."""
    shutil.copy(run / "tflite/large.int8.tflite", run / "tflite/small.int8.tflite")


CHANGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "thresholds": (other_thresholds, r"small>large int8 says that \[0\.5\] were chosen, and the run \[0\.\d+\]"),
    "a second stage": (
        other_stages("small", "small"),
        r"1 file of cascades answers otherwise than the stages one by one; small>large int8 has scores that differ",
    ),
    "the first stage": (other_stages("large", "large"), r"small>large int8 has (scores that differ|\d+ of 60 images)"),
    "no cascade": (no_cascade, r"the file does not say the stages and thresholds|has no operating points in it"),
    "a stage by hand": (
        other_model,
        r"1 file of cascades answers otherwise than the stages one by one; small>large int8 has",
    ),
    "gone": (lambda run: (run / FILE).unlink(), r"cannot read .*small-then-large\.int8\.tflite: No such file"),
}


@pytest.mark.parametrize(("change", "said"), CHANGES.values(), ids=CHANGES)
def test_a_file_that_was_changed_is_told(run: Path, change: Callable[[Path], None], said: str) -> None:
    change(run)
    line = refused_late("verify", run, "--images", "60")
    assert re.search(said, line)


def test_what_is_judged() -> None:
    sound = VerifiedCascade("a>b", "int8", (0.5,), (0.5,), (0.5,), 10, 0.3, 0, 0.0)
    verify.judge(Checks((), (), (sound,)))
    for wrong, words in (
        (replace(sound, elsewhere=2), r"a>b int8 has 2 of 10 images answered by another stage at \[0\.5\]"),
        (replace(sound, difference=1e-7), r"a>b int8 has scores that differ by 1e-07 at \[0\.5\]"),
        (replace(sound, noted=(0.4,)), r"a>b int8 says that \[0\.4\] were chosen, and the run \[0\.5\]"),
    ):
        with pytest.raises(RestnetError, match=words):
            verify.judge(Checks((), (), (sound, wrong)))
