"""A network whose residual streams are centred by its own weights: what a cut then shows is what files hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tflite_export.rewrites import graph, maps, tables
from tflite_export.rewrites.holding import Holding
from tflite_export.rewrites.maps import Maps
from tflite_export.rewrites.norms import norm
from tflite_export.rewrites.rewritten import TOLERANCE
from tflite_export.rewrites.streams import ChannelStream, Streams

if TYPE_CHECKING:
    import keras


def centre(model: keras.Model, images: np.ndarray) -> int:
    """Let all that layer norms alone read have no mean; gives how many streams now have none.

    The answers stay what they are: a layer norm takes the mean away. Where they do not, on some ``images``
    ``(n, h, w, c)``, the weights stay as well. Changes weights of the model itself, which holds no nested ones.
    """
    if not any((layer_norm := norm(node)) is not None and layer_norm.mean for node in graph.calls(model)):
        return 0
    streams = Streams(model)
    mean_free = [stream for stream in streams.every() if _for_norms(streams, stream)]
    if not mean_free:
        return 0
    exact, weights = graph.run(model, images), model.get_weights()
    for stream in mean_free:
        _centre(stream)
    off = [
        np.abs(a - b).max() / max(np.abs(a).max(), 1e-30) for a, b in zip(exact, graph.run(model, images), strict=True)
    ]
    if max(off) > TOLERANCE:
        model.set_weights(weights)
        return 0
    return len(mean_free)


def _for_norms(streams: Streams, stream: ChannelStream) -> bool:
    """Whether layer norms alone read a stream, and weights write it."""
    read = [norm(node) for node in stream.readers]
    if not read or stream.ends or not all(layer_norm is not None and layer_norm.mean for layer_norm in read):
        return False
    weighted = [node for node in stream.joints if getattr(node.operation, "weights", None)]
    written = all(node is not None and maps.writes(node) and streams.once(node) for node in stream.writers)
    return written and all(map(streams.once, weighted))


def _centre(stream: ChannelStream) -> None:
    centred = Maps(writes=Holding((1,) * stream.channels, centred=True).writes)
    for node in stream.writers:
        node.operation.set_weights(maps.remade(node, centred).get_weights())
    for node in stream.joints:
        if getattr(node.operation, "weights", None):
            _centre_table(node, centred)


def _centre_table(node: Any, centred: Maps) -> None:
    (weight,) = node.operation.weights
    assert tables.table(node.operation, node.input_tensors[0].shape) is not None  # what has weights and joins is one
    weight.assign(centred.written(np.asarray(weight, np.float64)).astype(np.float32))
