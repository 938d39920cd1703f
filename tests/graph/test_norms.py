"""Tuned norms as factors and biases of the convolutions that they are folded into."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import networks
import numpy as np
import pytest
from keras import layers

from restnet_tf.graph import norms
from restnet_tf.records import RestnetError
from restnet_tf.stitches import variant

Layer = Callable[..., Any]


def conv(x: Any, **options: Any) -> Any:
    return layers.Conv2D(4, 3, padding="same", use_bias=False, name="kernel", **options)(x)


# What the norm stands behind, and how to repeat it with other weights (Keras' layout) and no bias.
FOLDED: dict[str, tuple[tuple[int, ...], Callable[[], Any]]] = {
    "conv": ((6, 5, 2), lambda: layers.Conv2D(4, 3, padding="same", use_bias=False, name="kernel")),
    "conv with bias": ((6, 5, 2), lambda: layers.Conv2D(4, 3, strides=2, name="kernel")),
    "depthwise": ((6, 5, 3), lambda: layers.DepthwiseConv2D(3, use_bias=False, name="kernel")),
    "depthwise with bias": ((6, 5, 3), lambda: layers.DepthwiseConv2D(3, depth_multiplier=2, name="kernel")),
    "dense": ((7,), lambda: layers.Dense(4, use_bias=False, name="kernel")),
    "dense with bias": ((7,), lambda: layers.Dense(4, name="kernel")),
}
NORMS = {
    "whole": {},
    "no scale": {"scale": False},
    "no center": {"center": False},
    "neither": {"scale": False, "center": False},
}


def network(shape: Sequence[int], *steps: Any) -> keras.Model:
    keras.utils.set_random_seed(4)
    x = image = keras.Input(shape)
    for step in steps:
        x = step(x)
    return networks.stirred(keras.Model(image, x), seed=5)


def tuned(model: keras.Model, names: Sequence[str] = ("norm",), seed: int = 6) -> keras.Model:
    """A copy whose norms of these names have other scales, shifts and statistics."""
    rng = np.random.default_rng(seed)
    values = {w.path: np.asarray(w) for w in model.weights if w.path.split("/")[0] in names}
    changed = {path: (v * rng.uniform(0.5, 2, v.shape)).astype(np.float32) for path, v in values.items()}
    return variant.with_weights(model, changed)


def norm(name: str = "norm", **options: Any) -> Any:
    return layers.BatchNormalization(name=name, epsilon=0.01, **options)


def images(model: keras.Model) -> np.ndarray:
    return np.random.default_rng(7).normal(0, 1, (5, *model.input_shape[1:])).astype(np.float32)


@pytest.mark.parametrize("form", NORMS)
@pytest.mark.parametrize("kind", FOLDED)
def test_folded_weights_factor_and_bias_give_what_the_tuned_model_gives(kind: str, form: str):
    shape, make = FOLDED[kind]
    before = network(shape, make(), norm(**NORMS[form]))
    after = tuned(before)
    (found,) = norms.refolded(before, after)
    assert found.name == "kernel"
    x = images(before)
    alone = keras.Model(before.inputs[0], before.get_layer("kernel").output)
    layer = alone.get_layer("kernel")

    def applied(weights: np.ndarray) -> np.ndarray:
        """The layer without its norm, with folded weights in place of its own, and no bias."""
        copy = keras.models.clone_model(alone)
        zero = [np.zeros(layer.bias.shape)] if layer.use_bias else []
        copy.set_weights([weights.reshape(layer.kernel.shape), *zero])
        return networks.forward(copy, x)

    # The weights are those of the norm as it was: what is left of the old outputs is one bias a channel.
    rest = networks.forward(before, x) - applied(found.weights)
    np.testing.assert_allclose(rest, np.broadcast_to(rest.reshape(-1, rest.shape[-1])[0], rest.shape), atol=1e-5)
    # With the factor and the bias they give the tuned model.
    expected = networks.forward(after, x)
    np.testing.assert_allclose(applied(found.weights) * found.ratio + found.bias, expected, atol=1e-5)
    assert np.abs(expected - networks.forward(before, x)).max() > 0.1


def test_weights_of_a_depthwise_norm_have_their_channels_last():
    shape, make = FOLDED["depthwise with bias"]
    before = network(shape, make(), norm())
    (found,) = norms.refolded(before, tuned(before))
    assert (found.weights.shape, found.ratio.shape, found.bias.shape) == ((1, 3, 3, 6), (6,), (6,))


def test_only_tuned_norms_are_found_in_the_order_of_the_graph():
    steps = []
    for i in range(4):
        steps += [layers.Conv2D(3 + i, 1, name=f"conv{i}"), norm(f"norm{i}"), layers.ReLU()]
    before = network((4, 4, 2), *steps)
    found = norms.refolded(before, tuned(before, ("norm3", "norm1")))
    assert [f.name for f in found] == ["conv1", "conv3"]
    assert [f.ratio.shape for f in found] == [(4,), (6,)]


def test_equal_models_differ_in_nothing():
    before = network((4, 4, 2), conv, norm())
    assert norms.refolded(before, variant.with_weights(before, {})) == ()


def test_a_shift_alone_leaves_the_factor_at_one():
    before = network((4, 4, 2), conv, norm())
    after = variant.with_weights(before, {"norm/beta": np.float32([1, 2, 3, 4])})
    (found,) = norms.refolded(before, after)
    np.testing.assert_array_equal(found.ratio, np.ones(4))


def test_negative_and_zero_scales_are_kept():
    before = network((4, 4, 2), conv, norm())
    gamma = np.asarray(before.get_layer("norm").gamma)
    after = variant.with_weights(before, {"norm/gamma": gamma * np.float32([-2, 0, 1, 0.5])})
    (found,) = norms.refolded(before, after)
    np.testing.assert_allclose(found.ratio, [-2, 0, 1, 0.5], rtol=1e-6)


def test_a_channel_that_was_and_stays_zero_is_no_fault():
    before = network((4, 4, 2), conv, norm())
    before.get_layer("norm").gamma.assign([0, 1, 1, 1])
    after = variant.with_weights(before, {"norm/gamma": np.float32([0, 2, 1, 1])})
    (found,) = norms.refolded(before, after)
    np.testing.assert_allclose(found.ratio, [1, 2, 1, 1])


def test_a_channel_scaled_up_from_zero_is_refused():
    before = network((4, 4, 2), conv, norm())
    before.get_layer("norm").gamma.assign([0, 1, 1, 1])
    after = variant.with_weights(before, {"norm/gamma": np.float32([1, 1, 1, 1])})
    with pytest.raises(RestnetError, match="norm scales a channel by zero"):
        norms.refolded(before, after)


@pytest.mark.parametrize(("path", "shape"), [("kernel/kernel", (3, 3, 2, 4)), ("last/bias", (3,))])
def test_a_trained_weight_that_is_no_norms_is_refused(path: str, shape: tuple[int, ...]):
    before = network((4, 4, 2), conv, norm(), layers.Dense(3, name="last"))
    after = variant.with_weights(tuned(before), {path: np.ones(shape, np.float32)})
    with pytest.raises(RestnetError, match=f"{path.split('/')[0]} was trained, and it is no norm"):
        norms.refolded(before, after)


def shared(x: Any) -> Any:
    """The norm and another layer read the convolution."""
    y = conv(x)
    return layers.Add()([norm()(y), layers.ReLU()(y)])


@pytest.mark.parametrize(
    "steps",
    [
        (norm(),),
        (conv, layers.MaxPooling2D(2), norm()),
        (conv, layers.ReLU(), norm()),
        (layers.Conv2D(4, 1, activation="relu"), norm()),
        (shared,),
        (conv, norm(axis=1)),
    ],
    ids=["the input", "a pooling", "an activation", "a fused activation", "a convolution read twice", "another axis"],
)
def test_a_tuned_norm_behind_no_convolution_of_its_own_is_refused(steps: Sequence[Any]):
    before = network((4, 4, 2), *steps)
    with pytest.raises(RestnetError, match="norm was tuned and stands behind no convolution of its own"):
        norms.refolded(before, tuned(before))
    assert norms.refolded(before, variant.with_weights(before, {})) == ()  # untuned, it is in nobody's way
