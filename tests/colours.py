"""Networks that tell the strongest colour of noisy images: they know, without training, the surer the more they see.

The first sees few places of an image, the last all of them, so cascades of them are worth having.
"""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np

from tflite_export.convert import convert

layers = keras.layers
CLASSES, SIDE = 3, 8
# By role: every how many places it sees one, and how many channels it takes for that.
SEEN = {"small": (4, 3), "large": (2, 12), "larger": (1, 24)}
# How far the strongest colour stands out, easily or hardly, and what an image has beside; in grey values.
_EASY, _HARD, _NOISE = 90.0, 25.0, 60.0
_SURE = 20.0  # by which a score grows over the range of a colour


def images(n: int, *, side: int = SIDE, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Images ``(n, side, side, 3)`` uint8, easy and hard, and which colour is the strongest ``(n,)``."""
    rng = np.random.default_rng(seed)
    truth = np.arange(n) % CLASSES
    strength = np.where(rng.uniform(size=(n, 1, 1, 1)) < 0.6, _EASY, _HARD)
    x = 128 + strength * np.eye(CLASSES)[truth][:, None, None] + rng.normal(0, _NOISE, (n, side, side, 3))
    return x.clip(0, 255).round().astype(np.uint8), truth


def model(role: str, *, side: int = SIDE, softmax: bool = True, largest: float = 255.0) -> keras.Model:
    """A network of raw images; of such from 0 to ``largest`` where that is another."""
    strides, channels = SEEN[role]
    image = keras.Input((side, side, 3), name="image")
    colours = np.tile(np.eye(3, dtype=np.float32), (1, channels // 3))
    x = layers.Rescaling(1 / largest, name="rescale")(image)
    x = _weighted(layers.Conv2D(channels, 1, strides=strides, activation="relu", name="see"), x, colours)
    x = layers.GlobalAveragePooling2D(name="mean")(x)
    back = np.tile(_SURE * np.eye(3, dtype=np.float32), (channels // 3, 1)) / (channels // 3)
    x = _weighted(layers.Dense(CLASSES, name="logits"), x, back)
    return keras.Model(image, layers.Softmax(name="probabilities")(x) if softmax else x, name=role)


def written(folder: Path, n: int = 600) -> Path:
    """``small``, ``large`` and ``larger`` as ``.keras`` and as ``.tflite`` in float32 and int8, and ``data.npz``."""
    folder.mkdir(parents=True, exist_ok=True)
    x, truth = images(n)
    for role in SEEN:
        whole = model(role)
        whole.save(folder / f"{role}.keras")
        for precision in ("float32", "int8"):
            content = convert(whole, precision, [x[:50].astype(np.float32)])
            (folder / f"{role}.{precision}.tflite").write_bytes(content)
    parts = {"train": x[: n // 5], "val": x[n // 5 : n // 2], "test": x[n // 2 :]}
    named = {f"x_{name}": part for name, part in parts.items()}
    named |= {"y_train": truth[: n // 5], "y_val": truth[n // 5 : n // 2], "y_test": truth[n // 2 :]}
    np.savez(folder / "data.npz", **named, class_names=np.array(["red", "green", "blue"]))
    return folder


def _weighted(layer: keras.layers.Layer, x: keras.KerasTensor, kernel: np.ndarray) -> keras.KerasTensor:
    """What a layer of a kernel that it is given makes of its input."""
    y = layer(x)
    layer.set_weights([kernel.reshape(layer.kernel.shape), np.zeros(kernel.shape[-1], np.float32)])
    return y
