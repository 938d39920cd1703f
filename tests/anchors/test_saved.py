"""Models as people hold them: files under any name, half precision, integers for images, two classes, augmentation."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from restnet_tf.anchors import saved, zoo
from restnet_tf.graph import cuts
from restnet_tf.records import RestnetError

keras = pytest.importorskip("keras")
h5py = pytest.importorskip("h5py")
layers = keras.layers

X = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3)).astype("float32")


def trunk(image: Any) -> Any:
    x = image
    for width in (4, 6):
        x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(width, 3, padding="same")(x)))
    return x


def net(ending: Any = None, front: Any = None, dtype: str = "float32") -> Any:
    """A small net with an ending of one's choice, and layers in front of its first convolution."""
    image = keras.Input((8, 8, 3), dtype=dtype)
    x = layers.Rescaling(1 / 255)(image) if front is None else front(image)
    features = layers.GlobalAveragePooling2D()(trunk(x))
    return keras.Model(image, (ending or layers.Dense(4, activation="softmax"))(features))


def kept(model: Any, path: Path) -> str:
    model.save(path)
    return str(path)


def answers(model: Any) -> np.ndarray:
    return np.asarray(model(X, training=False))


# ---- by content ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one model as ``.h5`` and as ``.keras``."""
    folder = tmp_path_factory.mktemp("whole")
    for suffix in ("h5", "keras"):
        kept(net(), folder / f"whole.{suffix}")
    return folder


@pytest.mark.parametrize("name", ["mask_detector.model", "MODEL.H5", "plain", "tf28.keras", "archive.bin"])
def test_a_whole_model_is_known_whatever_it_is_called(whole: Path, tmp_path: Path, name: str) -> None:
    source = whole / ("whole.keras" if name == "archive.bin" else "whole.h5")
    shutil.copy(source, tmp_path / name)
    assert zoo.load(tmp_path / name).sha256 == zoo.load(source).sha256


@pytest.mark.parametrize("name", ["whole.h5", "whole.keras"])
@pytest.mark.parametrize("arch", [None, "MobileNetV2"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.97])
def test_a_file_that_is_cut_short_is_one_line(
    whole: Path, tmp_path: Path, name: str, arch: str | None, share: float
) -> None:
    raw = (whole / name).read_bytes()
    (tmp_path / name).write_bytes(raw[: int(len(raw) * share)])
    with pytest.raises(RestnetError, match="cut short or damaged, as an interrupted download is") as caught:
        zoo.load(tmp_path / name, arch=arch)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 4\n", "pointer of Git LFS .* git lfs pull"),
        (b"\n<!DOCTYPE html><html>", "it is a web page"),
        (b"", "it is empty"),
    ],
)
@pytest.mark.parametrize("arch", [None, "MobileNetV2"])
def test_what_stands_for_a_file_is_named(tmp_path: Path, raw: bytes, reason: str, arch: str | None) -> None:
    (tmp_path / "net.h5").write_bytes(raw)
    with pytest.raises(RestnetError, match=reason):
        zoo.load(tmp_path / "net.h5", arch=arch)


def refusal(path: Path) -> str:
    """What is said of a file, nothing where it can be read."""
    try:
        zoo.load(path)
    except RestnetError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("suffix", ["h5", "keras"])
def test_damage_anywhere_in_a_file_is_one_line_or_nothing(whole: Path, tmp_path: Path, suffix: str) -> None:
    raw, rng = (whole / f"whole.{suffix}").read_bytes(), np.random.default_rng(0)
    for number in range(12):
        bad = bytearray(raw)
        for place in rng.integers(0, len(raw), 200):
            bad[place] = rng.integers(256)
        (tmp_path / f"{number}.{suffix}").write_bytes(bad)
        message = refusal(tmp_path / f"{number}.{suffix}")
        assert "\n" not in message
        assert "custom layers" not in message or "custom" in message.partition("(custom")[0]


def test_the_advice_of_an_error_holds_for_the_very_file(tmp_path: Path) -> None:
    """The name of an architecture is offered where a file's layers lie flat, as its weights must for that."""

    class Odd(layers.Layer):
        def call(self, x: Any) -> Any:
            return x

    image = keras.Input((8, 8, 3))
    inner = keras.Model(image, trunk(image))
    for name, x, offered in (("flat", trunk(image), True), ("nested", inner(image), False)):
        end = layers.Dense(2)(layers.GlobalAveragePooling2D()(Odd()(x)))
        path = kept(keras.Model(image, end), tmp_path / f"{name}.h5")
        with pytest.raises(RestnetError, match="custom layers and Lambda code are not run") as caught:
            zoo.load(path)
        assert ("name the architecture" in str(caught.value)) == offered


# ---- types ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["keras", "h5"])
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float64"])
def test_other_policies_are_read_as_float32(tmp_path: Path, policy: str, suffix: str) -> None:
    keras.config.set_dtype_policy(policy)
    try:
        model = net(layers.Dense(4, activation="softmax", dtype="float32"))
    finally:
        keras.config.set_dtype_policy("float32")
    anchor = zoo.load(kept(model, tmp_path / f"net.{suffix}"))
    assert {op.compute_dtype for op in anchor.model.layers} == {"float32"}
    assert {str(w.dtype) for w in anchor.model.weights} == {"float32"}
    for ours, theirs in zip(anchor.model.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs.astype("float32"))


@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_images_of_integers_are_read_as_floats(tmp_path: Path, suffix: str) -> None:
    model = net(dtype="uint8")
    anchor = zoo.load(kept(model, tmp_path / f"net.{suffix}"))
    assert anchor.model.inputs[0].dtype == "float32"
    np.testing.assert_allclose(answers(anchor.model), np.asarray(model(X.astype("uint8"))), rtol=0, atol=1e-6)


def test_quantised_weights_are_refused_by_their_policy(tmp_path: Path) -> None:
    model = net()
    model.quantize("int8")
    with pytest.raises(RestnetError, match="QuantizedDTypePolicy: its weights are quantised"):
        zoo.load(kept(model, tmp_path / "net.keras"))


# ---- augmentation --------------------------------------------------------------------------------


def test_augmentation_is_dropped_and_nothing_is_cut_before_something_was_learned(tmp_path: Path) -> None:
    def front(x: Any) -> Any:
        x = keras.Sequential([layers.RandomFlip(), layers.RandomRotation(0.1), layers.RandomContrast(0.1)])(x)
        return layers.Resizing(8, 8)(layers.RandomZoom(0.1)(x)) / 127.5 - 1.0

    model = net(front=front)
    anchor = zoo.load(kept(model, tmp_path / "net.keras"))
    assert not [op.name for op in anchor.model.operations if type(op).__name__.startswith("Random")]
    np.testing.assert_allclose(answers(anchor.model), answers(model), rtol=0, atol=1e-6)
    first = cuts.find(anchor.model)[0]
    assert (type(anchor.model.get_layer(first.name)).__name__, first.shape) == ("ReLU", (8, 8, 4))


def test_a_layer_of_ones_own_is_no_augmentation_whatever_its_name(tmp_path: Path) -> None:
    @keras.saving.register_keras_serializable("test_saved")
    class RandomNothing(layers.Layer):
        def call(self, x: Any) -> Any:
            return x + 100.0

    model = net(front=RandomNothing())
    np.testing.assert_array_equal(answers(zoo.load(kept(model, tmp_path / "net.keras")).model), answers(model))


# ---- two classes ---------------------------------------------------------------------------------


def binary(kind: str) -> Any:
    """The endings of the guides, and their like."""
    conv = layers.Conv2D(1, 1, activation="sigmoid")
    ends = {
        "sigmoid": layers.Dense(1, activation="sigmoid"),
        "no bias": layers.Dense(1, activation="sigmoid", use_bias=False),
        "layer": lambda x: layers.Activation("sigmoid")(layers.Dense(1)(x)),
        "operation": lambda x: keras.ops.sigmoid(layers.Dropout(0.1)(layers.Dense(1)(x))),
        "convolution": lambda x: layers.Flatten()(conv(layers.Reshape((1, 1, 6))(x))),
    }
    return net(ends[kind])


@pytest.mark.parametrize("kind", ["sigmoid", "no bias", "layer", "operation", "convolution"])
def test_a_sigmoid_is_a_softmax_over_zero_and_its_logit(tmp_path: Path, kind: str) -> None:
    model = binary(kind)
    anchor = zoo.load(kept(model, tmp_path / "net.keras"))
    assert anchor.classes == 2
    second = answers(model)
    np.testing.assert_allclose(answers(anchor.model), np.hstack([1 - second, second]), rtol=0, atol=1e-6)
    logits = answers(keras.Model(anchor.model.inputs[0], anchor.logits))
    np.testing.assert_array_equal(logits[:, 0], 0)
    assert anchor.features.shape == (None, 6)


@pytest.mark.parametrize("loss", [None, "binary_crossentropy", keras.losses.BinaryCrossentropy(from_logits=True)])
def test_one_logit_is_two_classes_too(tmp_path: Path, loss: Any) -> None:
    model = net(layers.Dense(1))
    if loss is not None:
        model.compile("sgd", loss)
    anchor = zoo.load(kept(model, tmp_path / "net.keras"))
    logits = answers(keras.Model(anchor.model.inputs[0], anchor.logits))
    np.testing.assert_allclose(logits, np.hstack([0 * answers(model), answers(model)]), rtol=0, atol=1e-6)
    assert not anchor.ends_in_logits


@pytest.mark.parametrize("suffix", ["keras", "h5"])
@pytest.mark.parametrize("loss", ["mse", "MeanAbsoluteError", keras.losses.Huber()])
def test_a_regression_is_refused_by_its_name(tmp_path: Path, loss: Any, suffix: str) -> None:
    model = net(layers.Dense(1))
    model.compile("sgd", loss)
    with pytest.raises(RestnetError, match=r"net is a regression \(its loss is \w+\)"):
        zoo.load(kept(model, tmp_path / f"net.{suffix}"))


def test_a_sigmoid_a_class_is_refused_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(RestnetError, match=r"ends in a sigmoid \(\w+\) for each of 3 outputs: it is multi-label"):
        zoo.load(kept(net(layers.Dense(3, activation="sigmoid")), tmp_path / "net.keras"))


def test_a_sigmoid_of_no_classifier_is_refused(tmp_path: Path) -> None:
    ending = lambda x: layers.Activation("sigmoid")(layers.Dense(1, activation="relu")(x))  # noqa: E731
    with pytest.raises(RestnetError, match="what its sigmoid reads comes from"):
        zoo.load(kept(net(ending), tmp_path / "net.keras"))


def test_the_loss_is_read_where_the_file_tells(tmp_path: Path) -> None:
    model = net()
    model.compile("sgd", "sparse_categorical_crossentropy")
    for suffix in ("h5", "keras"):
        assert saved.load(Path(kept(model, tmp_path / f"net.{suffix}"))).loss == "sparse_categorical_crossentropy"
