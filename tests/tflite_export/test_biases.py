"""Biases that make up for rounded weights: on the mean of what a layer reads it gives what the float one gives."""

from __future__ import annotations

from functools import cache

import keras
import numpy as np
import pytest
from keras import layers
from networks import forward

from tflite_export import biases, calibration, emit, verify
from tflite_export.convert import convert
from tflite_export.divergence import divergence
from tflite_export.flatbuffer import Model, Operator, Tensor, only, read

pytestmark = pytest.mark.slow
LAYERS = ("stem", "each", "head")


@cache
def network() -> keras.Model:
    keras.utils.set_random_seed(0)
    x = image = keras.Input((12, 12, 3))
    x = layers.Conv2D(8, 3, activation="relu", name="stem")(x)
    x = layers.DepthwiseConv2D(3, activation="relu", name="each")(x)
    model = keras.Model(image, layers.Dense(5, name="head")(layers.GlobalAveragePooling2D(name="pool")(x)))
    rng = np.random.default_rng(2)
    for name in LAYERS:  # TensorFlow leaves out biases of zeros
        layer = model.get_layer(name)
        layer.bias.assign(rng.uniform(0.1, 1, layer.bias.shape))
    return model


def images() -> np.ndarray:
    return np.random.default_rng(1).uniform(0, 255, (24, 12, 12, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def files() -> tuple[bytes, Model, dict[str, np.ndarray]]:
    """An int8 file with the biases that it would have else, the float network that it was made of, and its means."""
    seen = []

    def spy(content: bytes, exact: Model, means: dict[str, np.ndarray]) -> bytes:
        seen.append((content, exact, means))
        return content

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(biases, "corrected", spy)
        convert(network(), "int8", [images()], clipping="min-max")
    return seen[-1]


def weighted(file: bytes | Model) -> list[Operator]:
    model = file if isinstance(file, Model) else read(file)
    return [op for op in only(model).operators if op.name in emit.WEIGHTED]


def real(tensor: Tensor) -> np.ndarray:
    values = tensor.values().astype(np.float64)
    if not tensor.scales:
        return values
    along = np.ones(values.ndim, int)
    along[tensor.table.quantization.quantizedDimension] = -1
    return values * np.asarray(tensor.scales, np.float64).reshape(along if len(tensor.scales) > 1 else 1)


def given(operator: Operator, mean: np.ndarray) -> np.ndarray:
    """What an operator gives for the mean of what it reads, wherever."""
    weights, bias = (real(t) for t in operator.inputs[1:3] if t is not None)
    if operator.name == "DEPTHWISE_CONV_2D":
        return weights.sum(axis=(0, 1, 2)) * mean + bias
    return weights.reshape(len(weights), -1, weights.shape[-1]).sum(1) @ mean + bias


def test_means_are_those_of_what_the_layers_read(files):
    _, floats, means = files
    names = {op.outputs[0].name for op in weighted(floats)}
    assert means.keys() == names
    assert len(names) == len(LAYERS)
    for operator, name in zip(weighted(floats), LAYERS, strict=True):
        inner = keras.Model(network().input, network().get_layer(name).input)
        values = forward(inner, images())
        np.testing.assert_allclose(
            means[operator.outputs[0].name], values.mean(axis=tuple(range(values.ndim - 1))), rtol=1e-4
        )


def test_on_the_mean_layers_give_what_they_give_in_float(files):
    content, floats, means = files
    after = weighted(biases.corrected(*files))
    for old, new, exact in zip(weighted(content), after, weighted(floats), strict=True):
        mean = means[exact.outputs[0].name]
        step = np.max(new.inputs[2].scales)
        assert np.abs(given(old, mean) - given(exact, mean)).max() > 2 * step
        assert np.abs(given(new, mean) - given(exact, mean)).max() <= step
        assert np.array_equal(old.inputs[1].values(), new.inputs[1].values())


def test_a_file_holds_no_bias_twice(files):
    before, after = (only(read(one)) for one in (files[0], biases.corrected(*files)))
    assert len(after.tensors) == len(before.tensors)


def coarse() -> keras.Model:
    """In each channel of the weights one is far larger than the others, whose steps it makes coarse."""
    model = keras.models.clone_model(network())
    rng = np.random.default_rng(5)
    for name, reach in zip(LAYERS, (1 / 2000, 1 / 9, 1 / 20), strict=True):
        shape = model.get_layer(name).kernel.shape
        kernel = rng.uniform(-reach, reach, shape)
        kernel[(0, *(0,) * (len(shape) - 2))] *= 300
        model.get_layer(name).set_weights([kernel, rng.uniform(0.1, 1, model.get_layer(name).bias.shape)])
    return model


def test_sixteen_bits_answer_nearer_with_them():
    model = coarse()
    fresh = np.random.default_rng(6).uniform(0, 255, (64, 12, 12, 3)).astype(np.float32)
    exact = forward(model, fresh)
    files = [convert(model, "int16x8", [images()])]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(biases, "corrected", lambda content, exact, means: content)
        files.append(convert(model, "int16x8", [images()]))
    assert {op.inputs[2].type for op in weighted(files[0])} == {"INT64"}
    assert len(files[0]) <= len(files[1])
    with_them, without = (divergence(verify.run(one, fresh[:, None]).logits, exact).mean() for one in files)
    assert with_them < 0.2 * without


def test_they_are_taken_where_the_answers_gain():
    loss = np.linspace(0.5, 1.5, 40)
    assert calibration.gains(loss, 0.8 * loss)
    assert not calibration.gains(loss, 0.95 * loss)  # by too little
    assert not calibration.gains(loss, 0.5 * loss + 0.9 * np.resize([2, -1.2], 40))  # on some images alone
    assert not calibration.gains(loss, 1.2 * loss)


def test_a_channel_of_zeros_keeps_a_bias_of_zero():
    """Its unit is 0: divided by it a bias was no number, and the least of its type in the file."""
    keras.utils.set_random_seed(0)
    image = keras.Input((12, 12, 3))
    x = layers.Conv2D(8, 3, activation="relu", name="stem")(image)
    x = layers.Dense(5, name="head")(layers.GlobalAveragePooling2D()(x))
    model = keras.Model(image, x)
    kernel, bias = model.get_layer("stem").get_weights()
    kernel[..., :4], bias[:4], bias[4:] = 0, 0, 0.5
    model.get_layer("stem").set_weights([kernel, bias])
    for precision in ("int8", "int16x8"):
        stem = weighted(convert(model, precision, [images()]))[0]
        integers = stem.inputs[2].values()
        assert not integers[:4].any(), precision
        assert integers[4:].all(), precision


def test_whole_numbers_of_units_are_the_nearest_and_none_where_the_unit_is_zero():
    found = emit.in_units(np.array([3.2, -1.0, 0.0, 7.0]), np.array([2.0, 0.25, 0.0, 0.0]))
    np.testing.assert_array_equal(found, [2, -4, 0, 0])
