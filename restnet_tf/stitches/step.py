"""What a step of a stitch is: one record that Keras, NumPy, TFLite and the costs all know.

A step works on values ``(n, h, w, c)`` of a grid or ``(n, t, c)`` of tokens. Beside what the step before it gave, it
may read the ``front``: what the whole stitch reads.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from math import prod
from typing import Any, ClassVar, Protocol

import numpy as np

Weights = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Solution:
    """The closed-form map of one pair and how much of the target's variance it explains.

    ``bias`` is ``(places, c_out)``. ``pooled`` holds kernel and bias of a class token made of the pooled
    front, None where there is none to make.
    """

    kernel: np.ndarray
    bias: np.ndarray
    r2: float
    pooled: tuple[np.ndarray, np.ndarray] | None = None


class Position(IntEnum):
    """Where in a stitch a step stands; its steps are in this order."""

    PLACES = 1  # brings the front's values to the target's places
    FEATURES = 2  # adds to what the map reads
    MAP = 3  # the map, and what is added to what it gives
    END = 4  # tokens that are made beside the map, and the clamp


class Emitter(Protocol):
    """The TFLite operators that steps are written in, of batches of one; tensors have a ``shape``.

    Whatever would change nothing gives back its input. What follows the ``target`` is quantised as it is.
    """

    @property
    def target(self) -> Any:
        """The tensor at the back's cut."""
        ...

    def reshape(self, x: Any, shape: tuple[int, ...], name: str = "reshaped") -> Any:
        """The same values in another shape."""
        ...

    def tokens(self, x: Any, start: int, count: int) -> Any:
        """Some consecutive tokens of ``(1, t, c)``."""
        ...

    def average_pool(self, x: Any, window: tuple[int, int]) -> Any:
        """Means over whole windows ``(h, w)`` of a grid."""
        ...

    def resize(self, x: Any, size: tuple[int, int]) -> Any:
        """A grid at another height and width, bilinear with half-pixel centres."""
        ...

    def convolution(self, x: Any, kernel: np.ndarray, bias: np.ndarray, like: Any, name: str) -> Any:
        """A 1x1 map ``(c_in, c_out)`` of a grid, quantised ``like`` another tensor."""
        ...

    def add(self, x: Any, values: np.ndarray) -> Any:
        """Constants added to what was computed last."""
        ...

    def concatenate(self, parts: Sequence[Any], axis: int, name: str) -> Any:
        """Tensors of the same quantisation one behind the other."""
        ...

    def clamp(self, x: Any, clamp: tuple[float | None, float | None]) -> Any:
        """Values within bounds."""
        ...


@dataclass(frozen=True)
class Step(ABC):
    """One step; a new one is a subclass and its place in ``steps.between``."""

    position: ClassVar[Position]
    # The Keras layer that holds its weights.
    layer: ClassVar[str] = ""

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Its weights by name, in the order of the Keras layer's."""
        return {}

    def start(self, solution: Solution) -> dict[str, np.ndarray]:
        """Its weights in closed form; none of a step that comes later."""
        return {}

    def held(self, reads: np.ndarray, writes: np.ndarray, weights: Weights) -> tuple[Step, dict[str, np.ndarray]]:
        """The step and its weights between cuts whose channels are held otherwise.

        ``reads`` ``(c', c)`` makes the front's channels of what is held of them, ``writes`` ``(c, c')`` what is held
        of the back's channels.
        """
        return self, {}

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one image."""
        return 0

    @property
    def params(self) -> int:
        """Values of its weights."""
        return sum(prod(shape) for shape in self.shapes.values())

    @abstractmethod
    def keras(self, x: Any, front: Any) -> Any:
        """The step in Keras layers; weights are set by ``stitch.build``."""

    @abstractmethod
    def numpy(self, x: np.ndarray, front: np.ndarray, weights: Weights) -> np.ndarray:
        """The same values in NumPy; a map gives float64."""

    @abstractmethod
    def tflite(self, x: Any, front: Any, weights: Weights, emitter: Emitter) -> Any:
        """The same values as TFLite operators; what they put out."""
