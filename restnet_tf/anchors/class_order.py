"""Which output of an anchor stands for which class of the data, where a user says so."""

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
    """For each class of the data the output of the anchor, by the names of its outputs in a user's words.

    ``text`` is a file with a name a line, or the names by commas; numbers where the data does not name its classes.
    None where they are in the data's order already, empty where the user says that they are others. Raises
    RestnetError where they are not the data's classes.
    """
    if text == OTHER:
        return ()
    names = _names(text)
    numbered = [str(k) for k in range(anchor.classes)]
    own = head.plain(data.class_names) if data.class_names and len(data.class_names) == anchor.classes else numbered
    given = names if sorted(names) == sorted(numbered) else head.plain(names)
    classes = own if sorted(given) == sorted(own) else numbered
    if anchor.classes == 0 or sorted(given) != sorted(classes):
        raise RestnetError(_misfit(names, anchor, data))
    outputs = tuple(given.index(name) for name in classes)
    return None if list(outputs) == sorted(outputs) else outputs


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


def _names(text: str) -> list[str]:
    path = Path(text).expanduser()
    if not path.is_file():
        return [name.strip() for name in text.split(",")]
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise RestnetError(f"{path} is no text of class names, one a line: {error}") from None
    return [line.strip() for line in lines if line.strip()]


def _misfit(names: Sequence[str], anchor: Anchor, data: Data) -> str:
    theirs = data.class_names or [str(k) for k in range(anchor.classes)]
    shown = ", ".join(theirs[:_SHOWN]) + (", ..." if len(theirs) > _SHOWN else "")
    return (
        f"the classes of {anchor.name} are given as {', '.join(names[:_SHOWN])}{', ...' if len(names) > _SHOWN else ''}"
        f" ({len(names)}), but it has {anchor.classes} and {data.name} has {shown}; name each of these once, in the"
        f" order of its outputs, or write {OTHER} for a new classifier"
    )
