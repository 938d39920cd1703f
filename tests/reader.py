"""What a reader of the documents has at hand: two models, as ``.tflite`` and in Keras, and their photos; in seconds.

Nothing here is trained by steps: colours are told by weights that are given, digits by a closed form.
"""

from __future__ import annotations

from pathlib import Path

import colours
import keras
import numpy as np
from PIL import Image

from restnet_tf.data import cluttered
from tflite_export.convert import convert

layers = keras.layers
_PATCH, _PENALTY, _SURE = 7, 10.0, 8.0
_BY_NAME = [colours.NAMES.index(name) for name in sorted(colours.NAMES)]  # the order of folders


def belongings(folder: Path) -> None:
    """``small.tflite``, ``large.tflite``, ``small.keras``, ``large.keras``, and ``photos/`` with a folder a class."""
    for role in ("small", "large"):
        (folder / f"{role}.tflite").write_bytes(colours.file(role, order=_BY_NAME))
        _in_blocks(role).save(folder / f"{role}.keras")
    photos(folder / "photos")


def photos(folder: Path, n: int = 400) -> None:
    """PNG files, easy and hard to tell, in a sub-folder a colour."""
    x, truth = colours.images(n)
    for name in colours.NAMES:
        (folder / name).mkdir(parents=True)
    for number, (image, label) in enumerate(zip(x, truth, strict=True)):
        Image.fromarray(image).save(folder / colours.NAMES[label] / f"{number}.png")


def digits(folder: Path) -> None:
    """``small.int8.tflite`` and ``large.int8.tflite``, which tell cluttered digits, one better than the other."""
    folder.mkdir(parents=True)
    arrays = cluttered.arrays()
    images, truth = arrays["x_train"][:4000, ..., None].astype(np.float32), arrays["y_train"][:4000]
    for role, filters in {"small": 16, "large": 320}.items():
        content = convert(_solved(_patches(filters, images), images, truth), "int8", [images[:100]])
        (folder / f"{role}.int8.tflite").write_bytes(content)


def _in_blocks(role: str) -> keras.Model:
    """The network of ``colours`` with two blocks more, behind each of which it can be cut."""
    whole = colours.model(role, order=_BY_NAME)
    see, logits = whole.get_layer("see"), whole.get_layer("logits")
    x = see.output
    for block in range(2):
        hand_on = layers.Conv2D(see.filters, 1, activation="relu", name=f"block{block}")
        x = hand_on(x)
        hand_on.set_weights([np.eye(see.filters, dtype=np.float32)[None, None], np.zeros(see.filters, np.float32)])
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    last = layers.Dense(colours.CLASSES, name="classes")
    x = last(x)
    last.set_weights(logits.get_weights())
    return keras.Model(whole.input, layers.Softmax(name="scores")(x), name=role)


def _patches(filters: int, images: np.ndarray) -> keras.Model:
    """How much of an image is like one of so many patches of others, wherever it lies (after Coates and Ng 2011)."""
    rng, kernels = np.random.default_rng(0), []
    while len(kernels) < filters:
        image, (row, column) = rng.integers(len(images)), rng.integers(0, cluttered.SIDE - _PATCH, 2)
        patch = images[image, row : row + _PATCH, column : column + _PATCH, 0] / 255
        patch -= patch.mean()
        if (norm := np.linalg.norm(patch)) > 1:  # an empty one is like nothing
            kernels.append(patch / norm)
    image = keras.Input((cluttered.SIDE, cluttered.SIDE, 1))
    like = layers.Conv2D(filters, _PATCH, activation="relu")
    x = layers.MaxPooling2D(cluttered.SIDE - _PATCH + 1)(like(layers.Rescaling(1 / 255)(image)))
    like.set_weights([np.stack(kernels, -1)[:, :, None].astype(np.float32), np.full(filters, -0.3, np.float32)])
    return keras.Model(image, layers.Flatten()(x))


def _solved(features: keras.Model, images: np.ndarray, truth: np.ndarray) -> keras.Model:
    """A network of fixed features whose classifier is the ridge regression of the classes."""
    x = np.asarray(features.predict(images, batch_size=500, verbose=0), np.float64)
    mean, targets = x.mean(axis=0), np.eye(10)[truth] - 0.1
    gram = (x - mean).T @ (x - mean)
    scale = _PENALTY * np.trace(gram) / len(gram) / len(x) * np.eye(len(gram))
    kernel = _SURE * np.linalg.solve(gram + scale, (x - mean).T @ targets)
    last = layers.Dense(10, activation="softmax")
    whole = keras.Model(features.input, last(features.output), name="digits")
    last.set_weights([kernel.astype(np.float32), (-mean @ kernel).astype(np.float32)])
    return whole
