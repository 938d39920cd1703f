"""How each paper combines the parts. A method is a folder of its name; this is the one table of them."""

from __future__ import annotations

from dataclasses import dataclass, fields
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

from restnet_tf.family.options import GAINED, MODEL, Options

if TYPE_CHECKING:
    from restnet_tf.family.method import Method


@dataclass(frozen=True)
class Entry:
    """How a method is asked for: by a command of restnet-tf, which is also a function of the package.

    ``anchors`` says what it stitches, where others share its command; ``usage`` how to call a command of its own.
    ``keras``: its work runs networks in Keras, so that every process needs TensorFlow, which may have a GPU.
    """

    title: str
    command: str
    anchors: str = ""
    usage: str = ""
    keras: bool = True


# By name. The first of a command is what it means where no method is named.
METHODS = {
    "restnet": Entry("ReStNet", "build", anchors="two anchors"),
    "snnet": Entry("SN-Net", "build", anchors="two or more, trained together"),
    "cascade": Entry("Cascade", "cascade", usage="SMALL LARGE --data IMAGES"),
    "stitchnet": Entry("StitchNet", "compose", usage="--pool A --pool B --data IMAGES", keras=False),
}
# What built runs that name no method.
FIRST = next(iter(METHODS))


def of(command: str) -> tuple[str, ...]:
    """The names of a command's methods, its default first."""
    return tuple(name for name, entry in METHODS.items() if entry.command == command)


def options(name: str) -> type[Options]:
    """The options of a method, with their defaults; light to import."""
    return cast("type[Options]", import_module(f"{__name__}.{name}.options").Options)


def defaults(name: str) -> dict[str, Any]:
    """What a method's command takes where a user says nothing, by option."""
    return {field.name: field.default for field in fields(options(name)) if field.metadata != GAINED}


def models(name: str) -> tuple[str, ...]:
    """The options that name a method's models."""
    return tuple(field.name for field in fields(options(name)) if field.metadata == MODEL)


def named(name: str) -> Method:
    """A method by its name."""
    return cast("Method", import_module(f"{__name__}.{name}.method"))
