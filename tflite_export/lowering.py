"""Layers whose TensorFlow Lite form is missing or poor, replaced by the same function of other operators.

Keras writes a layer norm as ``x * s + (beta - mean * s)``, with a NEG that has no integer kernel and a
difference of large numbers that eight bits cannot hold; integer precisions always get it as
``(x - mean) * s * gamma + beta``, where it was not rewritten before (``rewrites``). What a target lacks is replaced on
request (``LOWERED``): ``gelu`` in a finished int8 file by a lookup (``lookups.py``), which is exact, and in other
precisions by its tanh form before conversion, as ``tanh-gelu`` does in all.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Set
from typing import TYPE_CHECKING, Any

from tflite_export import lookups
from tflite_export.errors import TfliteError

if TYPE_CHECKING:
    import keras

# By what can be asked for: the operator that is then no longer in a file.
LOWERED = {"gelu": "GELU", "tanh-gelu": "GELU", "l2_normalization": "L2_NORMALIZATION"}
# The operators that it is made of in int8, by which devices are advised.
_MADE_OF = {
    "gelu": lookups.OPERATORS,
    "tanh-gelu": frozenset({"ADD", "MUL", "TANH", "MAXIMUM", "MINIMUM"}),
    "l2_normalization": frozenset({"ADD", "MEAN", "MUL", "RSQRT", "SQUARED_DIFFERENCE", "SUB"}),
}
# Beyond it the two sides of GELU differ from 0 and x by less than 1e-4, and squares keep their precision.
_GELU_REACH = 4.0
_IN_FILES = ("int8",)  # precisions whose functions of single numbers are tables


def _square(x: Any) -> Any:
    import keras

    return keras.ops.square(x)


# TensorFlow fuses a square with the difference before it, which keeps more of eight bits, but has no
# kernel of sixteen.
_SQUARES: dict[str, Callable[[Any], Any]] = {"int8": _square, "int16x8": lambda x: x * x}


def check(names: Collection[str]) -> None:
    """Refuse (``TfliteError``) what this module cannot lower."""
    for name in names:
        if name not in LOWERED:
            raise TfliteError(f"unknown operator {name!r} to lower; choose of {', '.join(LOWERED)}")


def advised(operator: str, taken: Set[str] | None) -> str | None:
    """What to ask for so that files lack an operator, of a device that takes these; None where nothing helps it."""
    names = (name for name, gone in LOWERED.items() if gone == operator)
    return next((name for name in names if taken is None or _MADE_OF[name] <= taken), None)


def finished(content: bytes, names: Collection[str], precision: str) -> bytes:
    """A converted file without what is lowered in files; any other than of int8 as it is."""
    return lookups.without(content, LOWERED["gelu"]) if "gelu" in names and precision in _IN_FILES else content


def lowered(model: keras.Model, names: Collection[str], precision: str = "float32") -> keras.Model:
    """The model with some layers replaced; all others, and their weights, are the model's own.

    ``names`` are of ``LOWERED``; layer norms are rewritten for an integer ``precision``. The model itself
    comes back where it holds none of them.
    """
    import keras

    makers: list[Callable[[Any], Any | None]] = []
    if precision in _SQUARES:
        makers.append(lambda layer: _norm(layer, _SQUARES[precision]))
    if "tanh-gelu" in names or ("gelu" in names and precision not in _IN_FILES):
        makers.append(_gelu)
    layers = list(model._flatten_layers(include_self=False)) if makers else []  # those of nested models too
    replaced = {id(layer): new for layer in layers for make in makers if (new := make(layer)) is not None}
    if not replaced:
        return model
    # Layers that stay are handed back as they are, so that they keep their weights.
    twin = keras.models.clone_model(model, clone_function=lambda layer: replaced.get(id(layer), layer), recursive=True)
    twin.name = model.name
    for layer in layers:
        if id(layer) in replaced and layer.weights:
            replaced[id(layer)].set_weights(layer.get_weights())
    return twin


def gelu(x: Any) -> Any:
    """GELU (Hendrycks and Gimpel 2016, the tanh form, within 5e-4) of operators that every target has."""
    import keras

    bounded = keras.ops.clip(x, -_GELU_REACH, _GELU_REACH)
    inner = bounded * (0.7978845608 + 0.0356774081 * (bounded * bounded))
    return x * (0.5 + 0.5 * keras.ops.tanh(inner))


def _gelu(layer: Any) -> Any | None:
    import keras

    function = getattr(layer, "activation", None)
    name = keras.activations.serialize(function) if function is not None else None
    if name != "gelu":
        return None
    twin = type(layer).from_config(layer.get_config())
    twin.activation = gelu
    return twin


def _norm(layer: Any, square: Callable[[Any], Any]) -> Any | None:
    import keras

    if type(layer) is not keras.layers.LayerNormalization or layer.rms_scaling:
        return None
    axes = layer.axis if isinstance(layer.axis, list | tuple) else [layer.axis]
    if list(axes) not in ([-1], [len(layer.input.shape) - 1]):
        return None

    class Norm(keras.layers.LayerNormalization):
        def call(self, inputs: Any) -> Any:
            ops = keras.ops
            off = inputs - ops.mean(inputs, axis=self.axis, keepdims=True)
            normed = off * ops.rsqrt(ops.mean(square(off), axis=self.axis, keepdims=True) + self.epsilon)
            normed = normed if self.gamma is None else normed * self.gamma
            return normed if self.beta is None else normed + self.beta

    return Norm.from_config(layer.get_config())
