"""The run directory: whole files only, what is written is read, and strangers are refused."""

from __future__ import annotations

import json
import multiprocessing
import os
import stat
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from restnet_tf import atomic
from restnet_tf.fitting.results import Fitted, RungResult
from restnet_tf.records import Layout, Piece, Plan, Reason, RestnetError, Stitch
from restnet_tf.run import plans_file
from restnet_tf.run.directory import Run
from restnet_tf.similarity.features import Statistics
from restnet_tf.stitches.step import Solution

INPUTS = {"large": "abc", "small": "def", "seed": 0}
ROUTE = (Piece("large", None, "a/b"), Piece("small", "c", None))
PLANS = (
    Plan("L0-S0", ROUTE, 100, 10, 0.5, 0.25, 0.125, "chosen"),
    Plan("L0-S1", ROUTE, 90, 9, 0.5, float("nan"), None, "rejected", Reason.note("too far")),
)


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "a" / "file"
    atomic.write_bytes(path, b"old")

    def full(self, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(RestnetError, match=r"cannot write .*file: No space left on device"):
        atomic.write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in path.parent.iterdir()] == ["file"]


def test_content_and_name_are_on_the_disk_when_a_write_returns(tmp_path, monkeypatch):
    events = []
    sync, rename = os.fsync, Path.replace

    def note_sync(number):
        events.append("file" if stat.S_ISREG(os.fstat(number).st_mode) else "folder")
        sync(number)

    def note_rename(self, target):
        events.append("rename")
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(Path, "replace", note_rename)
    atomic.write_bytes(tmp_path / "file", b"new")
    assert events == ["file", "rename", "folder"]
    assert (tmp_path / "file").read_bytes() == b"new"


def test_equal_arrays_are_equal_bytes(tmp_path):
    for name in ("a", "b"):
        atomic.write_npz(tmp_path / name, {"x": np.arange(5), "y": np.eye(2)})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


CUTS = {role: tuple(f"{role}/block.r2 {i}" for i in range(13)) for role in ("large", "small")}


def test_statistics_round_trip(tmp_path):
    rng = np.random.default_rng(0)
    solutions = {
        ("large", 0, 12): Solution(rng.normal(size=(3, 2)).astype("f4"), rng.normal(size=2).astype("f4"), 0.1),
        ("small", 12, 0): Solution(rng.normal(size=(2, 3)).astype("f4"), rng.normal(size=3).astype("f4"), -0.2),
    }
    rated = {("large", 3, 11): 0.3, ("small", 0, 1): -1.5}
    Run(tmp_path).save_statistics(Statistics(640, 128, rng.random((13, 13)), solutions, rated), CUTS)
    assert Run(tmp_path).load_cuts() == CUTS
    found = Run(tmp_path).load_statistics()
    assert (found.n, found.batch, set(found.solutions)) == (640, 128, set(solutions))
    np.testing.assert_array_equal(found.cka, np.load(tmp_path / "similarity.npz")["cka"])
    for key, solution in solutions.items():
        np.testing.assert_array_equal(found.solutions[key].kernel, solution.kernel)
        np.testing.assert_array_equal(found.solutions[key].bias, solution.bias)
        assert found.solutions[key].r2 == solution.r2
        assert found.r2(key) == solution.r2
    assert [found.r2(pair) for pair in rated] == list(rated.values())
    assert np.isnan(found.r2(("large", 0, 0)))


def test_statistics_of_an_older_run_are_read(tmp_path):
    """It kept the solutions of all pairs, and no other R2."""
    solution = Solution(np.eye(3, dtype="f4"), np.zeros(3, "f4"), 0.1)
    Run(tmp_path).save_statistics(Statistics(640, 128, np.eye(2), {("large", 0, 1): solution}), CUTS)
    path = tmp_path / "similarity.npz"
    arrays = {name: values for name, values in np.load(path).items() if name not in ("rated", "r2")}
    atomic.write_npz(path, arrays)
    found = Run(tmp_path).load_statistics()
    assert (list(found.solutions), found.r2(("large", 0, 1)), found.rated) == ([("large", 0, 1)], 0.1, {})


def test_fitted_round_trip(tmp_path):
    tuned = {"block/conv/kernel": np.ones((3, 3, 2, 2), np.float32), "a:b": np.zeros(3, np.float32)}
    given = Fitted(
        Stitch(
            np.eye(4, 3, dtype="f4"),
            np.zeros(3, "f4"),
            Layout((8, 8, 2)),
            Layout((4, 4, 3)),
            (0.0, None),
            {"hidden_kernel": np.ones((2, 2), "f4"), "hidden_bias": np.ones(2, "f4"), "positions": np.eye(16, 3)},
            tuned=tuned,
        ),
        "norm",
        0.25,
        0.5,
        (RungResult("stitch", 0.3, 1000, 10**11, 10**12), RungResult("norm", 0.25, 500, 10**10, 10**11)),
    )
    assert Run(tmp_path).load_fitted("L0-S0") is None
    Run(tmp_path).save_fitted("L0-S0", given)
    found = Run(tmp_path).load_fitted("L0-S0")
    assert replace(found, stitch=given.stitch) == given
    for name in ("kernel", "bias"):
        np.testing.assert_array_equal(getattr(found.stitch, name), getattr(given.stitch, name))
    assert list(found.stitch.parts) == ["hidden_kernel", "hidden_bias", "positions"]
    for name, values in given.stitch.parts.items():
        np.testing.assert_array_equal(found.stitch.parts[name], values)
    for name in ("source", "target", "clamp"):
        assert getattr(found.stitch, name) == getattr(given.stitch, name)
    assert set(found.stitch.tuned) == set(tuned)
    for name, value in tuned.items():
        np.testing.assert_array_equal(found.stitch.tuned[name], value)


def test_what_a_point_was_optimised_from_is_kept_and_changes_no_other_file(tmp_path):
    zeros = Stitch(np.zeros((1, 1), "f4"), np.zeros(1, "f4"), Layout((1, 1, 1)), Layout((1, 1, 1)), (None, None))
    plain = Fitted(zeros, "norm", 0.25, 0.5, ())
    run = Run(tmp_path)
    for name, origin in (("L1-S0", ""), ("L1-S0.prune50", "L1-S0")):
        run.save_fitted(name, replace(plain, origin=origin))
        assert run.load_fitted(name).origin == origin
    assert "origin" not in str(np.load(run.stitch_path("L1-S0"))["meta"])


def test_plans_round_trip_and_stay_json(tmp_path):
    path = tmp_path / "plans.json"
    plans_file.write_plans(path, reversed(PLANS))
    assert "NaN" not in path.read_text()
    assert repr(plans_file.read_plans(path)) == repr(PLANS)


def edit(path: Path, change) -> None:
    content = json.loads(path.read_text())
    change(content["plans"])
    path.write_text(json.dumps(content))


def test_plans_edited_by_hand_are_accepted(tmp_path):
    path = tmp_path / "plans.json"
    plans_file.write_plans(path, PLANS)
    edit(path, lambda plans: (plans[1].update(status="chosen", reason=""), plans.pop(0)))
    (found,) = plans_file.read_plans(path)
    assert (found.name, found.status) == ("L0-S1", "chosen")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda plans: plans[1].pop("route"), r"plans\[1\]\.route: missing"),
        (lambda plans: plans[1].update(colour="red"), r"plans\[1\]: a field 'colour' that nothing knows"),
        (lambda plans: plans[0].pop("macs"), r"plans\[0\]\.macs: missing"),
        (lambda plans: plans[0].update(cka="high"), r"plans\[0\]\.cka: expected float, found 'high'"),
        (lambda plans: plans[1]["route"][0].update(cut="x"), r"plans\[1\]\.route\[0\]: a field 'cut'"),
        (lambda plans: plans[1]["route"][0].update(stop=7), r"plans\[1\]\.route\[0\]\.stop: expected str, found 7"),
        (lambda plans: plans[1].update(reason={"code": "x"}), r"plans\[1\]\.reason: no reason has the code 'x'"),
        (lambda plans: plans[1].update(status="maybe"), r"plan L0-S1 has status 'maybe'; use one of .*chosen"),
        (lambda plans: plans.append(3), r"plans\[2\]: expected an object, found 3"),
    ],
)
def test_wrong_entries_are_named(tmp_path, change, message):
    path = tmp_path / "plans.json"
    plans_file.write_plans(path, PLANS)
    edit(path, change)
    with pytest.raises(RestnetError, match=message):
        plans_file.read_plans(path)


@pytest.mark.parametrize("text", ["", "[]", "{}", "3"])
def test_what_is_no_plans_file(tmp_path, text):
    (tmp_path / "p").write_text(text)
    with pytest.raises(RestnetError, match="is not a plans file"):
        plans_file.read_plans(tmp_path / "p")


def test_a_run_is_opened_again_and_remembers_its_steps(tmp_path):
    run = Run(tmp_path / "deep" / "run")
    with run.opened(INPUTS):
        assert not run.done("similarity")
        run.finish("similarity")
    with Run(run.path).opened(dict(INPUTS)):
        assert run.done("similarity")
    assert run.inputs() == INPUTS


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({**INPUTS, "seed": 1}, "another seed: 0 there, 1 now"),
        ({**INPUTS, "extra": 1}, "another extra: nothing there, 1 now"),
        ({"large": "abc", "seed": 0}, "another small: def there, nothing now"),
    ],
)
def test_other_inputs_are_refused_and_named(tmp_path, inputs, message):
    run = Run(tmp_path)
    with run.opened(INPUTS):
        pass
    with pytest.raises(RestnetError, match=message), run.opened(inputs):
        pass
    assert run.inputs() == INPUTS


def test_a_foreign_folder_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("dear")
    with (
        pytest.raises(RestnetError, match=r"is not a run directory and holds thesis\.tex"),
        Run(tmp_path).opened(INPUTS),
    ):
        pass
    assert not (tmp_path / "run.json").exists()
    assert (tmp_path / "thesis.tex").read_text() == "dear"


@pytest.mark.parametrize("kept", [3, 99])
def test_a_run_of_another_format_is_refused_with_what_to_do(tmp_path, kept):
    content = {"format": kept, "inputs": INPUTS, "steps": {"points": "done"}, "asked": {"seed": 0}}
    (tmp_path / "run.json").write_text(json.dumps(content))
    message = (
        rf"run\.json is of format {kept} and this version keeps runs in format 4: build it again into another --out"
    )
    with pytest.raises(RestnetError, match=message), Run(tmp_path).opened(INPUTS):
        pass
    assert json.loads((tmp_path / "run.json").read_text()) == content


def test_a_broken_record_is_told_by_its_field(tmp_path):
    (tmp_path / "run.json").write_text(json.dumps({"format": 4, "inputs": INPUTS, "steps": {"plans": 1}}))
    with pytest.raises(RestnetError, match=r"run\.json cannot be read: steps\['plans'\]: expected str, found 1"):
        Run(tmp_path).done("plans")


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"format": 99, "inputs": {}, "steps": {}}'])
def test_a_damaged_record_is_refused(tmp_path, text):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(RestnetError, match=r"run\.json"), Run(tmp_path).opened(INPUTS):
        pass
    with pytest.raises(RestnetError, match=r"has no run\.json"):
        Run(tmp_path / "nowhere").inputs()


def _tries(path: str, turns, answers) -> None:
    """Opens the run at every turn, and says what came of it."""
    while turns.get(timeout=300):
        try:
            with Run(Path(path)).opened(INPUTS):
                answers.put("opened")
        except RestnetError as error:
            answers.put(str(error))


def test_a_second_builder_is_refused_until_the_first_is_done(tmp_path):
    context = multiprocessing.get_context("spawn")
    turns, answers = context.Queue(), context.Queue()
    process = context.Process(target=_tries, args=(str(tmp_path), turns, answers))
    process.start()

    def other() -> str:
        turns.put(True)
        return answers.get(timeout=300)

    with Run(tmp_path).opened(INPUTS):
        assert "another build is writing" in other()
    assert other() == "opened"
    turns.put(False)
    process.join(30)


def test_a_path_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(RestnetError, match=r"cannot write to .*; give another --out"), Run(path).opened(INPUTS):
            pass


def test_a_cascade_is_called_by_what_no_shell_takes_for_something_else():
    run = Run(Path("runs/a"))
    assert run.tflite_path("a>b>c", "int8>float32") == Path("runs/a/tflite/a-then-b-then-c.int8-then-float32.tflite")
    assert run.tflite_path("a*>b", "int8") == Path("runs/a/tflite/a-distilled-then-b.int8.tflite")
    assert run.object_path("a*", "int8", "0") == Path("runs/a/objects/a-distilled.int8.0.tflite")
    assert run.examples_path("a>b") == Path("runs/a/examples/a-then-b.png")
