"""Residual streams held centred and split: the same answers, fewer operators and roundings."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from networks import forward
from outliers import WIDTH, images, transformer

from tflite_export.convert import convert
from tflite_export.flatbuffer import only, read
from tflite_export.rewrites import splitting
from tflite_export.rewrites.holding import Holding
from tflite_export.rewrites.rewritten import TOLERANCE, rewritten
from tflite_export.verify import run

pytestmark = pytest.mark.slow
layers = keras.layers


def operators(content: bytes) -> list[str]:
    return [operator.name for operator in only(read(content)).operators]


def sqnr(content: bytes, model: keras.Model) -> float:
    x = images(32)
    exact, rough = forward(model, x), run(content, [x]).scores
    return 10 * np.log10((exact**2).sum() / ((rough - exact) ** 2).sum())


@pytest.mark.parametrize("pooling", ["token", "mean"])
def test_a_transformer_is_rewritten_throughout(pooling):
    result = rewritten(transformer(pooling), "int8", (), list(np.split(images(), 16)))
    assert result.counts == {"norms": 5, "centred": 1, "split": 3}
    assert 0 < result.difference <= TOLERANCE
    assert result.left_out == {}
    stream = result.model.get_layer("block1.attention").output
    assert stream.shape[-1] == WIDTH + 3
    assert np.abs(forward(result.model, images(4)) - forward(transformer(pooling), images(4))).max() < 1e-4


def test_its_file_has_no_operator_for_means_and_is_near():
    model, x = transformer(), images()
    plain, better = (convert(model, "int8", [x], lower=lower) for lower in (["l2_normalization"], []))
    assert {"MEAN", "SUB", "RSQRT", "SQUARED_DIFFERENCE"}.isdisjoint(operators(better))
    assert operators(better).count("L2_NORMALIZATION") == 5
    assert len(operators(better)) < len(operators(plain)) - 25
    assert sqnr(better, model) > 28


def test_root_mean_squares_are_split_and_need_no_centring():
    result = rewritten(transformer(norm="root mean square"), "int8", (), list(np.split(images(), 16)))
    assert result.counts["norms"] == 5
    assert result.counts["split"] > 0
    assert "centred" not in result.counts
    assert result.difference <= TOLERANCE


def convnext(tail: layers.Layer | None = None) -> keras.Model:
    """A block whose norm reads a depthwise convolution, and one that reads the stream beside a convolution."""
    keras.utils.set_random_seed(2)
    x = image = keras.Input((16, 16, 3))
    x = layers.Conv2D(16, 4, strides=4, name="stem")(layers.Rescaling(1 / 32, -4)(x))
    x = layers.LayerNormalization(epsilon=1e-6, name="stem_norm")(x)
    y = layers.DepthwiseConv2D(3, padding="same")(x)
    y = layers.Dense(32, activation="relu")(layers.LayerNormalization(epsilon=1e-9)(y))
    x = layers.Add(name="block")([x, layers.Dense(16)(y)])
    x = layers.LayerNormalization(epsilon=1e-9)(layers.GlobalAveragePooling2D()(x))
    return keras.Model(image, layers.Dense(5)(x if tail is None else tail(x)))


def test_what_others_read_is_left_as_it_is():
    """The depthwise convolution maps no channels; the stem's output alone is read by a norm alone."""
    result = rewritten(convnext(), "int8", (), list(np.split(images(8), 8)))
    assert (result.counts["norms"], result.counts["centred"]) == (3, 1)
    assert result.difference <= TOLERANCE
    x = images(4)
    np.testing.assert_allclose(forward(result.model, x), forward(convnext(), x), atol=1e-4)


def test_a_step_that_answers_otherwise_is_left_out_and_told(monkeypatch):
    monkeypatch.setattr(Holding, "reads", property(lambda holding: 1.1 * holding._shares().T))
    result = rewritten(transformer(), "int8", (), list(np.split(images(), 16)))
    assert result.counts == {"norms": 5, "centred": 1}
    assert result.left_out.keys() == {"split"}
    assert min(result.left_out.values()) > TOLERANCE


def test_channels_are_split_where_that_narrows_the_tensors():
    peaks = np.ones((4, 48))
    assert splitting.factors(peaks) == (1,) * 48
    peaks[:, 7] = 1.9
    assert splitting.factors(peaks) == (*(1,) * 7, 2, *(1,) * 40)
    peaks[:, 7] = 100  # no more than a twelfth is added
    assert sum(k * k - 1 for k in splitting.factors(peaks)) <= 4
    assert splitting.factors(np.zeros((4, 48))) == (1,) * 48


def test_a_form_gives_back_what_it_holds():
    holding, x = Holding((1, 3, 2), centred=False), np.random.default_rng(0).normal(size=(5, 3))
    held = x @ holding.writes
    assert held.shape == (5, 14)
    np.testing.assert_allclose(held @ holding.reads, x)
    np.testing.assert_allclose(np.square(held).sum(1), np.square(x).sum(1))
    np.testing.assert_allclose(
        x @ Holding((1, 3, 2), centred=True).writes @ holding.reads, x - x.mean(1, keepdims=True)
    )
