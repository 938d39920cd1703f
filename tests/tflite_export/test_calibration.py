"""int8's ranges: observed where TensorFlow overwrites them, and clipped where the network's answers gain by it."""

from __future__ import annotations

from functools import cache
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from tflite_export import verify
from tflite_export.calibration import BEST, USUAL, check_clipping, chosen, eight_bits
from tflite_export.convert import compile_object, convert
from tflite_export.errors import TfliteError
from tflite_export.flatbuffer import Tensor, only, read
from tflite_export.precision import RULE
from tflite_export.spreads import CLIPPINGS, MIN_MAX

pytestmark = pytest.mark.slow

RULES = tuple(CLIPPINGS)


@cache
def residual() -> keras.Model:
    """A convolution whose result is small beside the sum that TensorFlow makes in its place."""
    keras.utils.set_random_seed(0)
    image = keras.Input((16, 16, 3))
    x = layers.Conv2D(8, 3, activation="relu", name="stem")(layers.Rescaling(1 / 64)(image))
    y = layers.Conv2D(8, 3, padding="same", name="branch")(x)
    x = layers.Add(name="sum")([x, layers.Rescaling(1.0)(layers.Conv2D(8, 1, name="last")(0.3 * y))])
    x = layers.GlobalAveragePooling2D()(layers.ReLU()(x))
    return keras.Model(image, layers.Dense(10, activation="softmax", name="head")(x), name="residual")


@cache
def specked() -> keras.Model:
    """Of the colours, and of one channel that is large on specks alone and that nothing reads."""
    image = keras.Input((16, 16, 3))
    x = layers.Conv2D(4, 1, activation="relu", name="stem")(layers.Rescaling(1 / 255)(image))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 1, name="colours")(x))
    model = keras.Model(image, layers.Dense(5, activation="softmax", name="head")(x))
    rng = np.random.default_rng(2)
    stem = np.add(np.eye(3, 4), [0, 0, 0, 1300])
    model.get_layer("stem").set_weights([stem[None, None], np.float32([0, 0, 0, -3800])])
    model.get_layer("colours").set_weights([np.float32([[np.diag([1, 1, 1, 0])]]), np.zeros(4, np.float32)])
    model.get_layer("head").set_weights([rng.normal(0, 8, (4, 5)), np.zeros(5)])
    return model


@cache
def photos(n: int = 40) -> np.ndarray:
    """Blobs, and a white speck in one of them."""
    rng = np.random.default_rng(1)
    blobs = rng.uniform(20, 130, (n, 4, 4, 3)).astype(np.float32)
    images = np.array(keras.ops.image.resize(blobs, (16, 16)))
    images[0, 8, 8] = 255
    return images


@cache
def file(clipping: str) -> bytes:
    return convert(specked(), "int8", [photos()], clipping=clipping)


def rule(content: bytes) -> str:
    return bytes(read(content).metadata[RULE].data).decode()


def reach(tensor: Tensor) -> tuple[float, float]:
    """The least and the greatest value of an int8 tensor."""
    (scale,), (zero,) = tensor.scales, tensor.zero_points
    return (-128 - zero) * scale, (127 - zero) * scale


def made_by(content: bytes, layer: str) -> Tensor:
    return next(t for op in only(read(content)).operators for t in op.outputs if f"{layer}_1/" in t.name)


def test_ranges_are_what_the_layers_give():
    """TensorFlow's own range of the last convolution is that of the sum behind it."""
    inner = keras.Model(residual().input, residual().get_layer("last").output)
    values = np.asarray(inner(photos()))
    assert np.ptp(np.asarray(keras.Model(residual().input, residual().get_layer("sum").output)(photos()))) > 1.5 * (
        np.ptp(values)
    )
    low, high = reach(made_by(convert(residual(), "int8", [photos()], clipping=MIN_MAX), "last"))
    step = (high - low) / 255
    assert abs(low - values.min()) < step
    assert abs(high - values.max()) < step


def test_sixteen_bits_have_ranges_of_the_layers_too():
    inner = keras.Model(residual().input, residual().get_layer("last").output)
    content = convert(residual(), "int16x8", [photos()])
    (scale,) = made_by(content, "last").scales
    assert scale * 32767 == pytest.approx(2 * np.abs(np.asarray(inner(photos()))).max(), rel=1e-4)
    assert rule(content) == "2 x min-max"


def test_a_branch_of_zeros_has_steps_in_sixteen_bits():
    """As the last block of EfficientNetB4 has one, whose norm scales it by nothing."""
    model = keras.models.clone_model(residual())
    model.set_weights(residual().get_weights())
    model.get_layer("last").set_weights([np.zeros((1, 1, 8, 8)), np.zeros(8)])
    content = convert(model, "int16x8", [photos()])
    assert made_by(content, "last").scales[0] > 0
    scores = verify.run(content, [photos()]).scores
    np.testing.assert_allclose(scores, np.asarray(model(photos())), atol=0.02)


def test_a_file_is_what_tensorflow_makes_where_nothing_is_overwritten():
    image = keras.Input((16, 16, 3))
    x = layers.Conv2D(4, 3, activation="relu")(layers.Rescaling(1 / 255)(image))
    model = keras.Model(image, layers.Dense(3, activation="softmax")(layers.GlobalAveragePooling2D()(x)))
    converter = tf.lite.TFLiteConverter.from_keras_model(keras.Model(image, model(image)))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([image[None]] for image in photos())
    converter.inference_input_type = converter.inference_output_type = tf.int8
    ours, theirs = (
        [t for op in only(read(content)).operators for t in op.outputs]
        for content in (convert(model, "int8", [photos()], clipping=MIN_MAX), converter.convert())
    )
    assert [t.shape[1:] for t in ours] == [t.shape[1:] for t in theirs]
    assert [t.zero_points for t in ours] == [t.zero_points for t in theirs]
    np.testing.assert_allclose([t.scales for t in ours], [t.scales for t in theirs], rtol=1e-5)


def test_the_best_rule_is_taken_and_named():
    names = {clipping: rule(file(clipping)) for clipping in (BEST, *RULES)}
    assert {name: names[name] for name in RULES} == {name: name for name in RULES}
    assert names[BEST] != MIN_MAX
    assert file(BEST) == file(names[BEST])
    assert convert(specked(), "int8", [photos()]) == file(BEST)


def test_an_object_is_judged_by_its_scores():
    cut = {"stem": specked().get_layer("stem").output}
    content = compile_object(specked(), cut, "int8", [photos()])
    assert sorted(read(content).signatures[0].outputs) == ["scores", "stem"]
    assert rule(content) == rule(file(BEST))


LOSS = np.linspace(0.5, 1.5, 40)


@pytest.mark.parametrize(
    ("other", "taken"),
    [
        (0.5 * LOSS, "mse"),
        (0.95 * LOSS, MIN_MAX),  # surely better, by too little
        (0.5 * LOSS + 0.9 * np.resize([2, -1.2], 40), MIN_MAX),  # better on some images, worse on others
        (1.5 * LOSS, MIN_MAX),
        (0 * LOSS, "mse"),
    ],
)
def test_clipping_is_taken_where_it_surely_gains(other: np.ndarray, taken: str):
    assert chosen({MIN_MAX: LOSS, "mse": other}) == taken


def test_of_rules_that_images_cannot_tell_apart_the_usual_one_is_taken():
    noisy = LOSS + 0.5 * np.resize([1, -1.1], 40)
    assert chosen({MIN_MAX: noisy, USUAL: LOSS, "mse": 1.02 * LOSS}) == USUAL
    assert chosen({MIN_MAX: 0.5 * LOSS, USUAL: LOSS, "mse": LOSS}) == MIN_MAX


def test_one_image_judges_too():
    assert chosen({MIN_MAX: np.ones(1), "mse": np.zeros(1)}) == "mse"
    assert chosen({MIN_MAX: np.zeros(1), "mse": np.zeros(1)}) == MIN_MAX


def test_gelu_keeps_its_least_value():
    image = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 1, activation="gelu", name="curve")(layers.Rescaling(1 / 500, offset=1)(image))
    x = layers.Dense(3, activation="softmax")(layers.GlobalAveragePooling2D()(x))
    model = keras.Model(image, x)
    kernel = np.zeros((1, 1, 3, 4), np.float32)
    kernel[0, 0, 0, 0] = -0.4
    model.get_layer("curve").set_weights([kernel, np.zeros(4, np.float32)])  # gives -0.17 at none of the images
    low, _ = reach(next(t for op in only(read(convert(model, "int8", [photos()[:, :8, :8]]))).operators
                        if op.name == "GELU" for t in op.outputs))  # fmt: skip
    assert abs(low + 0.17) < 0.002


def unheeded(function: str, *, read_twice: bool = False) -> keras.Model:
    """A convolution that reaches from -40 to 20, in front of a function."""
    image = keras.Input((8, 8, 3))
    x = curve = layers.Conv2D(4, 1, name="curve")(layers.Rescaling(1 / 255)(image))
    x = layers.Activation(function)(x)
    x = layers.Add()([x, curve]) if read_twice else x
    model = keras.Model(image, layers.Dense(3, activation="softmax")(layers.GlobalAveragePooling2D()(x)))
    kernel = np.zeros((1, 1, 3, 4), np.float32)
    kernel[0, 0, 0, :2] = -80, 40
    model.get_layer("curve").set_weights([kernel, np.zeros(4, np.float32)])
    return model


@pytest.mark.parametrize(("function", "least"), [("silu", -7), ("gelu", -40), ("hard_silu", -3), ("sigmoid", -40)])
def test_what_a_function_does_not_heed_takes_no_steps(function: str, least: float):
    images = photos()[:, :8, :8]
    content = convert(unheeded(function), "int8", [images], clipping=MIN_MAX)
    low, high = reach(made_by(content, "curve"))
    assert low == pytest.approx(least, abs=0.3)
    assert high == pytest.approx(20, abs=1)
    low, _ = reach(made_by(convert(unheeded(function, read_twice=True), "int8", [images], clipping=MIN_MAX), "curve"))
    assert low == pytest.approx(-40, abs=1)


def test_sixteen_bits_hold_what_functions_do_not_heed_too():
    (scale,) = made_by(convert(unheeded("silu"), "int16x8", [photos()[:, :8, :8]]), "curve").scales
    assert scale * 32767 == pytest.approx(80, rel=0.03)


def test_unknown_rules_are_refused():
    for clipping in (BEST, *RULES):
        check_clipping(clipping)
    with pytest.raises(TfliteError, match="unknown clipping 'p99'; choose of best, min-max"):
        convert(specked(), "int8", [photos()], clipping="p99")


def test_a_converter_that_cannot_stop_before_it_quantises_is_named():
    """What broke with another TensorFlow; the one that is installed has it."""
    other: Any = SimpleNamespace()
    with pytest.raises(TfliteError, match=r"has no TFLiteConverter\._experimental_calibrate_only.*install TensorFlow"):
        eight_bits(other, [photos()[:1]], "int8", MIN_MAX)
