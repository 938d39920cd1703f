"""Real values to a tensor's own integers and back, as TensorFlow Lite does it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tflite_export.errors import TfliteError


def quantise(values: np.ndarray, details: Mapping[str, Any]) -> np.ndarray:
    """Convert real values to a tensor's own type: round(value / scale) + zero point, clipped.

    Halves are rounded away from zero, in float32, as TensorFlow Lite's QUANTIZE does. ``details``
    are LiteRT's, of the tensor. Raises TfliteError for values that are not finite.
    """
    real = np.asarray(values, np.float32)
    check_finite(real, repr(details["name"]))
    dtype = np.dtype(details["dtype"])
    if dtype.kind == "f":
        return real.astype(dtype)
    scale, zero_point = _scale(details)
    ratio = real / np.float32(scale)
    rounded = np.trunc(ratio + np.copysign(np.float32(0.5), ratio)) + zero_point
    limits = np.iinfo(dtype)
    return np.clip(rounded, limits.min, limits.max).astype(dtype)


def dequantise(values: np.ndarray, details: Mapping[str, Any]) -> np.ndarray:
    """Convert a tensor's values to float32: (value - zero point) * scale."""
    if values.dtype.kind == "f":
        return values.astype(np.float32)
    scale, zero_point = _scale(details)
    return (values.astype(np.int32) - zero_point).astype(np.float32) * np.float32(scale)


def check_finite(values: np.ndarray, name: str) -> None:
    """Refuse (TfliteError) NaN and infinity: a network answers them with scores that look like any others.

    ``name`` is what the values are for, as the message calls it.
    """
    odd = np.size(values) - int(np.count_nonzero(np.isfinite(values)))
    if odd:
        raise TfliteError(
            f"{odd} of {np.size(values)} values for {name} are not finite (NaN or infinite);"
            " look for a division by zero or a broken file where they come from"
        )


def _scale(details: Mapping[str, Any]) -> tuple[float, int]:
    scale, zero_point = details["quantization"]
    if not scale:
        raise TfliteError(f"{details['name']!r} is {np.dtype(details['dtype'])} but has no scale")
    return float(scale), int(zero_point)
