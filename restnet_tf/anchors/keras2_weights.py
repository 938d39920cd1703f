"""The weights of a Keras 2 file into the parts of its model.

Three stores: HDF5 by layer of the outermost model (``.h5``), HDF5 by nesting (``.keras`` of TF 2.12 to
2.15), and the checkpoint of a SavedModel. Whatever the store, each layer is found by what the file calls
it, and each weight by its own name where the store has names; a shape that differs is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from restnet_tf.anchors.keras2_graph import Part, leaves
from restnet_tf.records import RestnetError

# What Keras 2 calls otherwise, by class and what Keras 3 keeps it as.
_OTHER_NAMES = {("DepthwiseConv2D", "kernel"): "depthwise_kernel"}
_ONLY = {"LayerScale": "gamma"}  # Keras 3 gives it no name
# Of the layers that MultiHeadAttention holds: Keras 3's name, and the attribute that both keep it by.
_INNER = {
    "query": "_query_dense",
    "key": "_key_dense",
    "value": "_value_dense",
    "attention_output": "_output_dense",
}


@dataclass(frozen=True)
class Slot:
    """A variable to fill; ``name`` is Keras 2's, ``inner`` names the layer inside its layer that it belongs to."""

    variable: Any
    name: str
    inner: str = ""


def slots(part: Part) -> list[Slot]:
    """The variables of one layer, in the order that both versions of Keras keep."""
    layer = part.layer
    return [_slot(part.kind, layer, variable) for variable in layer.weights]


def _slot(kind: str, layer: Any, variable: Any) -> Slot:
    inner = next((name for name in _INNER if f"/{name}/" in f"/{variable.path}"), "") if _holds_layers(layer) else ""
    return Slot(variable, _ONLY.get(kind) or _OTHER_NAMES.get((kind, variable.name), variable.name), inner)


def _holds_layers(layer: Any) -> bool:
    return any(layer._flatten_layers(include_self=False))


def fill(slot: Slot, value: np.ndarray, part: Part) -> None:
    """Write one value; raises RestnetError where its shape is another."""
    if tuple(slot.variable.shape) != value.shape:
        shape = tuple(slot.variable.shape)
        raise RestnetError(f"its weight {slot.name} of layer {part.name} has the shape {value.shape}, not {shape}")
    slot.variable.assign(value.astype(slot.variable.dtype))


def finish(parts: Sequence[Part]) -> None:
    """Let layers take what they compute from their weights."""
    for part in leaves(parts):
        if hasattr(part.layer, "finalize_state") and part.layer.weights:
            part.layer.finalize_state()


# ---- HDF5 by layer of the outermost model ------------------------------------------------------


def from_layers(parts: Sequence[Part], stored: dict[str, list[tuple[str, np.ndarray]]]) -> None:
    """Fill from the names and values of each layer of the outermost model, as they lie in the file."""
    heavy = [part for part in parts if part.weighs]
    by_name = {name: values for name, values in stored.items() if values}
    if {part.name for part in heavy} != set(by_name):
        if len(heavy) != len(by_name):
            raise RestnetError(f"its weights are of {len(by_name)} layers, its architecture has {len(heavy)}")
        by_name = {part.name: values for part, values in zip(heavy, by_name.values(), strict=True)}
    for part in heavy:
        _fill_part(part, by_name[part.name])


def _fill_part(part: Part, values: list[tuple[str, np.ndarray]]) -> None:
    """By name where every weight has one name of its own; else in the order in which Keras 2 writes them."""
    every = [(slot, leaf) for leaf in leaves([part]) for slot in slots(leaf)]
    if len(every) != len(values):
        raise RestnetError(f"its layer {part.name} has {len(values)} weights, not {len(every)}")
    matched = _by_name(every, values) or _in_order(part, values)
    for (slot, leaf), value in matched:
        fill(slot, value, leaf)


Match = list[tuple[tuple[Slot, Part], np.ndarray]]


def _by_name(every: list[tuple[Slot, Part]], values: list[tuple[str, np.ndarray]]) -> Match | None:
    """None where a name is missing, or stands for two."""
    left = {name.partition(":")[0]: value for name, value in values}
    keys = [f"{leaf.name}/{slot.inner}/{slot.name}".replace("//", "/") for slot, leaf in every]
    if len(left) != len(values) or len(set(keys)) != len(keys):
        return None
    matched: Match = []
    # Whole names first: "conv" must not take what "block/conv" is.
    for one, key in sorted(zip(every, keys, strict=True), key=lambda pair: pair[1] not in left):
        names = [key] if key in left else [name for name in left if name.endswith(f"/{key}")]
        if len(names) != 1:
            return None
        matched.append((one, left.pop(names[0])))
    return matched


def _in_order(part: Part, values: list[tuple[str, np.ndarray]]) -> Match:
    """Trainable weights first, then the others, each in the order of layers."""
    trained, others = _halves(part)
    matched = list(zip([*trained, *others], values, strict=True))
    for (slot, leaf), (name, _) in matched:
        if name.partition(":")[0].rpartition("/")[2] != slot.name:
            raise RestnetError(f"it is not clear which weight of layer {leaf.name} {name} is")
    return [(one, value) for one, (_, value) in matched]


def _halves(part: Part) -> tuple[list[tuple[Slot, Part]], list[tuple[Slot, Part]]]:
    if part.layer is None:
        halves = [_halves(one) for one in part.parts]
        return [s for half, _ in halves for s in half], [s for _, half in halves for s in half]
    every = [(slot, part) for slot in slots(part)]
    if not part.trainable:
        return [], every
    return [s for s in every if s[0].variable.trainable], [s for s in every if not s[0].variable.trainable]


# ---- HDF5 by nesting ---------------------------------------------------------------------------


def from_nested(parts: Sequence[Part], group: Any) -> None:
    """Fill from the groups of a ``.keras`` file: a group a layer, named by class and running number."""
    from keras.src.utils.naming import to_snake_case

    inside: Any = next((group[name] for name in ("layers", "_layer_checkpoint_dependencies") if name in group), {})
    by_kind: dict[str, list[Part]] = {}
    for part in parts:
        if part.weighs:
            by_kind.setdefault(to_snake_case(part.kind), []).append(part)
    for kind, several in by_kind.items():
        groups = [inside[name] for name in _numbered(kind, inside) if _has_values(inside[name])]
        if len(groups) != len(several):
            raise RestnetError(f"its weights are of {len(groups)} layers {kind}, its architecture has {len(several)}")
        for part, own in zip(several, groups, strict=True):
            _fill_nested(part, own)


def _fill_nested(part: Part, group: Any) -> None:
    if part.layer is None:
        from_nested(part.parts, group)
        return
    numbers: dict[str, int] = {}
    for slot in slots(part):
        number = numbers[slot.inner] = numbers.get(slot.inner, -1) + 1
        path = f"{_INNER[slot.inner]}/vars/{number}" if slot.inner else f"vars/{number}"
        if path not in group:
            raise RestnetError(f"it lacks the weight {slot.name} of layer {part.name}")
        fill(slot, group[path][()], part)


def _numbered(kind: str, group: Any) -> list[str]:
    names = [name for name in group if re.fullmatch(rf"{kind}(_\d+)?", name)]
    return sorted(names, key=lambda name: int(name[len(kind) + 1 :] or 0))


def _has_values(group: Any) -> bool:
    return any(len(one) for name, one in _groups(group) if name == "vars")


def _groups(group: Any) -> Iterator[tuple[str, Any]]:
    for name, one in group.items():
        if hasattr(one, "items"):
            yield name, one
            yield from _groups(one)


# ---- the checkpoint of a SavedModel ------------------------------------------------------------


def from_checkpoint(parts: Sequence[Part], prefix: Path) -> None:
    """Fill from a checkpoint of TensorFlow, along the objects that it says it was made of."""
    import tensorflow as tf
    from tensorflow.core.protobuf import trackable_object_graph_pb2

    reader = tf.train.load_checkpoint(str(prefix))
    graph = trackable_object_graph_pb2.TrackableObjectGraph()
    graph.ParseFromString(reader.get_tensor("_CHECKPOINTABLE_OBJECT_GRAPH"))
    _Checkpoint(reader, graph.nodes).fill(parts, 0)


class _Checkpoint:
    """A checkpoint's values, by the tree of objects that they belong to."""

    def __init__(self, reader: Any, nodes: Any) -> None:
        self._reader, self._nodes = reader, nodes

    def fill(self, parts: Sequence[Part], node: int) -> None:
        """Fill the parts of a model from its node."""
        children = self._children(node)
        # Sequential models do not count an input layer, functional ones do.
        counted = [part for part in parts if f"layer-{len(parts) - 1}" in children or part.kind != "InputLayer"]
        for number, part in enumerate(counted):
            if not part.weighs:
                continue
            below = children.get(f"layer-{number}")
            if below is None:
                raise RestnetError(f"its checkpoint lacks layer {part.name}")
            if part.layer is None:
                self.fill(part.parts, below)
            else:
                self._fill_layer(part, below)

    def _fill_layer(self, part: Part, node: int) -> None:
        for slot in slots(part):
            holder = self._children(node).get(_INNER[slot.inner]) if slot.inner else node
            place = None if holder is None else self._children(holder).get(slot.name)
            if place is None or not self._nodes[place].attributes:
                raise RestnetError(f"its checkpoint lacks the weight {slot.name} of layer {part.name}")
            fill(slot, np.asarray(self._reader.get_tensor(self._nodes[place].attributes[0].checkpoint_key)), part)

    def _children(self, node: int) -> dict[str, int]:
        return {child.local_name: child.node_id for child in self._nodes[node].children}
