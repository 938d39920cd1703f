"""What an over-the-air update sends: a point's whole file, or what of it a device with the anchors lacks; compressed.

By gzip, which every device has; the standard library has no zstd.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from restnet_tf.family import anchor_pieces
from restnet_tf.family.anchor_pieces import Members
from tflite_export import link
from tflite_export.flatbuffer import Model, Subgraph

_LEVEL = 9


@dataclass(frozen=True)
class Sent:
    """Bytes: of a point's own file, of what of it the anchors do not hold, and of both behind gzip."""

    file: int
    file_packed: int
    update: int
    update_packed: int


def of_points(members: Members, precision: str, points: Sequence[str]) -> dict[str, Sent]:
    """What each point takes in a precision; what they share with the anchors is in an elastic file already."""
    linker = anchor_pieces.linker(members, precision)
    there = {blob for role in members.family.anchors for model in linker.route(role).models for blob in _blobs(model)}
    return {
        point: _sent(linker.variant(point), link.subgraph(linker.route(point), precision, share=True), there)
        for point in points
    }


def _sent(file: bytes, shared: Subgraph, there: set[bytes]) -> Sent:
    own = b"".join(dict.fromkeys(blob for blob in _of_graph(shared) if blob not in there))
    return Sent(len(file), packed(file), len(own), packed(own))


def packed(content: bytes) -> int:
    """How many bytes gzip makes of a content."""
    return len(gzip.compress(content, _LEVEL, mtime=0))


def _blobs(model: Model) -> Iterator[bytes]:
    for graph in model.subgraphs:
        yield from _of_graph(graph)


def _of_graph(graph: Subgraph) -> Iterator[bytes]:
    """The values of a graph's constants, and the scales of those that are integers."""
    for tensor in (t for operator in graph.operators for t in operator.inputs):
        if tensor is not None and tensor.constant:
            yield tensor.values().tobytes()
            if tensor.scales:
                yield np.asarray(tensor.scales, np.float32).tobytes()
