"""What a float file's tensors hold on images: all of them, or what its last operators read and give."""

from __future__ import annotations

from functools import cache

import keras
import numpy as np
import pytest
from keras import layers
from networks import forward

from tflite_export.convert import convert
from tflite_export.flatbuffer import only, read
from tflite_export.observation import observed

pytestmark = pytest.mark.slow
LAST = 2


@cache
def network() -> keras.Model:
    keras.utils.set_random_seed(0)
    image = keras.Input((6, 6, 3))
    x = layers.Conv2D(4, 3, activation="relu", name="first")(image)
    x = layers.Conv2D(5, 3, activation="relu", name="second")(layers.Conv2D(4, 1, name="middle")(x))
    return keras.Model(image, layers.Flatten()(x))


def images() -> np.ndarray:
    return np.random.default_rng(1).uniform(0, 255, (40, 1, 6, 6, 3)).astype(np.float32)


@cache
def file() -> bytes:
    return convert(network(), "float32")


def test_ranges_are_of_all_images_and_means_of_some():
    seen, graph = observed(file(), [*images()]), only(read(file()))
    values = forward(keras.Model(network().input, network().get_layer("first").output), images()[:, 0])
    place = next(i for i, t in enumerate(graph.tensors) if t is graph.operators[0].outputs[0])
    spread = seen.spreads[place]
    assert spread is not None
    assert (spread.low, spread.high) == pytest.approx((values.min(), values.max()))
    assert spread.counts.sum() == values[::2].size
    behind = seen.means[graph.operators[1].outputs[0].name]
    np.testing.assert_allclose(behind, values[::2].mean((0, 1, 2)), rtol=1e-5)


def test_what_the_last_operators_touch_is_alone_observed_and_the_same():
    whole, part = observed(file(), [*images()]), observed(file(), [*images()], last=LAST, counting=False)
    graph = only(read(file()))
    ends = {id(t) for op in graph.operators[-LAST:] for t in (*op.inputs, *op.outputs)}
    assert sum(id(t) in ends and not t.constant for t in graph.tensors) == LAST + 1
    for tensor, before, spread in zip(graph.tensors, whole.spreads, part.spreads, strict=True):
        if id(tensor) in ends and not tensor.constant:
            assert spread is not None
            assert before is not None
            assert (spread.low, spread.high) == (before.low, before.high)
            assert not spread.counts.any()
        else:
            assert spread is None or tensor is graph.inputs[0]
    names = [op.outputs[0].name for op in graph.operators[-LAST:] if op.outputs[0].name in whole.means]
    assert list(part.means) == names
    assert names
    assert all(np.array_equal(part.means[name], whole.means[name]) for name in names)
