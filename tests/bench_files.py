"""Small files that the tests of the device runners share; built in code, in seconds."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from keras import layers

from tflite_export.convert import convert
from tflite_export.devices.subjects import Subject
from tflite_export.flatbuffer import read, write

IMAGES = np.random.default_rng(2).uniform(0, 255, (12, 16, 16, 3)).astype(np.float32)


def network(activation: str = "relu", units: int = 5) -> keras.Model:
    """Two convolutions, a pooling and a softmax."""
    keras.utils.set_random_seed(4)
    image = keras.Input((16, 16, 3))
    x = layers.Conv2D(8, 3, padding="same", activation=activation)(layers.Rescaling(1 / 255)(image))
    x = layers.Conv2D(8, 3, strides=2, padding="same", activation="relu")(x)
    return keras.Model(image, layers.Dense(units, activation="softmax")(layers.Flatten()(x)))


def files(precisions: Sequence[str], activation: str = "relu") -> dict[str, Subject]:
    """The network as point ``p`` in each precision."""
    return {precision: Subject("p", precision, _converted(precision, activation)) for precision in precisions}


def elastic() -> Subject:
    """Two signatures, a subgraph each."""
    model, other = (read(_converted("int8", "relu")) for _ in range(2))
    other.signatures[0].key = "second"
    model.subgraphs += other.subgraphs
    model.signatures += other.signatures
    return Subject("elastic", "int8", write(model))


def softmax_of_equals(classes: int) -> Subject:
    """An int8 softmax over so many equal values."""
    image = keras.Input((16, 16, 3))
    dense = layers.Dense(classes, activation="softmax", kernel_initializer="zeros")
    model = keras.Model(image, dense(layers.GlobalAveragePooling2D()(image)))
    return Subject("equal", "int8", convert(model, "int8", [IMAGES]))


@cache
def _converted(precision: str, activation: str) -> bytes:
    return convert(network(activation), precision, [IMAGES])
