"""What networks of one structure share, and what tells two structures apart."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import networks
import numpy as np
import pytest

from restnet_tf.graph import cuts, infer, structure
from restnet_tf.graph.tokens import PositionBias

layers = keras.layers


def net(*stack: Any, shape: tuple[int, ...] = (4, 4, 2)) -> keras.Model:
    x = image = keras.Input(shape)
    for layer in stack:
        x = layer(x)
    return keras.Model(image, x)


def key(model: keras.Model) -> str:
    of = structure.of(model)
    assert of is not None
    return of.key


def test_names_weights_and_how_these_were_drawn_tell_nothing_apart() -> None:
    one, two = (networks.anchor(seed=seed, name=f"net{seed}").model for seed in (0, 1))
    assert key(one) == key(two) == key(keras.models.clone_model(one))
    drawn = (layers.Dense(3, kernel_initializer=how, name=f"dense_{how}") for how in ("zeros", "ones"))
    assert len({key(net(layer)) for layer in drawn}) == 1


def conv(**how: Any) -> keras.Model:
    return net(layers.Conv2D(3, 3, **{"padding": "same", **how}))


def twice(shared: bool) -> keras.Model:
    """Two convolutions of the same kind, or one that is called twice."""
    first = layers.Conv2D(2, 3, padding="same")
    return net(first, first if shared else layers.Conv2D(2, 3, padding="same"))


def joined(a: int, b: int, outputs: Callable[[Any], Any] = lambda x: x) -> keras.Model:
    image = keras.Input((4, 4, 2))
    parts = [layers.ReLU()(image), layers.Softmax()(image)]
    return keras.Model(image, outputs(layers.Subtract()([parts[a], parts[b]])))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (conv(), conv(activation="relu")),
        (conv(), conv(strides=2)),
        (conv(), conv(use_bias=False)),
        (conv(), conv(dtype="mixed_float16")),
        (conv(), net(layers.Conv2D(3, 3, padding="same"), shape=(6, 4, 2))),
        (net(layers.BatchNormalization()), net(layers.BatchNormalization(epsilon=0.1))),
        (net(layers.Rescaling(0.1)), net(layers.Rescaling(0.2))),
        (net(layers.Conv2D(2, 1)), net(keras.Sequential([keras.Input((4, 4, 2)), layers.Conv2D(2, 1)]))),
        (twice(True), twice(False)),
        (joined(0, 1), joined(1, 0)),
        (joined(0, 1), joined(0, 1, lambda x: {"a": x})),
        (joined(0, 1, lambda x: {"b": x}), joined(0, 1, lambda x: {"a": x})),
        (net(lambda x: x + 1.0), net(lambda x: x + 2.0)),
        (net(lambda x: x[:, 1:]), net(lambda x: x[:, :-1])),
        (net(PositionBias(), shape=(5, 2)), net(layers.Identity(), shape=(5, 2))),
    ],
)
def test_what_decides_answers_tells_apart(one: keras.Model, other: keras.Model) -> None:
    assert key(one) != key(other)


def adapted() -> keras.Model:
    layer = layers.Normalization()
    layer.adapt(networks.images(4, side=4, channels=2))
    return net(layer)


@pytest.mark.parametrize(
    "hidden",
    [
        adapted,
        lambda: net(layers.Lambda(lambda x: x)),
        lambda: net(layers.Dense(2, activation=lambda x: x * 2)),
        lambda: net(type("Own", (layers.Layer,), {"call": lambda self, x: x})()),
        lambda: net(lambda x: x + np.arange(2.0)),
    ],
)
def test_what_neither_configuration_nor_weights_tell_has_no_structure(hidden: Callable[[], keras.Model]) -> None:
    assert structure.of(hidden()) is None


def test_variables_come_in_the_order_of_the_calls_each_once() -> None:
    of = structure.of(twice(True))
    assert of is not None
    assert [tuple(v.shape) for v in of.variables] == [(3, 3, 2, 2), (2,)]


def test_a_network_of_a_structure_that_was_traced_answers_with_its_own_weights_as_they_stand() -> None:
    infer.forget()
    x = networks.images(5).astype(np.float32)
    for seed in (0, 1):
        model = networks.anchor(seed=seed).model
        run = infer.compiled(model)
        np.testing.assert_allclose(run(x), networks.forward(model, x), atol=1e-6)
        model.set_weights([0.5 * w for w in model.get_weights()])
        np.testing.assert_allclose(run(x), networks.forward(model, x), atol=1e-6)
    assert len(infer._kept) == 1


def test_what_was_traced_is_let_go_of_the_oldest_first(monkeypatch: pytest.MonkeyPatch) -> None:
    infer.forget()
    anchor, x = networks.anchor(), networks.images(2)
    runs = [infer.compiled(cuts.front(anchor, cut.name)) for cut in cuts.find(anchor.model)[:2]]
    [run(x) for run in runs]
    assert len(infer._kept) == 2
    newest = [*infer._kept][-1]
    monkeypatch.setattr(infer, "_KEPT_OPERATIONS", 1)
    runs[1](x)
    assert [*infer._kept] == [newest]
    assert runs[0](x).shape[0] == 2
