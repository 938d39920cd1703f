"""A fitted stitch as operators between two tensors, in the form of their types.

A map ``(c_in, c_out)`` becomes a 1x1 convolution, which every target has; resampling goes before it, tokens run
through it as a column of pixels, and the clamp of the target is its fused activation.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from tflite_export import emit
from tflite_export.errors import TfliteError
from tflite_export.flatbuffer import Operator, Tensor
from tflite_export.precision import LEAST_QUANTISED


class Layout(Protocol):
    """What the linker reads of how a cut's values lie: a grid, or class tokens and the tokens of a grid."""

    @property
    def shape(self) -> tuple[int, ...]:
        """``(h, w, c)``, or ``(t, c)`` of tokens."""
        ...

    @property
    def tokens(self) -> bool:
        """Whether these are tokens."""
        ...

    @property
    def size(self) -> tuple[int, int]:
        """``(h, w)`` of the grid."""
        ...

    @property
    def classes(self) -> int:
        """How many class tokens stand before the grid's."""
        ...


class Stitch(Protocol):
    """What the linker reads of a fitted stitch: a 1x1 map ``(c_in, c_out)`` with bias, layouts, clamp."""

    @property
    def kernel(self) -> np.ndarray:
        """``(c_in, c_out)``; the last of ``c_in`` are the hidden features."""
        ...

    @property
    def bias(self) -> np.ndarray:
        """``(c_out,)``."""
        ...

    @property
    def source(self) -> Layout:
        """Of the front's cut."""
        ...

    @property
    def target(self) -> Layout:
        """Of the back's cut."""
        ...

    @property
    def clamp(self) -> tuple[float | None, float | None]:
        """Least and greatest value of the target, None for no bound."""
        ...

    @property
    def hidden_kernel(self) -> np.ndarray | None:
        """The map ``(c, h)`` to hidden features, behind a ReLU, that the map reads beside the front's ``c``.

        They reach about as high as the front's own, whose quantisation they share.
        """
        ...

    @property
    def hidden_bias(self) -> np.ndarray | None:
        """Its bias ``(h,)``."""
        ...

    @property
    def positions(self) -> np.ndarray | None:
        """What is added to the tokens that a grid becomes, ``(h * w, c_out)``."""
        ...

    @property
    def class_kernel(self) -> np.ndarray | None:
        """The map ``(c_in, c_out)`` from the mean of a grid to a class token, where the target alone has one."""
        ...

    @property
    def class_bias(self) -> np.ndarray | None:
        """Its bias ``(c_out,)``."""
        ...


def operators(stitch: Stitch, source: Tensor, target: Tensor, precision: str) -> list[Operator]:
    """The stitch from one tensor to another, in the form of their types."""
    shapes, wanted = (source.shape[1:], target.shape[1:]), (tuple(stitch.source.shape), tuple(stitch.target.shape))
    if shapes != wanted:
        raise TfliteError(f"the stitch joins {wanted[0]} to {wanted[1]}, the cuts are {shapes[0]} and {shapes[1]}")
    made = _Chain(source, precision)
    return _to_tokens(made, stitch, target) if stitch.target.tokens else _to_grid(made, stitch, target)


class _Chain:
    """Operators of a stitch, one after the other, as they are added."""

    def __init__(self, source: Tensor, precision: str) -> None:
        self.source, self.precision = source, precision
        self.operators: list[Operator] = []

    def add(self, operator: Operator) -> Tensor:
        """Append an operator; what it puts out."""
        self.operators.append(operator)
        return operator.outputs[0]

    def reshaped(self, x: Tensor, shape: tuple[int, ...]) -> Tensor:
        """The same values in another shape; themselves where it is theirs."""
        if x.shape == shape:
            return x
        return self.add(emit.reshape(x, emit.activation(shape, x.type, "stitch/reshaped", like=x)))

    def resampled(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        """A grid at another height and width."""
        _, h, w, _ = x.shape
        if (h, w) == size:
            return x
        if h % size[0] == 0 and w % size[1] == 0:
            return self.add(emit.average_pool(x, (h // size[0], w // size[1])))
        return self.add(emit.resize_bilinear(x, size))

    def widened(self, x: Tensor, stitch: Stitch) -> Tensor:
        """Pixels ``(1, h, w, c)`` as the map reads them, hidden features behind the front's own."""
        if stitch.hidden_kernel is None or stitch.hidden_bias is None:
            return x
        room, width = x.shape[:-1], len(stitch.hidden_bias)
        hidden = emit.activation((*room, width), x.type, "stitch/hidden", like=x)
        self.mapped(x, stitch.hidden_kernel, stitch.hidden_bias, hidden, emit.fused((0.0, None)))
        both = emit.activation((*room, x.shape[-1] + width), x.type, "stitch/wide", like=x)
        return self.add(emit.concatenate([x, hidden], both, axis=3))

    def mapped(self, x: Tensor, kernel: np.ndarray, bias: np.ndarray, y: Tensor, activation: int = 0) -> Tensor:
        """The 1x1 map, in the form that the precision and the front's quantisation ask for."""
        weights, offsets = _weights(kernel, bias, self.source, self.precision)
        if weights.type == "FLOAT16":
            weights, offsets = (self.add(emit.dequantize(half)) for half in (weights, offsets))
        return self.add(emit.conv_1x1(x, weights, offsets, y, activation))


def _to_grid(made: _Chain, stitch: Stitch, target: Tensor) -> list[Operator]:
    x = _grid(made, stitch.source)
    x = made.widened(made.resampled(x, stitch.target.size), stitch)
    made.mapped(x, stitch.kernel, stitch.bias, target, emit.fused(stitch.clamp))
    return made.operators


def _to_tokens(made: _Chain, stitch: Stitch, target: Tensor) -> list[Operator]:
    """Tokens run through the map as a column of pixels, since every target has that convolution."""
    source, end, activation = stitch.source, stitch.target, emit.fused(stitch.clamp)
    channels_in, channels = source.shape[-1], end.shape[-1]
    keeps_class = bool(source.classes and end.classes)
    if source.tokens and source.size == end.size and (keeps_class or not source.classes):
        x = made.source
    else:
        x = made.resampled(_grid(made, source), end.size)
        x = made.reshaped(x, (1, end.size[0] * end.size[1], channels_in))
        if keeps_class:
            head = made.add(emit.tokens(made.source, 0, source.classes))
            both = emit.activation((1, source.classes + x.shape[1], channels_in), x.type, "stitch/all", like=x)
            x = made.add(emit.concatenate([head, x], both))
    rows = x.shape[1]
    x = made.widened(made.reshaped(x, (1, rows, 1, channels_in)), stitch)
    class_kernel, class_bias = stitch.class_kernel, stitch.class_bias
    pools_class = class_kernel is not None and class_bias is not None
    tokens = emit.activation((1, rows, channels), target.type, "stitch/patches", like=target)
    last = tokens if pools_class else target
    column = emit.activation((1, rows, 1, channels), target.type, "stitch/column", like=target)
    if stitch.positions is None:
        made.add(emit.reshape(made.mapped(x, stitch.kernel, stitch.bias, column, activation), last))
    else:
        values, offsets = _placed(stitch.positions, target)
        column.table.quantization = offsets
        unplaced = emit.activation((1, rows, channels), target.type, "stitch/unplaced", like=column)
        made.add(emit.reshape(made.mapped(x, stitch.kernel, stitch.bias, column), unplaced))
        made.add(emit.add(unplaced, values, last, activation))
    if class_kernel is not None and class_bias is not None:
        pooled = made.resampled(_grid(made, source), (1, 1))
        pixel = emit.activation((1, 1, 1, channels), target.type, "stitch/class", like=target)
        made.mapped(pooled, class_kernel, class_bias, pixel, activation)
        made.add(emit.concatenate([made.reshaped(pixel, (1, 1, channels)), tokens], target))
    return made.operators


def _grid(made: _Chain, source: Layout) -> Tensor:
    """The front's values as a grid ``(1, h, w, c)``, without class tokens."""
    x = made.source
    if not source.tokens:
        return x
    if source.classes:
        x = made.add(emit.tokens(x, source.classes, x.shape[1] - source.classes))
    return made.reshaped(x, (1, *source.size, x.shape[2]))


def _placed(positions: np.ndarray, target: Tensor) -> tuple[Tensor, Any]:
    """What is added at each place as a constant, and the quantisation of what it is added to.

    Whatever the target can hold, less the least or the most that is added, can be held before.
    """
    values = np.asarray(positions, np.float32)[None]
    if not target.scales:
        return emit.constant(values, "stitch/positions"), None
    room = np.iinfo(target.type.lower())
    steps = (room.max - room.min) // 2
    scale = max(float(np.abs(values).max()) / steps, emit.LEAST_SCALE)
    integers = np.rint(values / scale).astype(room.dtype)
    low, high = (float(target.scales[0]) * (end - int(target.zero_points[0])) for end in (room.min, room.max))
    low, high = low - float(values.max()), high - float(values.min())
    if target.type == "INT16":  # symmetric
        wide, zero = np.array([max(-low, high) / steps]), np.array([0])
    else:
        wide = np.array([(high - low) / (room.max - room.min)])
        zero = np.clip(np.rint(room.min - low / wide), room.min, room.max).astype(int)
    return emit.constant(integers, "stitch/positions", np.array([scale])), emit.quantisation(wide, zero)


def _weights(kernel: np.ndarray, bias: np.ndarray, source: Tensor, precision: str) -> tuple[Tensor, Tensor]:
    """Kernel and bias in the form that the precision and the front's quantisation ask for."""
    kernel = np.ascontiguousarray(kernel.T, np.float32)[:, None, None]
    bias = np.asarray(bias, np.float32)
    labels = ("stitch/kernel", "stitch/bias")
    if precision == "float16":
        return emit.constant(kernel.astype(np.float16), labels[0]), emit.constant(bias.astype(np.float16), labels[1])
    if precision == "dynamic" and kernel.size >= LEAST_QUANTISED:
        integers, scales = _integers(kernel, np.zeros(len(bias)))
        return emit.constant(integers, labels[0], scales), emit.constant(bias, labels[1])
    if precision in ("int8", "int16x8"):
        step = source.scales[0]
        wide = np.int32 if precision == "int8" else np.int64
        integers, scales = _integers(kernel, bias / (step * emit.BIAS_ROOM[wide]))
        units = np.asarray(step * scales.astype(np.float64), np.float32)
        rounded = np.rint(bias.astype(np.float64) / units).astype(wide)
        return emit.constant(integers, labels[0], scales), emit.constant(rounded, labels[1], units)
    return emit.constant(kernel, labels[0]), emit.constant(bias, labels[1])


def _integers(kernel: np.ndarray, least: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Symmetric int8 weights and their scales by output channel, of at least ``least`` either sign."""
    peaks = np.abs(kernel).reshape(len(kernel), -1).max(axis=1) / 127
    scales = np.maximum(np.maximum(peaks, np.abs(least)), emit.LEAST_SCALE)
    scales = scales.astype(np.float32)
    integers = np.clip(np.rint(kernel / scales[:, None, None, None]), -127, 127)
    return integers.astype(np.int8), scales
