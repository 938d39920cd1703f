"""The embedded default: two small residual networks, trained on cluttered digits in a minute."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from restnet_tf.anchors import epochs, training
from restnet_tf.atomic import write_bytes
from restnet_tf.data import cluttered
from restnet_tf.data.values import Values
from restnet_tf.graph import surgery
from restnet_tf.records import RestnetError

if TYPE_CHECKING:
    import keras

    from restnet_tf.data.splits import Data

DATA = cluttered.NAME
OUT = Path("runs") / "demo"
# Enough for networks of this size: the whole demo takes minutes.
EFFORT, POINTS = 0.02, 6
# Grey, and of no more pixels: that is what these networks are for, whatever the images.
_SIDE = cluttered.SIDE
_WARM = 0.1  # of the steps


@dataclass(frozen=True)
class DemoNet:
    """A residual network by its channels and blocks per stage, and how it is trained."""

    widths: tuple[int, ...]
    blocks: tuple[int, ...]
    epochs: int
    batch: int
    rate: float


NETS = {
    "large": DemoNet(widths=(8, 16, 32), blocks=(1, 2, 4), epochs=8, batch=64, rate=5e-3),
    "small": DemoNet(widths=(4, 6, 8), blocks=(1, 1, 1), epochs=24, batch=128, rate=1e-2),
}


def file(folder: Path, data: str, role: str, seed: int) -> Path:
    """Where the anchor of a role lies that is trained on such data."""
    return folder / f"seed-{seed}" / f"{data}-{role}.keras"


def train(path: Path, role: str, data: Data, seed: int, progress: Callable[[int, int], None]) -> None:
    """Train the anchor of a role, ``large`` or ``small``, into a ``.keras`` file.

    Raises ``RestnetError`` where the images have no labels.
    """
    write_bytes(path, training.as_file(_trained(role, data, seed, progress)))


def network(net: DemoNet, shape: tuple[int, int, int], classes: int, name: str) -> keras.Model:
    """An untrained network from raw images ``(n, *shape)`` to probabilities ``(n, classes)``."""
    import keras
    from keras import layers

    image = keras.Input(shape, name="image")
    x = layers.Rescaling(1 / 255)(image)
    x = _normalised(layers.Conv2D(net.widths[0], 3, padding="same", use_bias=False)(x))
    for stage, (width, blocks) in enumerate(zip(net.widths, net.blocks, strict=True)):
        for block in range(blocks):
            x = _block(x, width, stride=2 if stage and not block else 1, name=f"stage{stage + 1}.{block}")
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, layers.Dense(classes, activation="softmax")(x), name=name)


def _block(x: Any, width: int, stride: int, name: str) -> Any:
    from keras import layers

    y = _normalised(layers.Conv2D(width, 3, strides=stride, padding="same", use_bias=False)(x))
    y = _norm()(layers.Conv2D(width, 3, padding="same", use_bias=False)(y))
    if stride > 1 or x.shape[-1] != width:
        x = _norm()(layers.Conv2D(width, 1, strides=stride, use_bias=False)(x))
    return layers.ReLU(name=f"{name}.out")(layers.Add()([x, y]))


def _normalised(x: Any) -> Any:
    from keras import layers

    return layers.ReLU()(_norm()(x))


def _norm() -> Any:
    from keras import layers

    # Of few images there are some 200 steps in all: Keras' 0.99 would leave the moving statistics at their start.
    return layers.BatchNormalization(momentum=0.9)


def _trained(role: str, data: Data, seed: int, progress: Callable[[int, int], None]) -> keras.Model:
    import keras

    net, split, shape = NETS[role], data.fit, _shape(data)
    if split.labels is None:
        raise RestnetError(
            f"{data.name} has no labels to train anchors on; name two of your own by --large and --small"
        )
    # Layers name themselves by a count of the process, and a resumed build counts from the start.
    with surgery.repeatable():
        keras.utils.set_random_seed(seed)
        model = network(net, shape, int(split.labels.max()) + 1, f"demo_{role}")
    images = np.concatenate([np.asarray(x) for x in split.batches(shape, 256)])
    batch = min(net.batch, len(images))
    steps = len(images) // batch
    optimizer = keras.optimizers.Adam(_schedule(net.rate, net.epochs * steps))
    epoch = epochs.trainer(model, optimizer, images, split.labels)
    rng = np.random.default_rng(seed)
    for done in range(net.epochs):
        epoch(rng.permutation(len(images))[: steps * batch].reshape(steps, batch))
        progress(done + 1, net.epochs)
    return model


def _schedule(rate: float, steps: int) -> Any:
    import keras

    warm = max(1, int(_WARM * steps))
    return keras.optimizers.schedules.CosineDecay(0.0, steps - warm, warmup_target=rate, warmup_steps=warm)


def _shape(data: Data) -> tuple[int, int, int]:
    """Of the first image, as far as it is no larger than these networks are for."""
    if isinstance(data.fit.images, Values):
        raise RestnetError(
            f"{data.name} holds no photos, for which the demo's networks are; give --large and --small:"
            " restnet-tf train DSCNN makes networks for any data"
        )
    width, height = data.fit.images.image(0).size
    return min(height, _SIDE), min(width, _SIDE), 1
