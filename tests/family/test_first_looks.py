"""What a first look at models says on the way into a build, and that the options which it names mend it."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import colours
import keras
import numpy as np
import pytest

from restnet_tf import methods
from restnet_tf.cli.main import main
from restnet_tf.commands import similarity
from restnet_tf.data import splits
from restnet_tf.family import first_looks
from restnet_tf.family.first_looks import BY_ROLE
from restnet_tf.progress import Silent
from restnet_tf.records import RestnetError
from restnet_tf.work.sources import ModelSource
from tflite_export.convert import convert


@pytest.fixture(scope="session")
def models(once: Any) -> Path:
    """Networks that know colours: as they should be, trained on 0..1, of another order, of both, of other classes."""

    def fill(folder: Path) -> None:
        ways = {
            "large": ("large", {}),
            "small": ("small", {}),
            "turned": ("small", {"order": (1, 2, 0)}),
        }
        for name, (role, how) in ways.items():
            colours.model(role, **how).save(folder / f"{name}.keras")
        scaled().save(folder / "scaled.keras")
        scaled((1, 2, 0)).save(folder / "both.keras")
        x, truth = colours.images(400)
        np.savez(folder / "data.npz", x=x, y=truth, class_names=np.array(colours.NAMES))
        np.savez(folder / "plain.npz", x=x, y=truth)
        np.savez(folder / "noise.npz", x=x, y=np.random.default_rng(0).permutation(truth))

    return once("first looks", fill)


@pytest.fixture(scope="session")
def files(once: Any) -> Path:
    """Three of the models as ``.tflite``."""

    def fill(folder: Path) -> None:
        (folder / "turned.tflite").write_bytes(colours.file("small", order=(1, 2, 0)))
        (folder / "scaled.tflite").write_bytes(convert(scaled(), "float32", []))
        (folder / "large.tflite").write_bytes(colours.file("large"))

    return once("first looks at files", fill)


def scaled(order: tuple[int, ...] = (0, 1, 2)) -> keras.Model:
    """Sees nothing but white in images of 0..255."""
    inner = colours.model("small", largest=1.0, order=order)
    image = keras.Input(inner.input_shape[1:])
    x = keras.layers.ReLU(max_value=1.0, name="white")(image)
    for layer in inner.layers[1:]:
        x = layer(x)
    return keras.Model(image, x)


def opened(name: str, **options: Any) -> list[str]:
    """What the opening of a build says."""
    report = Silent()
    methods.named(name).open(methods.options(name)(**options), report, lambda: None)
    return report.lines


def pair(models: Path, small: str, data: str = "data", **more: Any) -> dict[str, Any]:
    return {
        "large": str(models / "large.keras"),
        "small": str(models / f"{small}.keras"),
        "data": str(models / f"{data}.npz"),
        "out": models / "none",
        **more,
    }


def stopped(name: str, **options: Any) -> str:
    with pytest.raises(RestnetError) as caught:
        opened(name, **options)
    return str(caught.value)


def advised(command: str, message: str) -> dict[str, Any]:
    """The options of a message, as the command reads them."""
    words = re.search(r"with (--.*): give that", message)
    assert words, message
    context = main.commands[command].make_context(command, shlex.split(words[1]), resilient_parsing=True)
    named = [word.partition("=")[0][2:].replace("-", "_") for word in shlex.split(words[1])]
    return {name: context.params[name] for name in named}


def test_each_is_told_and_good_ones_go_on(models: Path) -> None:
    lines = [line for line in opened("restnet", **pair(models, "small")) if "labelled images right" in line]
    assert [line.partition(" has ")[0] for line in lines] == ["large: large", "small: small"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("small", "option"),
    [
        ("scaled", "--small-preprocess=0to1:"),
        ("turned", "--small-classes=green,blue,red:"),
        ("both", "--small-preprocess=0to1 --small-classes=green,blue,red:"),
    ],
)
def test_the_option_that_a_build_is_told_mends_it(models: Path, small: str, option: str) -> None:
    message = stopped("restnet", **pair(models, small))
    assert option in message
    opened("restnet", **pair(models, small), **advised("build", message))
    assert message.split("; --anyway")[0] in " ".join(opened("restnet", **pair(models, small, anyway=True)))


def test_classes_without_names_are_told_by_number(models: Path) -> None:
    message = stopped("restnet", **pair(models, "turned", "plain"))
    assert "--small-classes=1,2,0:" in message
    opened("restnet", **pair(models, "turned", "plain"), **advised("build", message))


def test_chance_is_told_and_other_classes_get_a_new_head(models: Path) -> None:
    message = stopped("restnet", **pair(models, "small", "noise"))
    assert "no better than chance" in message
    assert "--large-classes=other" in message
    assert "--large-preprocess" in message
    other = {"large_classes": "other", "small_classes": "other"}
    lines = opened("restnet", **pair(models, "small"), **other)
    assert sum("a new head for 3 classes" in line for line in lines) == 2


def test_what_a_new_head_reads_is_looked_at_too(models: Path) -> None:
    """Features of noise tell nothing of the labels."""
    message = stopped("restnet", **pair(models, "small", "noise", large_classes="other", small_classes="other"))
    assert "large (large) has" in message
    assert "no better than chance" in message


def test_without_labels_nothing_is_looked_at(models: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "bare.npz", x=colours.images(60)[0])
    lines = opened("restnet", **pair(models, "scaled") | {"data": str(tmp_path / "bare.npz")})
    assert not any("labelled" in line for line in lines)


@pytest.mark.parametrize(
    ("small", "option"),
    [("scaled", "--anchor-preprocess=0to1,none:"), ("turned", "--anchor-classes=A=green,blue,red:")],
)
def test_anchors_by_letter(models: Path, small: str, option: str) -> None:
    anchors = tuple(str(models / f"{name}.keras") for name in (small, "large"))
    options = {"anchor": anchors, "data": str(models / "data.npz"), "out": models / "none"}
    message = stopped("snnet", **options)
    assert option in message
    opened("snnet", **options, **advised("build", message))


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["keras", "tflite"])
@pytest.mark.parametrize(
    ("small", "option"), [("scaled", "--preprocess=0to1,none:"), ("turned", "--classes=small=green,blue,red:")]
)
def test_stages_of_a_cascade(models: Path, files: Path, small: str, option: str, suffix: str) -> None:
    folder = {"keras": models, "tflite": files}[suffix]
    stages = tuple(str(folder / f"{name}.{suffix}") for name in (small, "large"))
    options = {"models": stages, "data": str(models / "data.npz"), "out": models / "none"}
    message = stopped("cascade", **options)
    assert option in message
    opened("cascade", **options, **advised("cascade", message))


def test_similarity_looks_first(models: Path, tmp_path: Path) -> None:
    options = {name: value for name, value in pair(models, "turned").items() if name != "out"}
    with pytest.raises(RestnetError, match="--small-classes=green,blue,red: give that"):
        similarity.write(tmp_path / "map", Silent(), **options)
    assert similarity.write(tmp_path / "map", Silent(), **options, small_classes="green,blue,red")[0].exists()


def unsettled() -> keras.Model:
    """Sees red everywhere, for its norm's averages are those of the start; of a batch it has the colours."""
    image = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(3, 1, use_bias=False, name="paint")(image)
    x = keras.layers.BatchNormalization(name="norm")(keras.layers.GlobalAveragePooling2D()(x))
    model = keras.Model(image, keras.layers.Softmax()(keras.layers.Dense(3, name="classes")(x)))
    model.get_layer("paint").set_weights([np.eye(3, dtype="f4")[None, None]])
    gain, shift, mean, variance = model.get_layer("norm").get_weights()
    model.get_layer("norm").set_weights([gain, shift, mean - [1e5, 0, 0], variance])
    model.get_layer("classes").set_weights([np.eye(3), np.zeros(3)])
    return model


def test_norms_that_have_not_settled_are_said_and_stay_as_they_are(models: Path, tmp_path: Path) -> None:
    unsettled().save(tmp_path / "short.keras")
    source = ModelSource(str(tmp_path / "short.keras"))
    anchor, data = source.load(), splits.load(str(models / "data.npz"))
    before = [np.asarray(w) for w in anchor.model.weights]
    seen = first_looks.of_anchor("small", source, anchor, data)
    assert seen.look.at_chance
    assert seen.settled is not None
    assert seen.settled > 0.8
    told = first_looks.told(seen, BY_ROLE)
    assert re.search(r"right, and \d+\.\d % by .* its batch norms have not settled", told)
    assert "--small-classes" not in told
    assert all(np.array_equal(w, b) for w, b in zip(anchor.model.weights, before, strict=True))
    lost = splits.load(str(models / "noise.npz"))  # whose labels nothing can tell
    assert first_looks.of_anchor("small", source, anchor, lost).settled is None
