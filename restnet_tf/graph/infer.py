"""Whole models over images: compiled, in batches that memory can hold."""

from __future__ import annotations

import time
from collections.abc import Callable
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import keras

_BATCH, _LEAST_BATCH = 128, 8
_TIMED, _TIMED_S = 4, 1.0  # batches that are timed, and seconds after which no more are
_VALUES = 2**22  # of the images of a batch: 27 of 224x224, as many as fit a batch of 32x32


def batch_size(shape: tuple[int, ...], most: int = _BATCH) -> int:
    """How many images ``(h, w, c)`` to run at once."""
    return max(_LEAST_BATCH, min(most, _VALUES // prod(shape)))


def compiled(model: keras.Model) -> Callable[[Any], Any]:
    """The model as one function for inference.

    Called layer by layer, Keras holds what every layer puts out until the last is done: 20 GB for 128 images in
    EfficientNetB4. TensorFlow's graph frees what nothing needs any more. It is traced once, for batches of any size.
    """
    import tensorflow as tf

    (given,) = model.inputs
    signature = [tf.TensorSpec([None, *given.shape[1:]], tf.float32)]
    return tf.function(lambda x: model(x, training=False), signature, autograph=False)


def seconds(model: keras.Model, shape: tuple[int, ...], most: int = _BATCH) -> float:
    """What an image ``(h, w, c)`` takes here: the fastest batch of a few, as other work here holds up some for long."""
    run, batch = compiled(model), batch_size(shape, most)
    images = np.zeros((batch, *shape), np.float32)
    np.asarray(run(images))
    clock = [time.perf_counter()]
    while len(clock) <= _TIMED and clock[-1] - clock[0] < _TIMED_S:
        np.asarray(run(images))
        clock.append(time.perf_counter())
    return float(np.diff(clock).min()) / batch
