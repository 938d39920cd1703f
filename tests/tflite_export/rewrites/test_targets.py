"""Targets without the operator refuse it with what would work; the others take it."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from outliers import images

from tflite_export.convert import convert
from tflite_export.devices.devices import DEVICES
from tflite_export.devices.rules import refusals

pytestmark = pytest.mark.slow


def content(*lower: str) -> bytes:
    keras.utils.set_random_seed(1)
    image = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(8, 4, strides=4)(keras.layers.Rescaling(1 / 32, -4)(image))
    x = keras.layers.Flatten()(keras.layers.LayerNormalization(epsilon=1e-9)(x))
    model = keras.Model(image, keras.layers.Softmax()(keras.layers.Dense(5)(x)))
    return convert(model, "int8", [np.rint(images(8))], lower=lower)


def reasons(device: str, file: bytes) -> list[str]:
    target = DEVICES[device].target
    assert target is not None
    return [str(refusal) for refusal in refusals(file, target.rules, "int8")]


def test_who_takes_it_and_what_the_others_say():
    file = content()
    for device in ("tflm", "coral", "android", "c"):
        assert reasons(device, file) == []
    (refusal,) = reasons("ethos-u55-128", file)
    assert refusal.startswith("L2_NORMALIZATION is not in Ethos-U55-128: rebuild with --lower l2_normalization")
    assert reasons("ethos-u55-128", content("l2_normalization")) == []
