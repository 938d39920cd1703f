"""Adam (Kingma and Ba 2015) under a warm-up and a cosine decay, by TensorFlow's one kernel a variable.

Keras' own is some twenty operators a variable: longer to trace than a small back takes to train.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import cos, pi
from typing import Any

import numpy as np

_BETAS, _EPSILON = (0.9, 0.999), 1e-7
_WARM_UP = 20  # a part of the steps


class Adam:
    """For variables that every step trains, inside a ``tf.function``."""

    def __init__(self, variables: list[Any], rate: float, steps: int) -> None:
        import keras
        import tensorflow as tf

        self._schedule = keras.optimizers.schedules.CosineDecay(
            0.0, steps, warmup_target=rate, warmup_steps=max(1, steps // _WARM_UP)
        )
        self._count, self._scale = tf.Variable(0, dtype=tf.int64), tf.Variable(1.0)
        self._slots = [(v.value, tf.Variable(tf.zeros(v.shape)), tf.Variable(tf.zeros(v.shape))) for v in variables]

    def restart(self) -> None:
        """Forget all steps."""
        import tensorflow as tf

        self._count.assign(0)
        self._scale.assign(1.0)
        for _, m, v in self._slots:
            m.assign(tf.zeros_like(m))
            v.assign(tf.zeros_like(v))

    def calm(self, factor: float) -> None:
        """Multiply the rate of all further steps."""
        self._scale.assign(self._scale * factor)

    def apply(self, gradients: list[Any]) -> None:
        """One step, from a gradient, or None, for each variable."""
        import tensorflow as tf

        rate, count = self._scale * self._schedule(self._count), tf.cast(self._count + 1, tf.float32)
        for (variable, m, v), gradient in zip(self._slots, gradients, strict=True):
            if gradient is not None:
                _update(variable, m, v, rate, count, gradient)
        self._count.assign_add(1)


class SparseAdam:
    """For variables of which a step trains a few: each counts its own steps; called outside of any ``tf.function``.

    Its averages start at zero, which only the number of a variable's own steps corrects.
    """

    def __init__(self, variables: Sequence[Any]) -> None:
        import tensorflow as tf

        self._variables = list(variables)
        self._slots = [[tf.Variable(tf.zeros(v.shape)) for _ in range(2)] for v in variables]
        self._counts = np.zeros(len(self._variables), np.int64)

    def apply(self, index: int, gradient: Any, rate: float) -> None:
        """One step of one variable at a rate."""
        import tensorflow as tf

        self._counts[index] += 1
        (m, v), count = self._slots[index], tf.constant(float(self._counts[index]))
        _update(self._variables[index], m, v, tf.constant(rate), count, gradient)

    def state(self) -> list[np.ndarray]:
        """All that its next step depends on, beside the variables."""
        return [self._counts.copy(), *(np.asarray(s) for slots in self._slots for s in slots)]

    def restore(self, state: Sequence[np.ndarray]) -> None:
        """Go on from a state."""
        self._counts = np.array(state[0])
        for slot, value in zip((s for slots in self._slots for s in slots), state[1:], strict=True):
            slot.assign(value)


def warmed_cosine(share: float) -> float:
    """The rate, 0..1, when a share of the training is done: a short warm-up, then half a cosine."""
    warm = 1 / _WARM_UP
    return share / warm if share < warm else (1 + cos(pi * (share - warm) / (1 - warm))) / 2


def _update(variable: Any, m: Any, v: Any, rate: Any, count: Any, gradient: Any) -> None:
    import tensorflow as tf

    beta1, beta2 = _BETAS
    tf.raw_ops.ResourceApplyAdam(
        var=variable.handle,
        m=m.handle,
        v=v.handle,
        beta1_power=tf.pow(beta1, count),
        beta2_power=tf.pow(beta2, count),
        lr=rate,
        beta1=beta1,
        beta2=beta2,
        epsilon=_EPSILON,
        grad=gradient,
    )
