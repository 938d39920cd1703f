"""Scores and latencies by LiteRT on this host."""

from __future__ import annotations

import hashlib
import os
from types import SimpleNamespace

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import cascade_files
import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from cascade_files import PIXELS
from keras import layers

from tflite_export import cascades
from tflite_export.convert import convert
from tflite_export.devices.host import (
    _rounds,
    answers,
    latencies,
    latency,
    measure,
    scores,
    stage_latencies,
    stages,
)
from tflite_export.devices.subjects import DeviceOptions, Subject
from tflite_export.errors import TfliteError

IMAGES = np.random.default_rng(2).uniform(0, 255, (12, 8, 8, 3)).astype(np.float32)


def _model(filters: int = 8) -> keras.Model:
    keras.utils.set_random_seed(4)
    image = keras.Input((8, 8, 3))
    x = layers.Conv2D(filters, 3, activation="relu")(layers.Rescaling(1 / 255)(image))
    return keras.Model(image, layers.Dense(5, activation="softmax")(layers.Flatten()(x)))


@pytest.fixture(scope="module")
def model() -> keras.Model:
    return _model()


@pytest.fixture(scope="module")
def files(model) -> dict[str, bytes]:
    return {precision: convert(model, precision, [IMAGES]) for precision in ("float32", "int8", "int16x8")}


def _details(dtype, scale, zero_point) -> dict:
    return {"name": "t", "dtype": dtype, "quantization": (scale, zero_point)}


def test_float_scores_equal_the_keras_model(model, files):
    found = scores(files["float32"], [IMAGES[:5], IMAGES[5:]])
    assert (found.shape, found.dtype) == ((12, 5), np.float32)
    np.testing.assert_allclose(found, model.predict(IMAGES, verbose=0), atol=1e-5)


@pytest.mark.parametrize(("precision", "distance"), [("int8", 0.05), ("int16x8", 0.01)])
def test_integer_scores_are_probabilities_near_the_keras_models(model, files, precision, distance):
    found = scores(files[precision], [IMAGES])
    np.testing.assert_allclose(found, model.predict(IMAGES, verbose=0), atol=distance)
    np.testing.assert_allclose(found.sum(1), 1, atol=0.02)


def test_int8_scores_are_the_interpreters_own_integers(files):
    interpreter = Interpreter(model_content=files["int8"])
    interpreter.allocate_tensors()
    entry, exit_ = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    scale, zero_point = entry["quantization"]
    whole = IMAGES.round()
    assert (round(scale, 3), zero_point) == (1.0, -128)
    for image in whole[:3]:
        interpreter.set_tensor(entry["index"], (image[None] - 128).astype(np.int8))
        interpreter.invoke()
        integers = interpreter.get_tensor(exit_["index"]).astype(int)
        np.testing.assert_array_equal(scores(files["int8"], [image[None]]), (integers + 128) / np.float32(256))


def test_scores_do_not_depend_on_batches_or_threads(files):
    whole = scores(files["int8"], [IMAGES], threads=1)
    split = scores(files["int8"], (IMAGES[i : i + 1] for i in range(12)), threads=2)
    np.testing.assert_array_equal(whole, split)


def test_latency_keeps_every_repeat(files):
    found = latency(files["float32"], IMAGES[0], warmup=3, repeats=21)
    assert len(found.repeats_us) == 21
    assert all(0 < repeat < 1e7 for repeat in found.repeats_us)
    assert found.median_us == sorted(found.repeats_us)[10]
    assert found.p90_us == sorted(found.repeats_us)[18]
    assert found.threads == 1
    assert found.sha256 == hashlib.sha256(files["float32"]).hexdigest()


def test_tool_says_what_really_ran(files):
    named = {
        (precision, wanted): latency(files[precision], IMAGES[0], repeats=1, xnnpack=wanted).tool
        for precision, wanted in (("float32", True), ("float32", False), ("int16x8", True))
    }
    assert named["float32", True].startswith("ai-edge-litert 2.")
    assert named["float32", True].endswith("(XNNPACK)")
    assert named["float32", False].endswith("(no XNNPACK)")
    # XNNPACK has no int16 kernels, whatever was asked for.
    assert named["int16x8", True].endswith("(no XNNPACK)")


def test_latencies_tell_a_heavier_model():
    models = {"light": convert(_model(4), "float32"), "heavy": convert(_model(512), "float32")}
    found = latencies(models, IMAGES[:1], repeats=30)
    assert list(found) == ["light", "heavy"]
    assert found["heavy"].median_us > 2 * found["light"].median_us


def test_latencies_take_an_image_for_each_model(files):
    image = keras.Input((4, 4, 1))
    other = convert(keras.Model(image, layers.Dense(2)(layers.Flatten()(image))), "float32")
    found = latencies({"a": files["int8"], "b": other}, {"a": IMAGES[0], "b": np.zeros((4, 4, 1))}, warmup=0, repeats=2)
    assert {name: len(record.repeats_us) for name, record in found.items()} == {"a": 2, "b": 2}


def test_rounds_run_every_model_once_and_change_who_begins():
    calls: list[str] = []

    def recorder(name):
        return SimpleNamespace(
            get_input_details=lambda: [{"index": 0}],
            set_tensor=lambda index, values: calls.append(f"set {name}"),
            invoke=lambda: calls.append(name),
        )

    names = ("a", "b", "c")
    took = _rounds({name: recorder(name) for name in names}, dict.fromkeys(names, IMAGES[:1]), 4)
    runs = [call for call in calls if not call.startswith("set")]
    assert ["".join(runs[i : i + 3]) for i in range(0, 12, 3)] == ["abc", "bca", "cab", "abc"]
    # The input is written before each run, since the arena may have lent its place away.
    assert calls[::2] == [f"set {name}" for name in calls[1::2]]
    assert {name: len(times) for name, times in took.items()} == {"a": 4, "b": 4, "c": 4}


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"threads": 0}, "threads=0"),
        ({"repeats": 0}, "repeats=0"),
        ({"warmup": -1}, "warmup=-1"),
        ({"image": IMAGES[0, :7]}, r"images are \(1, 7, 8, 3\); 'model' needs \(b, 8, 8, 3\)"),
        ({"image": IMAGES[:2]}, "2 images given"),
        ({"model": b"nothing"}, r"LiteRT cannot run 'model' \(7 bytes\)"),
        ({"model": b""}, r"LiteRT cannot run 'model' \(0 bytes\)"),
    ],
)
def test_what_cannot_be_timed_is_refused(files, arguments, reason):
    given = {"model": files["float32"], "image": IMAGES[0], **arguments}
    with pytest.raises(TfliteError, match=reason):
        latency(given.pop("model"), given.pop("image"), **given)


def test_image_missing_for_one_model_is_named(files):
    with pytest.raises(TfliteError, match="no image for 'int8'"):
        latencies(files, {"float32": IMAGES[0]})


def test_no_models_are_refused():
    with pytest.raises(TfliteError, match="no models"):
        latencies({}, IMAGES[0])


@pytest.mark.parametrize(
    ("batches", "reason"),
    [([], "no images"), ([IMAGES[:0]], "no images"), ([IMAGES[0]], r"images are \(8, 8, 3\)")],
)
def test_what_cannot_be_scored_is_refused(files, batches, reason):
    with pytest.raises(TfliteError, match=reason):
        scores(files["float32"], batches)


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_images_that_are_not_finite_are_neither_scored_nor_timed(files, precision):
    broken = IMAGES.copy()
    broken[0, 0, 0, 0] = np.nan
    with pytest.raises(TfliteError, match=r"1 of 2304 values for .* are not finite"):
        scores(files[precision], [broken])
    with pytest.raises(TfliteError, match=r"1 of 192 values for .* are not finite"):
        latency(files[precision], broken[0], warmup=0, repeats=1)


def test_truncated_model_is_refused(files):
    with pytest.raises(TfliteError, match="LiteRT cannot run"):
        scores(files["float32"][:1000], [IMAGES])


def test_nothing_is_printed(files, capfd):
    latency(files["float32"], IMAGES[0], warmup=0, repeats=1)
    assert capfd.readouterr() == ("", "")


def test_a_runs_files_are_timed_in_turns_and_a_bad_one_costs_itself_alone(files):
    subjects = [Subject("p", name, content) for name, content in files.items()]
    bad = Subject("q", "int8", files["int8"][:1000])
    first, *rest = measure([*subjects, bad], DeviceOptions(threads=2, repeats=3))
    assert "q.int8: " in first.failures[0]
    found = [m for findings in rest for m in findings.measurements]
    assert [m.precision for m in found] == list(files)
    for m, subject in zip(found, subjects, strict=True):
        assert (m.device, m.figure, m.kind, m.sha256) == ("host", "latency", "device", subject.sha256)
        assert len(m.repeats) == 3
        assert m.value == sorted(m.repeats)[1]
        assert m.tool.endswith(", 2 threads")


def test_the_delegate_is_left_out_where_asked(files):
    (found,) = measure([Subject("p", "float32", files["float32"])], DeviceOptions(repeats=1, xnnpack=False))
    assert "(no XNNPACK), 1 thread" in found.measurements[0].tool


def test_where_no_file_runs_there_are_failures_alone():
    (found,) = measure([Subject("q", "int8", b"nothing")], DeviceOptions())
    assert (found.measurements, len(found.failures)) == ((), 1)


@pytest.fixture(scope="module")
def cascade() -> bytes:
    """Three stages; it says thresholds at which images answer at each."""
    return cascade_files.cascade("small>middle>large", "int8", cascade_files.dial("small>middle>large", "int8"))


@pytest.mark.slow
def test_a_cascade_answers_at_the_thresholds_that_it_says_or_at_others(cascade):
    chosen = cascades.thresholds(cascade)
    found, places = answers(cascade, [PIXELS[:5], PIXELS[5:]])
    assert set(places.tolist()) == {0, 1, 2}
    alone = [scores(cascade_files.stage(name, "int8"), [PIXELS]) for name in ("small", "middle", "large")]
    np.testing.assert_array_equal(found, np.stack(alone)[places, np.arange(len(PIXELS))])
    first = alone[0].max(axis=1) >= np.float32(chosen[0])  # the threshold is an image's own: equal is sure enough
    np.testing.assert_array_equal(places == 0, first)
    for stage in range(3):
        dial = cascades.answering(stage, 3)
        np.testing.assert_array_equal(scores(cascade, [PIXELS], thresholds=dial), alone[stage])
        assert set(stages(cascade, [PIXELS], thresholds=dial).tolist()) == {stage}
    assert set(stages(cascade_files.stage("small", "int8"), [PIXELS]).tolist()) == {0}


@pytest.mark.slow
def test_thresholds_of_another_count_are_refused(cascade):
    with pytest.raises(TfliteError, match="1 thresholds given; 'model' takes 2"):
        scores(cascade, [PIXELS], thresholds=(0.5,))
    with pytest.raises(TfliteError, match="1 thresholds given; 'a' takes 0"):
        latencies({"a": cascade_files.stage("small", "int8")}, PIXELS[0], thresholds={"a": (0.5,)})


@pytest.mark.slow
def test_every_stage_is_timed_in_turns_with_the_other_files(cascade):
    models = {"one": cascade_files.stage("large", "int8"), "all": cascade}
    timed = stage_latencies(models, PIXELS[0], warmup=1, repeats=40)
    assert {name: len(entries) for name, entries in timed.items()} == {"one": 1, "all": 3}
    assert {len(entry.repeats_us) for entries in timed.values() for entry in entries} == {40}
    first, _, last = (entry.median_us for entry in timed["all"])
    assert first < last


@pytest.mark.slow
def test_the_latency_of_a_cascade_is_its_worst_case(monkeypatch, cascade):
    from tflite_export.devices import host

    fed = []
    honest = host._feed
    monkeypatch.setattr(
        host,
        "_feed",
        lambda interpreter, values: (fed.append([float(v[0]) for v in values[1:]]), honest(interpreter, values)),
    )
    (found,) = measure([Subject("small>middle>large", "int8", cascade)], DeviceOptions(repeats=2))
    assert found.measurements[0].figure == "latency"
    assert set(map(tuple, fed)) == {(cascades.ABOVE, cascades.ABOVE)}
