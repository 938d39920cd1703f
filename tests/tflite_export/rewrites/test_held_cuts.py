"""Cuts in a rewritten stream: whatever stitch joins them, the route is the one that Keras runs."""

from __future__ import annotations

from functools import cache

import keras
import numpy as np
import pytest
from networks import forward
from outliers import LOUD, WIDTH, images, transformer

from restnet_tf.graph import cuts
from restnet_tf.records import Layout, Stitch
from restnet_tf.stitches import stitch
from tflite_export import link
from tflite_export.convert import compile_object
from tflite_export.precision import INPUT_KEY
from tflite_export.rewrites import centring
from tflite_export.rewrites.holding import Holding
from tflite_export.verify import run

pytestmark = pytest.mark.slow
STOP, START = "block1.attention", "block1.out"
layers = keras.layers


@cache
def centred() -> keras.Model:
    model = keras.models.clone_model(transformer())
    model.set_weights(transformer().get_weights())
    assert centring.centre(model, images(2)) == 1
    return model


@cache
def obj(*, lower: tuple[str, ...] = ()) -> link.Object:
    ends = {name: cuts.tensor(centred(), name) for name in (STOP, START)}
    return link.Object(compile_object(centred(), ends, "int8", [images(64)], lower=lower))


@cache
def joining(hidden: bool) -> Stitch:
    """Near to the identity, with a mean of its own that the back's norms take away."""
    rng = np.random.default_rng(3)
    kernel = np.eye(WIDTH) + rng.normal(0, 0.05, (WIDTH, WIDTH))
    bias = rng.normal(2, 0.1, WIDTH)
    layout = Layout((17, WIDTH), (4, 4))
    one = Stitch(kernel.astype(np.float32), bias.astype(np.float32), layout, layout, (None, None), {})
    if not hidden:
        return one
    wide = stitch.widened(one, features(), seed=1)
    kernel = wide.kernel.copy()
    kernel[WIDTH:] = rng.normal(0, 0.05, kernel[WIDTH:].shape)
    return Stitch(kernel, wide.bias, layout, layout, (None, None), wide.parts)


def features() -> np.ndarray:
    return forward(cuts_of(STOP), images(64))


def cuts_of(name: str) -> keras.Model:
    return keras.Model(centred().input, cuts.tensor(centred(), name))


def exact(joint: Stitch) -> np.ndarray:
    back = cuts.between(centred(), cuts.tensor(centred(), START), centred().output)
    return forward(back, stitch.applied(joint, features()[:32]))


def decibels(route: link.Route, expected: np.ndarray) -> float:
    rough = run(link.variant(route, precision="int8"), [images(64)[:32]]).scores
    return float(10 * np.log10((expected**2).sum() / ((rough - expected) ** 2).sum()))


def test_centring_is_exact_and_leaves_no_mean():
    x = images(4)
    np.testing.assert_allclose(forward(centred(), x), forward(transformer(), x), atol=1e-4)
    assert np.abs(forward(cuts_of(START), x).mean(axis=-1)).max() < 1e-5
    assert np.abs(features()[..., LOUD]).max() > 10
    again = [np.asarray(w) for w in centred().weights]
    centring.centre(centred(), x)
    for before, after in zip(again, centred().weights, strict=True):
        np.testing.assert_allclose(before, after, atol=1e-5)


def test_an_uncentred_anchor_keeps_its_cuts_and_means():
    ends = {name: cuts.tensor(transformer(), name) for name in (STOP, START)}
    assert link.Object(compile_object(transformer(), ends, "int8", [images(8)])).holdings == {}


def test_an_object_says_how_it_holds_its_cuts():
    factors = tuple(2 if channel == LOUD else 1 for channel in range(WIDTH))
    assert obj().holdings == dict.fromkeys((STOP, START), Holding(factors, centred=True))
    assert obj().cut(START).shape == (1, 17, WIDTH + 3)
    assert obj(lower=("l2_normalization",)).holdings == {}


@pytest.mark.parametrize("hidden", [False, True])
def test_a_route_through_held_cuts_is_that_of_keras(hidden):
    joint = joining(hidden)
    routes = {
        lower: link.Route(obj(lower=lower), STOP, stitch.pipeline(joint), obj(lower=lower), START)
        for lower in ((), ("l2_normalization",))
    }
    plain, better = (decibels(routes[lower], exact(joint)) for lower in (("l2_normalization",), ()))
    assert better > max(plain + 3, 15)


def test_a_back_of_its_own_holds_its_cuts_as_the_anchor_and_shares_its_integers():
    own = cuts.between(centred(), cuts.tensor(centred(), START), centred().output)
    holdings = dict(obj().holdings) | {INPUT_KEY: obj().holdings[START]}
    delivered = stitch.applied(joining(False), features())
    content = compile_object(own, {}, "int8", [delivered], limits=(-np.inf, np.inf), holdings=holdings)
    back = link.Object(content, weights_of=obj())
    assert back.holdings == {INPUT_KEY: obj().holdings[START]}
    route = link.Route(obj(), STOP, stitch.pipeline(joining(False)), back)
    assert decibels(route, exact(joining(False))) > 20
    shared = {id(t.buffer) for t in obj().graph.tensors if t.constant}
    weights = [t for t in back.graph.tensors if t.constant and t.type == "INT8"]
    assert len(weights) > 5
    assert all(id(t.buffer) in shared for t in weights)


def test_a_front_gives_what_its_channels_are_made_of():
    route = link.Route(obj())
    content = link.front(route, STOP, precision="int8")
    held = run(content, [images(64)]).scores.reshape(64, 17, -1)
    off = held @ obj().holdings[STOP].reads - features()
    assert np.abs(off).max() < 0.03 * np.abs(features()).max()


def test_tuned_norms_keep_all_integers_but_those_of_the_layers_behind_them():
    """The converter folds a norm's factors into what reads it alone."""
    own = keras.models.clone_model(cuts.between(centred(), cuts.tensor(centred(), START), centred().output))
    own.set_weights(cuts.between(centred(), cuts.tensor(centred(), START), centred().output).get_weights())
    norms = [layer for layer in own.layers if isinstance(layer, layers.LayerNormalization)]
    for layer in norms:
        layer.gamma.assign(layer.gamma * np.random.default_rng(4).uniform(0.7, 1.4, WIDTH))
    delivered = stitch.applied(joining(False), features())
    holdings = link.holdings_from(obj(), START)
    content = compile_object(own, {}, "int8", [delivered], limits=(-np.inf, np.inf), holdings=holdings)
    back = link.Object(content, weights_of=obj())
    shared = {id(t.buffer) for t in obj().graph.tensors if t.constant}
    weights = [op.inputs[1] for op in back.graph.operators if op.name == "FULLY_CONNECTED"]
    alone = [t for t in weights if t is not None and id(t.buffer) not in shared]
    # Query, key, value, the widening layer; the head where the last norm is folded into it.
    assert len(weights) == 7
    assert len(alone) in (4, 5)
