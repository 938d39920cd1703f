"""What each family does to raw 0..255 RGB before its first layer, as Keras layers.

The arithmetic is that of ``keras.applications.<family>.preprocess_input`` (keras
``applications/imagenet_utils.py``); folded into the model it reaches the TFLite file too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from restnet_tf.records import RestnetError

if TYPE_CHECKING:
    import keras

MODES = ("none", "0to1", "-1to1", "imagenet", "caffe")

# Module of keras.applications -> mode. "none": the family's own graph starts with its preprocessing.
FAMILY_MODES = {
    "convnext": "none",
    "densenet": "imagenet",
    "efficientnet": "none",
    "efficientnet_v2": "none",
    "inception_resnet_v2": "-1to1",
    "inception_v3": "-1to1",
    "mobilenet": "-1to1",
    "mobilenet_v2": "-1to1",
    "mobilenet_v3": "none",
    "nasnet": "-1to1",
    "resnet": "caffe",
    "resnet_v2": "-1to1",
    "vgg16": "caffe",
    "vgg19": "caffe",
    "xception": "-1to1",
}

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
CAFFE_MEAN_BGR = (103.939, 116.779, 123.68)


def translated(images: np.ndarray, given: str, mode: str) -> np.ndarray:
    """What a model that begins with ``given`` has to be fed so that the rest of it sees what ``mode`` makes of images.

    ``images`` and the result are float32 ``(n, h, w, c)``, of raw 0..255.
    """
    scale, offset = _affine(mode)
    seen = _turned(images, mode) * scale + offset
    scale, offset = _affine(given)
    return _turned(((seen - offset) / scale).astype("float32"), given)


def usable(channels: int) -> tuple[str, ...]:
    """The modes for images of so many channels."""
    return MODES if channels == 3 else MODES[:3]


def _affine(mode: str) -> tuple[np.ndarray, np.ndarray]:
    """What values are multiplied by, and what is added then; of channels in the order that the mode makes."""
    one, mean, std = np.ones(1), np.array(IMAGENET_MEAN), np.array(IMAGENET_STD)
    return {
        "none": (one, 0 * one),
        "0to1": (one / 255, 0 * one),
        "-1to1": (one / 127.5, -one),
        "imagenet": (1 / (255 * std), -mean / std),
        "caffe": (one, -np.array(CAFFE_MEAN_BGR)),
    }[mode]


def _turned(images: np.ndarray, mode: str) -> np.ndarray:
    """RGB to BGR and back where the mode turns them."""
    return images[..., ::-1] if mode == "caffe" else images


def layers(mode: str, channels: int) -> list[keras.layers.Layer]:
    """Give the layers that turn raw ``(n, h, w, channels)`` 0..255 into what ``mode`` expects.

    Raises RestnetError for an unknown mode, and for ``imagenet`` and ``caffe`` on other than RGB.
    """
    import keras

    if mode not in MODES:
        raise RestnetError(f"unknown preprocessing {mode!r}; it is one of {', '.join(MODES)}")
    if mode in ("imagenet", "caffe") and channels != 3:
        raise RestnetError(f"preprocessing {mode!r} is for RGB, but the model takes {channels} channel(s)")
    if mode == "none":
        return []
    if mode == "0to1":
        return [keras.layers.Rescaling(1 / 255, name="preprocess")]
    if mode == "-1to1":
        return [keras.layers.Rescaling(1 / 127.5, -1.0, name="preprocess")]
    if mode == "imagenet":
        scale = [1 / (255 * s) for s in IMAGENET_STD]
        offset = [-m / s for m, s in zip(IMAGENET_MEAN, IMAGENET_STD, strict=True)]
        return [keras.layers.Rescaling(scale, offset, name="preprocess")]
    return [_flip_and_centre()]


def _flip_and_centre() -> keras.layers.Layer:
    """RGB to BGR minus the mean as a frozen 1x1 convolution ``(n, h, w, 3) -> (n, h, w, 3)``.

    One CONV_2D runs on every target; REVERSE_V2, which a channel flip would become, does not.
    The products are with 0 and 1, so in float32 the result is that of the subtraction, bit for bit.
    """
    import keras

    layer = keras.layers.Conv2D(3, 1, trainable=False, name="preprocess")
    layer.build((None, None, None, 3))
    layer.set_weights([np.eye(3, dtype="float32")[::-1][None, None], -np.array(CAFFE_MEAN_BGR, "float32")])
    return layer
