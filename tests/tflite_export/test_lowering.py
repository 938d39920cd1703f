"""Replaced layers compute what the layers did, of operators that the targets have."""

from __future__ import annotations

import keras
import needs
import numpy as np
import pytest
from networks import forward

from restnet_tf.anchors import vit
from tflite_export import lowering, memory
from tflite_export.convert import convert
from tflite_export.devices import tflm_wheel
from tflite_export.errors import TfliteError
from tflite_export.flatbuffer import only, read
from tflite_export.verify import run

pytestmark = pytest.mark.slow


def network(activation: str = "gelu") -> keras.Model:
    keras.utils.set_random_seed(1)
    x = image = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(16, 3, strides=2, activation=activation)(keras.layers.Rescaling(1 / 127.5, -1)(x))
    x = keras.layers.LayerNormalization(epsilon=1e-6, name="norm")(keras.layers.Reshape((9, 16))(x))
    x = keras.layers.Activation(activation)(keras.layers.Dense(32)(x))
    model = keras.Model(image, keras.layers.Dense(5)(keras.layers.GlobalAveragePooling1D()(x)))
    rng = np.random.default_rng(0)
    model.get_layer("norm").set_weights([rng.uniform(0.5, 2, 16), rng.normal(0, 1, 16)])
    return model


def images(n: int = 32) -> np.ndarray:
    return np.random.default_rng(2).uniform(0, 255, (n, 8, 8, 3)).astype(np.float32)


def operators(content: bytes) -> set[str]:
    return {operator.name for operator in only(read(content)).operators}


def test_gelu_of_other_operators_is_gelu_within_its_stated_error():
    x = np.linspace(-12, 12, 4801, dtype=np.float32)
    from math import erf

    exact = np.array([0.5 * v * (1 + erf(v / 2**0.5)) for v in x.astype(float)])
    assert np.abs(np.asarray(lowering.gelu(x)) - exact).max() < 5e-4


def test_without_gelu():
    model, x = network(), images()
    plain, lowered = (convert(model, "float32", lower=names) for names in ((), ("gelu",)))
    assert "GELU" in operators(plain)
    assert operators(lowered).isdisjoint({"GELU"})
    exact = forward(model, x)
    np.testing.assert_allclose(run(plain, [x]).scores, exact, atol=1e-5)
    difference = np.abs(run(lowered, [x]).scores - exact).max()
    assert 1e-6 < difference < 2e-3
    twin = lowering.lowered(model, ["gelu"])
    np.testing.assert_allclose(run(lowered, [x]).scores, forward(twin, x), atol=1e-5)


def test_in_int8_a_lookup_answers_as_the_operator_and_a_tanh_does_not():
    model, x = network(), images()
    plain, looked_up, tanh = (convert(model, "int8", [x], lower=names) for names in ((), ["gelu"], ["tanh-gelu"]))
    assert "GATHER" in operators(looked_up)
    assert operators(looked_up).isdisjoint({"GELU", "TANH"})
    assert "TANH" in operators(tanh)
    assert operators(tanh).isdisjoint({"GELU", "GATHER"})
    np.testing.assert_array_equal(run(looked_up, [x]).scores, run(plain, [x]).scores)
    assert np.abs(run(tanh, [x]).scores - run(plain, [x]).scores).max() > 0
    assert "TANH" in operators(convert(model, "int16x8", [x], lower=["gelu"]))


@pytest.mark.parametrize(("precision", "least"), [("int8", 25), ("int16x8", 30)])
@pytest.mark.parametrize("lower", [(), ("gelu",)])
def test_integers_have_layer_norms_and_no_gelu_where_asked(precision, least, lower):
    model, x = network(), images()
    content = convert(model, precision, [x], lower=lower)
    assert operators(content).isdisjoint({"NEG", *(name.upper() for name in lower)})
    exact, found = forward(model, x), run(content, [x]).scores
    assert 10 * np.log10((exact**2).sum() / ((found - exact) ** 2).sum()) > least


def test_nested_models_are_lowered_too():
    inner = network()
    image = keras.Input((8, 8, 3))
    outer = keras.Model(image, inner(image))
    assert "GELU" not in operators(convert(outer, "float32", lower=["gelu"]))


def test_nothing_to_lower_leaves_the_model_alone():
    model = network("relu")
    assert lowering.lowered(model, ["gelu"]) is model
    assert lowering.lowered(network(), []) is not None
    assert lowering.lowered(model, [], "int8") is not model


def test_the_model_itself_is_not_changed():
    model, x = network(), images(4)
    before = forward(model, x)
    weights = [w.copy() for w in model.get_weights()]
    lowering.lowered(model, ["gelu"], "int8")
    np.testing.assert_array_equal(forward(model, x), before)
    for a, b in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert "GELU" in operators(convert(model, "float32"))


def test_what_cannot_be_lowered_is_said():
    with pytest.raises(TfliteError, match="unknown operator 'softmax' to lower; choose of gelu, tanh-gelu"):
        convert(network(), "float32", lower=["softmax"])
    image = keras.Input((8, 8, 3))
    bare = keras.Model(image, keras.layers.Dense(5)(keras.ops.gelu(keras.layers.Flatten()(image), approximate=False)))
    with pytest.raises(TfliteError, match="still needs GELU"):
        convert(bare, "float32", lower=["gelu"])


needs_micro = needs.MICRO.mark


@needs_micro
def test_a_lowered_transformer_runs_on_tflite_micro_as_on_litert():
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    keras.utils.set_random_seed(1)
    model = vit.network(input_shape=(16, 16, 3), patch=4, width=16, depth=2, heads=2, classes=5)
    x = np.random.default_rng(0).uniform(0, 255, (16, 16, 16, 3)).astype(np.float32)
    content = convert(model, "int8", [x], lower=["gelu"])
    litert = Interpreter(model_content=content, experimental_op_resolver_type=OpResolverType.BUILTIN_REF)
    litert.allocate_tensors()
    entry, end = litert.get_input_details()[0], litert.get_output_details()[0]
    scale, zero = entry["quantization"]
    images = np.clip(np.rint(x[:4] / scale + zero), -128, 127).astype(np.int8)
    expected = []
    for image in images:
        litert.set_tensor(entry["index"], image[None])
        litert.invoke()
        expected.append(litert.get_tensor(end["index"]).copy())
    done = tflm_wheel.run(content, images, 4 << 20)
    found = done.scores[0].astype(int)
    assert np.abs(found - np.concatenate(expected)).max() <= 1  # at FULLY_CONNECTED the two round differently
    assert done.head == memory.plan(memory.ranges(content)).size


@needs_micro
def test_tflite_micro_has_no_gelu():
    """Should it get one, there is nothing left to lower."""
    with pytest.raises(TfliteError, match="TensorFlow Lite Micro") as refused:
        tflm_wheel.run(convert(network(), "int8", [images()]), np.zeros((1, 8, 8, 3), np.int8), 4 << 20)
    assert "GELU" in refused.value.log
