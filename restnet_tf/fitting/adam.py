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
    """For variables that every step trains, inside a ``tf.function``.

    How many steps there will be may change after that is traced (``restart``), unless that is ``fixed``.
    """

    def __init__(self, variables: list[Any], rate: float, steps: int, *, fixed: bool = False) -> None:
        import tensorflow as tf

        self._fixed = _schedule(rate, steps) if fixed else None
        self._span = [tf.Variable(number) for number in _span(steps)]
        self._rate, self._count, self._scale = rate, tf.Variable(0, dtype=tf.int64), tf.Variable(1.0)
        self._slots = [(v.value, tf.Variable(tf.zeros(v.shape)), tf.Variable(tf.zeros(v.shape))) for v in variables]

    def restart(self, steps: int) -> None:
        """Forget all steps; so many are to come."""
        import tensorflow as tf

        for held, number in zip(self._span, _span(steps), strict=True):
            held.assign(number)
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

        rate, count = self._scale * self._decayed(), tf.cast(self._count + 1, tf.float32)
        numbers = _numbers(count)
        for (variable, m, v), gradient in zip(self._slots, gradients, strict=True):
            if gradient is not None:
                _update(variable, m, v, rate, numbers, gradient)
        self._count.assign_add(1)

    def _decayed(self) -> Any:
        """Keras' ``CosineDecay``; to the bit where steps are no constants, without a graph for each of its branches."""
        import tensorflow as tf

        if self._fixed is not None:
            return self._fixed(self._count)
        steps, warm = map(tf.convert_to_tensor, self._span)
        step = tf.minimum(tf.cast(self._count, tf.float32), steps + warm)
        decayed = self._rate * (0.5 * (1.0 + tf.cos(np.float32(pi) * ((step - warm) / steps))))
        return tf.where(step < warm, self._rate * (step / warm), decayed)


def _schedule(rate: float, steps: int) -> Any:
    import keras

    return keras.optimizers.schedules.CosineDecay(
        0.0, steps, warmup_target=rate, warmup_steps=max(1, steps // _WARM_UP)
    )


def _span(steps: int) -> tuple[float, float]:
    """The steps of the decay, and those of the warm-up."""
    return float(steps), float(max(1, steps // _WARM_UP))


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
        _update(self._variables[index], m, v, tf.constant(rate), _numbers(count), gradient)

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


def _numbers(count: Any) -> dict[str, Any]:
    """What an update of any variable takes at its ``count``th step, as tensors."""
    import tensorflow as tf

    first, second, epsilon = (tf.constant(number) for number in (*_BETAS, _EPSILON))
    powers = {"beta1_power": tf.pow(first, count), "beta2_power": tf.pow(second, count)}
    return {**powers, "beta1": first, "beta2": second, "epsilon": epsilon}


def _update(variable: Any, m: Any, v: Any, rate: Any, numbers: dict[str, Any], gradient: Any) -> None:
    import tensorflow as tf

    tf.raw_ops.ResourceApplyAdam(var=variable.handle, m=m.handle, v=v.handle, lr=rate, grad=gradient, **numbers)
