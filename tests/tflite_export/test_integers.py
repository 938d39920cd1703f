"""Real values to integers and back, worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from tflite_export.errors import TfliteError
from tflite_export.integers import dequantise, quantise


def _details(dtype, scale, zero_point) -> dict:
    return {"name": "t", "dtype": dtype, "quantization": (scale, zero_point)}


def test_quantise_worked_out_by_hand():
    values = np.array([0, 0.24, 0.25, -0.25, 0.75, 60, 65.4, 65.6, 500, -62.5, -63, -500], np.float32)
    # value / 0.5, halves away from zero, minus 3, kept within -128..127.
    expected = [-3, -3, -2, -4, -1, 117, 127, 127, 127, -128, -128, -128]
    found = quantise(values, _details(np.int8, 0.5, -3))
    assert found.dtype == np.int8
    assert found.tolist() == expected


def test_quantise_keeps_each_types_own_limits():
    values = np.array([-5, 255, 300], np.float32)
    assert quantise(values, _details(np.uint8, 1.0, 0)).tolist() == [0, 255, 255]
    assert quantise(values * 1000, _details(np.int16, 1.0, 0)).tolist() == [-5000, 32767, 32767]
    assert quantise(values, _details(np.float32, 0.0, 0)).tolist() == [-5, 255, 300]


def test_dequantise_worked_out_by_hand():
    found = dequantise(np.array([-128, 0, 127], np.int8), _details(np.int8, 1 / 256, -128))
    assert found.dtype == np.float32
    assert found.tolist() == [0, 0.5, 255 / 256]


def test_dequantise_does_not_overflow_the_integer_type():
    found = dequantise(np.array([32767, -32768], np.int16), _details(np.int16, 2.0, 100))
    assert found.tolist() == [65334, -65736]


def test_integer_tensor_without_scale_is_refused():
    with pytest.raises(TfliteError, match="'t' is int8 but has no scale"):
        quantise(np.zeros(2), _details(np.int8, 0.0, 0))


@pytest.mark.parametrize("dtype", [np.float32, np.int8])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused(dtype, value):
    with pytest.raises(TfliteError, match="2 of 3 values for 't' are not finite"):
        quantise(np.array([1, value, value]), _details(dtype, 1.0, 0))
