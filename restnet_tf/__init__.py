"""Turn pretrained Keras models into a family of TFLite models between them, by stitching.

What stands in ``__all__`` is the public interface; nothing heavy is imported before it is used.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from restnet_tf.anchors.zoo import load
    from restnet_tf.commands.api import build, cascade, compose
    from restnet_tf.commands.open_run import open_run
    from restnet_tf.commands.select import select
    from restnet_tf.graph.split import cuts, split
    from restnet_tf.similarity.cka import cka
    from restnet_tf.similarity.matrix import similarity

__all__ = ("build", "cascade", "cka", "compose", "cuts", "load", "open_run", "select", "similarity", "split")

_HOMES = {
    "build": "restnet_tf.commands.api",
    "cascade": "restnet_tf.commands.api",
    "cka": "restnet_tf.similarity.cka",
    "compose": "restnet_tf.commands.api",
    "cuts": "restnet_tf.graph.split",
    "load": "restnet_tf.anchors.zoo",
    "open_run": "restnet_tf.commands.open_run",
    "select": "restnet_tf.commands.select",
    "similarity": "restnet_tf.similarity.matrix",
    "split": "restnet_tf.graph.split",
}


def __getattr__(name: str) -> Any:
    """A public name, from where it lives."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """The public names among all others."""
    return sorted({*globals(), *__all__})


class _Package(ModuleType):
    """The package, whose public names no package inside it hides."""

    def __setattr__(self, name: str, value: Any) -> None:
        # An import binds a package inside to its name here: restnet_tf.similarity is the function all the same.
        if not (name in _HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
