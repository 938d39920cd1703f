"""A route with its fitted stitch as one Keras model: front, stitch, back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from restnet_tf import cuts, stitch
from restnet_tf.records import Anchor, Plan, RestnetError, Stitch

if TYPE_CHECKING:
    import keras


def assemble(plan: Plan, anchors: Mapping[str, Anchor], fitted: Stitch, *, logits: bool = False) -> keras.Model:
    """The variant from raw images ``(n, h, w, c)`` to probabilities, or to logits, ``(n, classes)``.

    The front is the anchor's own; so is the back, unless the fit tuned it: then it is a copy.
    """
    import keras

    first, last = plan.route
    front = cuts.front(anchors[first.anchor], str(first.stop))
    anchor = anchors[last.anchor]
    back = cuts.back(anchor, str(last.start), anchor.logits if logits else None)
    if fitted.tuned:
        back = with_weights(back, fitted.tuned)
    image = keras.Input(anchors[first.anchor].input_shape, name="image")
    return keras.Model(image, back(stitch.build(fitted)(front(image))), name="variant")


def with_weights(model: keras.Model, values: Mapping[str, np.ndarray]) -> keras.Model:
    """A copy of a functional model with some weights, named by path, set to other values.

    Raises ``RestnetError`` where a path names no weight of the model, or the shape differs.
    """
    import keras

    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    known = {v.path: v for v in copy.weights}
    for path, value in values.items():
        if path not in known or tuple(known[path].shape) != value.shape:
            raise RestnetError(f"the fitted weights name {path} {value.shape}, which {model.name} does not have")
        known[path].assign(value)
    return copy


def randomised(anchor: Anchor, seed: int) -> Anchor:
    """The anchor's architecture with freshly drawn weights: the front of the control without knowledge."""
    import keras

    outputs = [anchor.logits, anchor.features, *anchor.model.outputs]
    whole = keras.Model(anchor.model.inputs[0], outputs)
    rng = np.random.default_rng(seed)
    copy = keras.models.clone_model(whole)
    for variable in copy.trainable_variables:
        # Biases and norms start neutral in any fresh layer; kernels need a seeded draw (He et al. 2015).
        if len(variable.shape) > 1:
            fan_in = int(np.prod(variable.shape[:-1]))
            variable.assign(rng.normal(0, np.sqrt(2 / fan_in), variable.shape))
    logits, features, output = copy.outputs
    model = keras.Model(copy.inputs[0], output)
    return Anchor(f"random {anchor.name}", model, logits, features, anchor.class_names, f"random {seed}")
