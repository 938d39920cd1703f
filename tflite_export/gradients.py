"""Gradients that TensorFlow registers while it traces: each holds its whole graph, to the end of the process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

_TRACED = "CustomGradient-"  # how their names begin


@contextmanager
def dropped() -> Iterator[None]:
    """Trace what nobody differentiates: what is registered inside the block is let go at its end.

    Swish has such a gradient. EfficientNetB4, converted, left half a gigabyte behind each time.
    """
    from tensorflow.python.framework import ops

    registry = ops.gradient_registry._registry
    before = set(registry)
    try:
        yield
    finally:
        for name in set(registry) - before:
            if name.startswith(_TRACED):
                del registry[name]
