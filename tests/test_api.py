"""The Python interface: light to import, typed, and true for any functional Keras model."""

from __future__ import annotations

import inspect
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any, get_type_hints

import finished
import networks
import numpy as np
import paths
import pytest

import restnet_tf
from restnet_tf import methods
from restnet_tf.cli import options
from restnet_tf.cli.main import main
from restnet_tf.commands.open_run import FinishedRun
from restnet_tf.records import RestnetError
from restnet_tf.similarity import features
from tflite_export.errors import TfliteError

keras = networks.keras
layers = keras.layers
HOW = {"jobs", "cluster", "ship", "log", "as_json", "quiet"}
METHODS = {
    "restnet": ["build"],
    "snnet": ["build", "--method", "snnet", "--anchor", "a", "--anchor", "b", "--data", "c"],
    "stitchnet": ["compose", "--pool", "a", "--data", "c"],
}


def fresh(code: str) -> str:
    """What a new interpreter prints."""
    run = subprocess.run([sys.executable, "-c", code], cwd=paths.ROOT, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


# ---- the package -----------------------------------------------------------------------------


def test_the_package_is_imported_at_once() -> None:
    code = (
        "import sys, time\nbefore = time.process_time()\nimport restnet_tf\n"
        "print(time.process_time() - before, 'numpy' in sys.modules, set(restnet_tf.__all__) <= set(dir(restnet_tf)))"
    )
    seconds, numpy, listed = fresh(code).split()
    assert float(seconds) < 0.1
    assert (numpy, listed) == ("False", "True")


def test_a_public_name_is_not_hidden_by_the_package_that_is_called_so() -> None:
    code = (
        "import restnet_tf.similarity.cka\nfrom restnet_tf.similarity import cka as module\n"
        "from restnet_tf import similarity\n"
        "print(callable(restnet_tf.similarity), similarity is restnet_tf.similarity, module.cka is restnet_tf.cka)"
    )
    assert fresh(code) == "True True True"


def test_names_that_are_not_there_are_not_there() -> None:
    with pytest.raises(AttributeError, match="module 'restnet_tf' has no attribute 'assemble'"):
        _ = restnet_tf.assemble  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", restnet_tf.__all__)
def test_public_functions_are_described_and_typed(name: str) -> None:
    function = getattr(restnet_tf, name)
    assert "Raises" in inspect.getdoc(function)
    assert all(p.annotation is not p.empty for p in inspect.signature(function).parameters.values())
    names = {"keras": keras, **vars(sys.modules[function.__module__])}
    assert "return" in get_type_hints(function, names)
    assert name in sys.modules[function.__module__].__dict__


def of_what(params: dict[str, Any]) -> dict[str, Any]:
    """The parameters of a command that say what is built, and not how, where, or what is printed of it."""
    return {name: value for name, value in params.items() if name not in HOW}


@pytest.mark.parametrize(("method", "words"), METHODS.items())
def test_options_are_those_of_the_command_line_with_its_defaults(method: str, words: list[str]) -> None:
    command, *values = words
    usual = {f.name: f.default for f in fields(methods.options(method)) if f.name != "also"}  # of the command link
    with main.commands[command].make_context(command, list(values)) as context:
        params = of_what(context.params)
        typed = options.of_method(params) if command == "build" else params
    assert typed.pop("method", method) == method
    assert set(typed) == set(usual)
    named = {word.removeprefix("--") for word in values}
    assert {name: typed[name] for name in usual if name not in named} == {
        name: value for name, value in usual.items() if name not in named
    }


def test_options_of_a_cascade_have_the_defaults_of_its_record() -> None:
    """It takes fewer than the record has, which a build of anchors reads too."""
    usual = methods.options("cascade")()
    with main.commands["cascade"].make_context("cascade", ["a", "b", "--data", "c"]) as context:
        typed = of_what(context.params)
    assert (tuple(typed.pop("models")), typed.pop("data")) == (("a", "b"), "c")
    assert {name: getattr(usual, name) for name in typed} == typed


@pytest.mark.parametrize("command", ["build", "cascade", "compose"])
def test_an_option_that_is_none_is_named(command: str) -> None:
    with pytest.raises(TypeError, match=rf"{command}\(\) has no option 'colour'; its options are .*data"):
        getattr(restnet_tf, command)(colour="red")


def test_a_method_that_is_none_is_named() -> None:
    with pytest.raises(RestnetError, match="there is no method 'glue'; there are restnet, snnet, cascade, stitchnet"):
        restnet_tf.build(method="glue")


# ---- models ----------------------------------------------------------------------------------


def test_load_takes_a_path(tmp_path: Path) -> None:
    networks.anchor(name="net").model.save(tmp_path / "net.keras")
    assert [restnet_tf.load(where).name for where in (tmp_path / "net.keras", f"{tmp_path}/net.keras")] == ["net"] * 2


def nested() -> Any:
    """A backbone, itself with a Sequential model inside, as one layer of a classifier."""
    keras.utils.set_random_seed(3)
    stem = keras.Sequential([keras.Input((8, 8, 3)), layers.Conv2D(4, 3, activation="relu", name="first")], name="stem")
    image = keras.Input((8, 8, 3))
    backbone = keras.Model(image, layers.Conv2D(5, 3, activation="relu", name="second")(stem(image)), name="backbone")
    image = keras.Input((8, 8, 3))
    x = layers.GlobalAveragePooling2D(name="pool")(
        layers.Conv2D(6, 1, activation="relu", name="third")(backbone(image))
    )
    return keras.Model(image, layers.Dense(3, name="classes")(x), name="nested")


def sequential() -> Any:
    keras.utils.set_random_seed(4)
    convolutions = [layers.Conv2D(4, 3, activation="relu", name=name) for name in ("first", "second")]
    return keras.Sequential([keras.Input((8, 8, 3)), *convolutions, layers.Flatten(), layers.Dense(3)], name="row")


def half() -> Any:
    """A model whose activations are float16."""
    keras.utils.set_random_seed(5)
    image = keras.Input((8, 8, 3))
    x = image
    for name in ("first", "second"):
        x = layers.Conv2D(4, 3, activation="relu", name=name, dtype="mixed_float16")(x)
    x = layers.Flatten()(x)
    return keras.Model(image, layers.Dense(3, dtype="float32", name="classes")(x), name="half")


MODELS = {
    "nested": nested,
    "sequential": sequential,
    "half": half,
    "anchor": lambda: networks.anchor((6, 10), 2, convolutions=1),
}


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_front_and_back_are_the_model_at_every_cut(make: Any) -> None:
    model = make()
    whole = getattr(model, "model", model)
    images = networks.images(6)
    expected = networks.forward(whole, images)
    weights = {id(w) for w in whole.weights}
    places = restnet_tf.cuts(model)
    assert len(places) > 1
    for cut in places:
        for named in (cut, cut.name):
            front, back = restnet_tf.split(model, named)
            assert front.output.shape == (None, *cut.shape) == back.input.shape
            np.testing.assert_array_equal(networks.forward(back, front(images.astype("float32"))), expected)
            assert {id(w) for w in (*front.weights, *back.weights)} == weights


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_a_model_is_left_as_it_is(make: Any, tmp_path: Path) -> None:
    model = make()
    whole = getattr(model, "model", model)
    before, answers = whole.get_config(), networks.forward(whole, networks.images(6))
    first = [cut.name for cut in restnet_tf.cuts(model)]
    restnet_tf.split(model, first[0])
    restnet_tf.split(model, first[-1])
    assert [cut.name for cut in restnet_tf.cuts(model)] == first
    assert whole.get_config() == before
    whole.save(tmp_path / "after.keras")
    again = keras.models.load_model(tmp_path / "after.keras")
    np.testing.assert_array_equal(networks.forward(again, networks.images(6)), answers)


def test_models_inside_are_looked_into() -> None:
    assert [cut.name for cut in restnet_tf.cuts(nested())] == ["first", "second", "third"]


def test_inputs_and_outputs_keep_their_structure() -> None:
    sides = {name: keras.Input((4,), name=name) for name in ("left", "right")}
    x = layers.Dense(5, activation="relu", name="joined")(layers.Concatenate()(list(sides.values())))
    x = layers.Dense(6, activation="relu", name="deeper")(x)
    ends = {"one": layers.Dense(2, name="one")(x), "two": layers.Dense(3, name="two")(x)}
    model = keras.Model(sides, ends, name="forked")
    values = {name: np.full((2, 4), i, np.float32) for i, name in enumerate(sides)}
    front, back = restnet_tf.split(model, "deeper")
    answers, expected = back(front(values)), model(values)
    assert set(answers) == {"one", "two"}
    for name, value in expected.items():
        np.testing.assert_array_equal(answers[name], value)


def test_what_is_no_cut_is_refused() -> None:
    with pytest.raises(RestnetError, match=r"0\.0\.conv1 is no cut in net; its cuts are: stem, 0\.0\.out"):
        restnet_tf.split(networks.anchor(), "0.0.conv1")


def test_a_model_without_a_graph_is_refused() -> None:
    class Subclassed(keras.Model):
        def call(self, x: Any) -> Any:
            return x

    with pytest.raises(RestnetError, match=r"hidden is a subclassed model .* functional model"):
        restnet_tf.cuts(Subclassed(name="hidden"))


def test_models_inside_with_layers_of_one_name_are_refused() -> None:
    image = keras.Input((8, 8, 3))
    inner = keras.Sequential([keras.Input((8, 8, 3)), layers.Conv2D(4, 3, name="same")], name="inner")
    model = keras.Model(image, layers.Conv2D(4, 3, name="same")(inner(image)), name="twice")
    with pytest.raises(RestnetError, match=r"twice holds models whose layers cannot stand side by side: .*same"):
        restnet_tf.cuts(model)


# ---- similarity ------------------------------------------------------------------------------


def test_similarity_is_that_of_the_build() -> None:
    anchors, lists = networks.pair(1, convolutions=1)
    split = networks.split(70)
    expected = features.collect(anchors, lists, split)
    seen: list[tuple[int, int]] = []
    found = restnet_tf.similarity(*anchors.values(), split, progress=lambda done, total: seen.append((done, total)))
    np.testing.assert_array_equal(found.cka, expected.cka)
    assert (found.n, found.batch) == (expected.n, expected.batch)
    assert found.cuts == tuple(lists.values())
    assert seen[-1] == (found.n, found.n)


def test_similarity_of_arrays_and_of_data_is_the_same(tmp_path: Path) -> None:
    anchors, _ = networks.pair(1, convolutions=1)
    np.savez(tmp_path / "x.npz", x=networks.images(64))
    by_name = restnet_tf.similarity(*anchors.values(), tmp_path / "x.npz")
    fit = restnet_tf.similarity(*anchors.values(), str(tmp_path / "x.npz"), seed=0)
    np.testing.assert_array_equal(by_name.cka, fit.cka)
    whole = restnet_tf.similarity(*(anchor.model for anchor in anchors.values()), networks.images(64))
    assert whole.n == 64
    assert by_name.n < 64
    assert np.abs(whole.cka - by_name.cka).max() < 0.5


def test_a_model_is_like_itself_and_cka_says_the_same() -> None:
    model, images = nested(), networks.images(32).astype("float32")
    found = restnet_tf.similarity(model, model, images)
    np.testing.assert_allclose(np.diag(found.cka), 1)
    one, other = (np.asarray(restnet_tf.split(model, cut)[0](images)) for cut in found.cuts[0][:2])
    assert restnet_tf.cka(one, other) == pytest.approx(found.cka[0, 1], abs=1e-6)


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (np.zeros((3, 8, 8, 3)), "3 images are too few for the statistics; at least 4"),
        (np.zeros((9, 9, 9, 3)), r"nested takes images of shape \(8, 8, 3\), not \(9, 9, 3\); resize them"),
        (np.full((9, 8, 8, 3), np.nan), "the images hold NaN or infinity"),
        ("nowhere", "nowhere: no such file or folder"),
    ],
)
def test_images_that_cannot_be_compared_are_refused(images: Any, words: str) -> None:
    with pytest.raises(RestnetError, match=words):
        restnet_tf.similarity(nested(), nested(), images)


def test_models_of_no_image_are_not_compared() -> None:
    x = keras.Input((None, None, 3))
    model = keras.Model(x, layers.Dense(3)(layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(x))), name="free")
    with pytest.raises(RestnetError, match=r"free takes inputs of \[\(None, None, 3\)\]; images of one size"):
        restnet_tf.similarity(model, model, np.zeros((9, 8, 8, 3)))


# ---- runs ------------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path: Path) -> FinishedRun:
    return restnet_tf.open_run(finished.written(tmp_path / "run"))


def test_a_run_is_read(run: FinishedRun) -> None:
    assert run.points == finished.POINTS
    assert (run.metric, run.measurements) == ("accuracy", ())
    names = ("small", "L1-S0", "large")
    assert run.files == {(name, "float32"): run.path / f"tflite/{name}.float32.tflite" for name in names}


def test_a_run_is_left_as_it_is(run: FinishedRun) -> None:
    before = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    run.select("macs<=4M")
    assert {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()} == before


def test_a_run_selects_what_select_does(run: FinishedRun) -> None:
    choice = run.select("macs<=4M, flash<=400KB")
    assert (choice.point.name, choice.precision, choice.metric) == ("L1-S0", "float32", "accuracy")
    assert choice.path == run.path / "tflite/L1-S0.float32.tflite"
    assert choice.file.flash_bytes == 300_000
    assert (choice.measured, choice.better) == ((), ())
    assert choice == restnet_tf.select(str(run.path), "macs<=4M, flash<=400KB")


def test_a_budget_that_cannot_be_met_or_read_is_refused(run: FinishedRun) -> None:
    with pytest.raises(RestnetError, match="no point meets the budget; the nearest, small float32, misses macs<=1K"):
        run.select("macs<=1K")
    with pytest.raises(TfliteError, match="unknown budget term 'speed'"):
        restnet_tf.select(run.path, "speed<=3")


def test_what_is_no_finished_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RestnetError, match=r"nowhere/points\.json is missing"):
        restnet_tf.open_run(tmp_path / "nowhere")
