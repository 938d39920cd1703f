"""Working memory that CMSIS-NN's int8 kernels want for a layer, as bounds of what its buffer-size functions say.

Source: ``arm_convolve_get_buffer_sizes_s8.c`` and ``arm_depthwise_conv_get_buffer_sizes_s8.c`` of CMSIS-NN 7; a kernel
that wants more in another version says so when it runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tflite_export.plainc.layers import CLayer

_LANES = 16  # numbers in a register of Helium
_BLOCK = 124  # channels that a depthwise convolution takes at once there


def conv(window: Mapping[str, Any], helium: bool) -> int:
    """Four columns of what the filter sees: of 8 bits with Helium, two of 16 bits without."""
    seen = window["kernel_h"] * window["kernel_w"] * window["in_c"]
    return 4 * (-(-seen // (_LANES if helium else 4)) * (_LANES if helium else 4))


def depthwise(window: Mapping[str, Any], helium: bool) -> int:
    """A column of 16 bits, or four of a block of channels with Helium."""
    taps = window["kernel_h"] * window["kernel_w"]
    if not helium:
        return 2 * window["in_c"] * taps
    return max(4 * _BLOCK * taps, conv(window, True) + window["out_c"] * taps)


def average_pool(window: Mapping[str, Any], helium: bool) -> int:
    """A sum of 32 bits for each channel."""
    return 4 * window["in_c"]


_BY_KERNEL: Mapping[str, Callable[[Mapping[str, Any], bool], int]] = {
    "conv": conv,
    "depthwise": depthwise,
    "average_pool": average_pool,
}


def wanted(layer: CLayer, helium: bool) -> int:
    """Bytes that a layer's kernel may want on a core with or without Helium (MVE)."""
    return _BY_KERNEL[layer.kernel](layer.record["window"], helium) if layer.kernel in _BY_KERNEL else 0
