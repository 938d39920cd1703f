"""What was traced and is let go leaves nothing behind, though swish has a gradient that TensorFlow keeps."""

from __future__ import annotations

import gc

import keras
import numpy as np
import pytest
from keras import layers

from restnet_tf.graph import infer
from restnet_tf.work.tasks import Progress, Task
from tflite_export.convert import convert


def network() -> keras.Model:
    image = keras.Input((12, 12, 3))
    x = layers.Conv2D(8, 3, activation="swish", name="stem")(image)
    return keras.Model(image, layers.Dense(5, name="head")(layers.GlobalAveragePooling2D(name="pool")(x)))


def graphs() -> int:
    from tensorflow.python.framework.func_graph import FuncGraph

    gc.collect()
    return sum(isinstance(one, FuncGraph) for one in gc.get_objects())


@pytest.mark.slow
def test_a_network_that_was_converted_leaves_no_graph_behind():
    model = network()
    before = graphs()
    convert(model, "float32")
    assert graphs() == before


def ran(model: keras.Model, progress: Progress) -> None:
    infer.forget()
    infer.compiled(model)(np.zeros((2, 12, 12, 3), np.float32))
    progress(1, 1)


def test_a_network_that_a_task_ran_leaves_no_graph_behind():
    model = network()
    infer.forget()
    before = graphs()
    Task("running", ran, model).run(lambda done, total: None)
    assert graphs() > before  # the next of its structure runs by it
    infer.forget()
    assert graphs() == before


def test_gradients_of_what_was_traced_before_stay():
    import tensorflow as tf

    @tf.function(autograph=False)
    def swished(x: tf.Tensor) -> tf.Tensor:
        return tf.nn.silu(x)

    one = tf.constant(1.0)
    traced = swished.get_concrete_function(one)
    Task("running", ran, network()).run(lambda done, total: None)
    with tf.GradientTape() as tape:
        tape.watch(one)
        result = traced(one)
    assert float(tape.gradient(result, one)) == pytest.approx(0.9277, abs=1e-3)
