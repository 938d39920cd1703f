"""TensorFlow Lite Micro: its arena beside the plan, its answers beside LiteRT's, and what is refused before it dies."""

from __future__ import annotations

import importlib.util

import cascade_files
import needs
import numpy as np
import pytest
from bench_files import elastic, files, softmax_of_equals

from tflite_export import cascades, memory, tail
from tflite_export.devices import devices, rules, tflm, tflm_wheel
from tflite_export.devices.exports import PointFile, judged
from tflite_export.devices.subjects import DeviceOptions, Subject, opened, smooth_images
from tflite_export.errors import TfliteError
from tflite_export.flatbuffer import only
from tflite_export.kernels import HOST

needs_micro = needs.MICRO.mark


@pytest.fixture(scope="module")
def made() -> dict[str, Subject]:
    return files(("float32", "float16", "dynamic", "int8", "int16x8"))


def figures(subject: Subject) -> dict[str, float]:
    (found,) = tflm.measure([subject], DeviceOptions())
    assert (found.failures, found.warnings) == ((), ())
    assert {(m.device, m.kind, m.sha256) for m in found.measurements} == {("tflm", "interpreter", subject.sha256)}
    assert all(m.tool.startswith("tflite-micro ") for m in found.measurements)
    return {m.figure: m.value for m in found.measurements}


def failure(subject: Subject) -> str:
    (found,) = tflm.measure([subject], DeviceOptions())
    assert not found.measurements
    return found.failures[0]


@pytest.mark.slow
@needs_micro
@pytest.mark.parametrize("precision", ["int8", "int16x8", "float32"])
def test_arena_is_what_was_planned_and_what_it_keeps_besides(made: dict[str, Subject], precision: str) -> None:
    said = figures(made[precision])
    assert said["head"] == memory.plan(memory.ranges(made[precision].content)).size
    # What is used at last is less than what it takes to get there.
    assert said["head"] + said["tail"] <= said["arena"] == tail.one(made[precision].content, HOST).size
    assert tflm_wheel.fault(made[precision].content, int(said["arena"]) - 16) != ""
    assert said["tail"] > 1000
    if precision == "float32":
        assert "difference" not in said  # floats have no step to count in; they were compared all the same
    else:
        assert said["difference"] <= 2


@pytest.mark.slow
@needs_micro
@pytest.mark.parametrize("precision", ["dynamic", "float16"])
def test_weights_of_another_type_than_their_activations_are_refused(made: dict[str, Subject], precision: str) -> None:
    assert "int8 or float16 beside float activations" in failure(made[precision])


@pytest.mark.slow
@needs_micro
def test_weight_only_int8_would_run_and_be_wrong(made: dict[str, Subject], monkeypatch: pytest.MonkeyPatch) -> None:
    """What the refusal is for; and the comparison with LiteRT would have caught it."""
    monkeypatch.setattr(tflm, "is_weight_only", lambda subject: False)
    assert "differ" in failure(made["dynamic"]) or "cannot run" in failure(made["dynamic"])


@pytest.mark.slow
@needs_micro
def test_several_signatures_are_refused_before_they_take_the_process_down() -> None:
    assert "it has 2 signatures" in failure(elastic())


@pytest.mark.slow
@needs_micro
def test_an_operator_that_it_lacks_is_named() -> None:
    said = failure(files(["float32"], activation="gelu")["float32"])
    assert said.endswith("cannot run it: Didn't find op for builtin opcode 'GELU'; build with --lower gelu")


@pytest.mark.slow
@needs_micro
def test_a_death_is_told_and_costs_the_file_alone(made: dict[str, Subject]) -> None:
    """An int8 softmax over 512 equal classes aborts TensorFlow Lite Micro."""
    first, second = tflm.measure([softmax_of_equals(600), made["int8"]], DeviceOptions())
    assert "TensorFlow Lite Micro died of SIGABRT" in first.failures[0]
    assert len(second.measurements) == 4


@pytest.mark.slow
@needs_micro
def test_a_head_that_was_not_planned_is_a_warning(made: dict[str, Subject], monkeypatch: pytest.MonkeyPatch) -> None:
    honest = memory.ranges
    monkeypatch.setattr(memory, "ranges", lambda *given: honest(*given)[:1])
    (found,) = tflm.measure([made["int8"]], DeviceOptions())
    assert "bytes on tflm" in found.warnings[0]
    assert found.measurements


def test_bytes_that_are_no_file_are_a_failure() -> None:
    needs.MICRO.or_skip()
    assert "not a .tflite file" in failure(Subject("p", "int8", b"nothing"))


@pytest.mark.slow
def test_without_the_wheel_it_says_what_brings_it(made: dict[str, Subject], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(TfliteError, match=r"pip install 'restnet-tf\[mcu\]'"):
        list(tflm.measure([made["int8"]], DeviceOptions()))


def test_differences_are_counted_in_steps_and_judged_by_the_range() -> None:
    expected = np.zeros((1, 3), np.int8)
    assert tflm._difference(expected + np.int8(15), expected, (0.25,)) == {"difference": 15.0}
    with pytest.raises(TfliteError, match=r"differ by 16 steps of 0\.25"):
        tflm._difference(expected + np.int8(16), expected, (0.25,))
    with pytest.raises(TfliteError, match=r"differ by 0\.001 of the largest"):
        tflm._difference(np.float32([1.001]), np.float32([1.0]), ())
    with pytest.raises(TfliteError, match="differ by nan"):
        tflm._difference(np.float32([np.nan]), np.float32([1.0]), ())


def test_images_are_smooth_seeded_and_fill_the_range() -> None:
    found = smooth_images((32, 24, 3), 8)
    np.testing.assert_array_equal(found, smooth_images((32, 24, 3), 8))
    assert found.shape == (8, 32, 24, 3)
    assert found.min() >= 0
    assert found.max() <= 255
    assert np.ptp(found) > 200
    noise = np.random.default_rng(0).permuted(found, axis=1)
    assert np.abs(np.diff(found, axis=1)).mean() < np.abs(np.diff(noise, axis=1)).mean() / 3


@pytest.mark.slow
@needs_micro
def test_the_references_outputs_differ_from_image_to_image(made: dict[str, Subject]) -> None:
    """Else equal outputs would prove nothing."""
    inputs = tflm._inputs(only(opened(made["int8"])).inputs[0])
    assert inputs.dtype == np.int8
    assert np.ptp(inputs.astype(int)) > 200
    found, expected, _ = tflm._run(made["int8"], inputs, 1 << 16)
    assert len(np.unique(expected, axis=0)) == len(np.unique(found, axis=0)) == len(inputs)


@pytest.mark.slow
@needs_micro
def test_inputs_that_are_not_finite_are_refused(made: dict[str, Subject]) -> None:
    inputs = tflm._inputs(only(opened(made["float32"])).inputs[0])
    inputs[0, 0, 0, 0] = np.nan
    with pytest.raises(TfliteError, match=r"1 of .* values for TensorFlow Lite Micro are not finite"):
        tflm_wheel.run(made["float32"].content, inputs, 1 << 20)


JOINED = [(n, p) for n in ("small>large", "small>middle>large") for p in ("int8", "int16x8", "float32", "int8>float32")]


@pytest.mark.slow
@needs_micro
@pytest.mark.parametrize("confidence", ["max", "margin", "entropy"])
@pytest.mark.parametrize(("name", "precision"), JOINED)
def test_a_cascade_runs_in_the_arena_that_is_planned(name: str, precision: str, confidence: str) -> None:
    thresholds = cascade_files.dial(name, precision.split(">")[0])
    subject = Subject(name, precision, cascade_files.cascade(name, precision, thresholds, confidence))
    assert rules.refusals(subject.content, devices.target("tflm").rules, precision) == ()
    said, planned = figures(subject), tail.one(subject.content, HOST)
    assert said["head"] == memory.plan(memory.ranges(subject.content)).size
    assert said["tail"] == planned.tail
    verdict = judged(PointFile(name, precision, subject.content), devices.target("tflm"))
    assert verdict.reasons == ()


@pytest.mark.slow
@needs_micro
def test_a_cascade_is_tried_and_compared_at_every_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    content = cascade_files.cascade("small>middle>large", "int8", (0.5, 0.25))
    ((file, settings),) = tflm._trials(PointFile("small>middle>large", "int8", content))
    assert file == content
    assert np.stack(settings)[..., 0].T.tolist() == [[0.5, 0.25], [2, 2], [2, 0], [0, 0]]
    rows: list[np.ndarray] = []
    honest = tflm._reference
    monkeypatch.setattr(tflm, "_reference", lambda c, x, given: rows.append(given) or honest(c, x, given))
    figures(Subject("small>middle>large", "int8", content))
    assert rows[0].tolist() == [list(cascades.answering(stage, 3)) for stage in (2, 1, 0)]


@pytest.mark.slow
@needs_micro
def test_a_stage_that_answers_otherwise_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though the last stage, which runs first, is right."""
    content = cascade_files.cascade("small>large", "int8", (0.5,))
    honest = tflm._reference
    monkeypatch.setattr(tflm, "_reference", lambda c, x, given: honest(c, x, given[[0, 0]]))
    assert "its outputs differ by" in failure(Subject("small>large", "int8", content))
