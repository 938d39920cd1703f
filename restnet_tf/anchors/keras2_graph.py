"""The configuration of a Keras 2 model -> one flat functional model of Keras 3, with its parts for the weights.

Layers, nested models and calls of TensorFlow are made once and then called as the configuration says;
the model that comes out has no model inside. Layers of augmentation are left out. The formats are those
of TF 2.0 to 2.15: ``[name, call, tensor, arguments]`` names a tensor, in lists as deep as the call's own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from restnet_tf.anchors import keras2_layers, keras2_ops
from restnet_tf.graph import augmentation
from restnet_tf.records import RestnetError

MODELS = frozenset({"Functional", "Model", "Sequential"})
_CALLS_OF_TENSORFLOW = frozenset({"SlicingOpLambda", "TFOpLambda"})
_CONSTANT = "_CONSTANT_VALUE"
_WRAPPED = frozenset({"TensorShape", "__tuple__"})


@dataclass(frozen=True)
class Part:
    """One entry of a model: a layer, a call of TensorFlow, or a model of further parts.

    ``name`` and ``kind`` are the file's; ``layer`` is what holds weights, where the entry is a layer of Keras 3.
    """

    name: str
    kind: str
    trainable: bool
    call: Callable[..., Any]
    layer: Any = None
    parts: tuple[Part, ...] = ()

    @property
    def weighs(self) -> bool:
        """Whether it, or a part of it, has weights; known once it was called."""
        return any(part.layer.weights for part in leaves([self]))


@dataclass(frozen=True)
class BuiltModel:
    """A model of Keras 3, whose weights are still to be read, and what it was made of."""

    model: Any
    parts: tuple[Part, ...]


def leaves(parts: Sequence[Part]) -> Iterator[Part]:
    """The layers of Keras 3 in parts, in the file's order."""
    for part in parts:
        if part.layer is not None:
            yield part
        yield from leaves(part.parts)


def build(entry: dict[str, Any]) -> BuiltModel:
    """The model that a file's ``{"class_name": ..., "config": ...}`` describes.

    Raises RestnetError for what Keras 3 cannot do, by the name of the layer.
    """
    import keras

    entry = plain(entry)
    if entry.get("class_name") not in MODELS:
        raise RestnetError(f"it is a subclassed model ({entry.get('class_name')}), whose code the file does not hold")
    taken: set[str] = set()
    whole = _part(entry, "", taken)
    inputs = [keras.Input(shape[1:], name=name.replace("/", "_")) for name, shape in _inputs(entry)]
    results = whole.call(inputs if len(inputs) > 1 else inputs[0])
    own = {id(part.layer) for part in leaves([whole])} | {id(t._keras_history.operation) for t in inputs}
    _rename_others(results, own, taken | {t._keras_history.operation.name for t in inputs})
    name = str(whole.name or "model").replace("/", "_")
    return BuiltModel(keras.Model(inputs if len(inputs) > 1 else inputs[0], results, name=name), whole.parts)


def _rename_others(results: Any, own: set[int], taken: set[str]) -> None:
    """Give what stands for calls of TensorFlow names that no layer of the file has."""
    left = list(results) if isinstance(results, list) else [results]
    seen: set[int] = set()
    while left:
        tensor = left.pop()
        if id(tensor) in seen:
            continue
        seen.add(id(tensor))
        history = tensor._keras_history
        left += history.operation._inbound_nodes[history.node_index].input_tensors
        if id(history.operation) not in own:
            history.operation.name = _free_name(history.operation.name, "", taken)
            own.add(id(history.operation))


def plain(value: Any) -> Any:
    """A configuration without the wrappings that JSON needs for tuples, shapes, arrays and the ellipsis."""
    if isinstance(value, list):
        return [plain(one) for one in value]
    if not isinstance(value, dict):
        return value
    kind = value.get("class_name")
    if kind in _WRAPPED and "items" in value:
        return plain(value["items"])
    if kind == "__ellipsis__":
        return Ellipsis
    if kind in ("__numpy__", "__tensor__"):
        return plain(value["config"]["value"])
    if value.get("type") == "ndarray":
        return plain(value["value"])
    return {key: plain(one) for key, one in value.items()}


def _layers(config: Any) -> list[dict[str, Any]]:
    """The entries of a model's configuration, which is the list itself in the oldest files of Sequential models."""
    return list(config["layers"] if isinstance(config, dict) else config)


def _inputs(entry: dict[str, Any]) -> list[tuple[str, list[int | None]]]:
    """Names and shapes, batch included, of what a model takes."""
    config = entry["config"]
    by_name = {str(_name(layer)): layer for layer in _layers(config)}
    if entry["class_name"] != "Sequential":
        return [(ref[0], _shape(by_name[ref[0]])) for ref in _listed(config["input_layers"])]
    first = next(iter(by_name.values()))
    shape = _first_shape(first) or (config.get("build_input_shape") if isinstance(config, dict) else None)
    if not shape:
        raise RestnetError("it is a Sequential model without an input shape; call it on images before saving it")
    return [("image" if first["class_name"] != "InputLayer" else str(_name(first)), shape)]


def _first_shape(entry: dict[str, Any]) -> list[int | None] | None:
    """What the first entry of a Sequential model takes, where that or what it begins with says so."""
    if entry["class_name"] in MODELS:
        return _inputs(entry)[0][1]
    return _shape(entry)


def _shape(entry: dict[str, Any]) -> Any:
    config = entry["config"]
    return config.get("batch_input_shape") or config.get("batch_shape")


def _name(entry: dict[str, Any]) -> Any:
    config = entry["config"]
    return entry.get("name") or (config.get("name") if isinstance(config, dict) else None)


def _part(entry: dict[str, Any], place: str, taken: set[str]) -> Part:
    """Make an entry's layers; names of Keras 3 are free of slashes, and unique in the whole model."""
    kind, config, name = entry["class_name"], entry["config"], str(_name(entry))
    trainable = bool(config.get("trainable", True)) if isinstance(config, dict) else True
    if kind == "InputLayer" or augmentation.is_idle(kind):
        return Part(name, kind, trainable, lambda inputs, **_: inputs)
    if kind in _CALLS_OF_TENSORFLOW:
        function = config["function"]
        return Part(name, kind, trainable, lambda inputs, **more: keras2_ops.apply(function, name, inputs, more))
    if kind in MODELS:
        below = f"{place}{name}_" if place or taken else f"{place}"
        parts = tuple(_part(one, below, taken) for one in _layers(config))
        run = _in_sequence(parts) if kind == "Sequential" else _as_connected(config, parts)
        return Part(name, kind, trainable, run, parts=parts)
    leaf = keras2_layers.leaf(kind, config, _free_name(name, place, taken), name)
    return Part(name, kind, trainable, _call_of(leaf, name), leaf.layer)


def _free_name(name: str, place: str, taken: set[str]) -> str:
    name = name.replace("/", "_")
    free, number = name if name not in taken else f"{place}{name}".replace("/", "_"), 0
    base = free
    while free in taken:
        number += 1
        free = f"{base}_{number}"
    taken.add(free)
    return free


def _call_of(leaf: keras2_layers.Leaf, name: str) -> Callable[..., Any]:
    import keras

    def call(inputs: Any, **arguments: Any) -> Any:
        if arguments.pop("training", None) and isinstance(leaf.layer, keras.layers.BatchNormalization):
            raise RestnetError(f"layer {name} was called with training=True, so its answers depend on the whole batch")
        arguments.pop("mask", None)
        return leaf(inputs, **arguments)

    return call


def _in_sequence(parts: Sequence[Part]) -> Callable[..., Any]:
    def call(x: Any, **_: Any) -> Any:
        for part in parts:
            x = part.call(x)
        return x

    return call


def _as_connected(config: dict[str, Any], parts: Sequence[Part]) -> Callable[..., Any]:
    entries = _layers(config)

    def call(x: Any, **_: Any) -> Any:
        nodes = [
            (part, node) for part, one in zip(parts, entries, strict=True) for node in one.get("inbound_nodes", ())
        ]
        calls = _Calls(parts, Counter(part.name for part, _ in nodes))
        given = x if isinstance(x, list) else [x]
        for ref, tensor in zip(_listed(config["input_layers"]), given, strict=True):
            calls.results[ref[0]].append(tensor)
        calls.run(nodes)
        results = [calls.tensor(ref) for ref in _listed(config["output_layers"])]
        return results if len(results) > 1 else results[0]

    return call


class _Calls:
    """The calls of one run through a model, by the name of what was called and the number of the call."""

    def __init__(self, parts: Sequence[Part], counts: Mapping[str, int]) -> None:
        self._counts = counts
        self.results: dict[str, list[Any]] = {part.name: [] for part in parts}
        # A model with an input of its own was called once when it was made; that is no call in the configuration.
        self._first = {part.name: int(_begins_with_input(part)) for part in parts}

    def run(self, nodes: Sequence[tuple[Part, Any]]) -> None:
        """Make all calls, each once what it takes is there."""
        left = list(nodes)
        while left:
            waiting: list[tuple[Part, Any]] = []
            for part, node in left:
                behind = any(part is other for other, _ in waiting)  # calls keep their order
                if behind or not all(self._there(ref) for ref in _refs(node, self.results)):
                    waiting.append((part, node))
                else:
                    self._call(part, node)
            if len(waiting) == len(left):
                raise RestnetError(f"layer {waiting[0][0].name} takes what no layer gives")
            left = waiting

    def tensor(self, ref: Sequence[Any]) -> Any:
        """What a reference names."""
        result = self.results[ref[0]][self._number(ref)]
        return result[ref[2]] if isinstance(result, list | tuple) else result

    def _number(self, ref: Sequence[Any]) -> int:
        """Which call of a layer a reference means, from 0 on."""
        return ref[1] - self._first[ref[0]] if self._counts[ref[0]] > 1 else 0

    def _there(self, ref: Sequence[Any]) -> bool:
        return ref[0] in self.results and 0 <= self._number(ref) < len(self.results[ref[0]])

    def _call(self, part: Part, node: Any) -> None:
        inputs = self._value(node)
        if part.kind not in _CALLS_OF_TENSORFLOW and isinstance(inputs, list) and len(inputs) == 1:
            (inputs,) = inputs
        arguments = {key: self._value(value) for key, value in _arguments(node).items()}
        self.results[part.name].append(part.call(inputs, **arguments))

    def _value(self, value: Any) -> Any:
        """A structure of references and constants with the tensors in place of the references."""
        if _is_ref(value, self.results):
            return value[2] if value[0] == _CONSTANT else self.tensor(value)
        if isinstance(value, list):
            return [self._value(one) for one in value]
        return {key: self._value(one) for key, one in value.items()} if isinstance(value, dict) else value


def _begins_with_input(part: Part) -> bool:
    return bool(part.parts) and part.parts[0].kind == "InputLayer"


def _is_ref(value: Any, names: dict[str, Any]) -> bool:
    if not isinstance(value, list) or len(value) not in (3, 4) or not isinstance(value[0], str):
        return False
    refers = value[0] in names or isinstance(value[-1], dict)
    return value[0] == _CONSTANT or (refers and all(isinstance(number, int) for number in value[1:3]))


def _refs(value: Any, names: dict[str, Any]) -> Iterator[list[Any]]:
    """All references to tensors in a call's inputs and arguments."""
    if _is_ref(value, names):
        if value[0] != _CONSTANT:
            yield value
        value = value[3:]
    for one in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _refs(one, names)


def _arguments(node: Any) -> dict[str, Any]:
    """What a call is given beside its inputs, which stands behind each of them."""
    if isinstance(node, list) and len(node) == 4 and isinstance(node[0], str) and isinstance(node[3], dict):
        return node[3]
    inner = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return next((given for one in inner if (given := _arguments(one))), {})


def _listed(refs: list[Any]) -> list[list[Any]]:
    """References as a list, where one alone may stand for itself."""
    return [refs] if refs and isinstance(refs[0], str) else refs
