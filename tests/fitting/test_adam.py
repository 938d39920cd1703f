"""The rate is that of Keras' schedule to the bit, for as many steps as a fit takes."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from restnet_tf.fitting.adam import Adam

RATE = 3e-3


def traced(optimizer: Adam) -> tf.types.experimental.PolymorphicFunction:
    return tf.function(lambda: optimizer.apply([tf.ones(2)]), autograph=False)


@pytest.mark.parametrize("fixed", [False, True])
def test_the_rate_is_that_of_keras_to_the_bit(fixed: bool) -> None:
    optimizer = Adam([keras.Variable(np.zeros(2, np.float32))], RATE, 42, fixed=fixed)
    rate = tf.function(optimizer._decayed, autograph=False)
    schedule = keras.optimizers.schedules.CosineDecay(0.0, 42, warmup_target=RATE, warmup_steps=2)
    exact = tf.function(lambda: schedule(optimizer._count), autograph=False)
    for step in range(43):
        optimizer._count.assign(step)
        assert float(rate()) == float(exact()), step


def test_what_was_traced_serves_a_fit_of_other_steps() -> None:
    def trained(optimizer: Adam, variable: keras.Variable, step: tf.types.experimental.PolymorphicFunction) -> list:
        variable.assign(np.zeros(2))
        return [step() or np.asarray(variable).tolist() for _ in range(5)]

    one, other = (keras.Variable(np.zeros(2, np.float32)) for _ in range(2))
    kept, new = Adam([one], RATE, 60), Adam([other], RATE, 7)
    step = traced(kept)
    long = trained(kept, one, step)
    kept.restart(7)
    short = trained(kept, one, step)
    assert short == trained(new, other, traced(new))
    assert short != long
