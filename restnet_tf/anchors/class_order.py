"""Which output of a model stands for which class of the data, where a user says so by a list of names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from restnet_tf.anchors import head
from restnet_tf.data.splits import Data
from restnet_tf.records import Anchor, RestnetError

# Said in place of names: the classes are none of the data's.
OTHER = "other"
_SHOWN = 5


def order(text: str, anchor: Anchor, data: Data) -> tuple[int, ...] | None:
    """For each class of the data the output of an anchor, by ``listed`` words; ``outputs`` says which errors there are.

    None where they are in the data's order already, empty where the user says that they are others.
    """
    if text == OTHER:
        return ()
    instead = f"; or write {OTHER} for a new classifier"
    places = outputs(anchor.name, anchor.classes, listed(text), data, instead)
    if len(places) != anchor.classes:
        raise RestnetError(f"{anchor.name} has {anchor.classes} classes and {data.name} {len(places)}{instead}")
    return None if list(places) == sorted(places) else places


def listed(text: str) -> list[str]:
    """The names of a model's classes in the order of its outputs: a file with one a line, or the names by commas.

    Raises ``RestnetError`` for a file that cannot be read.
    """
    path = Path(text).expanduser()
    if "," in text and not path.is_file():
        return [name.strip() for name in text.split(",")]
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise RestnetError(f"cannot read the class names in {text}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise RestnetError(f"{text} is no text of class names; give a file with one a line") from None
    return [line.strip() for line in lines if line.strip()]


def outputs(model: str, count: int, names: Sequence[str], data: Data, instead: str = "") -> tuple[int, ...]:
    """Which of a model's ``count`` outputs stands for each class of the data; it may tell more classes apart.

    Names are compared without case; numbers do where the data's classes have no names, and where the list has no
    others. Raises ``RestnetError`` for a list of another length, one that names a class twice or lacks one of the
    data's, and for names that the data do not have; ``instead`` says what else can be done.
    """
    if len(names) != count:
        raise RestnetError(f"{model} has {count} classes and its list names {len(names)}; give one a line{instead}")
    numbers = [str(k) for k in range(count)]
    numbered = sorted(names) == sorted(numbers)
    if data.class_names is None and not numbered:
        raise RestnetError(
            f"{data.name} does not name its classes, so those of {model} cannot be put in their order; give folders"
            f" named by class, or the numbers of the data's classes{instead}"
        )
    given, own = head.plain(names), head.plain(data.class_names or numbers)
    if numbered and not set(own) <= set(given):
        own = numbers[: len(own)]
    if twice := [name for name, plain in zip(names, given, strict=True) if given.count(plain) > 1]:
        raise RestnetError(f"the list of {model} names {twice[0]!r} twice; give each class once{instead}")
    if missing := [name for name in own if name not in given]:
        spoken = next((n for n in data.class_names or () if head.plain([n]) == missing[:1]), missing[0])
        shown = ", ".join(names[:_SHOWN]) + (", ..." if count > _SHOWN else "")
        raise RestnetError(f"{model} has no class {spoken!r} of {data.name}; its list has {shown}{instead}")
    return tuple(given.index(name) for name in own)


def spoken(outputs: Sequence[int], data: Data) -> str:
    """The words that ``order`` understands for an order: what each output is, one by commas."""
    names = data.class_names
    numbers = [outputs.index(output) for output in range(len(outputs))]
    if names is None or len(names) != len(outputs) or any("," in name or name != name.strip() for name in names):
        return ",".join(map(str, numbers))
    return ",".join(names[k] for k in numbers)


def reordered(anchor: Anchor, outputs: Sequence[int], names: tuple[str, ...] | None) -> Anchor:
    """The anchor with output ``outputs[k]`` in place ``k``: its own classifier with columns moved.

    Where its classes come from something else than a Dense of the features, a Dense of ones and zeros moves them.
    """
    own = _classifier(anchor)
    if own is not None:
        kernel, bias = own
        return head.with_head(anchor, kernel[:, list(outputs)], bias[list(outputs)], names)
    moved = np.eye(len(outputs), dtype="float32")[:, list(outputs)]
    still = np.zeros(len(outputs), "float32")
    behind = head.with_head(replace(anchor, features=anchor.logits), moved, still, names)
    return replace(behind, features=anchor.features)


def _classifier(anchor: Anchor) -> tuple[np.ndarray, np.ndarray] | None:
    """The kernel and bias of the Dense that makes logits of the features; None where it is none."""
    history: Any = anchor.logits._keras_history
    op = history.operation
    if type(op).__name__ != "Dense" or op._inbound_nodes[history.node_index].input_tensors[0] is not anchor.features:
        return None
    kernel = np.asarray(op.kernel)
    return kernel, np.asarray(op.bias) if op.use_bias else np.zeros(kernel.shape[1], "float32")
