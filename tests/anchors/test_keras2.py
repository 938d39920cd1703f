"""What Keras 2 saved answers in Keras 3 as it did, and can be cut inside."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import needs
import numpy as np
import paths
import pytest

from restnet_tf.anchors import keras2_graph, keras2_ops, zoo
from restnet_tf.graph import cuts
from restnet_tf.records import RestnetError

keras = pytest.importorskip("keras")
h5py = pytest.importorskip("h5py")

H5 = ("tutorial", "teachable", "deferred", "dense", "small", "caffe", "calls", "kinds")
FILES = [f"{name}.h5" for name in H5] + [f"{name}.keras" for name in H5 if name != "caffe"]
FOLDERS = [f"{name}{version}" for name in ("tutorial", "deferred", "kinds") for version in ("", ".tf24")]


@pytest.fixture(scope="module")
def folder(once: paths.Once) -> Path:
    def fill(path: Path) -> None:
        subprocess.run(
            [sys.executable, paths.ROOT / "tests" / "keras2_files.py", path], check=True, capture_output=True
        )

    return once("keras2", fill)


@needs.TFMOT.mark
@pytest.mark.slow
@pytest.mark.parametrize("name", [*FILES, *FOLDERS])
def test_a_model_of_keras_2_answers_as_tf_keras_does(folder: Path, name: str) -> None:
    anchor = zoo.load(folder / name)
    answers = np.asarray(anchor.model(np.load(folder / "x.npy"), training=False))
    np.testing.assert_allclose(answers, np.load(folder / f"{name.partition('.')[0]}.npy"), rtol=0, atol=1e-4)
    assert not {"Functional", "Sequential"} & {type(op).__name__ for op in anchor.model.operations}
    assert cuts.find(anchor.model)


@needs.TFMOT.mark
@pytest.mark.slow
def test_cuts_lie_inside_the_backbone_and_augmentation_is_gone(folder: Path) -> None:
    anchor = zoo.load(folder / "tutorial.h5")
    assert not [op.name for op in anchor.model.operations if type(op).__name__.startswith("Random")]
    assert cuts.find(anchor.model)[0].name in ("re_lu", "dw_bn")
    assert "conv1_relu" in [cut.name for cut in cuts.find(zoo.load(folder / "dense.h5").model)]  # conv1/relu


# ---- what is refused, and where weights are not found --------------------------------------------


def entry(kind: str, name: str, inputs: str | None, **config: Any) -> dict[str, Any]:
    """A layer as Keras 2 describes it."""
    nodes = [[[inputs, 0, 0, {}]]] if inputs else []
    return {"class_name": kind, "name": name, "config": {"name": name, **config}, "inbound_nodes": nodes}


def described(*layers: dict[str, Any]) -> dict[str, Any]:
    """A functional model of these layers, the last one its output."""
    first = entry("InputLayer", "image", None, batch_input_shape=[None, 8, 8, 3], dtype="float32")
    ends = {"input_layers": [["image", 0, 0]], "output_layers": [[layers[-1]["name"], 0, 0]]}
    return {"class_name": "Functional", "config": {"name": "net", "layers": [first, *layers], **ends}}


POOL = entry("GlobalAveragePooling2D", "pool", "conv", data_format="channels_last")
CONV = entry("Conv2D", "conv", "image", filters=4, kernel_size=[3, 3], groups=1)


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (entry("Lambda", "scale", "image", function=["code", None, None]), "scale is a Lambda, whose code is not run"),
        (entry("KerasLayer", "hub", "image", handle="x"), "layer hub is of the custom class KerasLayer"),
        (entry("TFOpLambda", "tf.sort", "image", function="sort"), r"layer tf\.sort calls tf\.sort"),
        (entry("Conv2D", "conv", "image", filters=4, kernel_size=3, activation="mine"), "custom activation mine"),
        (entry("Dropout", "drop", "image", rate=0.2, magic=3), "layer drop .* has magic set"),
        (entry("ReLU", "relu", "nowhere"), "layer relu takes what no layer gives"),
    ],
)  # fmt: skip
def test_what_keras_3_cannot_do_is_refused_by_the_name_of_its_layer(layer: dict[str, Any], reason: str) -> None:
    with pytest.raises(RestnetError, match=reason):
        keras2_graph.build(described(layer))


def test_a_norm_that_always_trains_is_refused() -> None:
    norm = entry("BatchNormalization", "norm", "image", axis=[3])
    norm["inbound_nodes"] = [[["image", 0, 0, {"training": True}]]]
    with pytest.raises(RestnetError, match="layer norm was called with training=True"):
        keras2_graph.build(described(norm))


@pytest.mark.parametrize(("function", "expected"), [("math.truediv", 4.0), ("__operators__.rsub", -3.0), ("cast", 5.0)])
def test_arithmetic_with_numbers_is_a_rescaling_with_the_number_in_its_place(function: str, expected: float) -> None:
    image = keras.Input((2, 2, 3))
    arguments = {"dtype": "float32"} if function == "cast" else {"y": {"math.truediv": 1.25}.get(function, 2.0)}
    result = keras2_ops.apply(function, "op", image, {**arguments, "name": None})
    assert function == "cast" or type(result._keras_history.operation).__name__ == "Rescaling"
    np.testing.assert_allclose(np.asarray(keras.Model(image, result)(np.full((1, 2, 2, 3), 5.0))), expected)


def written(path: Path, config: dict[str, Any], weights: dict[str, dict[str, np.ndarray]]) -> str:
    """An ``.h5`` file of TF 2.4."""
    with h5py.File(path, "w") as file:
        file.attrs["model_config"], file.attrs["keras_version"] = json.dumps(config), "2.4.0"
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = list(weights)
        for layer, values in weights.items():
            own = group.create_group(layer)
            own.attrs["weight_names"] = list(values)
            for name, value in values.items():
                own[name] = value
    return str(path)


def test_weights_are_found_by_name_in_order_or_not_at_all(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    kernel, bias = rng.normal(size=(3, 3, 3, 4)).astype("f4"), rng.normal(size=4).astype("f4")
    model = described(CONV, POOL)
    for names in (("conv/kernel:0", "conv/bias:0"), ("other/kernel:0", "other/bias:0")):
        path = written(tmp_path / "net.h5", model, {"conv": dict(zip(names, (kernel, bias), strict=True))})
        found = zoo.load(path).model.get_layer("conv").get_weights()
        np.testing.assert_array_equal(found[0], kernel)
        np.testing.assert_array_equal(found[1], bias)
    swapped = {"conv": {"other/bias:0": kernel, "other/kernel:0": bias}}
    with pytest.raises(RestnetError, match="not clear which weight of layer conv"):
        zoo.load(written(tmp_path / "swapped.h5", model, swapped))
    with pytest.raises(RestnetError, match=r"weight bias of layer conv has the shape \(5,\), not \(4,\)"):
        zoo.load(written(tmp_path / "shape.h5", model, {"conv": {"conv/kernel:0": kernel, "conv/bias:0": np.zeros(5)}}))
    with pytest.raises(RestnetError, match="layer conv has 1 weights, not 2"):
        zoo.load(written(tmp_path / "few.h5", model, {"conv": {"conv/kernel:0": kernel}}))


def test_a_saved_model_without_layers_says_what_to_save(tmp_path: Path) -> None:
    import tensorflow as tf

    module = tf.Module()
    tf.saved_model.save(module, str(tmp_path))
    with pytest.raises(RestnetError, match=r"without the layers of Keras \(model\.save\('model\.keras'\)"):
        zoo.load(tmp_path)


def test_an_archive_of_other_layers_than_its_weights_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.keras"
    with h5py.File(tmp_path / "w", "w") as file:
        file.create_group("layers")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps(described(CONV, POOL)))
        archive.writestr("metadata.json", json.dumps({"keras_version": "2.15.0"}))
        archive.write(tmp_path / "w", "model.weights.h5")
    with pytest.raises(RestnetError, match="weights are of 0 layers conv2d, its architecture has 1"):
        zoo.load(path)
