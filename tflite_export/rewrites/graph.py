"""A functional Keras graph call by call, and its twin with other layers in the place of some."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np

from tflite_export.precision import OUTPUT_KEY

if TYPE_CHECKING:
    import keras


def calls(model: keras.Model) -> list[Any]:
    """The calls of a functional model in topological order, without its inputs."""
    by_depth = model._nodes_by_depth  # the one place where Keras keeps calls, not just layers
    ordered = [node for depth in sorted(by_depth, reverse=True) for node in by_depth[depth]]
    return [node for node in ordered if not node.is_input]


def replaced(model: keras.Model, layers: Mapping[int, Any], channels: int | None = None) -> keras.Model:
    """The model with other layers, by the ``id`` of those they stand for; all others are the model's own.

    It takes inputs of so many ``channels``, where these are others. Nested models are laid flat.
    """
    import keras

    (source,) = model.inputs
    shape = source.shape if channels is None else (*source.shape[:-1], channels)
    image = keras.Input(batch_shape=shape, dtype=source.dtype, name=source._keras_history.operation.name)
    outputs = _through(model, image, layers, {image.name: None})
    packed = keras.tree.pack_sequence_as(_functional(model)._outputs_struct, outputs)
    return keras.Model(image, packed, name=model.name)


def ends(model: keras.Model) -> dict[str, Any]:
    """The outputs by name."""
    packed = _functional(model)._outputs_struct
    return dict(packed) if isinstance(packed, dict) else {OUTPUT_KEY: model.outputs[0]}


def to(model: keras.Model, tensors: Sequence[Any]) -> keras.Model:
    """The model with tensors of its own graph for its outputs."""
    import keras

    return keras.Model(model.inputs[0], list(tensors))


def flat(model: keras.Model) -> keras.Model:
    """The model with the layers of nested models in its own graph; the model itself where it holds none."""
    nested = any(_graph(node.operation) is not None for node in calls(_functional(model)))
    return replaced(model, {}) if nested or _functional(model) is not model else model


def _through(model: Any, x: Any, layers: Mapping[int, Any], names: dict[str, Any]) -> list[Any]:
    """A model's outputs for a symbolic input; ``names`` are of the layers that were called, with these."""
    graph = _functional(model)
    twins = {id(graph.inputs[0]): x}
    for node in calls(graph):
        args, kwargs = node.arguments.fill_in(twins)
        inner = _graph(node.operation)
        if inner is not None and len(inner.inputs) == 1:
            results: Any = _through(inner, args[0] if args else kwargs["inputs"], layers, names)
        else:
            results = _called(layers.get(id(node.operation), node.operation), args, kwargs, names)
        results = results if isinstance(results, list | tuple) else [results]
        twins |= {id(t): y for t, y in zip(node.output_tensors, results, strict=True)}
    return [twins[id(t)] for t in graph.outputs]


def _called(layer: Any, args: Any, kwargs: Any, names: dict[str, Any]) -> Any:
    """What a layer gives, or a copy of it, where nested models have two of one name."""
    if names.setdefault(layer.name, layer) is layer:
        return layer(*args, **kwargs)
    number = next(n for n in count(1) if f"{layer.name}_{n}" not in names)
    twin = type(layer).from_config(layer.get_config() | {"name": f"{layer.name}_{number}"})
    names[twin.name] = twin
    results = twin(*args, **kwargs)
    if getattr(layer, "weights", None):
        twin.set_weights(layer.get_weights())
    return results


def _graph(operation: Any) -> Any | None:
    """The graph of a nested model; None of a layer."""
    import keras

    return _functional(operation) if isinstance(operation, keras.Model) else None


def _functional(model: Any) -> Any:
    """The graph behind a Sequential model, which is a functional one."""
    return getattr(model, "_functional", None) or model


def run(model: keras.Model, images: np.ndarray) -> list[np.ndarray]:
    """All outputs of a model."""
    import keras

    return [np.asarray(y) for y in keras.tree.flatten(model(images, training=False))]
