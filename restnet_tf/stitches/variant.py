"""A route with its fitted stitches as one Keras model: front, stitch, back, and so on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from restnet_tf.graph import cuts, surgery
from restnet_tf.records import Anchor, Plan, RestnetError, Stitch
from restnet_tf.stitches import stitch

if TYPE_CHECKING:
    import keras


def assemble(plan: Plan, anchors: Mapping[str, Anchor], *stitches: Stitch, logits: bool = False) -> keras.Model:
    """The variant from raw images ``(n, h, w, c)`` to probabilities, or to logits, ``(n, classes)``.

    ``stitches`` join its pieces, one behind each but the last. Fronts are the anchors' own; so are backs,
    unless the fit tuned them: then they are copies. Raises ``RestnetError`` where there is one stitch too many or few.
    """
    if len(stitches) != len(plan.route) - 1:
        raise RestnetError(f"{plan.name} has {len(plan.route)} pieces and {len(stitches)} stitches; one joins two")
    anchor = anchors[plan.route[-1].anchor]
    end = anchor.logits if logits else anchor.model.outputs[0]
    return _joined(plan, anchors, stitches, end, "variant")


def lead(plan: Plan, anchors: Mapping[str, Anchor], *stitches: Stitch) -> keras.Model:
    """The variant from raw images to the cut in front of the joint behind these stitches."""
    last = plan.route[len(stitches)]
    return _joined(plan, anchors, stitches, cuts.tensor(anchors[last.anchor].model, str(last.stop)), "lead")


def piece(
    anchor: Anchor, start: str | None, end: Any, tuned: Mapping[str, np.ndarray], name: str = "back"
) -> keras.Model:
    """The stretch of an anchor from a cut, or its input, to a symbolic tensor; a copy where weights are tuned."""
    import keras

    if start is None:
        stretch = keras.Model(anchor.model.inputs[0], end, name=name)
    else:
        stretch = cuts.between(anchor.model, cuts.tensor(anchor.model, start), end, name)
    return with_weights(stretch, tuned) if tuned else stretch


def _joined(plan: Plan, anchors: Mapping[str, Anchor], stitches: Sequence[Stitch], end: Any, name: str) -> keras.Model:
    """The pieces that these stitches join, from raw images to a symbolic tensor of the last one's anchor."""
    import keras

    pieces = plan.route[: len(stitches) + 1]
    image = x = keras.Input(anchors[pieces[0].anchor].input_shape, name="image")
    tuned: Mapping[str, np.ndarray] = {}
    for at, (here, joint) in enumerate(zip(pieces, [*stitches, None], strict=True)):
        anchor = anchors[here.anchor]
        stop = end if joint is None else cuts.tensor(anchor.model, str(here.stop))
        x = piece(anchor, here.start, stop, tuned, f"piece{at}")(x)
        if joint is not None:
            x, tuned = stitch.build(joint, f"stitch{at}")(x), joint.tuned
    return keras.Model(image, x, name=name)


def with_weights(model: keras.Model, values: Mapping[str, np.ndarray]) -> keras.Model:
    """A copy of a functional model with some weights, named by path, set to other values.

    Raises ``RestnetError`` where a path names no weight of the model, or the shape differs.
    """
    import keras

    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    variables = {v.path: v for v in copy.weights}
    for path, value in values.items():
        if path not in variables or tuple(variables[path].shape) != value.shape:
            raise RestnetError(f"the fitted weights name {path} {value.shape}, which {model.name} does not have")
        variables[path].assign(value)
    return copy


def copied(anchor: Anchor) -> Anchor:
    """The anchor with weights of its own, which may be trained."""
    copy = _cloned(anchor)
    copy.set_weights(_whole(anchor).get_weights())
    return _as_anchor(copy, anchor, anchor.name, anchor.sha256)


def trained(anchor: Anchor, values: Mapping[str, np.ndarray]) -> Anchor:
    """A copy of the anchor with some weights, named by path, set to other values; raises as ``with_weights``."""
    copy = with_weights(_whole(anchor), values)
    twin = _as_anchor(copy, anchor, anchor.name, "")
    return replace(twin, sha256=surgery.fingerprint(twin.model))


def weights(anchor: Anchor) -> dict[str, np.ndarray]:
    """All weights of an anchor, by path."""
    return {v.path: np.asarray(v) for v in _whole(anchor).weights}


def randomised(anchor: Anchor, seed: int) -> Anchor:
    """The anchor's architecture with freshly drawn weights: the front of the control without knowledge."""
    rng = np.random.default_rng(seed)
    copy = _cloned(anchor)
    for variable in copy.trainable_variables:
        # Biases and norms start neutral in any fresh layer; kernels need a seeded draw (He et al. 2015).
        if len(variable.shape) > 1:
            fan_in = int(np.prod(variable.shape[:-1]))
            variable.assign(rng.normal(0, np.sqrt(2 / fan_in), variable.shape))
    return _as_anchor(copy, anchor, f"random {anchor.name}", f"random {seed}")


def _whole(anchor: Anchor) -> keras.Model:
    import keras

    return keras.Model(anchor.model.inputs[0], [anchor.logits, anchor.features, *anchor.model.outputs])


def _cloned(anchor: Anchor) -> keras.Model:
    import keras

    return keras.models.clone_model(_whole(anchor))


def _as_anchor(copy: keras.Model, of: Anchor, name: str, sha256: str) -> Anchor:
    import keras

    logits, features, output = copy.outputs
    return Anchor(
        name, keras.Model(copy.inputs[0], output, name=of.model.name), logits, features, of.class_names, sha256
    )
