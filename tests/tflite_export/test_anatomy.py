"""What a .tflite file is made of, and where it can be cut: the same places as in the Keras model it was made of."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
from console import ask, refused

from restnet_tf.graph import cuts, surgery
from tflite_export import anatomy
from tflite_export.convert import convert

IMAGES = np.random.default_rng(0).uniform(0, 255, (4, 16, 16, 3)).astype(np.float32)


def network() -> keras.Model:
    """A plain stem, an inverted bottleneck with its skip, a separable block, a strided convolution."""
    layers = keras.layers
    with surgery.repeatable():
        image = keras.Input((16, 16, 3))
        x = layers.Conv2D(8, 3, padding="same", activation="relu", name="stem")(layers.Rescaling(1 / 255)(image))
        y = layers.Conv2D(24, 1, activation="relu")(x)
        y = layers.DepthwiseConv2D(3, padding="same", activation="relu")(y)
        x = layers.Add(name="sum")([x, layers.Conv2D(8, 1)(y)])
        x = layers.DepthwiseConv2D(3, strides=2, padding="same", activation="relu")(x)
        x = layers.Conv2D(16, 1, activation="relu", name="separable")(x)
        x = layers.Conv2D(16, 3, strides=2, padding="same", activation="relu", name="last")(x)
        x = layers.GlobalAveragePooling2D()(x)
        return keras.Model(image, layers.Softmax()(layers.Dense(4)(x)))


@pytest.fixture(scope="module")
def model() -> keras.Model:
    return network()


@pytest.fixture(scope="module")
def file(model: keras.Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("files") / "net.int8.tflite"
    path.write_bytes(convert(model, "int8", [IMAGES]))
    return path


@pytest.mark.slow
def test_cuts_of_a_file_are_those_of_its_model(model: keras.Model, file: Path) -> None:
    whole = anatomy.of(file.read_bytes(), "net")
    expected = [(cut.shape, cut.macs_before) for cut in cuts.find(model) if cut.kind == "grid"]
    assert [(cut.shape, cut.macs_before) for cut in whole.cuts] == expected
    assert len(expected) == 4
    assert whole.operators["DEPTHWISE_CONV_2D"] == 2
    assert whole.arena is not None
    assert whole.arena.size > 4096


@pytest.mark.slow
def test_inspect_tells_of_a_file(file: Path) -> None:
    answer = ask("inspect", file)
    assert answer.code == 0, answer
    assert "net.int8.tflite: int8, 16x16x3 to 4 classes, ends in SOFTMAX" in answer.out
    assert "tflm: keeps the rules" in answer.out
    content = json.loads(ask("inspect", file, "--json").out)
    assert content["operators"]["CONV_2D"] == 5
    assert content["refused"]["ethos-u55-128"] == []


@pytest.mark.slow
def test_inspect_knows_a_file_by_its_content(file: Path, tmp_path: Path) -> None:
    shutil.copy(file, tmp_path / "net")
    assert "net: int8, 16x16x3 to 4 classes" in ask("inspect", tmp_path / "net").out


@pytest.mark.slow
def test_inspect_says_which_devices_refuse_a_file(model: keras.Model, tmp_path: Path) -> None:
    path = tmp_path / "net.tflite"
    path.write_bytes(convert(model, "float32"))
    content = json.loads(ask("inspect", path, "--json").out)
    assert content["refused"]["tflm"] == []
    assert "float32 does not run on Ethos-U55-128" in content["refused"]["ethos-u55-128"][0]


def test_inspect_refuses_what_is_no_such_file(tmp_path: Path) -> None:
    (tmp_path / "text.tflite").write_text("hello")
    assert "text.tflite" in refused("inspect", tmp_path / "text.tflite")
    assert "cannot read" in refused("inspect", tmp_path / "gone.tflite")
