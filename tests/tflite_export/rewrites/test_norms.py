"""Norms as L2_NORMALIZATION: the same function, fewer roundings, and only where it is the same function."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from networks import forward

from tflite_export import convert
from tflite_export.flatbuffer import only, read
from tflite_export.rewrites import graph
from tflite_export.rewrites.rewritten import TOLERANCE, rewritten
from tflite_export.verify import run

pytestmark = pytest.mark.slow
layers = keras.layers


def network(norm: keras.Layer, rank: int = 3, name: str = "network") -> keras.Model:
    """A norm on a grid, on tokens or on a vector, and dense layers around it."""
    keras.utils.set_random_seed(1)
    x = image = keras.Input((8, 8, 3))
    x = layers.Conv2D(16, 3, strides=2)(layers.Rescaling(1 / 32, -4)(x))
    flat = keras.Sequential([layers.Flatten(), layers.Dense(16)])
    x = {4: layers.Identity(), 3: layers.Reshape((9, 16)), 2: flat}[rank](x)
    x = layers.Dense(32, activation="relu")(norm(x))
    x = x if rank == 2 else layers.Flatten()(x)
    model = keras.Model(image, layers.Dense(5)(x), name=name)
    rng = np.random.default_rng(0)
    norm.set_weights([rng.uniform(0.5, 2, w.shape) for w in norm.get_weights()])
    return model


def images(n: int = 32) -> np.ndarray:
    return np.random.default_rng(2).uniform(0, 255, (n, 8, 8, 3)).astype(np.float32)


def operators(content: bytes) -> set[str]:
    return {operator.name for operator in only(read(content)).operators}


NORMS = {
    "layer": lambda: layers.LayerNormalization(epsilon=1e-6),
    "root mean square": lambda: layers.RMSNormalization(epsilon=1e-6),
    "without gamma and beta": lambda: layers.LayerNormalization(epsilon=1e-6, center=False, scale=False),
}


CASES = [*((kind, 3) for kind in NORMS), ("layer", 2), ("layer", 4)]


@pytest.mark.parametrize(("kind", "rank"), CASES)
def test_a_norm_is_the_operator_and_answers_alike(kind, rank):
    model, x = network(NORMS[kind](), rank), images()
    result = rewritten(model, "int8", (), [x[:4]])
    assert result.counts["norms"] == 1
    assert 0 < result.difference <= TOLERANCE
    content = convert.convert(model, "int8", [x])
    assert "L2_NORMALIZATION" in operators(content)
    assert operators(content).isdisjoint({"RSQRT", "SQUARED_DIFFERENCE"})
    exact, found = forward(model, x), run(content, [x]).scores
    assert 10 * np.log10((exact**2).sum() / ((found - exact) ** 2).sum()) > 25


def test_a_large_epsilon_keeps_its_norm():
    model, x = network(layers.LayerNormalization(epsilon=0.5)), images(8)
    assert rewritten(model, "int8", (), [x]).model is model
    assert "L2_NORMALIZATION" not in operators(convert.convert(model, "int8", [x]))


@pytest.mark.parametrize("axis", [1, [1, 2]])
def test_a_norm_along_another_axis_stays(axis):
    model = network(layers.LayerNormalization(epsilon=1e-6, axis=axis))
    assert rewritten(model, "int8", (), [images(4)]).counts == {}


@pytest.mark.parametrize("precision", ["float32", "float16", "dynamic", "int16x8"])
def test_other_precisions_have_no_such_operator(precision):
    model = network(layers.LayerNormalization(epsilon=1e-6))
    assert rewritten(model, precision, (), [images(4)]).model is model


def test_a_norm_that_answers_otherwise_is_left_out(monkeypatch):
    monkeypatch.setattr("tflite_export.rewrites.norms._EPSILON", np.inf)
    model = network(layers.LayerNormalization(epsilon=0.5))
    result = rewritten(model, "int8", (), [images(4)])
    assert result.counts == {}
    assert result.left_out["norms"] > TOLERANCE
    assert result.model is model


def test_nested_models_are_rewritten_too():
    image = keras.Input((8, 8, 3))
    twice = [network(layers.LayerNormalization(epsilon=1e-6, name="norm"), name=name) for name in ("one", "two")]
    outer = keras.Model(image, layers.Add()([model(image) for model in twice]))
    x = images(4)
    flat = graph.flat(outer)
    assert {"norm", "norm_1"} <= {layer.name for layer in flat.layers}
    np.testing.assert_allclose(forward(flat, x), forward(outer, x), atol=1e-5)
    assert "L2_NORMALIZATION" in operators(convert.convert(outer, "int8", [images(8)]))


def test_a_target_without_the_operator_has_it_lowered():
    model, x = network(layers.LayerNormalization(epsilon=1e-6)), images(8)
    assert "L2_NORMALIZATION" not in operators(convert.convert(model, "int8", [x], lower=["l2_normalization"]))
