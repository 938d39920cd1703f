"""Gradients that TensorFlow registers while it traces: each holds its whole graph, to the end of the process."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_TRACED = "CustomGradient-"  # how their names begin


@contextmanager
def dropped() -> Iterator[None]:
    """Trace what nobody differentiates later: what is registered inside the block is let go at its end.

    Swish has such a gradient. EfficientNetB4, converted, left half a gigabyte behind each time.
    """
    before = set(_registered())
    try:
        yield
    finally:
        registered = _registered()
        for name in set(registered) - before:
            if name.startswith(_TRACED):
                del registered[name]


def _registered() -> dict[str, Any]:
    """By name; none before TensorFlow is imported, which this does not do."""
    ops = sys.modules.get("tensorflow.python.framework.ops")
    return ops.gradient_registry._registry if ops else {}
