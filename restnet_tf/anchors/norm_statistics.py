"""Whether a model is at chance for its batch norms alone: after a short training their averages are still the first.

In training a norm takes the mean and variance of the batch, afterwards an average of all batches, which with Keras'
momentum of 0.99 takes hundreds of steps to settle.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from restnet_tf.anchors.first_look import GAIN, Look

if TYPE_CHECKING:
    import keras


def better(model: keras.Model, batches: Iterable[np.ndarray], labels: np.ndarray, look: Look) -> float | None:
    """The share of ``labels`` ``(n,)`` that it has right by the statistics of each batch ``(b, h, w, c)``.

    None where that is not clearly more than at the look, and where it has no batch norms; the model stays as it is.
    """
    if not any(type(op).__name__ == "BatchNormalization" for op in model.operations):
        return None
    trained, rest = ([v.value for v in kind] for kind in (model.trainable_variables, model.non_trainable_variables))
    # Without state: a call would move the averages.
    said = [np.asarray(model.stateless_call(trained, rest, x, training=True)[0]).argmax(1) for x in batches]
    share = float(np.mean(np.concatenate(said) == labels))
    return share if share > look.share + GAIN else None
