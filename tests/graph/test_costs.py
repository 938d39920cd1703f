"""MACs and parameters, against sums worked by hand and the published figure of a known network."""

from __future__ import annotations

import keras
import pytest
from networks import anchor

from restnet_tf.graph import costs, cuts

layers = keras.layers


def of(shape: tuple[int, ...], *stack: keras.layers.Layer) -> tuple[int, int]:
    """MACs and parameters of layers on an input ``(n, *shape)``."""
    x = inputs = keras.Input(shape)
    for layer in stack:
        x = layer(x)
    calls = costs.nodes(keras.Model(inputs, x))
    return costs.macs(calls), costs.params(calls)


@pytest.mark.parametrize(
    ("shape", "layer", "macs", "params"),
    [
        # 4x4 positions x 3x3x3 inputs x 5 outputs
        ((8, 8, 3), lambda: layers.Conv2D(5, 3, strides=2, padding="same"), 16 * 27 * 5, 27 * 5 + 5),
        ((8, 8, 3), lambda: layers.Conv2D(5, 3, use_bias=False), 36 * 27 * 5, 27 * 5),
        ((8, 8, 4), lambda: layers.Conv2D(6, 3, padding="same", groups=2), 64 * 18 * 6, 18 * 6 + 6),
        ((8, 8, 4), lambda: layers.DepthwiseConv2D(3, depth_multiplier=2, strides=2, padding="same"), 16 * 9 * 8, 80),
        # depthwise 9 taps x 4 channels, then pointwise 4 x 6, at 64 positions
        ((8, 8, 4), lambda: layers.SeparableConv2D(6, 3, padding="same"), 64 * (36 + 24), 36 + 24 + 6),
        # every input pixel spreads over 2x2 outputs
        ((4, 4, 3), lambda: layers.Conv2DTranspose(5, 2, strides=2), 16 * 4 * 3 * 5, 4 * 3 * 5 + 5),
        ((10, 3), lambda: layers.Conv1D(4, 3), 8 * 9 * 4, 40),
        ((7,), lambda: layers.Dense(3), 21, 24),
        ((5, 4), lambda: layers.Dense(6), 5 * 24, 30),
        ((5, 8), lambda: layers.EinsumDense("abc,cde->abde", (None, 2, 3)), 5 * 8 * 6, 48),
        ((5, 8), lambda: layers.EinsumDense("...x,xy->...y", 3, bias_axes="y"), 5 * 24, 27),
        ((5, 2, 4), lambda: layers.EinsumDense("abcd,cde->abe", (None, 3)), 5 * 8 * 3, 24),
        ((8, 8, 4), lambda: layers.BatchNormalization(), 0, 16),
        ((8, 8, 4), lambda: layers.AveragePooling2D(2), 0, 0),
    ],
)  # fmt: skip
def test_one_layer(shape, layer, macs, params):
    assert of(shape, layer()) == (macs, params)


@pytest.mark.parametrize("separate", [False, True])
def test_attention(separate):
    """2 heads of 4 on 8 channels, or on 6 for keys and values: projections of 64 and 48, then scores and their use."""
    query, memory = keras.Input((5, 8)), keras.Input((7, 6))
    attention = layers.MultiHeadAttention(2, 4)
    if separate:
        model = keras.Model([query, memory], attention(query, memory))
        expected = 2 * 5 * 64 + 2 * 7 * 48 + 2 * 5 * 7 * 8
        params = 2 * (64 + 8) + 2 * (48 + 8)
    else:
        model = keras.Model(query, attention(query, query))
        expected = 4 * 5 * 64 + 2 * 5 * 5 * 8
        params = 4 * (64 + 8)
    calls = costs.nodes(model)
    assert costs.macs(calls) == expected
    assert costs.params(calls) == params


def test_a_matrix_product_of_two_tensors():
    a, b = keras.Input((5, 3)), keras.Input((3, 4))
    assert costs.macs(costs.nodes(keras.Model([a, b], keras.ops.matmul(a, b)))) == 5 * 3 * 4


def test_a_shared_layer_works_twice_but_is_stored_once():
    shared = layers.Conv2D(3, 3, padding="same")
    assert of((8, 8, 3), shared, layers.ReLU(), shared) == (2 * 64 * 81, 84)


def test_nodes_are_in_order_and_without_the_input():
    model = anchor().model
    calls = costs.nodes(model)
    assert "InputLayer" not in {type(node.operation).__name__ for node in calls}
    made = {id(model.inputs[0])}
    for node in calls:
        assert all(id(t) in made for t in node.input_tensors)
        made |= {id(t) for t in node.output_tensors}
    assert id(model.outputs[0]) in made


def test_values_are_those_that_leave_what_multiplies():
    image = keras.Input((6, 8, 3))
    x = keras.layers.Conv2D(5, 3, strides=2, padding="same", activation="relu")(image)  # 3 x 4 x 5
    x = keras.layers.DepthwiseConv2D(2)(keras.layers.BatchNormalization()(x))  # 2 x 3 x 5
    x = keras.layers.Dense(7)(keras.layers.GlobalAveragePooling2D()(x))
    assert costs.values(costs.nodes(keras.Model(image, x))) == 60 + 30 + 7


def test_what_training_holds_is_all_that_is_put_out_and_what_attention_keeps():
    tokens = keras.Input((5, 8))
    x = keras.layers.LayerNormalization()(tokens)
    x = keras.layers.MultiHeadAttention(2, 4)(x, x)
    x = keras.layers.Activation("gelu")(x)
    inside = 4 * 5 * 2 * 4 + 3 * 2 * 5 * 5  # queries, keys, values, mixed; scores, scaled and softmaxed
    assert costs.held(costs.nodes(keras.Model(tokens, x))) == 3 * 5 * 8 + inside


def test_a_cut_divides_the_whole():
    model = anchor((4, 6), 2).model
    calls = costs.nodes(model)
    for cut in cuts.find(model):
        assert cut.macs_before + cut.macs_after == costs.macs(calls)
        assert cut.params_before + cut.params_after == costs.params(calls) == model.count_params()
        assert cut.macs_before > 0 < cut.macs_after


@pytest.mark.parametrize(
    ("name", "side", "published", "params"),
    [
        ("MobileNetV2", 224, 300e6, 3_538_984),  # Sandler et al. 2018, table 4: 300 M, 3.4 M parameters
        ("MobileNet", 224, 569e6, 4_253_864),  # Howard et al. 2017, table 4: 569 M
    ],
)
def test_published_networks(name, side, published, params):
    with keras.StatelessScope(initialize_variables=False):  # shapes are enough
        model = getattr(keras.applications, name)(weights=None, input_shape=(side, side, 3))
    calls = costs.nodes(model)
    assert costs.macs(calls) == pytest.approx(published, rel=0.02)
    assert costs.params(calls) == model.count_params() == params
