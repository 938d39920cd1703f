"""Models of Keras Applications and Vision Transformers by name: ``MobileNetV2:alpha=0.35`` -> a bare keras.Model."""

from __future__ import annotations

import ast
import difflib
import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from restnet_tf.anchors import preprocess, pretrained, vit
from restnet_tf.graph import surgery
from restnet_tf.records import RestnetError

if TYPE_CHECKING:
    import keras

# Constructor arguments that the loader itself sets, or that would undo what an anchor is.
OWN_KEYS = (
    "weights",
    "input_tensor",
    "input_shape",
    "classifier_activation",
    "name",
    "include_preprocessing",
)
VARIANT = re.compile(r"^[A-Za-z_]\w*=[^,=]+(,[A-Za-z_]\w*=[^,=]+)*$")


@dataclass(frozen=True)
class Spec:
    """What stands before the colon of ``MobileNetV2:alpha=0.35,input=96``, and the options behind it."""

    base: str
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def side(self) -> int | None:
        """Side of the input in pixels, None where not said."""
        return self.options.get("input")

    @property
    def name(self) -> str:
        """A short name fit for files: ``MobileNetV2-alpha0.35-input96``."""
        stem = re.sub(r"(\.weights)?\.(keras|h5|hdf5|npz|safetensors|pth|pt)$", "", Path(self.base).name)
        return re.sub(r"[^\w.-]+", "-", "-".join([stem, *(f"{k}{v}" for k, v in self.options.items())]))


def parse(text: str) -> Spec:
    """Split ``base:key=value,...``; raises RestnetError for an ``input`` that is not a positive number."""
    base, colon, tail = text.rpartition(":")
    if not colon or not VARIANT.match(tail):
        return Spec(text)
    options = {key: _value(value) for key, value in (item.split("=") for item in tail.split(","))}
    side = options.get("input", 1)
    if type(side) is not int or side < 1:
        raise RestnetError(f"{text}: input={side} is not a side in pixels; write for example input=96")
    return Spec(base, options)


def divided(text: str) -> tuple[str, str | None]:
    """``FILE@ARCH``, a file of weights with its architecture, apart; anything else whole, with None."""
    base, sign, arch = text.rpartition("@")
    # A file's own name may hold the sign.
    return (base, arch) if sign and not Path(text).expanduser().is_file() else (text, None)


def _value(text: str) -> Any:
    words = {"true": True, "false": False, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def constructors() -> dict[str, Callable[..., keras.Model]]:
    """All model constructors of ``keras.applications``, and of ``vit``, by name."""
    import keras

    functions: dict[str, Callable[..., keras.Model]] = {}
    for name in sorted(dir(keras.applications)):
        thing = getattr(keras.applications, name)
        if inspect.isfunction(thing) and {"weights", "input_tensor"} <= set(inspect.signature(thing).parameters):
            functions[name] = thing
    return functions | vit.constructors()


def likely(file: str) -> str:
    """The architecture that the name of a file speaks of; empty where it speaks of none."""
    letters = "".join(filter(str.isalnum, file.lower()))
    return max((name for name in constructors() if name.lower() in letters), key=len, default="")


def unknown(base: str) -> str:
    """Say what is wrong with a name that is no constructor and no file."""
    models = constructors()
    if Path(base).suffix or "/" in base:
        return f"no file {base}"
    near = difflib.get_close_matches(base.lower(), [n.lower() for n in models], n=3)
    names = [n for n in models if n.lower() in near]
    hint = f"did you mean {', '.join(names)}?" if names else "give a path, or a name such as MobileNetV2 or ResNet50"
    return f"{base!r} is neither a file nor a model of Keras Applications; {hint}"


class ConstructorError(RestnetError):
    """The constructor itself would not take its arguments."""


def construct(spec: Spec, weights: str | None = None) -> keras.Model:
    """Call the constructor, with seeded weights and layer names that do not depend on earlier models."""
    build = constructors()[spec.base]
    parameters = inspect.signature(build).parameters
    allowed = [p for p in parameters if p not in OWN_KEYS]
    unknown = [k for k in spec.options if k not in (*allowed, "input")]
    if unknown:
        raise RestnetError(f"{spec.base} takes no {', '.join(unknown)}; it takes {', '.join(['input', *allowed])}")
    options = {k: v for k, v in spec.options.items() if k != "input"}
    if spec.side is not None:
        options["input_shape"] = (spec.side, spec.side, 3)
    with surgery.repeatable():
        try:
            return build(weights=weights, **options)
        except RestnetError:
            raise
        except Exception as error:
            raise ConstructorError(f"{spec.base} refuses {options}: {pretrained.first_line(error)}") from error


def mode(base: str) -> str:
    """Name the preprocessing that the family of a constructor expects before it."""
    transformer = vit.family(base)
    if transformer is not None:
        return vit.MODES[transformer]
    family = constructors()[base].__module__.rpartition(".")[2]
    if family not in preprocess.FAMILY_MODES:
        raise RestnetError(f"the preprocessing of {base} (family {family}) is not known to this version")
    return preprocess.FAMILY_MODES[family]
