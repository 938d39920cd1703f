"""Anchors by name and from files: folding, flattening, separating, and what is refused."""

from __future__ import annotations

import random
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import needs
import numpy as np
import paths
import pytest
from networks import checked_ends

from restnet_tf.anchors import applications, preprocess, pretrained, vit, zoo
from restnet_tf.graph import surgery
from restnet_tf.records import Anchor, RestnetError

keras = pytest.importorskip("keras")
layers = keras.layers

SHARED = paths.SHARED
SIDE = 32
TINY = "MobileNetV2:alpha=0.35,input=32"


def images(channels: int = 3, n: int = 2, side: int = SIDE) -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 255, (n, side, side, channels)).astype("float32")


def outputs(model: keras.Model, x: np.ndarray) -> np.ndarray:
    return np.asarray(model(x, training=False))


def randomise(model: keras.Model) -> keras.Model:
    """Weights that make every layer count (fresh biases and batch norms do nothing)."""
    rng = np.random.default_rng(1)
    model.set_weights([np.abs(rng.normal(0.1, 0.3, w.shape)).astype(w.dtype) for w in model.get_weights()])
    return model


def body(x: keras.KerasTensor, width: int = 4) -> keras.KerasTensor:
    x = layers.Conv2D(width, 3, strides=2, padding="same")(x)
    return layers.ReLU()(layers.BatchNormalization()(x))


@cache
def tiny() -> Anchor:
    """For tests that only read it."""
    return zoo.load(TINY, weights="none")


def small_net(ending: str = "softmax", classes: int = 5, shape: tuple = (8, 8, 3)) -> keras.Model:
    inputs = keras.Input(shape)
    x = layers.GlobalAveragePooling2D()(body(inputs))
    return randomise(keras.Model(inputs, layers.Dense(classes, activation=ending, name="classes")(x)))


def saved(model: keras.Model, folder: Path, name: str = "net.keras") -> str:
    model.save(folder / name)
    return str(folder / name)


# ---- names -----------------------------------------------------------------------------------


def test_parse_splits_options_and_types_them() -> None:
    spec = applications.parse("MobileNetV2:alpha=0.35,input=96,include_top=false,pooling=avg")
    assert spec.base == "MobileNetV2"
    assert spec.options == {"alpha": 0.35, "input": 96, "include_top": False, "pooling": "avg"}
    assert spec.side == 96
    assert spec.name == "MobileNetV2-alpha0.35-input96-include_topFalse-poolingavg"


def test_parse_leaves_colons_in_paths_alone() -> None:
    assert applications.parse("a:b/net.keras").base == "a:b/net.keras"
    assert applications.parse("a:b/net.weights.h5:input=96") == applications.Spec("a:b/net.weights.h5", {"input": 96})
    assert applications.parse("a:b/net.weights.h5:input=96").name == "net-input96"


@pytest.mark.parametrize("value", ["0", "-3", "96.5", "big", "true"])
def test_input_must_be_a_side_in_pixels(value: str) -> None:
    with pytest.raises(RestnetError, match=f"(?i)input={value} is not a side"):
        applications.parse(f"MobileNetV2:input={value}")


def test_applications_are_all_that_keras_has() -> None:
    known = applications.constructors()
    assert {"MobileNetV2", "EfficientNetB3", "ConvNeXtTiny", "NASNetMobile", "VGG19"} <= set(known)
    assert len(known) >= 38
    assert {applications.mode(name) for name in known} == {"none", "-1to1", "imagenet", "caffe"}
    families = {f.__module__.rpartition(".")[2] for name, f in known.items() if vit.family(name) is None}
    assert families == set(preprocess.FAMILY_MODES)


@pytest.mark.parametrize("family", sorted(preprocess.FAMILY_MODES))
def test_mode_of_a_family_is_its_own_preprocess_input(family: str) -> None:
    x = images()
    theirs = getattr(keras.applications, family).preprocess_input(x.copy())
    ours = x
    for layer in preprocess.layers(preprocess.FAMILY_MODES[family], 3):
        ours = np.asarray(layer(ours))
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-6)
    assert (preprocess.FAMILY_MODES[family] == "none") == np.array_equal(theirs, x)


@pytest.mark.parametrize("name", [TINY, "MobileNet:alpha=0.25,input=32"])
def test_logits_and_features_of_dense_and_convolutional_classifiers(name: str) -> None:
    anchor = tiny() if name == TINY else zoo.load(name, weights="none")
    checked_ends(anchor, images())
    on_the_way = {id(t) for op in anchor.model.operations for node in op._inbound_nodes for t in node.outputs}
    assert id(anchor.features) in on_the_way
    assert anchor.input_shape == (SIDE, SIDE, 3)
    assert anchor.class_names is None


@pytest.mark.slow
def test_random_weights_are_the_same_each_time_and_leak_nothing() -> None:
    random.seed(5)
    np.random.seed(5)
    state = random.getstate(), np.random.get_state()[1].tolist()
    one = zoo.load(TINY, weights="none")
    assert (random.getstate(), np.random.get_state()[1].tolist()) == state
    layers.Add()([keras.Input((2,)), keras.Input((2,))])
    random.seed(6)
    two = zoo.load(TINY, weights="none")
    assert one.sha256 == two.sha256
    assert [layer.name for layer in one.model.layers] == [layer.name for layer in two.model.layers]
    for a, b in zip(one.model.get_weights(), two.model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert layers.Add().name not in {layer.name for layer in two.model.layers}


@pytest.mark.slow
def test_hash_tells_weights_and_graphs_apart() -> None:
    one = zoo.load(TINY, weights="none")
    other = zoo.load("MobileNetV2:alpha=0.35,input=64", weights="none")
    assert one.sha256 != other.sha256
    layer = one.model.layers[-2]
    kernel, bias = layer.get_weights()
    bias[0] += 1e-6
    layer.set_weights([kernel, bias])
    assert surgery.fingerprint(one.model) != one.sha256


@pytest.mark.slow
def test_hash_is_the_same_in_another_process() -> None:
    code = (
        "from restnet_tf.work import start; start.tensorflow()\n"
        f"from restnet_tf.anchors import zoo; print(zoo.load({TINY!r}, weights='none').sha256)"
    )
    root = paths.ROOT
    ran = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert ran.stdout.split()[-1] == tiny().sha256


def test_unknown_key_lists_what_the_constructor_takes() -> None:
    with pytest.raises(RestnetError, match=r"MobileNetV2 takes no width; it takes input, alpha, include_top, "):
        zoo.load("MobileNetV2:width=0.35", weights="none")
    with pytest.raises(RestnetError, match="takes no input_tensor"):
        zoo.load("MobileNetV2:input_tensor=3", weights="none")


def test_constructor_refusals_and_unknown_names_are_one_line() -> None:
    with pytest.raises(RestnetError, match=r"MobileNetV2 refuses .*at least 32") as caught:
        zoo.load("MobileNetV2:input=16", weights="none")
    assert "\n" not in str(caught.value)
    with pytest.raises(RestnetError, match=r"did you mean .*EfficientNetB3"):
        zoo.load("efficientnetb3")
    with pytest.raises(RestnetError, match="brings its own preprocessing"):
        zoo.load(TINY, weights="none", preprocess="caffe")
    with pytest.raises(RestnetError, match="is an architecture itself"):
        zoo.load(TINY, weights="none", arch="MobileNet")
    with pytest.raises(RestnetError, match="neither 'imagenet' nor 'none' nor a file"):
        zoo.load(TINY, weights="nowhere.h5")


# ---- weight files ----------------------------------------------------------------------------


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty Keras folder and no network; gives the folder for the weights."""
    from keras.src.utils import file_utils

    def no_network(*_: object) -> None:
        raise OSError("no network in tests")

    monkeypatch.setattr(file_utils, "urlretrieve", no_network)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    (tmp_path / "keras").mkdir()
    return tmp_path / "keras" / "models"


@pytest.mark.slow
def test_missing_imagenet_weights_name_the_file_and_a_file_put_there_is_used(offline: Path, tmp_path: Path) -> None:
    extra = tmp_path / "mine"
    with pytest.raises(RestnetError, match="no network in tests") as caught:
        zoo.load("MobileNetV2:alpha=0.35,input=96", weights_dir=extra)
    (name,) = re.search(r"put (\S+) into", str(caught.value)).groups()
    assert name == "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_96.h5"
    assert f"{extra} or {offline}" in str(caught.value)

    net = keras.applications.MobileNetV2(weights=None, alpha=0.35, input_shape=(96, 96, 3))
    randomise(net).save_weights(tmp_path / "w.weights.h5")
    for folder in (offline, extra):
        folder.mkdir(exist_ok=True)
        shutil.copy(tmp_path / "w.weights.h5", folder / name)
        anchor = zoo.load("MobileNetV2:alpha=0.35,input=96", weights_dir=extra)
        for ours, theirs in zip(anchor.model.get_weights(), net.get_weights(), strict=True):
            np.testing.assert_array_equal(ours, theirs)
        (folder / name).unlink()
    assert keras.Model.load_weights.__module__.startswith("keras.")


@pytest.mark.slow
def test_imagenet_weights_of_one_size_serve_another(offline: Path, tmp_path: Path) -> None:
    net = keras.applications.MobileNetV2(weights=None, alpha=0.35)
    randomise(net).save(tmp_path / "net.h5")  # the legacy format, as Keras' own files
    offline.mkdir()
    shutil.move(tmp_path / "net.h5", offline / "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_224.h5")
    index = '{"' + '"],"'.join(f'{i}":["n{i}","name_{i}' for i in range(1000)) + '"]}'
    (offline / "imagenet_class_index.json").write_text(index)
    anchor = zoo.load("MobileNetV2:alpha=0.35,input=48")
    assert anchor.input_shape == (48, 48, 3)
    assert anchor.class_names is not None
    assert anchor.class_names[999] == "name_999"
    for ours, theirs in zip(anchor.model.get_weights(), net.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_file_of_another_hash_is_refused(offline: Path) -> None:
    offline.mkdir()
    (offline / "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5").write_bytes(b"not it")
    with pytest.raises(RestnetError, match="its hash differs"):
        zoo.load("VGG16:include_top=false,input=32")


@pytest.mark.slow
@pytest.mark.parametrize("legacy", [False, True])
def test_weight_files_tell_their_top_and_classes(tmp_path: Path, legacy: bool) -> None:
    cases = {"top": {"classes": 7}, "bare": {"include_top": False}}
    for name, options in cases.items():
        net = keras.applications.MobileNet(weights=None, alpha=0.25, input_shape=(32, 32, 3), **options)
        randomise(net)
        path = tmp_path / (f"{name}.h5" if legacy else f"{name}.weights.h5")
        net.save(path) if legacy else net.save_weights(path)
        anchor = zoo.load(f"{path}:input=32", arch="MobileNet:alpha=0.25")
        assert (anchor.logits is None) == (name == "bare")
        x = images()
        expected = outputs(net, keras.applications.mobilenet.preprocess_input(x.copy()))
        np.testing.assert_allclose(outputs(anchor.model, x), expected, rtol=1e-5, atol=1e-5)
        assert anchor.features.shape == (None, 256)
    by_name = zoo.load("MobileNet:alpha=0.25,input=32", weights=str(path))
    assert by_name.sha256 == anchor.sha256


@pytest.mark.slow
def test_no_classifier_gives_pooled_features(tmp_path: Path) -> None:
    anchor = zoo.load(TINY + ",include_top=false", weights="none")
    pooled = keras.Model(anchor.model.inputs[0], anchor.features)
    x = images()
    np.testing.assert_allclose(outputs(pooled, x), outputs(anchor.model, x).mean((1, 2)), rtol=1e-5)
    vector = zoo.load(TINY + ",include_top=false,pooling=avg", weights="none")
    assert vector.logits is None
    assert vector.features is vector.model.outputs[0]


@pytest.mark.slow
def test_weights_of_another_architecture_say_which_shapes_differ(tmp_path: Path) -> None:
    net = keras.applications.MobileNetV2(weights=None, alpha=0.5, input_shape=(32, 32, 3))
    net.save_weights(tmp_path / "half.weights.h5")
    with pytest.raises(RestnetError, match=r"shapes differ: Conv1/kernel \(3, 3, 3, 16\) in the file, \(3, 3, 3, 32\)"):
        zoo.load(str(tmp_path / "half.weights.h5"), arch="MobileNetV2:input=32")
    with pytest.raises(RestnetError, match=r"not in the file|only in the file"):
        zoo.load(str(tmp_path / "half.weights.h5"), arch="MobileNet:input=32")
    with pytest.raises(RestnetError, match=r"weights but no architecture; .* --large-arch MobileNetV2:alpha=0.35 "):
        zoo.load(str(tmp_path / "half.weights.h5"))
    (tmp_path / "half.weights.h5").rename(tmp_path / "efficientnet-b4_notop.weights.h5")
    with pytest.raises(RestnetError, match="for example --large-arch EfficientNetB4 "):
        zoo.load(str(tmp_path / "efficientnet-b4_notop.weights.h5"))
    (tmp_path / "efficientnet-b4_notop.weights.h5").rename(tmp_path / "half.weights.h5")
    with pytest.raises(RestnetError, match="neither a file nor a model"):
        zoo.load(str(tmp_path / "half.weights.h5"), arch="MobileNetV9")


@pytest.mark.slow
def test_efficientnet_weights_that_need_the_hidden_rescaling_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keras inserts a Rescaling for weights="imagenet" only; a weight file alone must not lose it."""
    from keras.src.utils import file_utils

    options = {"include_top": False, "input_shape": (32, 32, 3)}
    net = keras.applications.EfficientNetB0(weights=None, **options)
    published, norm = tmp_path / "published.weights.h5", net.layers[2]
    norm.set_weights([np.array(preprocess.IMAGENET_MEAN), np.array(preprocess.IMAGENET_STD), np.array(0)])
    net.save_weights(published)
    monkeypatch.setattr(file_utils, "get_file", lambda *_, **__: str(published))
    reference = keras.applications.EfficientNetB0(weights="imagenet", **options)
    x = images()
    ours = zoo.load(str(published), arch="EfficientNetB0:input=32")
    np.testing.assert_array_equal(outputs(ours.model, x), outputs(reference, x))
    assert "rescaling_std" in {layer.name for layer in ours.model.layers}
    norm.set_weights([np.array(preprocess.IMAGENET_MEAN), np.square(preprocess.IMAGENET_STD), np.array(0)])
    assert zoo._efficientnet_scale(net) == {}


# ---- whole models ----------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_saved_model_is_taken_as_it_is(tmp_path: Path, suffix: str) -> None:
    net = small_net("linear")
    anchor = zoo.load(saved(net, tmp_path, "net" + suffix))
    assert anchor.name == "net"
    assert anchor.sha256 == surgery.fingerprint(net)
    assert [layer.name for layer in anchor.model.layers] == [layer.name for layer in net.layers]
    assert anchor.logits is anchor.model.outputs[0]
    x = images(side=8)
    np.testing.assert_array_equal(outputs(anchor.model, x), outputs(net, x))


@pytest.mark.parametrize("mode", ["0to1", "-1to1", "imagenet", "caffe"])
def test_preprocessing_of_a_users_model(tmp_path: Path, mode: str) -> None:
    net = small_net()
    x = images(side=8)
    known = keras.applications.imagenet_utils.preprocess_input
    expected = {
        "0to1": lambda: x / 255,
        "-1to1": lambda: known(x.copy(), mode="tf"),
        "imagenet": lambda: known(x.copy(), mode="torch"),
        "caffe": lambda: known(x.copy(), mode="caffe"),
    }[mode]()
    anchor = zoo.load(saved(net, tmp_path), preprocess=mode)
    np.testing.assert_allclose(outputs(anchor.model, x), outputs(net, expected), rtol=0, atol=1e-6)
    checked_ends(anchor, x)
    again = keras.models.load_model(saved(anchor.model, tmp_path, "again.keras"))
    np.testing.assert_array_equal(outputs(again, x), outputs(anchor.model, x))


def test_preprocessing_that_cannot_be(tmp_path: Path) -> None:
    path = saved(small_net(shape=(8, 8, 1)), tmp_path)
    assert zoo.load(path, preprocess="0to1").input_shape == (8, 8, 1)
    with pytest.raises(RestnetError, match=r"for RGB, but the model takes 1"):
        zoo.load(path, preprocess="caffe")
    with pytest.raises(RestnetError, match="one of none, 0to1"):
        zoo.load(path, preprocess="tf")


def nested_net() -> keras.Model:
    """Sequential in functional in Sequential; one sub-model called twice; names that collide."""
    twice = keras.Sequential([keras.Input((8, 8, 3)), layers.Conv2D(3, 3, padding="same", name="conv")])
    i = keras.Input((8, 8, 3))
    x = layers.Conv2D(3, 1, name="conv")(i)
    x = layers.Add()([twice(x), twice(layers.ReLU()(x))])
    inner = keras.Model(i, x, name="inner")
    j = keras.Input((8, 8, 3))
    y = layers.Conv2D(3, 1, name="conv")(inner(j, training=False))
    pool = keras.Sequential([layers.GlobalAveragePooling2D(), layers.Dropout(0.5)], name="pool")
    outer = keras.Model(j, pool(y))
    return randomise(keras.Sequential([keras.Input((8, 8, 3)), outer, layers.Dense(4, activation="softmax")]))


def test_nested_models_are_laid_flat_with_the_same_weights_and_outputs(tmp_path: Path) -> None:
    net = nested_net()
    anchor = zoo.load(saved(net, tmp_path))
    kinds = [type(op).__name__ for op in anchor.model.operations]
    assert not {"Functional", "Sequential"} & set(kinds)
    assert kinds.count("Conv2D") == 3
    names = [op.name for op in anchor.model.operations]
    assert len(set(names)) == len(names)
    assert anchor.model.count_params() == net.count_params()
    x = images(side=8)
    np.testing.assert_array_equal(outputs(anchor.model, x), outputs(net, x))
    checked_ends(anchor, x)
    shared = next(op for op in anchor.model.operations if len(op._inbound_nodes) == 2)
    assert isinstance(shared, layers.Conv2D)
    again = keras.models.load_model(saved(anchor.model, tmp_path, "flat.keras"))
    np.testing.assert_array_equal(outputs(again, x), outputs(net, x))


def test_rebuilt_layers_have_one_input_and_output(tmp_path: Path) -> None:
    anchor = zoo.load(saved(small_net("linear"), tmp_path), preprocess="0to1")
    for layer in anchor.model.layers[1:]:
        # Of an old node Keras would give the output of the graph before, which nothing feeds any more.
        assert keras.Model(anchor.model.inputs[0], layer.output).outputs[0] is layer.output
    assert anchor.model.layers[-1].output is anchor.logits


@pytest.mark.slow
def test_transfer_learning_on_an_application_is_laid_flat(tmp_path: Path) -> None:
    base = keras.applications.MobileNetV2(
        weights=None, alpha=0.35, include_top=False, input_shape=(32, 32, 3), pooling="avg"
    )
    inputs = keras.Input((32, 32, 3))
    x = base(layers.Rescaling(1 / 127.5, -1)(inputs), training=False)
    net = keras.Model(inputs, layers.Dense(3, activation="softmax")(x))
    anchor = zoo.load(saved(net, tmp_path))
    np.testing.assert_array_equal(outputs(anchor.model, images()), outputs(net, images()))
    assert len(anchor.model.layers) > 150


def ending(kind: str) -> keras.Model:
    inputs = keras.Input((8, 8, 3))
    grid = body(inputs)
    pooled = layers.GlobalAveragePooling2D(keepdims=True)(grid)
    vector = layers.Flatten()(pooled)
    dense = layers.Dense(5, name="classes")(vector)
    conv = layers.Conv2D(5, 1, activation="softmax")
    ends = {
        "dense softmax": lambda: layers.Dense(5, activation="softmax", name="classes")(vector),
        "softmax layer": lambda: layers.Softmax()(dense),
        "activation layer": lambda: layers.Activation("softmax")(dense),
        "operation": lambda: keras.ops.softmax(dense),
        "temperature": lambda: layers.Softmax()(dense / 2.0),
        "convolution": lambda: layers.Flatten()(conv(layers.Dropout(0.1)(pooled))),
        "reshaped convolution": lambda: layers.Reshape((5,))(layers.Softmax()(layers.Conv2D(5, 1)(pooled))),
        "valid convolution": lambda: layers.Flatten()(layers.Conv2D(5, 4, activation="softmax")(grid)),
        "pooled convolution": lambda: layers.Softmax()(layers.GlobalAveragePooling2D()(layers.Conv2D(5, 1)(grid))),
        "linear then activation": lambda: layers.Activation("linear")(layers.Dense(5, activation="softmax")(vector)),
    }
    return randomise(keras.Model(inputs, ends[kind]()))


ENDINGS = [
    "dense softmax",
    "softmax layer",
    "activation layer",
    "operation",
    "temperature",
    "convolution",
    "reshaped convolution",
    "valid convolution",
    "pooled convolution",
    "linear then activation",
]


@pytest.mark.parametrize("kind", ENDINGS)
def test_the_softmax_comes_apart_whatever_the_ending(tmp_path: Path, kind: str) -> None:
    net = ending(kind)
    anchor = zoo.load(saved(net, tmp_path))
    x = images(side=8)
    np.testing.assert_array_equal(outputs(anchor.model, x), outputs(net, x))
    if kind == "pooled convolution":  # the pooling and the convolution commute, but not bit for bit
        model = keras.Model(anchor.model.inputs[0], [anchor.logits, anchor.features])
        logits, features = (np.asarray(t) for t in model(x))
        conv = next(op for op in anchor.model.layers[::-1] if isinstance(op, layers.Conv2D))
        kernel, bias = conv.get_weights()
        np.testing.assert_allclose(features @ kernel[0, 0] + bias, logits, rtol=1e-5)
    else:
        checked_ends(anchor, x)


def test_a_size_that_is_left_open_must_be_said(tmp_path: Path) -> None:
    path = saved(small_net(shape=(None, None, 3)), tmp_path)
    with pytest.raises(RestnetError, match="images of any size"):
        zoo.load(path)
    anchor = zoo.load(path + ":input=8")
    assert anchor.input_shape == (8, 8, 3)
    checked_ends(anchor, images(side=8))
    with pytest.raises(RestnetError, match="alpha cannot be set for a file"):
        zoo.load(path + ":alpha=2")


def test_a_fixed_batch_is_opened_and_a_size_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    inputs = keras.Input(batch_shape=(1, 8, 8, 3))
    net = keras.Model(inputs, layers.Dense(3)(layers.Flatten()(body(inputs))))
    path = saved(net, tmp_path)
    assert outputs(zoo.load(path).model, images(side=8, n=3)).shape == (3, 3)
    with pytest.raises(RestnetError, match=r"cannot be rebuilt at input size \(16, 16, 3\)"):
        zoo.load(path + ":input=16")


# ---- what is refused -------------------------------------------------------------------------


@keras.saving.register_keras_serializable("test_zoo")
class Subclassed(keras.Model):
    def __init__(self, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self.dense = layers.Dense(2)

    def call(self, x: object) -> object:
        return self.dense(layers.Flatten()(x))


def refused(kind: str) -> keras.Model:
    i = keras.Input((8, 8, 3))
    vector = layers.GlobalAveragePooling2D()(body(i))
    dense = layers.Dense(5)(vector)
    if kind == "subclassed":
        net = Subclassed()
        net(images(side=8))
        return net
    if kind == "two inputs":
        j = keras.Input((8, 8, 3))
        return keras.Model([i, j], layers.Dense(5)(layers.GlobalAveragePooling2D()(body(layers.Add()([i, j])))))
    if kind == "vector input":
        k = keras.Input((7,))
        return keras.Model(k, layers.Dense(5)(k))
    ends = {
        "sigmoid": lambda: layers.Dense(5, activation="sigmoid")(vector),
        "two outputs": lambda: [dense, vector],
        "channels": lambda: dense,
        "merged": lambda: layers.Softmax()(layers.Add()([dense, layers.Dense(5)(vector)])),
        "averaged softmax": lambda: layers.Softmax()(
            layers.GlobalAveragePooling2D()(layers.Conv2D(5, 1, activation="softmax")(body(i)))
        ),
        "dense over a grid": lambda: layers.Reshape((80,))(layers.Dense(5, activation="softmax")(body(i))),
        "tokens": lambda: layers.Reshape((16, 4))(body(i)),
    }
    if kind == "channels":
        i = keras.Input((3, 8, 8))
        return keras.Model(i, layers.Dense(5)(layers.Flatten()(i)))
    return keras.Model(i, ends[kind]())


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("subclassed", "subclassed model"),
        ("two inputs", "has 2 inputs"),
        ("two outputs", "has 2 outputs"),
        ("vector input", r"takes inputs of shape \(None, 7\), not images"),
        ("channels", "1 or 3 channels last"),
        ("sigmoid", "ends in a sigmoid"),
        ("merged", r"come from add\S* \(Add\)"),
        ("averaged softmax", "no penultimate features"),
        ("dense over a grid", "not over the last axis of one prediction"),
        ("tokens", r"outputs of shape \(None, 16, 4\)"),
    ],
)
def test_models_that_cannot_be_anchors_are_refused_in_one_line(tmp_path: Path, kind: str, reason: str) -> None:
    path = saved(refused(kind), tmp_path)
    with pytest.raises(RestnetError, match=reason) as caught:
        zoo.load(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_weight_that_is_not_finite_is_named(tmp_path: Path, bad: float) -> None:
    net = small_net()
    kernel, bias = net.get_layer("classes").get_weights()
    kernel[0, 0] = bad
    net.get_layer("classes").set_weights([kernel, bias])
    with pytest.raises(RestnetError, match=r"weight classes/kernel holds 1 NaN or infinite"):
        zoo.load(saved(net, tmp_path))


def test_files_that_are_no_models_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RestnetError, match=r"no file .*absent\.keras"):
        zoo.load(str(tmp_path / "absent.keras"))
    for name in ("text.keras", "text.h5", "text.txt"):
        (tmp_path / name).write_text("hello")
        with pytest.raises(RestnetError, match="is not a Keras model"):
            zoo.load(str(tmp_path / name))
    (tmp_path / "net.keras").write_bytes(b"\x1c\0\0\0TFL3 and more")
    with pytest.raises(RestnetError, match=r"is a \.tflite file, .*compose and restnet-tf cascade take it"):
        zoo.load(str(tmp_path / "net.keras"))
    with pytest.raises(RestnetError, match="is a folder"):
        zoo.load(str(tmp_path))
    with pytest.raises(RestnetError, match="holds no Keras weights"):
        zoo.load(str(tmp_path / "text.h5"), arch="MobileNetV2")
    net = saved(small_net(), tmp_path)
    with pytest.raises(RestnetError, match="holds its own architecture"):
        zoo.load(net, arch="MobileNetV2")
    (tmp_path / "cut.keras").write_bytes(Path(net).read_bytes()[:-200])
    with pytest.raises(RestnetError, match="is not a Keras model"):
        zoo.load(str(tmp_path / "cut.keras"))


def test_custom_layers_and_lambdas_are_refused_in_one_line(tmp_path: Path) -> None:
    class Odd(layers.Layer):
        def call(self, x: object) -> object:
            return x

    for layer in (Odd(), layers.Lambda(lambda x: x * 2)):
        i = keras.Input((8, 8, 3))
        net = keras.Model(i, layers.Dense(2)(layers.Flatten()(layer(i))))
        with pytest.raises(RestnetError, match=r"cannot be loaded: .*custom layers and Lambda") as caught:
            zoo.load(saved(net, tmp_path))
        assert "\n" not in str(caught.value)


# ---- the shared anchors ----------------------------------------------------------------------

needs_shared = needs.ANCHORS.mark


def shared(name: str) -> str:
    return str(SHARED / "anchors" / name)


@pytest.mark.slow
@needs_shared
@pytest.mark.parametrize(
    ("name", "arch", "features"),
    [
        ("resnet8_cifar10.keras", None, 64),
        ("resnet20_cifar10.keras", None, 64),
        ("mobilenet_v1_0.25_224.h5", None, 256),
        ("mobilenet_v1_0.25_224.h5", "MobileNet:alpha=0.25", 256),
        ("mobilenet_v2_0.35_224_no_top.weights.h5:input=224", "MobileNetV2:alpha=0.35", 1280),
    ],
)
def test_shared_anchors_load(name: str, arch: str | None, features: int) -> None:
    anchor = zoo.load(shared(name), arch=arch)
    assert anchor.features.shape == (None, features)
    assert (anchor.logits is None) == ("no_top" in name)


@pytest.mark.slow
@needs_shared
def test_own_loader_agrees_with_that_of_keras() -> None:
    path = shared("mobilenet_v2_0.35_224_no_top.weights.h5")
    net = keras.applications.MobileNetV2(weights=None, alpha=0.35, include_top=False, input_shape=(96, 96, 3))
    net.load_weights(path)
    expected = net.get_weights()
    net.set_weights([w * 0 for w in expected])
    pretrained.load(net, Path(path), "MobileNetV2")
    for ours, theirs in zip(net.get_weights(), expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@cache
def imagenet_images(n: int) -> tuple[np.ndarray, np.ndarray]:
    from PIL import Image, ImageOps

    paths = sorted((SHARED / "data" / "imagenet_sample").glob("*.jpg"))[:: max(1, 500 // n)]
    pictures = [ImageOps.fit(Image.open(p).convert("RGB"), (224, 224), Image.Resampling.BILINEAR) for p in paths]
    return np.stack([np.asarray(p, "float32") for p in pictures]), np.array([int(p.name[:4]) for p in paths])


@needs_shared
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "arch", "published"),
    [
        ("mobilenet_v2_1.0_224.weights.h5", "MobileNetV2", 0.876),
        ("mobilenet_v1_0.25_224.h5", "MobileNet:alpha=0.25", 0.572),
    ],
)
def test_shared_imagenet_anchors_are_as_good_as_their_sources_say(name: str, arch: str, published: float) -> None:
    needs.PHOTOS.or_skip()
    anchor = zoo.load(shared(name), arch=arch)
    x, labels = imagenet_images(125)
    hits = np.argmax(anchor.model.predict(x, batch_size=25, verbose=0), axis=1) == labels
    error = np.sqrt(published * (1 - published) / len(labels))
    assert abs(hits.mean() - published) < 2.5 * error


def test_a_download_of_another_process_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keras writes under the file's own name, so half of a file looks like a broken one."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    downloads = []

    def download(fname: str, origin: str, **_: object) -> str:
        path = tmp_path / "models" / fname
        path.write_bytes(b"half")
        downloads.append(path)
        time.sleep(0.3)
        path.write_bytes(b"half and half")
        return str(path)

    def whole(path: str, digest: str) -> bool:
        return Path(path).read_bytes() == b"half and half"

    def wanted(_: int) -> bytes:
        return pretrained._find("Net", None, "net.h5", "there", "digest", download, whole).read_bytes()

    with ThreadPoolExecutor(3) as pool:
        assert set(pool.map(wanted, range(3))) == {b"half and half"}
    assert len(downloads) == 1
