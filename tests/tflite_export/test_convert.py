"""Conversion: what a file computes, what it may hold, and what is refused."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import paths
import pytest
import tensorflow as tf
from keras import layers
from networks import forward
from sklearn.datasets import load_digits

from tflite_export.convert import compile_object, convert
from tflite_export.devices.host import scores
from tflite_export.errors import TfliteError
from tflite_export.flatbuffer import FLOATS, only, read
from tflite_export.precision import PRECISIONS, check_file

pytestmark = pytest.mark.slow

ROOT = paths.ROOT


def _squeeze_excite(x, channels):
    s = layers.GlobalAveragePooling2D(keepdims=True)(x)
    s = layers.Conv2D(4, 1, activation="silu")(s)
    return layers.Multiply()([x, layers.Conv2D(channels, 1, activation="sigmoid")(s)])


def _digits_model() -> keras.Model:
    """Hold one of each kind of layer that the anchors bring, with a functional model inside."""
    inner_in = keras.Input((8, 8, 8))
    y = layers.DepthwiseConv2D(3, padding="same", use_bias=False)(inner_in)
    y = layers.ReLU(6.0)(layers.BatchNormalization(momentum=0.8)(y))
    inner = keras.Model(inner_in, layers.Conv2D(8, 1)(y), name="block")
    image = keras.Input((8, 8, 1), name="photo")
    x = layers.Rescaling(1 / 255.0)(image)
    x = layers.Normalization(mean=[0.3], variance=[0.14])(x)
    x = layers.Conv2D(8, 3, padding="same", use_bias=False)(x)
    x = layers.Activation("silu")(layers.BatchNormalization(momentum=0.8)(x))
    x = layers.Add()([x, inner(_squeeze_excite(x, 8))])
    x = layers.AveragePooling2D(2)(x)
    x = layers.Resizing(6, 6, interpolation="bilinear")(x)
    x = layers.Conv2D(24, 3, activation="relu")(x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, layers.Dense(10, activation="softmax")(x), name="digits")


@pytest.fixture(scope="module")
def digits() -> tuple[keras.Model, np.ndarray]:
    """Train on scikit-learn's digits, just long enough to tell them apart."""
    keras.utils.set_random_seed(7)
    found = load_digits()
    images = (found.images[..., None] * (255 / 16)).astype(np.float32)
    model = _digits_model()
    model.compile(keras.optimizers.Adam(5e-3), "sparse_categorical_crossentropy")
    model.fit(images[:1400], found.target[:1400], batch_size=64, epochs=16, verbose=0)
    accuracy = (forward(model, images[1400:]).argmax(1) == found.target[1400:]).mean()
    assert accuracy > 0.8
    return model, images


@pytest.fixture(scope="module")
def files(digits) -> dict[str, bytes]:
    model, images = digits
    # A one-shot iterator: int16x8 makes the converter ask for the images twice.
    return {precision: convert(model, precision, iter([images[:60], images[60:100]])) for precision in PRECISIONS}


def _tiny(*extra, shape=(6, 6, 2), classes=3) -> keras.Model:
    keras.utils.set_random_seed(3)
    image = keras.Input(shape)
    x = layers.Conv2D(4, 3)(image)
    for layer in extra:
        x = layer(x)
    return keras.Model(image, layers.Dense(classes)(layers.GlobalAveragePooling2D()(x)), name="tiny")


def _images(count=8, shape=(6, 6, 2)) -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 255, (count, *shape)).astype(np.float32)


def test_float32_gives_the_keras_models_outputs(digits, files):
    model, images = digits
    expected = forward(model, images[:200])
    np.testing.assert_allclose(scores(files["float32"], [images[:200]]), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("precision", "agreement", "distance"),
    [("float16", 0.99, 0.01), ("dynamic", 0.98, 0.08), ("int8", 0.97, 0.3), ("int16x8", 0.99, 0.05)],
)
def test_reduced_precisions_agree_with_the_keras_model(digits, files, precision, agreement, distance):
    model, images = digits
    found, expected = scores(files[precision], [images[1400:]]), forward(model, images[1400:])
    assert (found.argmax(1) == expected.argmax(1)).mean() >= agreement
    assert np.abs(found - expected).max() < distance


@pytest.mark.parametrize(
    ("precision", "end"),
    [
        ("float32", "FLOAT32"),
        ("float16", "FLOAT32"),
        ("dynamic", "FLOAT32"),
        ("int8", "INT8"),
        ("int16x8", "INT16"),
    ],
)
def test_interface_is_the_same_for_every_precision(files, precision, end):
    (signature,) = read(files[precision]).signatures
    graph = signature.subgraph
    assert signature.key == "serving_default"
    assert signature.inputs == {"image": graph.inputs[0]}
    assert signature.outputs == {"scores": graph.outputs[0]}
    entry, exit_ = graph.inputs[0], graph.outputs[0]
    assert (entry.type, entry.shape, exit_.type, exit_.shape) == (end, (1, 8, 8, 1), end, (1, 10))
    assert all(tensor.fixed for tensor in graph.tensors)


def test_tensor_names_carry_the_layers_names(files):
    names = " ".join(tensor.name for tensor in only(read(files["float32"])).tensors)
    assert "digits" in names
    assert "average_pooling2d" in names


@pytest.mark.parametrize("precision", ["int8", "int16x8"])
def test_integer_files_hold_no_float_at_all(files, precision):
    assert not [tensor for tensor in only(read(files[precision])).tensors if tensor.type in FLOATS]


@pytest.mark.parametrize(("precision", "type_"), [("float16", "FLOAT16"), ("dynamic", "INT8"), ("int8", "INT8")])
def test_weights_are_reduced_and_the_file_shrinks(files, precision, type_):
    assert any(tensor.constant and tensor.type == type_ for tensor in only(read(files[precision])).tensors)
    assert not any(tensor.constant and tensor.type == type_ for tensor in only(read(files["float32"])).tensors)


def test_int8_input_scale_is_that_of_raw_images(files):
    entry = only(read(files["int8"])).inputs[0]
    assert entry.scales[0] == pytest.approx(1.0, abs=1e-3)
    assert entry.zero_points == (-128,)


def test_uint8_input_takes_raw_bytes(digits, files):
    model, images = digits
    raw = images[1400:1500].round()
    file = convert(model, "int8", [images[:100]], input_type="uint8")
    entry = only(read(file)).inputs[0]
    assert (entry.type, entry.zero_points) == ("UINT8", (0,))
    np.testing.assert_array_equal(scores(file, [raw]), scores(files["int8"], [raw]))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_converting_twice_gives_equal_bytes(digits, files, precision):
    model, images = digits
    assert convert(model, precision, [images[:100]]) == files[precision]


def test_bytes_are_equal_in_another_process():
    """Neither the hash seed nor the clock nor a temporary path gets into the file."""
    code = (
        "import sys; sys.path[:0] = ['.', 'tests', 'tests/tflite_export']\n"
        "from restnet_tf.work import start; start.tensorflow()\n"
        "import test_convert as t\n"
        "print(t._counted())"
    )
    seed = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": seed},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.split() == [_counted()]


def _counted() -> str:
    """The hash of a file whose weights are counted up; its layers have names, which Keras else counts up too."""
    image = keras.Input((6, 6, 2), name="image")
    x = layers.GlobalAveragePooling2D(name="pool")(layers.Conv2D(4, 3, name="conv")(image))
    model = keras.Model(image, layers.Dense(3, name="classes")(x), name="tiny")
    model.set_weights([w * 0 + i for i, w in enumerate(model.get_weights())])
    return hashlib.sha256(convert(model, "int8", [_images()])).hexdigest()


def test_conversion_prints_nothing(capfd):
    convert(_tiny(), "int8", [_images()])
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")


def test_prints_come_back_after_a_conversion(capfd):
    convert(_tiny(), "float32")
    os.write(1, b"out")
    os.write(2, b"err")
    assert capfd.readouterr() == ("out", "err")


def test_unknown_precision_lists_the_accepted_ones():
    with pytest.raises(TfliteError, match=r"'int4'.*float32, float16, dynamic, int8, int16x8"):
        convert(_tiny(), "int4")


@pytest.mark.parametrize(
    ("precision", "asked", "offer"), [("float32", "uint8", "float32"), ("int8", "int16", "int8 or uint8")]
)
def test_input_type_that_a_precision_lacks_is_refused(precision, asked, offer):
    with pytest.raises(TfliteError, match=f"{offer} input, not input_type='{asked}'"):
        convert(_tiny(), precision, [_images()], input_type=asked)


@pytest.mark.parametrize("precision", ["int8", "int16x8"])
def test_missing_calibration_is_refused(precision):
    with pytest.raises(TfliteError, match=rf"{precision} needs calibration images: batches \(b, 6, 6, 2\)"):
        convert(_tiny(), precision)


@pytest.mark.parametrize(
    ("batches", "reason"),
    [
        ([], "hold none"),
        ([np.zeros((0, 6, 6, 2))], "hold none"),
        ([_images(), np.zeros((3, 6, 6, 1))], r"batch 1 is \(3, 6, 6, 1\); \(b, 6, 6, 2\)"),
        ([np.zeros((6, 6, 2))], r"batch 0 is \(6, 6, 2\)"),
        ([_images() - 128], "raw images of 0..255"),
        ([_images() * 2], "raw images of 0..255"),
        ([np.full((1, 6, 6, 2), np.nan)], "runs from nan to nan"),
    ],
)
def test_unusable_calibration_is_refused(batches, reason):
    with pytest.raises(TfliteError, match=reason):
        convert(_tiny(), "int8", batches)


def test_calibration_by_features_that_are_not_finite_is_refused():
    """They may be of any size, where images may not."""
    features = _images() * 2
    features[0, 1, 2, 0] = np.inf
    with pytest.raises(TfliteError, match=r"1 of .* values for calibration batch 0 are not finite"):
        compile_object(_tiny(), {}, "int8", [features], limits=(-np.inf, np.inf))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weight_that_is_not_finite_is_named(value):
    model = _tiny()
    dense = model.layers[-1]
    bias = dense.bias.numpy()
    bias[1] = value
    dense.bias.assign(bias)
    with pytest.raises(TfliteError, match=f"'{dense.bias.path}'.*has 1 of 3 values"):
        convert(model, "float32")


def test_weight_beyond_half_precision_is_refused():
    model = _tiny(layers.Conv2D(8, 1))
    conv = model.layers[2]
    conv.kernel.assign(conv.kernel.numpy() * 0 + 1e6)
    with pytest.raises(TfliteError, match=r"beyond the limits of FLOAT16.*no float16 form"):
        convert(model, "float16")


def test_operator_that_tflite_lacks_is_named_and_the_converters_words_kept():
    with pytest.raises(TfliteError, match=r"no such operators .*Erf") as caught:
        convert(_tiny(layers.Lambda(keras.ops.erf)), "float32")
    assert "\n" not in str(caught.value)
    assert "ERROR_NEEDS_FLEX_OPS" in caught.value.log


@pytest.mark.parametrize("precision", ["int8", "int16x8"])
def test_operator_without_an_integer_kernel_is_named(precision):
    """The converter itself leaves it in float for int8, and says nothing."""
    with pytest.raises(TfliteError, match="SIN"):
        convert(_tiny(layers.Lambda(keras.ops.sin)), precision, [_images()])


def test_dynamic_that_quantises_nothing_is_refused():
    with pytest.raises(TfliteError, match=r"no weight became INT8.*under 1024 values"):
        convert(_tiny(), "dynamic")


def test_file_that_the_runtime_cannot_open_is_refused():
    """A layer that gives only zeros on the calibration images gets a scale that no kernel can take."""
    model = _tiny(layers.Conv2D(4, 1, activation="relu"))
    model.layers[2].bias.assign(np.full(4, -1e6))
    with pytest.raises(TfliteError, match=r"LiteRT cannot run it.*all zeros"):
        convert(model, "int8", [_images()])


def test_model_of_two_inputs_is_refused():
    left, right = keras.Input((6, 6, 2)), keras.Input((6, 6, 2))
    with pytest.raises(TfliteError, match="2 inputs and 1 outputs"):
        convert(keras.Model([left, right], layers.Add()([left, right])), "float32")


def test_open_image_size_is_refused():
    image = keras.Input((None, None, 3))
    with pytest.raises(TfliteError, match=r"takes .*None, None, None, 3.*fixed"):
        convert(keras.Model(image, layers.GlobalAveragePooling2D()(image)), "float32")


def _serving(model: keras.Model):
    def serve(image):
        return {"scores": model(image, training=False)}

    return tf.function(serve, input_signature=[tf.TensorSpec((1, 6, 6, 2), tf.float32, name="image")])


def test_file_of_uninitialised_variables_is_refused():
    """Trap 1: the Keras 3 model as second argument, no error, NaN at run time."""
    model = _tiny()
    bad = tf.lite.TFLiteConverter.from_concrete_functions([_serving(model).get_concrete_function()], model)
    with pytest.raises(TfliteError, match="VAR_HANDLE"):
        check_file(bad.convert(), "float32")


def test_several_signatures_are_refused(tmp_path):
    """Trap 2: they would collapse or be added up by others' tools."""
    model, module = _tiny(), tf.Module()
    module.held = [variable.value for variable in model.variables]
    signatures = {name: _serving(model).get_concrete_function() for name in ("one", "two")}
    tf.saved_model.save(module, str(tmp_path), signatures=signatures)
    file = tf.lite.TFLiteConverter.from_saved_model(str(tmp_path), signature_keys=["one", "two"]).convert()
    with pytest.raises(TfliteError, match="2 subgraphs"):
        check_file(file, "float32")


def test_open_batch_is_refused():
    """Trap 10: what the usual way to convert gives."""
    file = tf.lite.TFLiteConverter.from_keras_model(_tiny()).convert()
    with pytest.raises(TfliteError, match="open dimension"):
        check_file(file, "float32")


def test_tensorflow_operators_are_refused():
    """Trap 11: SELECT_TF_OPS, which Keras' own export switches on."""
    model, module = _tiny(layers.Lambda(keras.ops.erf)), tf.Module()
    module.held = [variable.value for variable in model.variables]
    converter = tf.lite.TFLiteConverter.from_concrete_functions([_serving(model).get_concrete_function()], module)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS, tf.lite.OpsSet.SELECT_TF_OPS]
    with pytest.raises(TfliteError, match="'CUSTOM FlexErf'"):
        check_file(converter.convert(), "float32")


@pytest.mark.parametrize(("found", "asked"), [("float32", "int8"), ("dynamic", "int8"), ("float32", "float16")])
def test_file_of_another_precision_is_refused(files, found, asked):
    with pytest.raises(TfliteError, match=r"is FLOAT32; INT8 or UINT8|no weight became FLOAT16"):
        check_file(files[found], asked)
