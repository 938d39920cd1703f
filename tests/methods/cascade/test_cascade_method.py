"""`restnet_tf.cascade`: models as they are, of every kind, joined into files that answer as their stages do."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import colours as colour
import keras
import numpy as np
import points_schema
import pytest

import restnet_tf
from restnet_tf.cascades.thresholds import hand
from restnet_tf.commands import build, link
from restnet_tf.commands.build import Done
from restnet_tf.data import splits
from restnet_tf.methods.cascade import method, outlook, stages
from restnet_tf.methods.cascade.options import Options
from restnet_tf.points import points
from restnet_tf.points.points import CASCADE, OperatingPoint
from restnet_tf.progress import Silent
from restnet_tf.records import RestnetError
from tflite_export import cascades
from tflite_export.devices import host
from tflite_export.flatbuffer import read
from tflite_export.original import Original
from tflite_export.runtime import ElasticModel

pytestmark = pytest.mark.slow

SMALL, LARGE, LARGER = "small.int8.tflite", "large.int8.tflite", "larger.int8.tflite"


@pytest.fixture
def here(colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with the models in it."""
    shutil.copytree(colours, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def joined(*models: str, **options: Any) -> Done:
    return restnet_tf.cascade(*models, **{"data": "data.npz", "out": "run", **options})


def chains(done: Done) -> dict[str, OperatingPoint]:
    return {p.name: p for p in done.points if p.kind == CASCADE}


def only(done: Done) -> OperatingPoint:
    (one,) = chains(done).values()
    return one


def batch_of(n: int = 100) -> np.ndarray:
    """Images of the test split."""
    with np.load("data.npz") as arrays:
        return np.asarray(arrays["x_test"][:n], np.float32)


def contents(run: Path = Path("run")) -> dict[str, bytes]:
    """The files of a run by path, but what holds times."""
    timed = ("points.json", "points.png", "times.json", ".lock", "run.json")
    return {str(p.relative_to(run)): p.read_bytes() for p in run.rglob("*") if p.is_file() and p.name not in timed}


def check_by_hand(point: OperatingPoint, precision: str, stages: Sequence[str], batch: np.ndarray) -> None:
    """Hold a cascade's file against its stages' own files, at chosen thresholds and at the ends of the dial."""
    file, cascade = point.files[precision], point.cascade
    assert cascade is not None
    assert file.dial is not None
    content = (Path("run") / file.path).read_bytes()
    assert cascades.thresholds(content) == file.dial.thresholds
    apart = [host.scores((Path("run/tflite") / name).read_bytes(), [batch]) for name in stages]
    ran = set()
    for thresholds in (file.dial.thresholds, (0.0,) * (len(stages) - 1), (1.01,) * (len(stages) - 1)):
        scores, stage = host.answers(content, [batch], thresholds=thresholds)
        expected, place = hand(apart, thresholds, cascade.confidence)
        np.testing.assert_array_equal(stage, place)
        np.testing.assert_array_equal(scores, expected)
        ran |= set(stage.tolist())
    assert ran == set(range(len(stages)))


def check_elastic(run: Path, precision: str, batch: np.ndarray) -> None:
    """Hold the cascades of an elastic file against their own files."""
    path = run / f"elastic.{precision}.tflite"
    model = ElasticModel(path)
    listed = {p.name: p for p in points.read(run / "points.json")[1] if precision in p.files}
    assert {p.name for p in model.points} == set(listed)
    for point in listed.values():
        if point.cascade is None:
            continue
        content = (run / point.files[precision].path).read_bytes()
        scores, stage = host.answers(content, [batch])
        for image, row, place in zip(batch, scores, stage, strict=True):
            np.testing.assert_array_equal(model.run(image, point.name), row)
            assert model.stage == place


def test_tflite_files_are_joined_as_they_are(here: Path) -> None:
    done = joined(SMALL, LARGE)
    point = only(done)
    assert (point.name, list(point.files)) == ("small>large", ["int8"])
    check_by_hand(point, "int8", ["small.int8.tflite", "large.int8.tflite"], batch_of())
    check_elastic(done.path, "int8", batch_of(20))
    assert not (done.path / "objects").exists()  # nothing was compiled
    assert points_schema.faults_of(done.path) == []
    scores = {p.name: p.test.value for p in done.points}
    assert scores["small"] < scores["small>large"] <= scores["large"] + 0.02
    assert point.mean_macs < point.macs == 45 + 612
    for name, content in (("small", SMALL), ("large", LARGE)):
        own = Original((here / content).read_bytes()).scores([batch_of()])
        np.testing.assert_array_equal(
            host.scores((done.path / f"tflite/{name}.int8.tflite").read_bytes(), [batch_of()]), own
        )


def test_a_stage_is_known_by_its_content(here: Path) -> None:
    shutil.copy(SMALL, "unnamed")
    files = stages.opened(Options(models=("unnamed", "large.keras")), splits.load("data.npz", seed=0))
    assert {role: stage.classifier.name for role, stage in files.items()} == {"small": "unnamed"}


def test_what_it_takes_is_said_first_and_is_measured(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = Options(models=(SMALL, LARGE), data="data.npz")
    report = Silent()
    build.build("cascade", options, report)
    words = r"about \d.* here, .* of memory a process, .* of disk in runs/"
    assert len([line for line in report.lines if re.match(words, line)]) == 1
    larger = replace(options, models=(SMALL, LARGE, LARGER))
    least, more = (outlook.forecast(method.open(each, Silent())) for each in (options, larger))
    assert more.disk > least.disk
    assert least.seconds < 60  # it takes some five
    mixed = outlook.forecast(method.open(replace(options, models=(SMALL, "large.keras")), Silent()))
    assert mixed.seconds < 120
    monkeypatch.setattr(outlook, "_seconds", lambda stage: 0.05)
    examples = 180 + 300
    assert outlook.forecast(method.open(options, Silent())).seconds > examples * 2 * 0.05


def test_weights_are_in_the_elastic_file_once(here: Path) -> None:
    joined(SMALL, LARGE, LARGER)
    model = read(Path("run/elastic.int8.tflite").read_bytes())
    every = [t for graph in model.subgraphs for t in graph.tensors if t.constant]
    buffers = {id(t.buffer): t.buffer.data.tobytes() for t in every}
    assert len(every) > len(buffers) == len(set(buffers.values()))


@pytest.mark.slow
def test_keras_models_are_joined_in_every_precision(here: Path) -> None:
    done = joined("small.keras", "large.keras", precision="float32,int8,int8>float32")
    point = only(done)
    assert list(point.files) == ["float32", "int8", "int8>float32"]
    assert point.files["int8>float32"].path == "tflite/small-then-large.int8-then-float32.tflite"
    for word, own in (("float32", ("float32",) * 2), ("int8", ("int8",) * 2), ("int8>float32", ("int8", "float32"))):
        files = [f"{name}.{precision}.tflite" for name, precision in zip(("small", "large"), own, strict=True)]
        check_by_hand(point, word, files, batch_of())
    check_elastic(done.path, "float32", batch_of(10))


@pytest.mark.slow
def test_a_file_goes_on_to_a_keras_model(here: Path) -> None:
    point = only(joined(SMALL, "large.keras", precision="float32"))
    assert list(point.files) == ["int8>float32"]
    check_by_hand(point, "int8>float32", ["small.int8.tflite", "large.float32.tflite"], batch_of())
    assert Path("run/tflite/small.int8.tflite").exists()
    assert not Path("run/tflite/small.float32.tflite").exists()


def test_three_models_make_chains_of_two_and_three(here: Path) -> None:
    done = joined(SMALL, LARGE, LARGER, cascades=8)
    names = set(chains(done))
    assert names <= {"small>large", "large>larger", "small>larger", "small>large>larger"}
    assert len(names) > 1
    for name, point in chains(done).items():
        check_by_hand(point, "int8", [f"{stage}.int8.tflite" for stage in name.split(">")], batch_of(300))


def test_the_image_is_the_largest_and_others_are_resized(here: Path) -> None:
    (here / "wide.tflite").write_bytes(colour.file("large", side=16))
    colour.data(here / "data.npz", side=16)
    done = joined("small.float32.tflite", "wide.tflite")
    point = only(done)
    content = (done.path / point.files["float32"].path).read_bytes()
    assert read(content).signatures[0].inputs["image"].shape == (1, 16, 16, 3)
    batch = batch_of()
    scores, stage = host.answers(content, [batch], thresholds=(1.01,))
    np.testing.assert_array_equal(scores, host.scores(Path("run/tflite/large.float32.tflite").read_bytes(), [batch]))
    assert set(stage.tolist()) == {1}
    first = host.scores(content, [batch], thresholds=(0.0,))
    half = batch.reshape(-1, 8, 2, 8, 2, 3).mean((2, 4))  # what bilinear of half the size is
    np.testing.assert_allclose(first, host.scores(Path("small.float32.tflite").read_bytes(), [half]), atol=1e-5)


def test_classes_in_another_order_are_put_right_by_their_names(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "turned.tflite").write_bytes(colour.file("large", "int8", order=(2, 0, 1)))
    Path("names.txt").write_text("Blue\nred\n\ngreen\n")
    done = joined(SMALL, "turned.tflite", classes=["large=names.txt"])
    plain = joined(SMALL, LARGE, out="plain")
    assert {p.name: p.test for p in done.points} == {p.name: p.test for p in plain.points}
    link.link(done.path.absolute(), Silent())  # which finds the names
    monkeypatch.chdir(here / "plain")
    link.link(here / "run", Silent())
    (here / "names.txt").write_text("green\nred\nblue\n")
    with pytest.raises(RestnetError, match="holds a run with another classes"):
        link.link(here / "run", Silent())


def test_logits_are_given_a_softmax(here: Path) -> None:
    (here / "logits.tflite").write_bytes(colour.file("large", softmax=False))
    done = joined(SMALL, "logits.tflite", logits=True)  # that of the other is left alone
    batch = batch_of()
    rows = host.scores(Path("run/tflite/large.float32.tflite").read_bytes(), [batch])
    np.testing.assert_allclose(rows, colour.model("large").predict(batch, verbose=0), atol=1e-5)
    check_by_hand(only(done), "int8>float32", ["small.int8.tflite", "large.float32.tflite"], batch)


@pytest.mark.parametrize(("modes", "precision"), [("0to1", "float32"), ("none,0to1", "float32"), ("", "int8")])
def test_images_are_prepared_as_each_model_expects(here: Path, modes: str, precision: str) -> None:
    """By what is said of all or one, and where nothing is said by the range of integers."""
    first = "small.float32.tflite"
    if modes == "0to1":
        (here / first).write_bytes(colour.file("small", largest=1.0))
    (here / "large.tflite").write_bytes(colour.file("large", precision, largest=1.0))
    done = joined(first, "large.tflite", preprocess=modes)
    scores = {p.name: p.test.value for p in done.points}
    assert scores["small"] > 0.7
    assert scores["large"] > 0.85


def test_a_run_is_left_as_it_is_by_the_same_command_and_made_alike_elsewhere(here: Path) -> None:
    done = joined(SMALL, LARGE)
    before, told = contents(), (done.path / "points.json").read_bytes()
    again = joined(SMALL, LARGE)
    assert (contents(), (done.path / "points.json").read_bytes()) == (before, told)
    assert again.points == done.points
    joined(SMALL, LARGE, out="elsewhere")
    own = {name: content for name, content in before.items() if not name.startswith("elastic")}  # holds times
    assert {k: v for k, v in contents(Path("elsewhere")).items() if not k.startswith("elastic")} == own


def test_no_cascades_and_then_some(here: Path) -> None:
    done = joined(SMALL, LARGE, cascades=0)
    assert not chains(done)
    assert not list(Path("run/tflite").glob("*-then-*"))
    before = contents()
    assert list(chains(joined(SMALL, LARGE, cascades=2))) == ["small>large"]
    kept = {name: content for name, content in contents().items() if name in before and name.startswith("tflite")}
    assert kept == {name: content for name, content in before.items() if name.startswith("tflite")}
    assert not chains(joined(SMALL, LARGE, cascades=0))
    assert not list(Path("run/tflite").glob("*-then-*"))  # nothing in the run speaks of it any more


def test_a_chain_that_is_over_the_budget_is_none(here: Path) -> None:
    assert not chains(joined(SMALL, LARGE, budget="macs<=640"))  # both together take 657
    assert list(chains(joined(SMALL, LARGE, budget="macs<=657", out="another"))) == ["small>large"]
    cheap = only(joined(SMALL, LARGE, budget="mean.macs<=300", out="third"))
    assert cheap.mean_macs <= 300


@pytest.mark.slow
def test_a_run_gains_a_precision(here: Path) -> None:
    done = joined("small.keras", "large.keras", precision="float32")
    assert list(only(done).files) == ["float32"]
    before = contents()
    linked = link.link(done.path, Silent(), precisions=["int8", "int8>float32"])
    (chain,) = (p for p in linked.points if p.kind == CASCADE)
    assert list(chain.files) == ["float32", "int8", "int8>float32"]
    after = contents()
    kept = [name for name in before if not name.startswith("elastic")]
    assert {name: after[name] for name in kept} == {name: before[name] for name in kept}
    for word, own in (("int8", ("int8", "int8")), ("int8>float32", ("int8", "float32"))):
        check_by_hand(chain, word, [f"small.{own[0]}.tflite", f"large.{own[1]}.tflite"], batch_of())
    assert list(only(joined("small.keras", "large.keras")).files) == ["float32", "int8", "int8>float32"]


def test_an_interrupted_run_goes_on(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*args: object, **how: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(host, "stage_latencies", stopped)
        with pytest.raises(KeyboardInterrupt):
            joined(SMALL, LARGE)
    assert not Path("run/points.json").exists()
    done = joined(SMALL, LARGE)
    fresh = joined(SMALL, LARGE, out="fresh")
    hashes = [
        {p.name: {k: f.sha256 for k, f in p.files.items()} for p in points.read(one.path / "points.json")[1]}
        for one in (done, fresh)
    ]
    assert hashes[0] == hashes[1]


def test_a_file_that_was_changed_by_hand_is_made_again(here: Path) -> None:
    done = joined(SMALL, LARGE)
    path = done.path / only(done).files["int8"].path
    sound = path.read_bytes()
    path.unlink()
    joined(SMALL, LARGE, cascades=3)  # as a run whose cascades were asked for anew
    assert hashlib.sha256(path.read_bytes()).hexdigest() == hashlib.sha256(sound).hexdigest()


def test_without_labels_answers_count_that_are_the_largest_models(here: Path) -> None:
    colour.data(here / "data.npz", labelled=False)
    done = joined(SMALL, LARGE)
    assert done.metric == "agreement"
    assert next(p for p in done.points if p.name == "large").test.value == 1
    assert only(done).test.value < 1


def test_what_a_file_says_of_itself_is_what_the_run_says(here: Path) -> None:
    done = joined(SMALL, LARGE)
    point = only(done)
    assert point.cascade is not None
    file = point.files["int8"]
    note = json.loads(read((done.path / file.path).read_bytes()).metadata["restnet_tf"].data.tobytes())
    (entry,) = note["points"]
    assert note["labels"] == list(colour.NAMES)
    assert file.dial is not None
    told = entry["cascade"]
    assert told["stages"] == ["small", "large"]
    assert told["confidence"] == point.cascade.confidence
    assert told["thresholds"] == list(file.dial.thresholds)
    assert (told["macs"], entry["macs"]) == ([45, 612], 657)
    assert told["reach"] == list(file.dial.rank_reach)
    assert "latency" not in told  # another machine would measure another


def test_cascades_are_no_runs_to_train(here: Path) -> None:
    done = joined(SMALL, LARGE)
    said = r"holds models as they are and cascades; this takes runs of restnet-tf"
    with pytest.raises(RestnetError, match=said), build.reopened(done.path, Silent()):
        pass


def test_files_keep_the_images_that_they_take(here: Path) -> None:
    done = joined(SMALL, LARGE)
    before = contents()
    for _ in range(2):  # what is refused is not asked for again
        with pytest.raises(RestnetError, match=r"keep the images that they take; --uint8-input is for builds"):
            link.link(done.path, Silent(), uint8_input=True)
    assert contents() == before
    link.link(done.path, Silent())


def test_keras_models_of_other_classes_are_given_a_head(here: Path) -> None:
    """As in a build; files cannot be."""
    image = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(3, 1)(keras.layers.Rescaling(1 / 255)(image))
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(image, keras.layers.Dense(5, activation="softmax")(x))
    model.save("five.keras")
    done = joined(SMALL, "five.keras", precision="float32")
    assert next(p for p in done.points if p.name == "large").test.value > 0.8
