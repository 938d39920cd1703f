"""The steps of stitches, and which of them join two layouts.

| from -> to | adapter |
|---|---|
| grid -> grid | pool by a whole ratio, else bilinear resize; none where the grids are the same |
| tokens -> tokens | the same for the grid behind the class token, which runs through the map as well |
| grid -> tokens | the same; a bias for every position; a class token as a map of the pooled grid |
| tokens -> grid | the class token is left out |
| grid or tokens -> a vector (an exit to the classes) | the means of few large windows side by side; class tokens too |

Then comes the map, and in the end the clamp. ``between`` alone asks what kinds of layouts there are; whatever else is
to be known of a stitch is read off its steps. All steps stand here, whatever the lines.
"""

# ruff: noqa: D102 (the methods of a step say what the class does, in the four forms that ``Step`` explains)

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np

from restnet_tf.records import Layout
from restnet_tf.stitches import exits, resample
from restnet_tf.stitches.step import Emitter, Position, Solution, Step, Weights


def between(
    source: Layout, target: Layout, hidden: int = 0, clamp: tuple[float | None, float | None] = (None, None)
) -> tuple[Step, ...]:
    """The steps from one layout to another, with so many hidden features, ending in a clamp."""
    keeps_class = bool(source.classes and target.classes)
    rows = prod(target.size) + (target.classes if keeps_class else 0)
    width, channels, tokens = exits.read(source, target), target.channels, target.tokens
    steps = _in_windows(source) if target.vector else _at_places(source, target, keeps_class)
    if hidden:
        steps.append(Hidden(rows, width, hidden, tokens))
    steps.append(Map(rows, width + hidden, channels, tokens))
    if tokens and not source.tokens and rows > 1:
        steps.append(Positions(rows, channels))
    if target.classes and not source.classes:
        steps.append(PooledClass(source.size, width, channels))
    if target.vector:
        steps.append(ToVector())
    if clamp != (None, None):
        steps.append(Clamp(*clamp))
    return tuple(steps)


def _in_windows(source: Layout) -> list[Step]:
    """What makes one pixel of a source: the means of its windows, and behind class tokens those."""
    windows = exits.windows(source)
    steps = [*_as_grid(source), *resampling(source.size, windows)]
    if source.classes:
        steps += [ToRows(prod(windows)), FrontClass(source.classes)]
    return [*steps, ToPixel()]


def _at_places(source: Layout, target: Layout, keeps_class: bool) -> list[Step]:
    """What brings a source to the target's places: its grid, and its class token where both have one."""
    if source.tokens and target.tokens and source.size == target.size and (keeps_class or not source.classes):
        return []
    steps = [*_as_grid(source), *resampling(source.size, target.size)]
    if target.tokens:
        steps.append(ToRows(prod(target.size)))
    if keeps_class:
        steps.append(FrontClass(source.classes))
    return steps


def _as_grid(source: Layout) -> list[Step]:
    """What makes a grid of a source, without its class tokens."""
    steps: list[Step] = [WithoutClass(source.classes)] if source.classes else []
    return [*steps, ToGrid(source.size)] if source.tokens else steps


def resampling(size: tuple[int, int], target: tuple[int, int]) -> list[Step]:
    """What brings a grid to another height and width: nothing, a pool by a whole ratio, or a bilinear resize."""
    (h, w), (high, wide) = size, target
    if size == target:
        return []
    return [Pool((h // high, w // wide))] if h % high == 0 and w % wide == 0 else [Resize(target)]


@dataclass(frozen=True)
class WithoutClass(Step):
    """The tokens behind so many class tokens."""

    classes: int
    position = Position.PLACES

    def keras(self, x: Any, front: Any) -> Any:
        from keras import layers

        return layers.Cropping1D((self.classes, 0), name="patches")(x)

    def numpy(self, x: np.ndarray, front: np.ndarray, weights: Weights) -> np.ndarray:
        return x[:, self.classes :]

    def tflite(self, x: Any, front: Any, weights: Weights, emitter: Emitter) -> Any:
        return emitter.tokens(x, self.classes, x.shape[1] - self.classes)


@dataclass(frozen=True)
class _Reshape(Step):
    """The same values in another shape."""

    position = Position.PLACES

    @abstractmethod
    def shape(self, of: tuple[int, ...]) -> tuple[int, ...]:
        """What becomes of a shape, both without the batch."""

    def keras(self, x: Any, front: Any) -> Any:
        from keras import layers

        return layers.Reshape(self.shape(x.shape[1:]), name=type(self).__name__.removeprefix("To").lower())(x)

    def numpy(self, x: np.ndarray, front: np.ndarray, weights: Weights) -> np.ndarray:
        return x.reshape(len(x), *self.shape(x.shape[1:]))

    def tflite(self, x: Any, front: Any, weights: Weights, emitter: Emitter) -> Any:
        return emitter.reshape(x, (1, *self.shape(x.shape[1:])))


@dataclass(frozen=True)
class ToGrid(_Reshape):
    """Tokens as a grid of a height and width, row by row."""

    size: tuple[int, int]

    def shape(self, of: tuple[int, ...]) -> tuple[int, ...]:
        return *self.size, of[-1]


@dataclass(frozen=True)
class ToRows(_Reshape):
    """A grid as so many tokens, row by row."""

    rows: int

    def shape(self, of: tuple[int, ...]) -> tuple[int, ...]:
        return self.rows, of[-1]


@dataclass(frozen=True)
class ToPixel(_Reshape):
    """All values side by side, as the channels of one pixel."""

    def shape(self, of: tuple[int, ...]) -> tuple[int, ...]:
        return 1, 1, prod(of)


@dataclass(frozen=True)
class ToVector(_Reshape):
    """One pixel as a vector, the logits of an exit."""

    position = Position.END

    def shape(self, of: tuple[int, ...]) -> tuple[int, ...]:
        return (of[-1],)


@dataclass(frozen=True)
class Pool(Step):
    """Means over whole windows ``(h, w)`` of a grid."""

    window: tuple[int, int]
    position = Position.PLACES

    def keras(self, x: Any, front: Any) -> Any:
        from keras import layers

        return layers.AveragePooling2D(self.window, name="pool")(x)

    def numpy(self, x: np.ndarray, front: np.ndarray, weights: Weights) -> np.ndarray:
        return resample.pooled(x, self.window)

    def tflite(self, x: Any, front: Any, weights: Weights, emitter: Emitter) -> Any:
        return emitter.average_pool(x, self.window)


@dataclass(frozen=True)
class Resize(Step):
    """A grid at another height and width, bilinear with half-pixel centres."""

    size: tuple[int, int]
    position = Position.PLACES

    def keras(self, x: Any, front: Any) -> Any:
        from keras import layers

        return layers.Resizing(*self.size, interpolation="bilinear", name="resize")(x)

    def numpy(self, x: np.ndarray, front: np.ndarray, weights: Weights) -> np.ndarray:
        return resample.resized(x, self.size)

    def tflite(self, x: Any, front: Any, weights: Weights, emitter: Emitter) -> Any:
        return emitter.resize(x, self.size)


@dataclass(frozen=True)
class FrontClass(Step):
    """The front's own class tokens before the others, to run through the map as well."""

    classes: int
    position = Position.PLACES

    def keras(self, x: Any, front: Any) -> Any:
        from keras import layers

        token = layers.Cropping1D((0, front.shape[1] - self.classes), name="class_of_front")(front)
        return layers.Concatenate(axis=1, name="with_class")([token, x])

    def numpy(self, x: np.ndarray, front: np.ndarray, weights: Weights) -> np.ndarray:
        return np.concatenate([front[:, : self.classes], x], axis=1)

    def tflite(self, x: Any, front: Any, weights: Weights, emitter: Emitter) -> Any:
        return emitter.concatenate([emitter.tokens(front, 0, self.classes), x], 1, "all")


@dataclass(frozen=True)
class _Pointwise(Step):
    """A map of the channels of so many places, ``tokens`` or pixels; every target has its 1x1 convolution."""

    rows: int
    width: int
    channels: int
    tokens: bool

    @property
    def macs(self) -> int:
        return self.rows * self.width * self.channels

    def _layer(self, **options: Any) -> Any:
        from keras import layers

        if self.tokens:
            return layers.Dense(self.channels, name=self.layer, **options)
        return layers.Conv2D(self.channels, 1, name=self.layer, **options)

    def _pixels(self, x: Any, emitter: Emitter) -> Any:
        """Tokens as a column of pixels."""
        return emitter.reshape(x, (1, self.rows, 1, self.width)) if self.tokens else x


@dataclass(frozen=True)
class Hidden(_Pointwise):
    """ReLU features of the front's channels beside these, for the map to read.

    In integers they share the front's quantisation, as they reach about as high (``stitch.balanced``).
    """

    position = Position.FEATURES
    layer = "hidden"

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {"hidden_kernel": (self.width, self.channels), "hidden_bias": (self.channels,)}

    def held(self, reads: np.ndarray, writes: np.ndarray, weights: Weights) -> tuple[Step, dict[str, np.ndarray]]:
        kernel = _everywhere(reads, self.width) @ weights["hidden_kernel"]
        scaled = {"hidden_kernel": kernel, "hidden_bias": weights["hidden_bias"]}
        return replace(self, width=len(kernel)), {name: _least(reads) * v for name, v in scaled.items()}

    def keras(self, x: Any, front: Any) -> Any:
        from keras import layers

        return layers.Concatenate(name="wide")([x, self._layer(activation="relu")(x)])

    def numpy(self, x: np.ndarray, front: np.ndarray, weights: Weights) -> np.ndarray:
        features = np.maximum(_mapped(x, weights["hidden_kernel"], weights["hidden_bias"]), 0)
        return np.concatenate([x, features], axis=-1)

    def tflite(self, x: Any, front: Any, weights: Weights, emitter: Emitter) -> Any:
        pixels = self._pixels(x, emitter)  # which the map reads as well
        features = emitter.convolution(pixels, weights["hidden_kernel"], weights["hidden_bias"], pixels, "hidden")
        return emitter.concatenate([pixels, emitter.clamp(features, (0.0, None))], 3, "wide")


@dataclass(frozen=True)
class Map(_Pointwise):
    """The 1x1 map with bias, which every stitch has."""

    position = Position.MAP
    layer = "project"

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {"kernel": (self.width, self.channels), "bias": (self.channels,)}

    def held(self, reads: np.ndarray, writes: np.ndarray, weights: Weights) -> tuple[Step, dict[str, np.ndarray]]:
        front = self.width - len(weights.get("hidden_bias", ()))
        kernel = weights["kernel"]
        rows = [_everywhere(reads, front) @ kernel[:front], kernel[front:] / _least(reads)]
        values = {"kernel": np.concatenate(rows) @ writes, "bias": weights["bias"] @ writes}
        width, channels = values["kernel"].shape
        return replace(self, width=width, channels=channels), values

    def start(self, solution: Solution) -> dict[str, np.ndarray]:
        return {"kernel": solution.kernel, "bias": solution.bias.mean(axis=0)}

    def keras(self, x: Any, front: Any) -> Any:
        return self._layer()(x)

    def numpy(self, x: np.ndarray, front: np.ndarray, weights: Weights) -> np.ndarray:
        return _mapped(x, weights["kernel"], weights["bias"])

    def tflite(self, x: Any, front: Any, weights: Weights, emitter: Emitter) -> Any:
        pixels = self._pixels(x, emitter)
        y = emitter.convolution(pixels, weights["kernel"], weights["bias"], emitter.target, "column")
        return emitter.reshape(y, (1, self.rows, self.channels), "patches") if self.tokens else y


@dataclass(frozen=True)
class Positions(Step):
    """A bias for each of the tokens that a grid becomes."""

    rows: int
    channels: int
    position = Position.MAP
    layer = "positions"

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {"positions": (self.rows, self.channels)}

    def held(self, reads: np.ndarray, writes: np.ndarray, weights: Weights) -> tuple[Step, dict[str, np.ndarray]]:
        return replace(self, channels=writes.shape[1]), {"positions": weights["positions"] @ writes}

    def start(self, solution: Solution) -> dict[str, np.ndarray]:
        return {"positions": solution.bias - solution.bias.mean(axis=0)}  # the mean is the map's own

    def keras(self, x: Any, front: Any) -> Any:
        from restnet_tf.graph.tokens import PositionBias

        return PositionBias(name=self.layer)(x)

    def numpy(self, x: np.ndarray, front: np.ndarray, weights: Weights) -> np.ndarray:
        return x + weights["positions"]

    def tflite(self, x: Any, front: Any, weights: Weights, emitter: Emitter) -> Any:
        return emitter.add(x, weights["positions"])


@dataclass(frozen=True)
class PooledClass(Step):
    """A class token that is a map of the mean of a front ``size`` which has none, before the other tokens."""

    size: tuple[int, int]
    width: int
    channels: int
    position = Position.END
    layer = "class_project"

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {"class_kernel": (self.width, self.channels), "class_bias": (self.channels,)}

    def held(self, reads: np.ndarray, writes: np.ndarray, weights: Weights) -> tuple[Step, dict[str, np.ndarray]]:
        values = {
            "class_kernel": reads @ weights["class_kernel"] @ writes,
            "class_bias": weights["class_bias"] @ writes,
        }
        return replace(self, width=len(reads), channels=writes.shape[1]), values

    def start(self, solution: Solution) -> dict[str, np.ndarray]:
        assert solution.pooled is not None  # a pair with this step is solved for it too
        return dict(zip(self.shapes, solution.pooled, strict=True))

    @property
    def macs(self) -> int:
        return self.width * self.channels

    def keras(self, x: Any, front: Any) -> Any:
        from keras import layers

        pool = layers.GlobalAveragePooling1D if len(front.shape) == 3 else layers.GlobalAveragePooling2D
        token = layers.Dense(self.channels, name=self.layer)(pool(name="class_pool")(front))
        token = layers.Reshape((1, self.channels), name="class_token")(token)
        return layers.Concatenate(axis=1, name="tokens")([token, x])

    def numpy(self, x: np.ndarray, front: np.ndarray, weights: Weights) -> np.ndarray:
        token = self.pooled(front) @ weights["class_kernel"] + weights["class_bias"]
        return np.concatenate([token.astype(np.float32), x.astype(np.float32)], axis=1)

    def pooled(self, front: np.ndarray) -> np.ndarray:
        """What the token is made of: the mean of the front's places, ``(n, 1, c)``."""
        return front.reshape(len(front), -1, self.width).mean(axis=1, keepdims=True)

    def tflite(self, x: Any, front: Any, weights: Weights, emitter: Emitter) -> Any:
        pooled = emitter.average_pool(emitter.reshape(front, (1, *self.size, self.width)), self.size)
        pixel = emitter.convolution(pooled, weights["class_kernel"], weights["class_bias"], emitter.target, "class")
        return emitter.concatenate([emitter.reshape(pixel, (1, 1, self.channels)), x], 1, "tokens")


@dataclass(frozen=True)
class Clamp(Step):
    """The clamp of the target cut: that of a ReLU, ``(0, None)`` or ``(0, greatest)``."""

    low: float | None
    high: float | None
    position = Position.END

    def keras(self, x: Any, front: Any) -> Any:
        from keras import layers

        return layers.ReLU(max_value=self.high, name="clamp")(x)

    def numpy(self, x: np.ndarray, front: np.ndarray, weights: Weights) -> np.ndarray:
        return np.clip(x.astype(np.float32), self.low, self.high)

    def tflite(self, x: Any, front: Any, weights: Weights, emitter: Emitter) -> Any:
        return emitter.clamp(x, (self.low, self.high))


def _everywhere(reads: np.ndarray, width: int) -> np.ndarray:
    """What makes the channels of several windows side by side of what is held of them."""
    return np.kron(np.eye(width // reads.shape[1]), reads)


def _least(reads: np.ndarray) -> float:
    """By how much what is held of a channel is smaller at most: hidden features keep to that (``stitch.balanced``)."""
    return float(reads[reads > 0].min())


def _mapped(x: np.ndarray, kernel: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """A map of all places of an image at once, in float64."""
    rows = x.reshape(len(x), -1, x.shape[-1]).astype(np.float64)
    return (rows @ kernel + bias).reshape(*x.shape[:-1], len(bias))
