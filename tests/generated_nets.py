"""Small networks of one shape or another, seeded, written without TensorFlow in a few milliseconds each."""

from __future__ import annotations

import math

import numpy as np
import operators

from tflite_export import emit
from tflite_export.flatbuffer import Operator, Tensor, schema

_SIDES = (1, 2, 4, 7, 8, 12, 16, 24, 32)
_WIDTHS = (1, 2, 3, 4, 5, 8, 12, 16, 24, 32, 48, 64)


def generated(seed: int, kind: str = "INT8") -> bytes:
    """A network of 1 to 8 layers of kinds, sizes and strides by chance, pooled or not, and a classifier or none."""
    return Net(np.random.default_rng(seed), kind).file()


def convolutions(side: int, channels: int, layers: tuple[tuple[int, int], ...], size: int = 3) -> bytes:
    """Convolutions, one behind the other: the width and the stride of each; padding SAME."""
    net = Net(np.random.default_rng(0), "INT8")
    net.x = net.begin(side, side, channels)
    for width, stride in layers:
        net.convolve(width, (size, size), stride, same=True)
    return net.file(0)


class Net:
    """A network that grows by a layer at a time; ``x`` is what the next one reads."""

    def __init__(self, random: np.random.Generator, kind: str) -> None:
        self.random, self.kind, self.operators = random, kind, list[Operator]()
        side = int(random.choice(_SIDES))
        self.x = self.begin(int(random.choice((1, side))), side, int(random.choice(_WIDTHS[:6])))

    def begin(self, *shape: int) -> Tensor:
        return operators.tensor(self.kind, (1, *shape))

    def file(self, layers: int | None = None) -> bytes:
        for _ in range(int(self.random.integers(1, 9)) if layers is None else 0):
            getattr(self, str(self.random.choice(("conv", "conv", "conv", "depthwise", "residual", "pooled"))))()
        if not self.operators:
            self.conv()
        if layers is None and self.random.random() < 0.7:
            self.classify(int(self.random.choice((2, 3, 10, 35))))
        return operators.file(*self.operators)

    def add(self, name: str, inputs: list[Tensor | None], shape: tuple[int, ...], options: str = "", **values: object):
        y = operators.tensor(self.kind, shape, f"t{len(self.operators)}")
        if name == "SOFTMAX" and self.kind == "INT16":
            y.table.quantization = emit.quantisation(np.array([1 / 32768]), np.array([0]))
        self.operators.append(operators.operator(name, inputs, y, options, **values))
        self.x = y

    def weights(self, *shape: int, axis: int = 0, scales: int | None = None) -> list[Tensor | None]:
        channels = shape[axis]
        values = self.random.integers(-9, 9, shape)
        if self.kind == "FLOAT32":
            bias = emit.constant(np.zeros(channels, np.float32), "b")
            return [emit.constant(values.astype(np.float32), "w"), bias]
        count = channels if scales is None else scales
        wide = np.int64 if self.kind == "INT16" else np.int32
        bias = emit.constant(np.zeros(channels, wide), "b", np.full(count, 1 / 65536))
        return [emit.constant(values.astype(np.int8), "w", np.full(count, 1 / 256), axis), bias]

    def slid(self, size: tuple[int, int], stride: int, same: bool) -> tuple[int, int]:
        sides = zip(self.x.shape[1:3], size, strict=True)
        h, w = (math.ceil(s / stride) if same else (s - k) // stride + 1 for s, k in sides)
        return h, w

    def window(self) -> tuple[tuple[int, int], int, bool]:
        h, w = self.x.shape[1:3]
        k = int(self.random.choice((1, 2, 3, 3, 5)))
        size = (min(k, h), min(k, w))
        return size, int(self.random.choice((1, 1, 2))), bool(self.random.random() < 0.7)

    def convolve(self, width: int, size: tuple[int, int], stride: int, *, same: bool) -> None:
        h, w = self.slid(size, stride, same)
        inputs = [self.x, *self.weights(width, *size, self.x.shape[3])]
        self.add("CONV_2D", inputs, (1, h, w, width), "Conv2DOptions", **_strides(stride, same))

    def conv(self) -> None:
        size, stride, same = self.window()
        self.convolve(int(self.random.choice(_WIDTHS)), size, stride, same=same)

    def depthwise(self) -> None:
        size, stride, same = self.window()
        self.deepen(int(self.random.choice((1, 1, 1, 2))), size, stride, same=same)

    def deepen(self, times: int, size: tuple[int, int], stride: int, *, same: bool) -> None:
        h, w = self.slid(size, stride, same)
        channels = self.x.shape[3] * times
        inputs = [self.x, *self.weights(1, *size, channels, axis=3)]
        options = _strides(stride, same) | {"depthMultiplier": times}
        self.add("DEPTHWISE_CONV_2D", inputs, (1, h, w, channels), "DepthwiseConv2DOptions", **options)

    def residual(self) -> None:
        before = self.x
        self.convolve(before.shape[3], (min(3, before.shape[1]), min(3, before.shape[2])), 1, same=True)
        self.add("ADD", [before, self.x], before.shape, "AddOptions")

    def pooled(self) -> None:
        h, w = self.x.shape[1:3]
        if min(h, w) < 2:
            return
        name = str(self.random.choice(("AVERAGE_POOL_2D", "MAX_POOL_2D")))
        options = {"strideH": 2, "strideW": 2, "filterHeight": 2, "filterWidth": 2, "padding": 1}
        self.add(name, [self.x], (1, h // 2, w // 2, self.x.shape[3]), "Pool2DOptions", **options)

    def classify(self, classes: int) -> None:
        if self.random.random() < 0.5:
            axes = emit.constant(np.array([1, 2], np.int32), "axes")
            self.add("MEAN", [self.x, axes], (1, self.x.shape[3]), "ReducerOptions", keepDims=False)
        depth = math.prod(self.x.shape)
        if len(self.x.shape) > 2:
            shape = emit.constant(np.array([1, depth], np.int32), "shape")
            self.add("RESHAPE", [self.x, shape], (1, depth), "ReshapeOptions", newShape=[1, depth])
        several = None if self.random.random() < 0.3 and self.kind == "INT8" else 1
        inputs = [self.x, *self.weights(classes, depth, scales=several)]
        self.add("FULLY_CONNECTED", inputs, (1, classes), "FullyConnectedOptions")
        if self.random.random() < 0.7:
            self.add("SOFTMAX", [self.x], (1, classes), "SoftmaxOptions", beta=1.0)


def _strides(stride: int, same: bool) -> dict[str, int]:
    padding = schema().Padding.SAME if same else schema().Padding.VALID
    return {"strideH": stride, "strideW": stride, "dilationHFactor": 1, "dilationWFactor": 1, "padding": padding}
