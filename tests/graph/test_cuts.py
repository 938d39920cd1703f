"""Where graphs can be cut, and that front and back together are the whole, to the last bit."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from networks import anchor, forward, images, stirred

from restnet_tf.graph import costs, cuts, surgery
from restnet_tf.records import Anchor, RestnetError

layers = keras.layers


def conv(width: int, name: str, **more: object) -> keras.layers.Layer:
    return layers.Conv2D(width, 3, padding="same", name=name, **more)


def live_one(model: keras.Model) -> list[str]:
    calls = costs.nodes(model)
    return [calls[i].operation.name for i in cuts.articulations(model)]


def names(model: keras.Model) -> list[str]:
    return [cut.name for cut in cuts.find(model)]


def bare(model: keras.Model) -> Anchor:
    return Anchor(model.name, model, model.outputs[0], model.outputs[0], None, model.name)


def outline(name: str, side: int, **more: object) -> keras.Model:
    """Without weights, which are most of what it takes to make one: shapes are enough for its cuts."""
    options = {"weights": None, "include_top": False, "pooling": "avg", **more}
    with keras.StatelessScope(initialize_variables=False):
        return getattr(keras.applications, name)(input_shape=(side, side, 3), **options)


# --- articulation tensors -------------------------------------------------------------------------


def test_a_chain_is_cut_anywhere():
    x = image = keras.Input((8, 8, 3))
    for name in "abc":
        x = conv(4, name)(x)
    assert live_one(keras.Model(image, x)) == ["a", "b"]
    assert names(keras.Model(image, x)) == ["a"]  # the last place before the output has no next block


def test_a_residual_block_is_not_cut_inside():
    image = keras.Input((8, 8, 3))
    x = conv(4, "stem")(image)
    y = conv(4, "two")(conv(4, "one")(x))
    x = layers.Add(name="add")([x, y])
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    assert live_one(keras.Model(image, layers.Dense(2)(x))) == ["stem", "add", "pool"]


def test_branches_are_not_cut_inside():
    image = keras.Input((8, 8, 3))
    x = conv(4, "stem")(image)
    a = conv(4, "a2")(conv(4, "a1")(x))
    b = conv(4, "b1")(x)
    x = conv(4, "after")(layers.Concatenate(name="join")([a, b]))
    model = keras.Model(image, layers.Dense(2)(layers.GlobalAveragePooling2D(name="pool")(x)))
    assert live_one(model) == ["stem", "join", "after", "pool"]


def test_a_skip_over_everything_leaves_no_cut():
    image = keras.Input((8, 8, 3))
    x = conv(3, "c")(conv(4, "b")(conv(4, "a")(image)))
    model = keras.Model(image, layers.Add()([image, x]), name="bridged")
    assert live_one(model) == []
    with pytest.raises(RestnetError, match=r"bridged cannot be cut: .* bridged by a skip connection"):
        cuts.find(model)


def test_a_skip_into_the_middle_hides_what_it_bridges():
    image = keras.Input((8, 8, 3))
    a = conv(4, "a")(image)
    b = conv(4, "b")(a)
    c = conv(4, "c")(b)
    joined = layers.Add(name="d")([a, c])
    model = keras.Model(image, conv(4, "f")(conv(4, "e")(joined)))
    assert live_one(model) == ["a", "d", "e"]


# --- boundaries and what a cut says ---------------------------------------------------------------


def test_residual_anchor():
    found = cuts.find(anchor((4, 6), 2).model)
    assert [c.name for c in found] == ["stem", "0.0.out", "0.1.out", "1.0.out", "1.1.out", "pool"]
    assert [c.index for c in found] == list(range(6))
    assert [c.shape for c in found] == [(8, 8, 4)] * 3 + [(4, 4, 6)] * 2 + [(6,)]
    assert [c.kind for c in found] == ["grid"] * 5 + ["vector"]
    assert {c.clamp for c in found[:5]} == {(0.0, None)}


@pytest.mark.parametrize(
    ("activation", "clamp"),
    [
        (lambda: layers.ReLU(name="act"), (0.0, None)),
        (lambda: layers.ReLU(6.0, name="act"), (0.0, 6.0)),
        (lambda: layers.ReLU(max_value=4, name="act"), (0.0, 4.0)),
        (lambda: layers.ReLU(negative_slope=0.1, name="act"), (None, None)),
        (lambda: layers.ReLU(threshold=1.0, name="act"), (None, None)),
        (lambda: layers.LeakyReLU(name="act"), (None, None)),
        (lambda: layers.Activation("relu", name="act"), (0.0, None)),
        (lambda: layers.Activation("relu6", name="act"), (0.0, 6.0)),
        (lambda: layers.Activation("silu", name="act"), (None, None)),
        (lambda: conv(4, "act", activation="relu"), (0.0, None)),
        (lambda: conv(4, "act"), (None, None)),
        (lambda: layers.BatchNormalization(name="act"), (None, None)),
    ],
)
@pytest.mark.parametrize("through", [None, layers.MaxPooling2D, layers.AveragePooling2D, layers.Dropout])
def test_clamp(activation, clamp, through):
    image = keras.Input((8, 8, 3))
    x = activation()(conv(4, "first")(image))
    if through is not None:
        x = through(0.1 if through is layers.Dropout else 2, name="last")(x)
    model = keras.Model(image, conv(4, "out")(conv(4, "next")(x)))
    found = {cut.name: cut for cut in cuts.find(model)}
    assert found["last" if through else "act"].clamp == clamp


def test_functions_of_keras_ops_clamp_too():
    image = keras.Input((8, 8, 3))
    x = keras.ops.relu6(conv(4, "first")(image))
    found = cuts.find(keras.Model(image, conv(4, "out")(conv(4, "next")(x))))
    assert found[0].clamp == (0.0, 6.0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "MobileNetV2",
            ["expanded_conv_project_BN", "block_1_project_BN", "block_2_add", "block_3_project_BN", "block_4_add"],
        ),
        ("MobileNet", ["conv1_relu", "conv_pw_1_relu", "conv_pw_2_relu", "conv_pw_3_relu", "conv_pw_4_relu"]),
        (
            "ResNet50",
            ["conv1_relu", "pool1_pool", "conv2_block1_out", "conv2_block2_out", "conv2_block3_out"],
        ),
        ("VGG16", ["block1_conv1", "block1_conv2", "block1_pool", "block2_conv1", "block2_conv2"]),
        (
            "EfficientNetB0",
            ["block1a_project_bn", "block2a_project_bn", "block2b_add", "block3a_project_bn", "block3b_add"],
        ),
        (
            "DenseNet121",
            ["conv1_relu", "pool1", "conv2_block1_concat", "conv2_block2_concat", "conv2_block3_concat"],
        ),
    ],
)
def test_known_networks(name, expected):
    assert names(outline(name, 32))[:5] == expected


def test_all_cuts_of_mobilenet_v2():
    found = cuts.find(outline("MobileNetV2", 96, alpha=0.35))
    added = {2, 4, 5, 7, 8, 9, 11, 12, 14, 15}  # the blocks whose input and output agree
    blocks = [f"block_{i}_{'add' if i in added else 'project_BN'}" for i in range(1, 17)]
    assert [c.name for c in found] == ["expanded_conv_project_BN", *blocks]
    assert {c.clamp for c in found} == {(None, None)}
    assert [c.macs_before for c in found] == sorted(c.macs_before for c in found)


def test_range_is_kept_through_padding_and_pooling():
    found = {cut.name: cut for cut in cuts.find(outline("ResNet50", 32))}
    assert found["pool1_pool"].clamp == found["conv1_relu"].clamp == (0.0, None)


# --- front and back -------------------------------------------------------------------------------


def assert_whole(model: keras.Model, chosen: list[str]) -> None:
    whole = bare(model)
    x = images(2, side=model.input_shape[1]) / 127.5 - 1
    expected = forward(model, x)
    assert np.isfinite(expected).all()
    # Two images get two answers, so a back that gives both depends on what it is given.
    assert not np.array_equal(expected[0], expected[1])
    for name in chosen:
        middle, back = forward(cuts.front(whole, name), x), cuts.back(whole, name)
        assert len(back.inputs) == 1, name
        np.testing.assert_array_equal(forward(back, middle), expected, err_msg=name)


def test_front_then_back_is_the_whole():
    model = anchor((4, 6), 2, convolutions=1).model
    assert_whole(model, names(model))


def test_front_and_back_share_the_anchors_weights():
    whole = anchor()
    mine = {id(w) for w in whole.model.weights}
    halves = cuts.front(whole, "0.0.out").weights, cuts.back(whole, "0.0.out").weights
    assert all(id(w) in mine for half in halves for w in half)
    assert sum(len(half) for half in halves) == len(mine)


def test_back_to_logits_and_features():
    whole = anchor()
    both = cuts.back(whole, "0.0.out", [whole.logits, whole.features])
    x = images(3)
    logits, features = both(cuts.front(whole, "0.0.out")(x.astype(np.float32)), training=False)
    expected = keras.Model(whole.model.inputs[0], [whole.logits, whole.features])(x, training=False)
    np.testing.assert_array_equal(logits, expected[0])
    np.testing.assert_array_equal(features, expected[1])


def test_features_beside_the_path_to_the_output():
    """A convolution classifies and is pooled behind; the features are pooled from what it reads."""
    image = keras.Input((8, 8, 3))
    grid = conv(5, "grid", activation="relu")(conv(4, "first", activation="relu")(image))
    logits = layers.GlobalAveragePooling2D(name="scores")(layers.Conv2D(3, 1, name="classify")(grid))
    features = layers.GlobalAveragePooling2D(name="features")(grid)
    model = stirred(keras.Model(image, logits))
    whole = Anchor("n", model, logits, features, None, "n")
    x = images(3).astype(np.float32)
    back = cuts.back(whole, "first", [logits, features])
    found = back(cuts.front(whole, "first")(x), training=False)
    np.testing.assert_array_equal(found[0], forward(model, x))
    np.testing.assert_array_equal(found[1], forward(keras.Model(image, features), x))


def test_between_two_tensors_in_the_middle():
    whole = anchor((4, 6), 2, convolutions=1)
    start, stop = (cuts.tensor(whole.model, name) for name in ("0.0.out", "1.0.out"))
    x = images(3).astype(np.float32)
    part = cuts.between(whole.model, start, stop)
    np.testing.assert_array_equal(
        forward(part, forward(cuts.front(whole, "0.0.out"), x)), forward(cuts.front(whole, "1.0.out"), x)
    )


@pytest.mark.parametrize("half", [cuts.front, cuts.back])
def test_an_unknown_cut_is_refused_with_the_known_ones(half):
    with pytest.raises(RestnetError) as caught:
        half(anchor(), "0.0.conv1")
    assert str(caught.value) == "0.0.conv1 is no cut in net; its cuts are: stem, 0.0.out, 1.0.out, pool"


def test_an_ambiguous_cut_is_refused():
    image = keras.Input((8, 8, 4))
    twice = conv(4, "twice")
    x = conv(4, "end")(conv(4, "between")(twice(conv(4, "start")(twice(image)))))
    with pytest.raises(RestnetError, match=r"twice is called more than once in shared; its cuts are: .*start"):
        cuts.tensor(keras.Model(image, x, name="shared"), "twice")


def test_the_model_is_left_as_it_was():
    whole = anchor((4, 6), 2, convolutions=1)
    x = images(4)
    before = whole.model.to_json(), surgery.fingerprint(whole.model), forward(whole.model, x), cuts.find(whole.model)
    for cut in before[-1]:
        cuts.front(whole, cut.name)
        cuts.back(whole, cut.name, whole.logits)
    assert whole.model.to_json() == before[0]
    assert surgery.fingerprint(whole.model) == before[1]
    np.testing.assert_array_equal(forward(whole.model, x), before[2])
    assert cuts.find(whole.model) == before[3]
