"""Epochs of training that suit a processor and small networks: norms by one operator, all steps in one call.

Keras takes a batch's mean, its variance and the quotient one after the other, forwards and backwards: of a network of
a few channels that is a third of the work, and the calls from step to step are a fifth.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from restnet_tf.graph import gradients

if TYPE_CHECKING:
    import keras


def trainer(
    model: keras.Model, optimizer: keras.Optimizer, images: np.ndarray, labels: np.ndarray
) -> Callable[[np.ndarray], Any]:
    """A function that trains a classifier, in place, on rows ``(steps, batch)`` of images ``(n, h, w, c)``.

    The model gives probabilities; ``labels`` ``(n,)`` are class numbers. A step is one batch.
    """
    import keras
    import tensorflow as tf

    fused, variables = with_fused_norms(model), model.trainable_variables
    optimizer.build(variables)
    pixels, truth = tf.constant(images), tf.constant(labels, tf.int32)

    # XLA would take longer to compile than to train, and its convolutions of few channels are slower.
    @tf.function(jit_compile=False, input_signature=[tf.TensorSpec((None, None), tf.int32)])
    def epoch(order: Any) -> None:
        for rows in order:
            with gradients.tape() as tape:
                tape.watch([v.value for v in variables])
                answers = fused(tf.gather(pixels, rows), training=True)
                losses = keras.losses.sparse_categorical_crossentropy(tf.gather(truth, rows), answers)
                loss = tf.reduce_mean(losses)
            optimizer.apply(tape.gradient(loss, [v.value for v in variables]), variables)

    return epoch


def with_fused_norms(model: keras.Model) -> keras.Model:
    """The same layers and variables in training, but for batch normalisation of ``(n, h, w, c)`` by one operator."""
    import keras

    return keras.models.clone_model(model, clone_function=lambda layer: layer, call_function=_called)


def _called(layer: Any, *args: Any, **kwargs: Any) -> Any:
    import keras

    if isinstance(layer, keras.layers.BatchNormalization):
        return keras.layers.Lambda(lambda x: _normalised(layer, x))(*args)
    return layer(*args, **kwargs)


def _normalised(norm: Any, x: Any) -> Any:
    """By a batch's own statistics, which the moving ones follow."""
    import tensorflow as tf

    y, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=x,
        scale=norm.gamma.value,
        offset=norm.beta.value,
        mean=norm.moving_mean.value,
        variance=norm.moving_variance.value,
        epsilon=norm.epsilon,
        is_training=True,
    )
    for moving, new in ((norm.moving_mean.value, mean), (norm.moving_variance.value, variance)):
        moving.assign_sub((moving - new) * (1 - norm.momentum))
    return y
