"""A .tflite file as objects."""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import pytest
from keras import layers

from tflite_export.convert import convert
from tflite_export.errors import TfliteError
from tflite_export.flatbuffer import Buffer, Tensor, only, read, schema
from tflite_export.memory import ranges


@pytest.fixture(scope="module")
def network() -> tuple[keras.Model, bytes]:
    keras.utils.set_random_seed(5)
    image = keras.Input((6, 5, 2))
    x = layers.Conv2D(3, 3, padding="same", activation="relu")(image)
    model = keras.Model(image, layers.Dense(4, activation="softmax")(layers.Flatten()(x)))
    return model, convert(model, "float32")


def test_operators_stand_in_execution_order(network):
    graph = only(read(network[1]))
    assert [operator.name for operator in graph.operators] == [
        "CONV_2D",
        "RESHAPE",
        "FULLY_CONNECTED",
        "SOFTMAX",
    ]
    # Each reads what the one before wrote, from the input to the output.
    chain = [graph.inputs[0], *(operator.outputs[0] for operator in graph.operators)]
    assert [operator.inputs[0] for operator in graph.operators] == chain[:-1]
    assert chain[-1] == graph.outputs[0]


def test_constants_are_the_models_weights(network):
    model, file = network
    graph = only(read(file))
    filters = graph.operators[0].inputs[1]
    # TFLite holds (out, h, w, in) where Keras holds (h, w, in, out).
    np.testing.assert_allclose(filters.values(), model.layers[1].kernel.numpy().transpose(3, 0, 1, 2))
    assert filters.nbytes == 3 * 3 * 3 * 2 * 4
    assert not graph.inputs[0].constant


def test_quantisation_is_that_of_the_file(network):
    model, _ = network
    images = np.random.default_rng(0).uniform(0, 255, (8, 6, 5, 2)).astype(np.float32)
    graph = only(read(convert(model, "int8", [images])))
    filters = graph.operators[0].inputs[1]
    peaks = np.abs(model.layers[1].kernel.numpy()).max((0, 1, 2))
    np.testing.assert_allclose(filters.scales, peaks / 127, rtol=1e-5)
    assert filters.zero_points == (0, 0, 0)
    exit_ = graph.outputs[0]
    assert (exit_.scales, exit_.zero_points) == ((1 / 256,), (-128,))


def test_every_truncation_is_refused(network):
    file = network[1]
    for length in [*range(0, len(file) - 1, 23), *range(len(file) - 24, len(file))]:
        with pytest.raises(TfliteError, match="not a"):
            ranges(file[:length])


def test_other_bytes_are_refused():
    with pytest.raises(TfliteError, match=r"not a \.tflite file: 10 bytes"):
        read(b"0123456789")


@pytest.mark.parametrize(
    ("type_", "shape", "size"),
    [("INT4", (3, 5), 8), ("INT64", (2,), 16), ("BOOL", (), 1), ("FLOAT16", (0, 3), 0)],
)
def test_sizes_in_bytes(type_, shape, size):
    assert _tensor(type_, shape).nbytes == size


def test_size_of_an_open_tensor_is_refused():
    with pytest.raises(TfliteError, match=r"'t' has the open shape \(1, 4\)"):
        _ = _tensor("INT8", (1, 4), signature=[-1, 4]).nbytes


def _tensor(type_: str, shape: tuple[int, ...], signature: list[int] | None = None) -> Tensor:
    table = schema().TensorT(shape=list(shape), type=getattr(schema().TensorType, type_), name="t")
    table.shapeSignature = signature
    return Tensor(table, Buffer())
