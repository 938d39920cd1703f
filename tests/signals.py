"""Small signals and networks that read them, seeded: what tests of inputs that are no photos are made of."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np

from restnet_tf.graph import surgery

STEPS, CHANNELS, CLASSES = 32, 2, 3


def signals(n: int, seed: int = 0, steps: int = STEPS) -> tuple[np.ndarray, np.ndarray]:
    """Waves ``(n, steps, 2)`` float32 of as many frequencies as classes, about -40 to 40, with labels ``(n,)``."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % CLASSES
    phase, loud = rng.uniform(0, 2 * np.pi, (n, 1)), rng.uniform(10, 40, (n, 1))
    angles = 2 * np.pi * (1 + 2 * labels[:, None]) * np.arange(steps) / steps + phase
    waves = loud[..., None] * np.stack([np.sin(angles), np.cos(angles)], axis=-1)
    return (waves + rng.normal(0, 2, waves.shape)).astype(np.float32), labels


def archive(path: Path, n: int = 96) -> Path:
    """An ``.npz`` of signals with labels and class names."""
    x, y = signals(n)
    np.savez(path, x=x, y=y, class_names=np.asarray(["low", "middle", "high"]))
    return path


def network(width: int = 8, blocks: int = 2, seed: int = 0, steps: int = STEPS) -> keras.Model:
    """A 1-D network with batch norms that are not neutral, its blocks at half and a quarter of the steps."""
    layers = keras.layers
    with surgery.repeatable():
        x = image = keras.Input((steps, CHANNELS))
        for block in range(1, blocks + 1):
            x = layers.DepthwiseConv1D(5, padding="same", use_bias=False)(x)
            x = layers.BatchNormalization()(x)
            x = layers.Conv1D(width * block, 3, padding="same", use_bias=False)(x)
            x = layers.ReLU(name=f"out{block}")(layers.BatchNormalization()(x))
            x = layers.MaxPooling1D(2, name=f"pool{block}")(x)
        x = layers.GlobalAveragePooling1D()(x)
        model = keras.Model(image, layers.Softmax()(layers.Dense(CLASSES)(x)))
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        if "variance" in weight.path or "gamma" in weight.path:
            weight.assign(rng.uniform(0.5, 1.5, weight.shape))
        else:
            weight.assign(rng.normal(0, 0.4, weight.shape))
    return model
