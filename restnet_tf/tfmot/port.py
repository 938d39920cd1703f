"""A Keras 3 functional model as plain JSON and arrays, for a process that has only tf_keras.

tensorflow-model-optimization takes models of tf_keras alone, and changes the process that imports it,
so nothing but files can pass between. Described is what the model computes at inference: nested models
are laid flat, what acts in training only is left out, and so is how weights were once initialised.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from restnet_tf.graph import costs, surgery
from restnet_tf.records import RestnetError
from restnet_tf.tfmot import attention

if TYPE_CHECKING:
    import keras

GRAPH, WEIGHTS = "graph.json", "weights.npz"
# Of a layer's config: what says how training would go, not what is computed; and what only Keras 3 has.
_TRAINING_KEYS = ("_initializer", "_regularizer", "_constraint")
_KERAS_3_KEYS = frozenset(
    {
        *("autocast", "batch_shape", "dtype", "module", "name", "optional", "registered_name", "trainable"),
        *("fill_mode", "fill_value", "pad_to_aspect_ratio"),
        *("lora_alpha", "lora_rank", "quantization_config"),
        *("renorm", "renorm_clipping", "renorm_momentum", "rms_scaling", "synchronized"),
    }
)
_IDLE_AT_INFERENCE = frozenset(
    {
        *("ActivityRegularization", "AlphaDropout", "Dropout", "GaussianDropout", "GaussianNoise"),
        *("Identity", "SpatialDropout2D", "StochasticDepth"),
    }
)
_NOT_IN_TF_KERAS = {("Resizing", "antialias"), ("Resizing", "data_format"), ("ZeroPadding1D", "data_format")}
# What tf_keras calls otherwise, of a layer's config and of its variables.
_OTHER_NAMES = {
    ("LeakyReLU", "negative_slope"): "alpha",
    ("DepthwiseConv2D", "kernel"): "depthwise_kernel",
}
# Operations that are no layers, as the layers that do the same; with a number for a tensor as rescaling.
_AS_LAYERS: dict[str, tuple[str, dict[str, Any]]] = {
    "Add": ("Add", {}),
    "Multiply": ("Multiply", {}),
    "Subtract": ("Subtract", {}),
    "Relu": ("ReLU", {}),
    "Relu6": ("ReLU", {"max_value": 6.0}),
    "Sigmoid": ("Activation", {"activation": "sigmoid"}),
    "Silu": ("Activation", {"activation": "swish"}),
}
_BY_NUMBER = {"Add": ("offset", 1), "Subtract": ("offset", -1), "Multiply": ("scale", 1)}


@dataclass(frozen=True)
class Layer:
    """One layer: the nested model it lies in, its tf_keras class and config, its variables' paths by short name."""

    part: str
    name: str
    class_name: str
    config: dict[str, Any]
    paths: dict[str, str]


@dataclass(frozen=True)
class Call:
    """Layer ``layer`` on tensors by number; ``listed`` where it takes a list. Its result has the next number."""

    layer: int
    inputs: tuple[int, ...]
    listed: bool


@dataclass(frozen=True)
class Ported:
    """A model of one input, tensor 0, and one output, the last call's.

    ``weights`` holds arrays by ``<layer number>/<short variable name>``.
    """

    input_shape: tuple[int, ...]
    layers: tuple[Layer, ...]
    calls: tuple[Call, ...]
    weights: dict[str, np.ndarray]


def describe(model: keras.Model) -> Ported:
    """The model, from its one input to its one output.

    Raises ``RestnetError`` for an operation that has no counterpart, with its name.
    """
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise RestnetError(f"{model.name} has {len(model.inputs)} inputs and {len(model.outputs)} outputs; one each")
    numbers, graph = {id(model.inputs[0]): 0}, _Graph()
    for part, node, start, end in _flat(model, ""):
        places = tuple(numbers[id(t)] for t in start)
        operation = None if node is None else node.operation
        if operation is None or type(operation).__name__ in _IDLE_AT_INFERENCE:
            numbers[id(end)] = places[0]
        elif type(operation).__name__ == attention.KIND:
            numbers[id(end)] = _attended(graph, node, part, places)
        else:
            layer = _layer(node, part)
            listed = len(places) > 1 or isinstance(node.arguments.args[0], list | tuple)
            numbers[id(end)] = graph.call(operation, layer, places, listed=listed)
    if not graph.calls or numbers[id(model.outputs[0])] != len(graph.calls):
        raise RestnetError(f"{model.name}: its output is not what its last operation gives")
    return Ported(tuple(model.inputs[0].shape[1:]), tuple(graph.layers), tuple(graph.calls), graph.weights)


class _Graph:
    """Layers and calls as they are met; what has weights is one layer however often it is called."""

    def __init__(self) -> None:
        self.layers: list[Layer] = []
        self.calls: list[Call] = []
        self.weights: dict[str, np.ndarray] = {}
        self._indices: dict[int, int] = {}

    def call(self, operation: Any, layer: Layer, inputs: tuple[int, ...], *, listed: bool) -> int:
        """The number of what a layer gives on tensors by number."""
        index = self._indices.get(id(operation))
        if index is None or not layer.paths:
            index = len(self.layers)
            self.layers.append(layer)
            if layer.paths:
                self._indices[id(operation)] = index
                self.weights |= {f"{index}/{_short(operation, v)}": np.asarray(v) for v in operation.weights}
        self.calls.append(Call(index, inputs, listed))
        return len(self.calls)


def _attended(graph: _Graph, node: Any, part: str, places: tuple[int, ...]) -> int:
    """Attention as the layers that it is made of; the number of what it gives."""
    reason = attention.refusal(node)
    if reason:
        raise _refusal(node.operation, reason)
    numbers = {"x": places[0]}
    for step in attention.parts(node.operation):
        paths = {} if step.source is None else {_short(step.source, v): v.path for v in step.source.weights}
        layer = Layer(part, f"{node.operation.name}.{step.name}", step.class_name, step.config, paths)
        inputs = tuple(numbers[name] for name in step.inputs)
        numbers[step.name] = graph.call(step.source, layer, inputs, listed=len(inputs) > 1)
    return numbers[step.name]


def save(ported: Ported, folder: Path) -> None:
    """``graph.json`` and ``weights.npz`` in a folder."""
    content = {
        "input_shape": ported.input_shape,
        "layers": [{"name": x.name, "class_name": x.class_name, "config": x.config} for x in ported.layers],
        "calls": [{"layer": c.layer, "inputs": c.inputs, "listed": c.listed} for c in ported.calls],
    }
    (folder / GRAPH).write_text(json.dumps(content, indent=1), encoding="utf-8")
    np.savez(folder / WEIGHTS, **ported.weights)  # type: ignore[arg-type]


def _flat(model: keras.Model, part: str) -> Iterator[tuple[str, Any, list[Any], Any]]:
    """All calls: the nested model they lie in, node, input tensors, output tensor.

    A node of None hands its one input on: the border of a nested model.
    """
    for node in costs.nodes(model):
        operation = node.operation
        if len(node.output_tensors) != 1:
            raise RestnetError(f"{operation.name} ({type(operation).__name__}) gives several results; one is portable")
        inner = surgery.functional_of(operation)
        if inner is None:
            yield part, node, node.input_tensors, node.output_tensors[0]
            continue
        yield part, None, node.input_tensors, inner.inputs[0]
        yield from _flat(inner, part or operation.name)
        yield part, None, [inner.outputs[0]], node.output_tensors[0]


def _layer(node: Any, part: str) -> Layer:
    import keras

    operation = node.operation
    kind = type(operation).__name__
    if not isinstance(operation, keras.Layer):
        class_name, config = _as_layer(node)
        return Layer(part, operation.name, class_name, config, {})
    if len(node.arguments.args) != 1 or _options(node):
        raise _refusal(operation, "it is called with more than its input")
    if list(operation._flatten_layers(include_self=False)):
        raise _refusal(operation, "it holds layers of its own")
    options = {name: value for name, value in operation.get_config().items() if _matters(kind, name)}
    config = {_OTHER_NAMES.get((kind, name), name): value for name, value in options.items()}
    try:
        json.dumps(config)
    except TypeError as error:
        raise _refusal(operation, str(error)) from None
    return Layer(part, operation.name, kind, config, {_short(operation, v): v.path for v in operation.weights})


def _as_layer(node: Any) -> tuple[str, dict[str, Any]]:
    """The class and config of a layer that does what an operation does that is none."""
    kind, args = type(node.operation).__name__, node.arguments.args
    if kind in _AS_LAYERS and len(args) == len(node.input_tensors) and not _options(node):
        class_name, config = _AS_LAYERS[kind]
        return class_name, dict(config)
    if kind in _BY_NUMBER and len(args) == 2 and isinstance(args[1], int | float):
        name, sign = _BY_NUMBER[kind]
        return "Rescaling", {"scale": 1.0, "offset": 0.0} | {name: float(sign * args[1])}
    raise _refusal(node.operation, "no layer does the same")


def _options(node: Any) -> dict[str, Any]:
    """What a call is given beside its inputs."""
    arguments = node.arguments.kwargs.items()
    return {name: value for name, value in arguments if name not in ("training", "mask") and value is not None}


def _refusal(operation: Any, reason: str) -> RestnetError:
    return RestnetError(f"{operation.name} ({type(operation).__name__}) cannot be ported to tf_keras: {reason}")


def _short(layer: Any, variable: Any) -> str:
    """What tf_keras calls a variable within its layer."""
    return _OTHER_NAMES.get((type(layer).__name__, variable.name), variable.name)


def _matters(kind: str, key: str) -> bool:
    return not (key in _KERAS_3_KEYS or key.endswith(_TRAINING_KEYS) or (kind, key) in _NOT_IN_TF_KERAS)
