"""What of a network can be rewritten: its norms, the streams that they read, and what calibration meets there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tflite_export.precision import INPUT_KEY
from tflite_export.rewrites import graph, maps, splitting
from tflite_export.rewrites.holding import Holding
from tflite_export.rewrites.norms import Norm, norm
from tflite_export.rewrites.streams import ChannelStream, Streams

if TYPE_CHECKING:
    import keras

# Of the root mean square: a mean below it is what rounding floats leaves.
_CENTRED = 1e-5
_IMAGES = 4  # for what holds of all images or of none
_FOR_PEAKS = 32


@dataclass(frozen=True)
class NormCall:
    """A norm at its call; without ``small`` its epsilon matters, and it stays as it is.

    ``centred``: what it reads has no mean. ``readers`` are the layers that read what it gives, where weights of these
    can take a map of it; otherwise there are none.
    """

    node: Any
    norm: Norm
    small: bool
    centred: bool
    normed: ChannelStream
    readers: tuple[Any, ...]


@dataclass(frozen=True)
class Residual:
    """A stream that norms alone read; ``holding`` is how it could be held."""

    stream: ChannelStream
    calls: tuple[NormCall, ...]
    holding: Holding


@dataclass(frozen=True)
class Survey:
    """A flat model with its norms, and its streams of which something can be made."""

    model: Any
    calls: tuple[NormCall, ...]
    residuals: tuple[Residual, ...]


def surveyed(
    model: keras.Model, images: Sequence[np.ndarray], ends: Mapping[str, Any], holdings: Mapping[str, Holding]
) -> Survey:
    """What of a flat model can be rewritten; ``images`` are batches of one.

    ``ends`` are the outputs by name; a stream with one of ``holdings`` takes that, the input's by the input's name.
    """
    streams = Streams(model)
    pairs = [(node, layer_norm) for node in streams.nodes if (layer_norm := norm(node)) is not None]
    if not pairs:
        return Survey(model, (), ())
    few = np.concatenate(images[:_IMAGES])
    values = graph.run(graph.to(model, [node.input_tensors[0] for node, _ in pairs]), few)
    calls = tuple(_call(streams, node, layer_norm, x) for (node, layer_norm), x in zip(pairs, values, strict=True))
    residuals = tuple(
        residual
        for stream in streams.every()
        if (residual := _residual(model, streams, stream, calls, images, ends, holdings)) is not None
    )
    return Survey(model, calls, residuals)


def _call(streams: Streams, node: Any, layer_norm: Norm, x: np.ndarray) -> NormCall:
    normed = streams.of(node.output_tensors[0])
    taken = (
        all(writer is node for writer in normed.writers)
        and not normed.ends
        and all(map(streams.once, normed.joints))
        and all(maps.reads(reader) and streams.once(reader) for reader in normed.readers)
    )
    centred = np.abs(x.mean(axis=-1)) <= _CENTRED * np.sqrt(np.square(x).mean(axis=-1))
    readers = tuple(normed.readers) if taken else ()
    return NormCall(
        node, layer_norm, layer_norm.negligible(x) and streams.once(node), bool(centred.all()), normed, readers
    )


def _residual(
    model: Any,
    streams: Streams,
    stream: ChannelStream,
    calls: Sequence[NormCall],
    images: Sequence[np.ndarray],
    ends: Mapping[str, Any],
    holdings: Mapping[str, Holding],
) -> Residual | None:
    readers = {id(node) for node in stream.readers}
    own = tuple(call for call in calls if id(call.node) in readers)
    given = _given(model, stream, ends, holdings)
    writers = [node for node in stream.writers if node is not None]
    fed = len(writers) < len(
        stream.writers
    )  # by whoever feeds the network, who writes as ever where no holding is given
    if not any(call.small for call in own) or len(own) != len(readers) or (fed and given is None):
        return None
    if not all(map(streams.once, (*writers, *stream.joints))) or not all(map(maps.writes, writers)):
        return None
    means = {call.norm.mean for call in own}
    seen = any(streams.of(end) is stream for end in ends.values())
    centred = means == {True} and (not seen or all(call.centred for call in own))
    splits = all(call.small and call.readers for call in own) and (centred or means == {False} or given is not None)
    if given is not None:
        return Residual(stream, own, given) if splits or set(given.factors) == {1} else None
    factors = splitting.factors(_peaks(model, stream, images, centred)) if splits else (1,) * stream.channels
    return Residual(stream, own, Holding(factors, centred))


def _given(
    model: Any, stream: ChannelStream, ends: Mapping[str, Any], holdings: Mapping[str, Holding]
) -> Holding | None:
    """The holding that a stream has to take."""
    tensors = {id(t) for t in stream.tensors}
    named = {INPUT_KEY: model.inputs[0], **ends}
    return next((holdings[name] for name, tensor in named.items() if name in holdings and id(tensor) in tensors), None)


def _peaks(model: Any, stream: ChannelStream, images: Sequence[np.ndarray], centred: bool) -> np.ndarray:
    """The greatest value of each channel in each tensor of a stream, ``(tensors, c)``."""
    import keras

    ops = keras.ops

    def peak(tensor: Any) -> Any:
        off = tensor - ops.mean(tensor, axis=-1, keepdims=True) if centred else tensor
        return ops.max(ops.abs(off), axis=tuple(range(len(tensor.shape) - 1)))

    ends = graph.to(model, [peak(t) for t in stream.tensors])
    rows = [np.stack(graph.run(ends, image)) for image in images[:_FOR_PEAKS]]
    return np.max(rows, axis=0)
