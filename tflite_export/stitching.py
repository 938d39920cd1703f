"""A fitted stitch as operators between two tensors, in the form of their types.

A stitch is a list of steps that write themselves in the operators of an ``Emitter``: 1x1 convolutions, which every
target has, with what resamples, arranges and adds around them. The clamp becomes a fused activation. Nothing here
knows what steps there are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from tflite_export import emit
from tflite_export.errors import TfliteError
from tflite_export.flatbuffer import Operator, Tensor
from tflite_export.precision import LEAST_QUANTISED, precision_named

# Operators that put values elsewhere and change none: an activation behind them is as well one in front of them.
_ARRANGING = ("RESHAPE", "SLICE", "CONCATENATION")


class Step(Protocol):
    """One step of a stitch."""

    def tflite(self, x: Any, front: Any, weights: Mapping[str, np.ndarray], emitter: Emitter) -> Any:
        """Emit what makes of the last step's tensor and of the stitch's own input the tensor that it returns."""
        ...


class Stitch(Protocol):
    """What the linker reads of a fitted stitch: steps with their weights by name, and shapes without the batch."""

    @property
    def source(self) -> tuple[int, ...]:
        """Of the front's cut."""
        ...

    @property
    def target(self) -> tuple[int, ...]:
        """Of the back's cut."""
        ...

    @property
    def steps(self) -> Sequence[Step]:
        """One after the other; the last gives the target."""
        ...

    @property
    def weights(self) -> Mapping[str, np.ndarray]:
        """Of all steps."""
        ...

    def held(self, reads: np.ndarray | None, writes: np.ndarray | None) -> Stitch:
        """The same between cuts that hold their channels otherwise, by maps ``(c', c)`` and ``(c, c')``."""
        ...


def operators(stitch: Stitch, source: Tensor, target: Tensor, precision: str) -> list[Operator]:
    """The stitch from one tensor to another, in the form of their types."""
    shapes, ends = (source.shape[1:], target.shape[1:]), (tuple(stitch.source), tuple(stitch.target))
    if shapes != ends:
        raise TfliteError(f"the stitch joins {ends[0]} to {ends[1]}, the cuts are {shapes[0]} and {shapes[1]}")
    emitter, x = Emitter(target, precision), source
    for step in stitch.steps:
        x = step.tflite(x, source, stitch.weights, emitter)
    return emitter.ending_in(x, target)


class Emitter:
    """Operators of a stitch, one after the other, as its steps add them.

    What would change nothing is not added. What follows the ``target`` is quantised as it is, the rest as the front.
    """

    def __init__(self, target: Tensor, precision: str) -> None:
        self.target, self._precision = target, precision
        self._operators: list[Operator] = []

    def reshape(self, x: Tensor, shape: tuple[int, ...], name: str = "reshaped") -> Tensor:
        """The same values in another shape."""
        return x if x.shape == shape else self._add(emit.reshape(x, _named(name, shape, x)))

    def tokens(self, x: Tensor, start: int, count: int) -> Tensor:
        """Some consecutive tokens of ``(1, t, c)``."""
        return self._add(emit.tokens(x, start, count))

    def average_pool(self, x: Tensor, window: tuple[int, int]) -> Tensor:
        """Means over whole windows ``(h, w)`` of a grid."""
        return x if window == (1, 1) else self._add(emit.average_pool(x, window))

    def resize(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        """A grid at another height and width, bilinear with half-pixel centres."""
        return x if x.shape[1:3] == size else self._add(emit.resize_bilinear(x, size))

    def convolution(self, x: Tensor, kernel: np.ndarray, bias: np.ndarray, like: Tensor, name: str) -> Tensor:
        """A 1x1 map ``(c_in, c_out)`` of a grid, quantised ``like`` another tensor."""
        weights, offsets = conv_weights(kernel, bias, x, self._precision)
        if weights.type == "FLOAT16":
            weights, offsets = (self._add(emit.dequantize(half)) for half in (weights, offsets))
        y = _named(name, (*x.shape[:-1], len(bias)), like)
        return self._add(emit.conv_1x1(x, weights, offsets, y, emit.fused((None, None))))

    def add(self, x: Tensor, values: np.ndarray) -> Tensor:
        """Constants added to what was computed last, which from now on is held as suits the sum."""
        y = _named("patches", x.shape, x)
        constants, quantisation = _placed(values, x)
        for operator in self._behind(x):
            operator.outputs[0].table.quantization = quantisation
        x.table.name = "stitch/unplaced"
        return self._add(emit.add(x, constants, y, emit.fused((None, None))))

    def concatenate(self, parts: Sequence[Tensor], axis: int, name: str) -> Tensor:
        """Tensors of the same quantisation one behind the other."""
        shape = list(parts[0].shape)
        shape[axis] = sum(part.shape[axis] for part in parts)
        return self._add(emit.concatenate(parts, _named(name, shape, parts[0]), axis))

    def clamp(self, x: Tensor, clamp: tuple[float | None, float | None]) -> Tensor:
        """Values within bounds, as the activation of the operators that compute them."""
        for operator in self._behind(x):
            if operator.name not in _ARRANGING:
                operator.table.builtinOptions.fusedActivationFunction = emit.fused(clamp)
        return x

    def ending_in(self, x: Tensor, target: Tensor) -> list[Operator]:
        """All operators; the last one's output ``x`` gives way to the target."""
        last = self._operators[-1]
        assert last.outputs[0] is x  # steps give what they computed last
        last.outputs = [target]
        return self._operators

    def _add(self, operator: Operator) -> Tensor:
        self._operators.append(operator)
        return operator.outputs[0]

    def _behind(self, x: Tensor) -> Iterator[Operator]:
        """What computed a tensor's values, and what arranged them since."""
        operator = next((op for op in self._operators if op.outputs[0] is x), None)
        if operator is None:
            raise TfliteError("a stitch clamps or shifts its input; only what it computes itself can be changed")
        yield operator
        if operator.name in _ARRANGING:
            for part in operator.inputs:
                if part is not None and not part.constant:
                    yield from self._behind(part)


def _named(name: str, shape: Sequence[int], like: Tensor) -> Tensor:
    return emit.activation(shape, like.type, f"stitch/{name}", like=like)


def _placed(values: np.ndarray, total: Tensor) -> tuple[Tensor, Any]:
    """What is added at each place as a constant, and the quantisation of what it is added to.

    Whatever the sum can hold, less the least or the most that is added, can be held before.
    """
    values = np.asarray(values, np.float32)[None]
    if not total.scales:
        return emit.constant(values, "stitch/positions"), None
    room = np.iinfo(total.type.lower())
    steps = (room.max - room.min) // 2
    scale = max(float(np.abs(values).max()) / steps, emit.LEAST_SCALE)
    integers = np.rint(values / scale).astype(room.dtype)
    low, high = (float(total.scales[0]) * (end - int(total.zero_points[0])) for end in (room.min, room.max))
    low, high = low - float(values.max()), high - float(values.min())
    if total.type == "INT16":  # symmetric
        wide, zero = max(-low, high) / steps, 0
    else:
        wide, zero = emit.steps(low, high, room)
    held = emit.quantisation(np.array([wide]), np.array([zero]))
    return emit.constant(integers, "stitch/positions", np.array([scale])), held


def conv_weights(kernel: np.ndarray, bias: np.ndarray, source: Tensor, precision: str) -> tuple[Tensor, Tensor]:
    """Kernel ``(c_in, c_out)`` and bias in the form that the precision and the input's quantisation ask for."""
    kernel = np.ascontiguousarray(kernel.T, np.float32)[:, None, None]
    bias = np.asarray(bias, np.float32)
    labels = ("stitch/kernel", "stitch/bias")
    if precision == "float16":
        return emit.constant(kernel.astype(np.float16), labels[0]), emit.constant(bias.astype(np.float16), labels[1])
    if precision == "dynamic" and kernel.size >= LEAST_QUANTISED:
        integers, scales = _integers(kernel, np.zeros(len(bias)))
        return emit.constant(integers, labels[0], scales), emit.constant(bias, labels[1])
    if precision_named(precision).calibrated:
        step = source.scales[0]
        wide = np.int64 if source.type == "INT16" else np.int32
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
