"""Networks with a loop, as recurrent layers trace to: no form for a microcontroller, and TensorFlow dies of some."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tflite_export.errors import TfliteError

if TYPE_CHECKING:
    import keras

_LOOPS = frozenset({"While", "StatelessWhile"})


def check(graph: Any, model: keras.Model, precision: str) -> None:
    """Refuse (``TfliteError``) a traced graph with a loop: the converter makes several graphs of it, or dies."""
    if not any(operation.type in _LOOPS for operation in graph.get_operations()):
        return
    layers = model._flatten_layers(include_self=False)
    rolled = next((layer for layer in layers if not getattr(layer, "unroll", True)), None)
    if rolled is None:
        raise TfliteError(f"it holds a loop, which has no {precision} form; write its steps out one by one")
    made = f"{type(rolled).__name__}(..., unroll=True)"
    raise TfliteError(
        f"the layer {rolled.name!r} is a loop, which has no {precision} form; make it as {made}, "
        "which takes the same weights"
    )
