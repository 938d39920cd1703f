"""The residual streams of a network: tensors of the same channels that additions join, who writes and who reads them.

Whatever maps the channels linearly may be done to a stream by doing it to the weights of all its writers, and undone
in the weights of its readers.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tflite_export.rewrites import graph, tables

if TYPE_CHECKING:
    import keras

# Layers that put values elsewhere, or average places, and leave every channel to itself; zeros may come in.
ARRANGING = frozenset(
    {
        "AveragePooling1D",
        "AveragePooling2D",
        "Cropping1D",
        "Cropping2D",
        "Dropout",
        "Flatten",
        "GlobalAveragePooling1D",
        "GlobalAveragePooling2D",
        "Identity",
        "Reshape",
        "SpatialDropout1D",
        "SpatialDropout2D",
        "UpSampling1D",
        "UpSampling2D",
        "ZeroPadding1D",
        "ZeroPadding2D",
    }
)


@dataclass
class ChannelStream:
    """Tensors that share their channels; ``writers`` make some of them, ``readers`` make something else of some."""

    tensors: list[Any] = field(default_factory=list)
    joints: list[Any] = field(default_factory=list)
    writers: list[Any] = field(default_factory=list)
    readers: list[Any] = field(default_factory=list)
    ends: list[Any] = field(default_factory=list)

    @property
    def channels(self) -> int:
        """How many there are."""
        return int(self.tensors[0].shape[-1])


class Streams:
    """All streams of a flat model; every tensor is in one, most of them alone."""

    def __init__(self, model: keras.Model) -> None:
        self.nodes = graph.calls(model)
        self._places: dict[int, ChannelStream] = {}
        for tensor in (*model.inputs, *(t for node in self.nodes for t in node.output_tensors)):
            self._places[id(tensor)] = ChannelStream([tensor])
        for node in self.nodes:
            if _joins(node):
                self._join(node)
        self._connect(model)

    def of(self, tensor: Any) -> ChannelStream:
        """The stream that a tensor is in."""
        return self._places[id(tensor)]

    def every(self) -> list[ChannelStream]:
        """All of them, in the order of the graph."""
        return list({id(stream): stream for stream in self._places.values()}.values())

    def once(self, node: Any) -> bool:
        """Whether a layer is called nowhere else, so that its weights may change."""
        return sum(other.operation is node.operation for other in self.nodes) == 1

    def _join(self, node: Any) -> None:
        first, *others = (self.of(t) for t in (*node.output_tensors, *node.input_tensors))
        for other in others:
            if other is not first:
                first.tensors += other.tensors
                first.joints += other.joints
                self._places |= {id(t): first for t in other.tensors}
        first.joints.append(node)

    def _connect(self, model: keras.Model) -> None:
        for tensor in model.inputs:
            self.of(tensor).writers.append(None)
        for node in self.nodes:
            if _joins(node):
                continue
            for stream in {id(s): s for t in node.input_tensors if (s := self.of(t))}.values():
                stream.readers.append(node)
            for tensor in node.output_tensors:
                self.of(tensor).writers.append(node)
        for tensor in model.outputs:
            self.of(tensor).ends.append(tensor)


def _joins(node: Any) -> bool:
    """Whether a call leaves channels as they are, but for additions of the like."""
    kind, given, made = type(node.operation).__name__, node.input_tensors, node.output_tensors
    if len(made) != 1 or not given or len({(t.shape[-1], t.dtype) for t in (*given, *made)}) != 1:
        return False
    if kind == "Add":
        return len(given) > 1
    if len(given) != 1:
        return False
    if kind == "Flatten":
        return all(side == 1 for side in given[0].shape[1:-1])
    return kind in ARRANGING or tables.table(node.operation, given[0].shape) is not None
