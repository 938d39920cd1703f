"""What decides a network's answers beside its weights: networks of one structure share what was traced of one.

Names decide nothing, nor does how weights were drawn. Layers that keep values in neither configuration nor weights
(an adapted ``Normalization``, a ``Lambda``) have no structure here, so a network of them is traced for itself.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from restnet_tf.graph import costs, surgery

if TYPE_CHECKING:
    import keras

# Where layers are defined that their configuration and their weights decide, and those there that are others.
_PLACES = tuple(
    f"keras.src.layers.{place}."
    for place in (
        "activations",
        "attention",
        "convolutional",
        "core",
        "merging",
        "normalization",
        "pooling",
        "preprocessing.rescaling",
        "regularization",
        "reshaping",
    )
)
_OPERATIONS = "keras.src.ops."
_OWN = frozenset({"restnet_tf.graph.tokens"})
_OTHERS = frozenset({"Lambda", "Masking", "SpectralNormalization", "Wrapper"})
# What of a configuration decides no answer.
_IDLE = frozenset({"name", "trainable"})
_IDLE_ENDS = ("_initializer", "_regularizer", "_constraint")
_PLAIN = (bool, int, float, str, type(None), type(...))


@dataclass(frozen=True)
class Structure:
    """A hash that networks of one structure have in common, and a network's own variables in the order of its calls."""

    key: str
    variables: tuple[keras.Variable, ...]


# By their identity: their numbers, and themselves.
_Variables = dict[int, tuple[int, Any]]


class _UnseenError(Exception):
    """Something decides answers that cannot be seen here."""


def of(*models: keras.Model) -> Structure | None:
    """The structure of functional models, taken together; None where it cannot be seen."""
    variables: _Variables = {}
    try:
        told = [_model(model, variables) for model in models]
    except _UnseenError:
        return None
    if {id(v) for model in models for v in model.variables} != set(variables):
        return None
    return Structure(hashlib.sha256(repr(told).encode()).hexdigest(), tuple(v for _, v in variables.values()))


def _model(model: Any, variables: _Variables) -> Any:
    graph = surgery.functional_of(model)
    if graph is None:
        raise _UnseenError
    places = {id(t): i for i, t in enumerate(graph.inputs)}
    operations: dict[int, Any] = {}
    calls = []
    for node in costs.nodes(graph):
        operation = node.operation
        if id(operation) not in operations:
            operations[id(operation)] = len(operations), _operation(operation, variables)
        arguments = [_plain(part, places) for part in (node.arguments.args, node.arguments.kwargs)]
        calls.append((operations[id(operation)], arguments))
        places |= {id(t): len(places) + i for i, t in enumerate(node.output_tensors)}
    inputs = [(tuple(t.shape), t.dtype) for t in graph.inputs]
    return inputs, calls, _plain(graph.output, places)


def _operation(operation: Any, variables: _Variables) -> Any:
    if surgery.functional_of(operation) is not None:
        return _model(operation, variables)
    kind = type(operation)
    seen = f"{kind.__module__}.".startswith((*_PLACES, _OPERATIONS)) or kind.__module__ in _OWN
    # Keras tells a function by its name alone.
    functions = [f for name, f in vars(operation).items() if "activation" in name and callable(f)]
    if not seen or kind.__name__ in _OTHERS or not all(f.__module__.startswith("keras.src.") for f in functions):
        raise _UnseenError
    held = [(_number(v, variables), tuple(v.shape), v.dtype) for v in getattr(operation, "variables", ())]
    return kind.__module__, kind.__name__, _configuration(operation), held


def _number(variable: Any, variables: _Variables) -> int:
    """Of a variable in the order of the calls: that of the first where several layers share it."""
    return variables.setdefault(id(variable), (len(variables), variable))[0]


def _configuration(operation: Any) -> Any:
    try:
        return _plain({"trainable": True, **operation.get_config()}, {})
    except NotImplementedError:
        raise _UnseenError from None


def _plain(value: Any, places: dict[int, int]) -> Any:
    """Values as text tells them apart, a symbolic tensor as its place."""
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, list | tuple):
        return [_plain(v, places) for v in value]
    if isinstance(value, dict):
        if "class_name" in value and not str(value.get("module")).startswith("keras"):
            raise _UnseenError  # a function or a layer of somebody else
        idle = _IDLE if "trainable" in value else frozenset()  # a layer's, not the name of what it computes in
        kept = {k: v for k, v in value.items() if k not in idle and not str(k).endswith(_IDLE_ENDS)}
        return [(k, _plain(v, places)) for k, v in kept.items()]
    if isinstance(value, slice):
        return ["slice", *(_plain(v, places) for v in (value.start, value.stop, value.step))]
    if id(value) in places:
        return ("tensor", places[id(value)])
    raise _UnseenError
