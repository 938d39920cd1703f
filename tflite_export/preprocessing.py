"""What a network expects of raw 0..255 images, as one factor and one offset a channel.

The modes are those of ``keras.applications`` (``imagenet_utils.preprocess_input``), of timm and torchvision.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tflite_export.errors import TfliteError
from tflite_export.inputs import RAW

_MEAN, _STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
_MEAN_BGR = np.array([103.939, 116.779, 123.68])
# How far a quantised range may lie from a mode's own, as a share of its width.
_SLACK = 0.02


@dataclass(frozen=True, eq=False)
class Preprocessing:
    """``image * factors + offsets``, with the channels ``reversed`` before; both ``(c,)`` float64."""

    factors: np.ndarray
    offsets: np.ndarray
    reversed: bool = False

    @property
    def neutral(self) -> bool:
        """Whether it changes nothing."""
        return self.uniform and (self.factors[0], self.offsets[0]) == (1, 0)

    @property
    def uniform(self) -> bool:
        """Whether one factor and one offset stand for all channels, each in its place."""
        return not self.reversed and len(set(self.factors)) == len(set(self.offsets)) == 1

    @property
    def range(self) -> tuple[float, float]:
        """The least and the greatest value that it makes of a raw image."""
        low, high = RAW
        return float((self.factors * low + self.offsets).min()), float((self.factors * high + self.offsets).max())

    @property
    def kernel(self) -> np.ndarray:
        """Its factors as a 1x1 convolution ``(c_in, c_out)``; the offsets are its bias."""
        kernel = np.diag(self.factors)
        return kernel[::-1] if self.reversed else kernel


def _modes(channels: int) -> dict[str, Preprocessing]:
    one = np.ones(channels)
    modes = {
        "none": Preprocessing(one, 0 * one),
        "0to1": Preprocessing(one / 255, 0 * one),
        "-1to1": Preprocessing(one / 127.5, -one),
    }
    if channels == 3:
        modes["imagenet"] = Preprocessing(1 / (255 * _STD), -_MEAN / _STD)
        modes["caffe"] = Preprocessing(one, -_MEAN_BGR, reversed=True)
    return modes


MODES = tuple(_modes(3))


def of_mode(mode: str, channels: int) -> Preprocessing:
    """What a mode does to images of so many channels.

    Raises TfliteError for an unknown mode, and for ``imagenet`` and ``caffe`` on other than RGB.
    """
    if mode not in MODES:
        raise TfliteError(f"unknown preprocessing {mode!r}; it is one of {', '.join(MODES)}")
    modes = _modes(channels)
    if mode not in modes:
        raise TfliteError(f"preprocessing {mode!r} is for RGB, but the network takes {channels} channel(s)")
    return modes[mode]


def of_range(low: float, high: float, channels: int) -> str | None:
    """The mode whose values fill a range, such as that of a quantised input; None where none does."""
    for mode, preprocessing in _modes(3 if channels == 3 else 1).items():
        least, most = preprocessing.range
        if max(abs(least - low), abs(most - high)) <= _SLACK * (most - least):
            return mode
    return None
