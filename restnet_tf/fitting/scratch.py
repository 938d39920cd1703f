"""Training a whole network from nothing on cached images, by the answers that fits are taught by."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from restnet_tf.fitting.adam import Adam
from restnet_tf.fitting.examples import Examples, orders
from restnet_tf.fitting.loss import distillation
from restnet_tf.graph import batches, gradients

if TYPE_CHECKING:
    import keras

# Hears of the steps taken and all steps.
Progress = Callable[[int, int], None]

PASSES = 3  # forwards that training on an image takes
_BATCH, _RATE = 64, 3e-3
_LEAST_STEPS = 6
_MOMENTUM = 0.9  # some hundred steps: Keras' 0.99 would leave moving statistics at their start


def train(model: keras.Model, examples: Examples, images: int, values: int, seed: int, progress: Progress) -> int:
    """Train all of a network from images to logits in place, on so many images, repeats counted; how many it saw.

    ``examples`` hold images as ``x``; training keeps so many ``values`` of one (``costs.held``). Norms take the
    statistics of each batch, as in any training from nothing.
    """
    for layer in model._flatten_layers():  # of networks inside it too
        if type(layer).__name__ == "BatchNormalization":
            layer.momentum = min(layer.momentum, _MOMENTUM)
    batch = min(len(examples.x), batches.size(_BATCH, values))
    steps = max(_LEAST_STEPS, images // batch)
    step = _step(model, Adam(model.trainable_variables, _RATE, steps))
    for index, rows in enumerate(orders(np.random.default_rng(seed), len(examples.x), steps, batch)):
        x, teacher, _, labels = examples.tensors(rows)
        step(x, teacher, labels)
        progress(index + 1, steps)
    return steps * batch


def _step(model: keras.Model, optimizer: Adam) -> Any:
    import tensorflow as tf

    variables = model.trainable_variables

    @tf.function(autograph=False, reduce_retracing=True)
    def step(x: Any, teacher: Any, labels: Any) -> None:
        with gradients.tape() as tape:
            tape.watch([v.value for v in variables])
            loss = distillation(teacher, model(x, training=True), labels)
        optimizer.apply(tape.gradient(loss, [v.value for v in variables]))

    return step
