"""Folding a stitch: the same outputs for fewer MACs, and only where nothing else reads it."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from restnet_tf.records import Layout, Stitch
from restnet_tf.stitches.stitch import pipeline
from tflite_export import convert, fold, link, macs
from tflite_export.fragment import Runner
from tflite_export.link import Object, Route

pytestmark = pytest.mark.slow

layers = keras.layers
IMAGES = np.random.default_rng(0).uniform(0, 255, (4, 8, 8, 3)).astype(np.float32)


def network(width: int, tail: str, clamped: bool = False) -> tuple[keras.Model, str]:
    """Ends its first block at the layer ``cut``, which ``tail`` reads."""
    keras.utils.set_random_seed(width)
    image = keras.Input((8, 8, 3))
    x = layers.Conv2D(width, 3, padding="same", name="cut", activation="relu" if clamped else None)(
        layers.Rescaling(1 / 255)(image)
    )
    if tail == "pointwise":
        y = layers.Conv2D(4 * width, 1, strides=2, activation="relu")(x)
    elif tail == "wide":
        y = layers.Conv2D(4 * width, 3, padding="same")(x)
    elif tail == "skip":
        y = layers.Add()([x, layers.Conv2D(width, 1)(x)])
    else:
        y = layers.Conv2D(4 * width, 1)(x)
    y = layers.GlobalAveragePooling2D()(y)
    model = keras.Model(image, layers.Softmax()(layers.Dense(3)(y)), name=f"n{width}")
    for weight in model.weights:
        if len(weight.shape) == 1:
            weight.assign(np.random.default_rng(1).normal(0, 0.2, weight.shape))
    return model, "cut"


def compiled(model: keras.Model, cut: str, precision: str = "float32") -> Object:
    tensor = model.get_layer(cut).output
    return Object(convert.compile_object(model, {cut: tensor}, precision, [IMAGES]))


def joined(tail: str, widths: tuple[int, int] = (6, 6), precision: str = "float32", *, clamped: bool = False) -> Route:
    front, back = (compiled(*network(w, t, clamped), precision) for w, t in zip(widths, ("plain", tail), strict=True))
    rng = np.random.default_rng(3)
    clamp = (0.0, None) if clamped else (None, None)
    ends = (Layout((8, 8, w)) for w in widths)
    stitch = Stitch(rng.normal(0, 0.4, widths).astype("f4"), rng.normal(0, 1, widths[1]).astype("f4"), *ends, clamp)
    return Route(front, "cut", pipeline(stitch), back, "cut")


def cost(content: bytes) -> int:
    return macs.before_cuts(Object(content))[0]


@pytest.mark.parametrize("tail", ["pointwise", "plain"])
def test_a_fold_changes_no_output_and_saves_macs(tail):
    route = joined(tail)
    content, found = link.variant(route, precision="float32"), fold.variant(route, precision="float32")
    before, after = Runner(content)(IMAGES)[0], Runner(found.content)(IMAGES)[0]
    np.testing.assert_allclose(after, before, atol=1e-5)
    assert np.ptp(before[:, 0]) > 1e-3  # the images are told apart, so a lost stitch would show
    assert found.count == 1
    assert cost(content) - cost(found.content) == found.macs > 0
    assert len(content) - len(found.content) >= 4 * found.params > 0
    # The route is as it was: what is linked of it next has its stitch.
    assert link.variant(route, precision="float32") == content


@pytest.mark.parametrize("tail", ["skip", "wide"])
def test_what_else_is_read_or_has_padding_stays(tail):
    assert unfolded(joined(tail))


def test_a_clamp_stays():
    assert unfolded(joined("pointwise", clamped=True))


def test_a_fold_that_costs_more_stays():
    """From 30 channels by 4 to 16: one map of 30 x 16 is dearer than the two."""
    assert unfolded(joined("plain", (30, 4)))


def test_integers_stay():
    assert unfolded(joined("pointwise", precision="int8"), "int8")


def test_convolutions_of_the_anchors_stay():
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 1)(layers.Conv2D(4, 1)(image))
    model = keras.Model(image, layers.Softmax()(layers.GlobalAveragePooling2D()(x)))
    found = Object(convert.compile_object(model, {}, "float32", [IMAGES]))
    assert [op.name for op in found.graph.operators].count("CONV_2D") == 2
    assert unfolded(Route(found))


def unfolded(route: Route, precision: str = "float32") -> bool:
    found = fold.variant(route, precision=precision)
    return found == fold.Folded(link.variant(route, precision=precision), 0, 0, 0)
