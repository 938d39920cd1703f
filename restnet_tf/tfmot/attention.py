"""Attention as the plain layers that it is made of: maps to heads, two products, a softmax, and a map back.

tf_keras computes attention as one layer, between whose operations nothing can be rounded.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

KIND = "MultiHeadAttention"
_SCORES, _MIX = "bkhd,bqhd->bhqk", "bhqk,bkhd->bqhd"


@dataclass(frozen=True)
class AttentionPart:
    """A layer of tf_keras on earlier steps by name, "x" being the tokens; ``source`` holds its weights, if any."""

    name: str
    class_name: str
    config: dict[str, Any]
    inputs: tuple[str, ...]
    source: Any = None


def refusal(node: Any) -> str:
    """Why a call cannot be taken apart; empty where it can."""
    options = {
        name: v for name, v in node.arguments.kwargs.items() if name not in ("training", "query", "value", "key")
    }
    if len({id(t) for t in node.input_tensors}) != 1 or any(v is not None and v is not False for v in options.values()):
        return "it is called with more than its input"
    if len(node.input_tensors[0].shape) != 3:
        return "it attends over more than one axis"
    return "its heads are gated" if getattr(node.operation, "_use_gate", False) else ""


def parts(layer: Any) -> Iterator[AttentionPart]:
    """From tokens ``(n, t, c)`` to tokens."""
    heads = {name: getattr(layer, f"_{name}_dense") for name in ("query", "key", "value")}
    for name, dense in heads.items():
        yield AttentionPart(name, "EinsumDense", _config(dense), ("x",), dense)
    scale = {"scale": float(layer._inverse_sqrt_key_dim), "offset": 0.0}
    yield AttentionPart("scaled", "Rescaling", scale, ("query",))
    yield AttentionPart("scores", "Einsum", {"equation": _SCORES}, ("key", "scaled"))
    yield AttentionPart("shares", "Softmax", {"axis": -1}, ("scores",))
    yield AttentionPart("mixed", "Einsum", {"equation": _MIX}, ("shares", "value"))
    yield AttentionPart("out", "EinsumDense", _config(layer._output_dense), ("mixed",), layer._output_dense)


def _config(dense: Any) -> dict[str, Any]:
    """What of a map's config says what it computes."""
    config = dense.get_config()
    shape = config["output_shape"]
    return {
        "equation": config["equation"],
        "output_shape": list(shape) if isinstance(shape, list | tuple) else shape,
        "bias_axes": config["bias_axes"],
        "activation": config["activation"],
    }
