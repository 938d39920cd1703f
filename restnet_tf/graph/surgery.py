"""Surgery on a loaded Keras graph: one flat functional model, checked and fingerprinted.

Works on graphs that the loader has just made and alone holds; where nothing has to change, the
very same model object comes back.
"""

from __future__ import annotations

import collections
import hashlib
import json
import random
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from restnet_tf.graph import augmentation
from restnet_tf.records import RestnetError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

SEED = 0
_RECURRENT = frozenset({"Bidirectional", "ConvLSTM1D", "ConvLSTM2D", "GRU", "LSTM", "RNN", "SimpleRNN"})


@contextmanager
def repeatable() -> Iterator[None]:
    """Make what is built inside repeatable: seeds and automatic layer names start afresh, then go on.

    Initialisers draw their seeds from Python's generator; that is left as it was found.
    """
    from keras.src.backend.common import global_state

    key = "object_name_uids"
    state, before = random.getstate(), dict(global_state.get_global_attribute(key) or {})
    random.seed(SEED)
    global_state.set_global_attribute(key, collections.defaultdict(int))
    try:
        yield
    finally:
        random.setstate(state)
        counts = global_state.get_global_attribute(key)
        for name, n in before.items():
            counts[name] = max(n, counts[name])


def functional_of(op: Any) -> Any:
    """Give the functional graph inside a functional or Sequential model, None for anything else."""
    from keras.src.models.functional import Functional
    from keras.src.models.sequential import Sequential

    if isinstance(op, Sequential):
        return op._functional
    # A subclass with a call of its own computes something that its graph does not tell.
    return op if isinstance(op, Functional) and type(op).call is Functional.call else None


def functional_graph(model: Any, name: str) -> Any:
    """Give the functional graph of a model, or refuse it (RestnetError) where its layers cannot be seen."""
    graph = functional_of(model)
    if graph is None:
        kind = "a Sequential model without an input shape" if hasattr(model, "add") else "a subclassed model"
        raise RestnetError(
            f"{name} is {kind} ({type(model).__name__}); its layers cannot be seen, so it cannot be cut: "
            "save it as a functional model, keras.Model(inputs, outputs)"
        )
    return graph


def flattened(graph: Any) -> Any:
    """Give a graph without nested models: its own layers called once more, so that it is left as it is itself.

    Raises ValueError where two layers have the same name.
    """
    import keras

    inputs = keras.tree.map_structure(
        lambda t: keras.Input(batch_shape=t.shape, dtype=t.dtype, name=t._keras_history.operation.name), graph.input
    )
    return keras.Model(inputs, _inline(graph, inputs, {}), name=graph.name)


def check_image_model(model: Any, name: str) -> None:
    """Refuse (RestnetError) what is not one functional graph from one image, signal or grid to one output."""
    functional_graph(model, name)
    if len(model.inputs) != 1:
        raise RestnetError(f"{name} has {len(model.inputs)} inputs; an anchor takes one image")
    if len(model.outputs) != 1:
        raise RestnetError(f"{name} has {len(model.outputs)} outputs; an anchor gives one")
    _check_not_recurrent(model, name)
    shape = tuple(model.inputs[0].shape)
    if len(shape) not in (3, 4) or _channels_first(shape):
        raise RestnetError(
            f"{name} takes inputs of shape {shape}, not images (n, h, w, c) with 1 or 3 channels last, nor signals"
            " (n, t, c) or grids (n, h, w, c) of other values"
        )


def _channels_first(shape: tuple[int | None, ...]) -> bool:
    """Whether ``(n, c, h, w)`` is that of square images: 1 or 3 and two equal larger sides."""
    if len(shape) != 4:
        return False
    _, c, h, w = shape
    return c in (1, 3) and h == w and h is not None and h > 3


def _check_not_recurrent(model: Any, name: str) -> None:
    for op in functional_of(model).operations:
        if type(op).__name__ in _RECURRENT:
            raise RestnetError(
                f"{name} holds {op.name} ({type(op).__name__}), a recurrent layer, which cannot be cut and stitched;"
                " give a model that reads time by convolutions (Conv1D, DepthwiseConv1D)"
            )
        if functional_of(op) is not None:
            _check_not_recurrent(op, name)


def rebuild(
    model: Any,
    shape: tuple[int, ...],
    before: Sequence[Any] = (),
    after: Mapping[str, Sequence[Any]] | None = None,
) -> Any:
    """Call the model's own layers again on a new input ``(n, *shape)``, nested models laid flat.

    Layers of augmentation are left out.

    ``before`` is called first; ``after`` maps a layer's name to layers called on its output. Weights are
    shared, not copied. The old nodes are forgotten, so every layer has just its new inputs and outputs:
    the model that was given can still be called, but no longer be cut or saved.
    """
    import keras

    graph = functional_of(model)
    source = graph.inputs[0]
    x = inputs = keras.Input(shape, dtype=source.dtype, name=source._keras_history.operation.name)
    ops = _flat_operations(graph, "")
    inserted = [layer for layers in (after or {}).values() for layer in layers]
    _make_names_unique([*before, *inserted], {op.name for op in ops} | {inputs.name})
    for op in (*ops, *graph.operations):
        op._inbound_nodes.clear()
        op._outbound_nodes.clear()
    for layer in before:
        x = layer(x)
    return keras.Model(inputs, _inline(graph, x, after or {}), name=model.name)


def nested(model: Any) -> bool:
    """Whether the model is Sequential or holds functional models as layers."""
    graph = functional_of(model)
    return graph is not model or any(functional_of(op) is not None for op in graph.operations)


def augmented(model: Any) -> bool:
    """Whether one of the model's own layers changes images in training only."""
    return any(augmentation.drops(op) for op in functional_of(model).operations)


def _inline(graph: Any, x: Any, after: Mapping[str, Any]) -> Any:
    """Run symbolic ``x`` through the graph, going into nested models instead of calling them."""

    def call(op: Any, *args: Any, **kwargs: Any) -> Any:
        inner = functional_of(op)
        if augmentation.drops(op):
            return args[0] if args else next(iter(kwargs.values()))
        if inner is not None:
            return _inline(inner, args[0] if args else kwargs["inputs"], after)
        out = op(*args, **kwargs)
        for layer in after.get(op.name, ()):
            out = layer(out)
        return out

    return graph._run_through_graph(x, call_fn=call)


def _flat_operations(graph: Any, prefix: str) -> list[Any]:
    """All operations that inlining will call, once each; of two with one name the later is renamed."""
    operations: dict[int, Any] = {}

    def collect(graph: Any, prefix: str) -> None:
        for op in graph.operations:
            inner = functional_of(op)
            if inner is not None:
                collect(inner, f"{prefix}{op.name}_")
            elif augmentation.drops(op):
                continue
            elif type(op).__name__ != "InputLayer" and id(op) not in operations:
                operations[id(op)] = op
                if op.name in taken:
                    _make_names_unique([op], taken, prefix)
                taken.add(op.name)

    taken = {graph.inputs[0]._keras_history.operation.name}
    collect(graph, prefix)
    return list(operations.values())


def _make_names_unique(ops: Sequence[Any], taken: set[str], prefix: str = "") -> None:
    for op in ops:
        name, n = op.name if op.name not in taken else prefix + op.name, 0
        base = name
        while name in taken:
            n += 1
            name = f"{base}_{n}"
        op.name = name


def check_finite(model: Any, name: str) -> None:
    """Refuse (RestnetError) a weight that holds NaN or infinity, by its path."""
    import keras

    for variable in model.weights:
        value = keras.ops.convert_to_numpy(variable)
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            bad = int(value.size - np.isfinite(value).sum())
            raise RestnetError(
                f"{name}: weight {variable.path} holds {bad} NaN or infinite value(s) of {value.size}; "
                "the file is damaged or its training diverged"
            )


def fingerprint(model: Any) -> str:
    """SHA-256 of the graph and its weights; layer names, which a session numbers, do not count."""
    import keras

    config = model.get_config()
    index = {layer["name"]: i for i, layer in enumerate(config["layers"])}

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            if "keras_history" in value:
                source, *rest = value["keras_history"]
                return [index[source], *rest]
            return {key: plain(v) for key, v in value.items() if key != "shared_object_id"}
        return [plain(v) for v in value] if isinstance(value, (list, tuple)) else value

    layers = [
        {
            "class": layer["class_name"],
            "config": {k: plain(v) for k, v in layer["config"].items() if k != "name"},
            "inbound": plain(layer["inbound_nodes"]),
        }
        for layer in config["layers"]
    ]
    digest = hashlib.sha256(json.dumps(layers, sort_keys=True, default=str).encode())
    for variable in model.weights:
        value = np.ascontiguousarray(keras.ops.convert_to_numpy(variable))
        digest.update(f"{value.dtype}{value.shape}".encode())
        digest.update(value.data if value.ndim else value.tobytes())
    return digest.hexdigest()
