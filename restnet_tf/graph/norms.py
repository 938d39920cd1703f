"""What tuning norms changes, and which convolution each scales: what a route changed, as factors a channel.

A batch norm at inference is an affine map a channel; behind a convolution it is folded into it, by every
converter. So a route that tuned only norms differs from its anchor in a factor and a bias a channel.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from restnet_tf.graph import costs
from restnet_tf.records import RestnetError

if TYPE_CHECKING:
    import keras

_NORMS = frozenset(["BatchNormalization", "LayerNormalization", "GroupNormalization"])
# By kind: kernels as files hold them, the output channel last; None where Keras holds them so.
_KERNELS: dict[str, Callable[[np.ndarray], np.ndarray] | None] = {
    "Conv2D": None,
    "Dense": None,
    "DepthwiseConv2D": lambda kernel: kernel.reshape(1, *kernel.shape[:2], -1),
    "Conv1D": lambda kernel: kernel[None],
    "DepthwiseConv1D": lambda kernel: kernel.reshape(1, 1, len(kernel), -1),
}


class UnfoldableError(RestnetError):
    """What was trained is more than norms that are folded: no factor a channel makes up for it."""


def variables(model: keras.Model) -> list[Any]:
    """The scales and shifts of a model's normalisation layers: all that tuning norms changes."""
    norms = [layer for layer in model.layers if type(layer).__name__ in _NORMS]
    return [v for layer in norms for v in layer.trainable_variables]


@dataclass(frozen=True)
class Refolded:
    """A convolution with its norm before and after tuning, folded.

    ``weights`` ``(..., c)`` are folded with the norm as it was, ``ratio`` ``(c,)`` is its new scale over
    the old one, ``bias`` ``(c,)`` the new folded bias.
    """

    name: str
    weights: np.ndarray
    ratio: np.ndarray
    bias: np.ndarray


def refolded(before: keras.Model, after: keras.Model) -> tuple[Refolded, ...]:
    """What differs between a model and its copy with tuned norms, in the order of the graph.

    Raises ``UnfoldableError`` where more than norms differs, or a tuned norm has no convolution of its own
    to be folded into.
    """
    olds, news = costs.nodes(before), costs.nodes(after)
    folds, explained = [], set()
    for old, new in zip(olds, news, strict=True):
        norm = old.operation
        if type(norm).__name__ != "BatchNormalization" or _same(norm, new.operation):
            continue
        convolution = _folded_into(old, olds)
        if convolution is None:
            raise UnfoldableError(f"{norm.name} was tuned and stands behind no convolution of its own")
        folds.append(_refold(convolution, norm, new.operation))
        explained.add(norm.name)
    for old, new in zip(olds, news, strict=True):
        if old.operation.name not in explained and not _same(old.operation, new.operation):
            raise UnfoldableError(f"{old.operation.name} was trained, and it is no norm")
    return tuple(folds)


def _same(one: Any, other: Any) -> bool:
    pairs = zip(getattr(one, "weights", ()), getattr(other, "weights", ()), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


def _folded_into(node: Any, nodes: list[Any]) -> Any | None:
    """The convolution whose output this norm alone reads."""
    source = node.input_tensors[0]
    producer = next((n for n in nodes if any(t is source for t in n.output_tensors)), None)
    readers = [n for n in nodes if any(t is source for t in n.input_tensors)]
    if producer is None or len(readers) != 1 or type(producer.operation).__name__ not in _KERNELS:
        return None
    if node.operation.axis not in (-1, len(source.shape) - 1):
        return None
    return producer.operation if producer.operation.activation.__name__ == "linear" else None


def _refold(convolution: Any, old: Any, new: Any) -> Refolded:
    kernel = np.asarray(convolution.kernel, np.float64)
    if shaped := _KERNELS[type(convolution).__name__]:
        kernel = shaped(kernel)
    bias = np.asarray(convolution.bias, np.float64) if convolution.use_bias else 0.0
    was, _ = _affine(old)
    scale, shift = _affine(new)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(was == scale, 1.0, scale / was)
    if not np.isfinite(ratio).all():
        raise UnfoldableError(f"{old.name} scales a channel by zero, so its convolution cannot be scaled anew")
    return Refolded(convolution.name, (kernel * was).astype(np.float32), ratio, bias * scale + shift)


def _affine(norm: Any) -> tuple[np.ndarray, np.ndarray]:
    """Scale and shift ``(c,)`` of a batch norm at inference."""
    mean, variance = (np.asarray(v, np.float64) for v in (norm.moving_mean, norm.moving_variance))
    scale = 1 / np.sqrt(variance + norm.epsilon)
    if norm.scale:
        scale = scale * np.asarray(norm.gamma, np.float64)
    shift = -mean * scale
    return scale, shift + np.asarray(norm.beta, np.float64) if norm.center else shift
