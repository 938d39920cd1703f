"""Whether a classifier's scores are probabilities, which a threshold of confidence needs."""

from __future__ import annotations

import numpy as np

from tflite_export.classifier import Classifier
from tflite_export.errors import TfliteError

# Of sums in float32 and in float16.
_SLACK = 1e-2


def is_probabilities(outputs: np.ndarray, step: float = 0.0) -> bool:
    """Whether rows ``(n, classes)`` are of 0..1 and sum to one, within the rounding of values in ``step``.

    Of many classes in integers the sum says little: 1,000 values in steps of 1/256 may all be rounded to 0.
    """
    values = np.asarray(outputs, np.float64)
    off = np.abs(values.sum(1) - 1)
    # The largest probability is held a whole step too low where 1 itself is beyond the integers.
    room = _SLACK + step * (values.shape[1] / 2 + 1)
    return bool(np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1 + _SLACK and (off <= room).all())


def check(classifier: Classifier, outputs: np.ndarray) -> None:
    """Refuse (TfliteError) a classifier whose scores ``(n, classes)`` on some images are no probabilities."""
    output = classifier.output
    if is_probabilities(outputs, output.scales[0] if output.scales else 0.0):
        return
    sums = np.asarray(outputs, np.float64).sum(1)
    seen = f"{classifier.name} gives no probabilities: on {len(outputs)} images a row of scores sums to"
    raise TfliteError(f"{seen} {sums.min():.3g}..{sums.max():.3g}, and {_advice(classifier.ending)}")


def _advice(ending: str) -> str:
    if ending == "LOGISTIC":
        return "it ends in a sigmoid a class; export it with a softmax in its place, or give --logits to append one"
    if ending == "SOFTMAX":
        return "its softmax is not over the classes; export it with a softmax over them"
    return f"its last operator is {ending}, no softmax; give --logits to append one"
