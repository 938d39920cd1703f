"""Recurrent layers: loops, of which TensorFlow dies in int8, are refused in a line; written out they are taken."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers

from tflite_export import verify
from tflite_export.convert import convert
from tflite_export.errors import TfliteError

pytestmark = pytest.mark.slow
EVERYTHING = (-np.inf, np.inf)


def signals() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(16, 5, 3)).astype(np.float32)


def network(layer: layers.Layer) -> keras.Model:
    signal = keras.Input((5, 3))
    return keras.Model(signal, layers.Dense(4, activation="softmax")(layer(signal)), name="spoken")


@pytest.mark.parametrize("precision", ["int8", "float32"])
def test_a_loop_is_refused_with_what_works(precision: str):
    with pytest.raises(TfliteError) as refused:
        convert(network(layers.LSTM(8, name="memory")), precision, [signals()], limits=EVERYTHING)
    line = f"the layer 'memory' is a loop, which has no {precision} form; make it as LSTM(..., unroll=True), which"
    assert str(refused.value) == f"cannot convert 'spoken' to {precision}: {line} takes the same weights"


@pytest.mark.parametrize(
    ("kind", "precision"), [(layers.LSTM, "float32"), (layers.LSTM, "int8"), (layers.SimpleRNN, "int8")]
)
def test_what_is_advised_works(kind: type[layers.Layer], precision: str):
    keras.utils.set_random_seed(0)
    looped = network(kind(8))
    model = network(kind(8, unroll=True))
    model.set_weights(looped.get_weights())
    content = convert(model, precision, [signals()], limits=EVERYTHING)
    scores = verify.run(content, [signals()]).scores
    assert np.abs(scores - np.asarray(looped(signals()))).max() < 0.05


def test_what_works_works_each_time():
    """TensorFlow's quantiser leaves a split of floats now and then, by where in memory it put things."""
    keras.utils.set_random_seed(0)
    model = network(layers.LSTM(8, unroll=True))
    assert len({convert(model, "int8", [signals()], limits=EVERYTHING) for _ in range(8)}) == 1
