"""How each paper combines the parts. A method is a folder; this is the one table of them."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from restnet_tf.family.method import Method
    from restnet_tf.family.options import Options

# By name: what a user asks it for, and the module that does it, imported once it is needed.
METHODS = {name: f"restnet_tf.methods.{name}" for name in ("restnet", "snnet", "stitchnet")}


def options(name: str) -> type[Options]:
    """The options of a method, with their defaults; light to import."""
    return import_module(f"{METHODS[name]}.options").Options


def named(name: str) -> Method:
    """A method by its name."""
    return cast("Method", import_module(f"{METHODS[name]}.method"))
