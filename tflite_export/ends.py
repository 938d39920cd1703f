"""What networks take and give, brought into one form where several of them are one network."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tflite_export import emit
from tflite_export.errors import TfliteError
from tflite_export.flatbuffer import Operator, Tensor

_INTEGERS = ("INT8", "INT16")


def same(one: Tensor, other: Tensor) -> bool:
    """Whether two ends hold the same values in the same bytes."""
    return (one.type, one.scales, one.zero_points) == (other.type, other.scales, other.zero_points)


def common(ends: Sequence[Tensor], name: str) -> Tensor:
    """A tensor like all of the ends, or one that holds what any of them can: wider integers, or floats.

    Raises TfliteError for unsigned bytes in different steps, which no operator of TensorFlow Lite Micro converts.
    """
    first = ends[0]
    if all(same(first, other) for other in ends):
        return emit.activation(first.shape, first.type, name, like=first)
    types = {end.type for end in ends}
    if len(types) > 1 or "FLOAT32" in types:
        return emit.activation(first.shape, "FLOAT32", name)
    if first.type not in _INTEGERS:
        raise TfliteError(f"the {name} are {first.type} in different steps, which no operator can convert")
    return _covering(ends, name)


def converted(x: Tensor, y: Tensor) -> list[Operator]:
    """What makes of one tensor the other of the same shape: nothing where they hold the same bytes."""
    if same(x, y):
        return []
    return [emit.dequantize(x, y)] if y.type == "FLOAT32" else [emit.quantize(x, y)]


def _covering(ends: Sequence[Tensor], name: str) -> Tensor:
    """Integers of one type whose steps cover the range of all ends."""
    shared = emit.activation(ends[0].shape, ends[0].type, name)
    room = np.iinfo(shared.type.lower())
    if shared.type == "INT16":  # symmetric
        shared.table.quantization = emit.quantisation(np.array([max(end.scales[0] for end in ends)]), np.array([0]))
        return shared
    low, high = (
        choose(float(end.scales[0]) * (limit - end.zero_points[0]) for end in ends)
        for choose, limit in ((min, int(room.min)), (max, int(room.max)))
    )
    scale, zero = emit.steps(low, high, room)
    shared.table.quantization = emit.quantisation(np.array([scale]), np.array([zero]))
    return shared
