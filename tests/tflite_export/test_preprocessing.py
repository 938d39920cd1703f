"""Modes as factors and offsets, against the layers that stand before Keras' own networks."""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pytest

from restnet_tf.anchors import preprocess
from tflite_export import preprocessing
from tflite_export.errors import TfliteError


def test_the_modes_are_those_of_anchors():
    assert preprocessing.MODES == preprocess.MODES


@pytest.mark.slow
@pytest.mark.parametrize("mode", preprocessing.MODES)
def test_a_mode_does_what_its_layers_do(mode: str):
    image = np.random.default_rng(0).uniform(0, 255, (1, 4, 5, 3)).astype(np.float32)
    expected = image
    for layer in preprocess.layers(mode, 3):
        expected = np.asarray(layer(expected))
    one = preprocessing.of_mode(mode, 3)
    np.testing.assert_allclose(image @ one.kernel + one.offsets, expected, rtol=1e-5, atol=1e-5)
    assert one.neutral == (mode == "none")
    assert one.uniform == (mode in ("none", "0to1", "-1to1"))
    assert preprocessing.of_range(*one.range, 3) == mode


def test_no_mode_fills_any_other_range():
    assert preprocessing.of_range(-10, 10, 3) is None
    assert preprocessing.of_range(*preprocessing.of_mode("imagenet", 3).range, 1) is None


def test_unknown_modes_and_colours_that_are_not_there_are_refused():
    with pytest.raises(TfliteError, match="unknown preprocessing 'tf'; it is one of none, 0to1"):
        preprocessing.of_mode("tf", 3)
    with pytest.raises(TfliteError, match=r"'caffe' is for RGB, but the network takes 1 channel"):
        preprocessing.of_mode("caffe", 1)
