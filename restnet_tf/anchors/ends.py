"""The end of a flat graph: its logits, the softmax behind and the features in front of them.

Where nothing has to change, the very same model object comes back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from restnet_tf.graph import surgery
from restnet_tf.records import RestnetError

if TYPE_CHECKING:
    import keras

# Losses of models whose outputs are quantities, as files call them, without underscores.
_OF_REGRESSION = frozenset(
    {
        *("huber", "huberloss", "logcosh", "mae", "mape", "meanabsoluteerror", "meanabsolutepercentageerror"),
        *("meansquarederror", "meansquaredlogarithmicerror", "mse", "msle"),
    }
)
# Layers behind a classifier that only rename, reshape or (at inference) pass on what they get.
PASSING = ("Reshape", "Flatten", "Dropout", "Identity")
_POOLING = ("GlobalAveragePooling1D", "GlobalAveragePooling2D")


@dataclass(frozen=True)
class Ends:
    """A model with its softmax apart: ``logits`` is None and ``features`` pooled without classifier."""

    model: keras.Model
    logits: Any
    features: Any


def separate(model: Any, name: str, loss: str | None = None) -> Ends:
    """Find or make the logits, and the pooled features ``(n, d)`` that the classifier reads.

    A last layer with a softmax of its own is replaced by its linear twin and a softmax layer: the
    same function. So is a single sigmoid, which is a softmax over 0 and its logit, and a single logit:
    two classes. ``loss`` is what the model was trained with, where that is known. Raises RestnetError
    for several sigmoids, for a regression, and for an end that holds no classifier.
    """
    import keras

    model = _with_vector_features(model)
    out, passing = _behind(model.outputs[0])
    op = out._keras_history.operation
    kind, own = type(op).__name__, _activation(op)
    if "sigmoid" in (own, kind.lower()):
        return _of_two_classes(model, name, out)
    if "softmax" not in (own, kind.lower()):
        _check_no_regression(name, loss)
        return _of_two_classes(model, name, out) if _is_one_logit(op, out) else _linear_end(model, name)
    if not _is_softmax_over_classes(op, out):
        raise RestnetError(f"{name}: the softmax of {op.name} is not over the last axis of one prediction")
    weightless = not op.weights if hasattr(op, "weights") else True
    logits = _inputs(out)[0] if weightless else _linear_twin(op)(_inputs(out)[0])
    if weightless and not passing:
        return Ends(model, logits, _features(logits, name))
    for layer in reversed(passing):
        logits = layer(logits)
    probabilities = keras.layers.Activation("softmax", name=f"{op.name}_softmax")(logits)
    twin = keras.Model(model.inputs[0], probabilities, name=model.name)
    if not weightless:
        twin.get_layer(op.name).set_weights(op.get_weights())
    return Ends(twin, logits, _features(logits, name))


def _check_no_regression(name: str, loss: str | None) -> None:
    if loss is not None and loss.replace("_", "").lower() in _OF_REGRESSION:
        raise RestnetError(
            f"{name} is a regression (its loss is {loss}): it gives quantities; an anchor tells classes apart"
        )


def _is_one_logit(op: Any, out: Any) -> bool:
    return out.shape[-1] == 1 and type(op).__name__ in ("Dense", "Conv2D") and _activation(op) == "linear"


def _of_two_classes(model: Any, name: str, out: Any) -> Ends:
    """The end of a binary classifier as logits of two classes, the first of them always 0, and a softmax."""
    import keras

    op = out._keras_history.operation
    classes = model.outputs[0].shape[-1]
    if classes != 1 or any(side != 1 for side in out.shape[1:-1]):
        raise RestnetError(
            f"{name} ends in a sigmoid ({op.name}) for each of {classes} outputs: it is multi-label, where several"
            " classes may be right at once; an anchor needs one softmax over its classes, or one sigmoid for two"
        )
    logit = out if _activation(op) is not None and op.weights else _behind(_inputs(out)[0])[0]
    end = logit._keras_history.operation
    if type(end).__name__ not in ("Dense", "Conv2D") or (end is not op and _activation(end) != "linear"):
        raise RestnetError(
            f"{name}: what its sigmoid reads comes from {end.name} ({type(end).__name__}), not from one Dense or"
            " Conv2D classifier"
        )
    twin = _of_two_logits(end)
    logits = twin(_inputs(logit)[0])
    twin.set_weights([np.concatenate([np.zeros_like(w), w], axis=-1) for w in end.get_weights()])
    if len(logits.shape) > 2:
        logits = keras.layers.Flatten(name=f"{end.name}_flat")(logits)
    probabilities = keras.layers.Activation("softmax", name=f"{end.name}_softmax")(logits)
    return Ends(keras.Model(model.inputs[0], probabilities, name=model.name), logits, _features(logits, name))


def _of_two_logits(op: Any) -> Any:
    """A classifier of one output as one of two."""
    config = op.get_config()
    width = "units" if "units" in config else "filters"
    return type(op).from_config({**config, "activation": "linear", width: 2})


def _linear_end(model: Any, name: str) -> Ends:
    """Logits at the end as they are; or no classifier: a grid, or a vector from other than a Dense."""
    import keras

    out = model.outputs[0]
    if len(out.shape) == 4:
        return Ends(model, None, keras.layers.GlobalAveragePooling2D(name="features")(out))
    if len(out.shape) != 2:
        raise RestnetError(f"{name} gives outputs of shape {out.shape}; expected (n, classes) or a grid")
    last, _ = _behind(out)
    if type(last._keras_history.operation).__name__ in _POOLING:
        last = _inputs(last)[0]
    op = last._keras_history.operation
    if type(op).__name__ in ("Dense", "Conv2D") and _activation(op) in ("linear", "log_softmax"):
        return Ends(model, out, _features(out, name))
    return Ends(model, None, out)


def _features(logits: Any, name: str) -> Any:
    """Give the tensor that the classifier in front of ``logits`` reads, as ``(n, d)``."""
    import keras

    end, pooled = _classifier(logits)
    op = end._keras_history.operation
    if type(op).__name__ not in ("Dense", "Conv2D") or _activation(op) in ("softmax", "sigmoid"):
        raise RestnetError(
            f"{name}: its classes come from {op.name} ({type(op).__name__}), not from one Dense or Conv2D "
            "classifier, so there are no penultimate features"
        )
    read = _inputs(end)[0]
    vector = _vector_behind(read)
    if vector is not None:
        return vector
    pooling = keras.layers.GlobalAveragePooling1D if len(read.shape) == 3 else keras.layers.GlobalAveragePooling2D
    layer = pooling if pooled else keras.layers.Flatten
    return layer(name="features")(read)


def _with_vector_features(model: Any) -> Any:
    """Where a convolution reads a ``(n, 1, 1, d)`` grid to classify, lead that through ``(n, d)``.

    So the features are a tensor on the way to the logits, as those of a Dense are. Values do not change.
    """
    import keras

    out = model.outputs[0]
    end, pooled = _classifier(out)
    op = end._keras_history.operation
    if type(op).__name__ != "Conv2D" or pooled or len(out.shape) != 2 or set(end.shape[1:3]) != {1}:
        return model
    read = _inputs(end)[0]
    if _vector_behind(read) is not None:
        return model
    way = [
        keras.layers.Flatten(name="features"),
        keras.layers.Reshape(read.shape[1:], name="features_grid"),
    ]
    return surgery.rebuild(model, model.inputs[0].shape[1:], after={read._keras_history.operation.name: way})


def _classifier(tensor: Any) -> tuple[Any, bool]:
    """Go back over operations of one input to what a Dense or Conv2D gives; whether a pooling lay between."""
    pooled = False
    while True:
        op, inputs = tensor._keras_history.operation, _inputs(tensor)
        if type(op).__name__ in ("Dense", "Conv2D") or len(inputs) != 1:
            return tensor, pooled
        pooled = pooled or type(op).__name__ in _POOLING
        tensor = inputs[0]


def _vector_behind(tensor: Any) -> Any | None:
    """The ``(n, d)`` tensor that only passing layers lead from to ``tensor``; itself where it is one."""
    while len(tensor.shape) != 2:
        if type(tensor._keras_history.operation).__name__ not in PASSING:
            return None
        tensor = _inputs(tensor)[0]
    return tensor


def _behind(tensor: Any) -> tuple[Any, list[Any]]:
    """Go back over what only passes values on; the tensor there, and the layers passed (last first)."""
    passed: list[Any] = []
    while True:
        op = tensor._keras_history.operation
        linear = type(op).__name__ == "Activation" and _activation(op) == "linear"
        if not linear and type(op).__name__ not in PASSING:
            return tensor, passed
        passed.append(op)
        tensor = _inputs(tensor)[0]


def _inputs(tensor: Any) -> list[Any]:
    history = tensor._keras_history
    return history.operation._inbound_nodes[history.node_index].input_tensors


def _activation(op: Any) -> str | None:
    """Name the activation that a layer ends in, None for an operation that has none."""
    import keras

    function = getattr(op, "activation", None)
    if function is None:
        return None
    name = keras.activations.serialize(function)
    return name if isinstance(name, str) else getattr(function, "__name__", "custom")


def _is_softmax_over_classes(op: Any, out: Any) -> bool:
    axis = getattr(op, "axis", -1)
    over_last = axis in (-1, len(out.shape) - 1)
    return over_last and all(side == 1 for side in out.shape[1:-1])


def _linear_twin(op: Any) -> Any:
    return type(op).from_config({**op.get_config(), "activation": "linear"})
