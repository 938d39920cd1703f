"""Networks that tell the strongest colour of noisy images: they know, without training, the surer the more they see.

The first sees few places of an image, the last all of them, so cascades of them are worth having.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import keras
import networks
import numpy as np

from tflite_export.convert import convert

layers = keras.layers
NAMES = ("red", "green", "blue")
CLASSES, SIDE = len(NAMES), 8
# By role: every how many places it sees one, and how many channels it takes for that.
SEEN = {"small": (4, 3), "large": (2, 12), "larger": (1, 24)}
# How far the strongest colour stands out, easily or hardly, and what an image has beside; in grey values.
_EASY, _HARD, _NOISE = 90.0, 25.0, 60.0
_SURE = 20.0  # by which a score grows over the range of a colour


def images(n: int, *, side: int = SIDE, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Images ``(n, side, side, 3)`` uint8, easy and hard, and which colour is the strongest ``(n,)``."""
    rng = np.random.default_rng(seed)
    truth = np.arange(n) % CLASSES
    noise = _NOISE * side / SIDE  # as hard to see through in more places
    strength = np.where(rng.uniform(size=(n, 1, 1, 1)) < 0.6, _EASY, _HARD)
    x = 128 + strength * np.eye(CLASSES)[truth][:, None, None] + rng.normal(0, noise, (n, side, side, 3))
    return x.clip(0, 255).round().astype(np.uint8), truth


def model(
    role: str,
    *,
    side: int = SIDE,
    softmax: bool = True,
    largest: float = 255.0,
    order: Sequence[int] = range(CLASSES),
) -> keras.Model:
    """A network of images from 0 to ``largest``; ``order`` says which colour each of its classes is."""
    strides, channels = SEEN[role]
    image = keras.Input((side, side, 3), name="image")
    colours = np.tile(np.eye(3, dtype=np.float32), (1, channels // 3))
    x = layers.Rescaling(1 / largest, name="rescale")(image)
    x = _weighted(layers.Conv2D(channels, 1, strides=strides, activation="relu", name="see"), x, colours)
    x = layers.GlobalAveragePooling2D(name="mean")(x)
    back = np.tile(_SURE * np.eye(3, dtype=np.float32)[:, list(order)], (channels // 3, 1)) / (channels // 3)
    x = _weighted(layers.Dense(CLASSES, name="logits"), x, back)
    return keras.Model(image, layers.Softmax(name="probabilities")(x) if softmax else x, name=role)


def file(role: str, precision: str = "float32", **how: object) -> bytes:
    """The same as a ``.tflite`` file."""
    whole = model(role, **how)  # type: ignore[arg-type]
    side = whole.input_shape[1]
    scale = float(how.get("largest", 255.0)) / 255  # type: ignore[arg-type]
    return convert(whole, precision, [scale * images(50, side=side)[0].astype(np.float32)])


def data(path: Path, n: int = 600, *, labelled: bool = True, side: int = SIDE) -> Path:
    """An ``.npz`` of three splits with the names of the classes."""
    x, truth = images(n, side=side)
    parts = {"train": slice(0, n // 5), "val": slice(n // 5, n // 2), "test": slice(n // 2, n)}
    arrays = {f"x_{name}": x[part] for name, part in parts.items()}
    if labelled:
        arrays |= {f"y_{name}": truth[part] for name, part in parts.items()} | {"class_names": np.array(NAMES)}
    np.savez(path, **arrays)
    return path


def written(folder: Path) -> None:
    """``small``, ``large`` and ``larger`` as ``.keras`` and as ``.tflite`` in float32 and int8, and ``data.npz``."""
    for role in SEEN:
        model(role).save(folder / f"{role}.keras")
        for precision in ("float32", "int8"):
            (folder / f"{role}.{precision}.tflite").write_bytes(file(role, precision))
    data(folder / "data.npz")


def stitchable(folder: Path, convolutions: int = 2) -> None:
    """``large.keras`` and ``small.keras`` with blocks to cut behind, and ``data.npz`` of images without labels.

    Of random weights, scaled so that every class is as frequent: a stitched point agrees with the large one where it
    is sure, so a cascade of both is worth having, and the large one goes on from their front.
    """
    x = _patches(900)
    for role, anchor in networks.pair(convolutions=convolutions)[0].items():
        logits = networks.forward(keras.Model(anchor.model.inputs, anchor.logits), x[:300])
        last = anchor.model.get_layer("logits")
        kernel, bias = last.get_weights()
        scale = 3 / logits.std(0)
        last.set_weights([kernel * scale, (bias - logits.mean(0)) * scale])
        anchor.model.save(folder / f"{role}.keras")
    np.savez(folder / "data.npz", x_train=x[:200], x_val=x[200:550], x_test=x[550:])


def _patches(n: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 255, (n, 2, 2, 3)).repeat(4, 1).repeat(4, 2) + rng.normal(0, 40, (n, 8, 8, 3))
    return x.clip(0, 255).round().astype(np.uint8)


def _weighted(layer: keras.layers.Layer, x: keras.KerasTensor, kernel: np.ndarray) -> keras.KerasTensor:
    """What a layer of a kernel that it is given makes of its input."""
    y = layer(x)
    layer.set_weights([kernel.reshape(layer.kernel.shape), np.zeros(kernel.shape[-1], np.float32)])
    return y
