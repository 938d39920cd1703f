"""A small Transformer with a channel in its residual stream that reaches further than all others."""

from __future__ import annotations

from functools import cache

import keras
import numpy as np

from restnet_tf.anchors import vit
from tflite_export.rewrites import graph

layers = keras.layers
WIDTH, LOUD = 48, 5  # a channel that reaches further than others


def images(n: int = 16) -> np.ndarray:
    return np.random.default_rng(2).uniform(0, 255, (n, 16, 16, 3)).astype(np.float32)


@cache
def transformer(pooling: str = "token", norm: str = "layer") -> keras.Model:
    """A small one with an outlier channel, and with values for all weights that are zeros in fresh ones."""
    keras.utils.set_random_seed(1)
    sizes = {"input_shape": (16, 16, 3), "patch": 4, "width": WIDTH, "depth": 2, "heads": 2, "classes": 5}
    inner = vit.network(**sizes, pooling=pooling)
    if norm == "root mean square":
        inner = keras.models.clone_model(inner, clone_function=_with_root_mean_squares)
    rng = np.random.default_rng(0)
    for weight in inner.weights:
        if "kernel" not in weight.path:
            weight.assign(weight + rng.normal(0, 0.3, weight.shape))
    table = inner.get_layer("embed").weights[0]
    loud = np.asarray(table).copy()
    loud[:, LOUD] += 24
    table.assign(loud)
    image = keras.Input((16, 16, 3))
    x = layers.Rescaling(1 / 64, -2)(image)
    logits = keras.Model(inner.input, inner.get_layer("head").output)
    return graph.flat(keras.Model(image, logits(x), name="small"))


def _with_root_mean_squares(layer: keras.Layer) -> keras.Layer:
    if type(layer) is layers.LayerNormalization:
        return layers.RMSNormalization(epsilon=1e-6, name=layer.name)
    return type(layer).from_config(layer.get_config())
