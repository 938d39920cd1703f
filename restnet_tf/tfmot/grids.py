"""The grids of integers that a file rounds to: which of its tensors hold what a network's calls give, and its weights.

NumPy alone: both the process of tensorflow-model-optimization and ours read it. Tensors are told by their values, as a
converter merges calls, splits them and calls them otherwise.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np

# A tensor whose values differ more from a call's, in their mean square over that of the call's spread, is not it.
# What integers lose in a Transformer comes to a tenth; values behind a ReLU and before it differ by a half.
_UNLIKE = 0.3
_INTEGERS = 127  # of a symmetric int8 weight, either way


@dataclass(frozen=True)
class Grid:
    """The least and the greatest value of a tensor of 8 bits, zero among its 256 steps."""

    low: float
    high: float


def of_calls(
    outputs: Sequence[np.ndarray], values: Sequence[np.ndarray], grids: Sequence[Grid], turned: Container[int] = ()
) -> dict[int, Grid]:
    """The grid of each call whose ``outputs`` ``(n, ...)`` a file holds in a tensor, by the call's number.

    ``values`` ``(n, ...)`` are the tensors' on the same inputs, with ``grids``. A call and a tensor belong together
    where each is the nearest to the other. Calls whose results the file never rounds have none: those that it
    computes together with the next. The axes of ``turned`` calls may stand in another order in the file.
    """
    distances = np.full((len(outputs), len(values)), np.inf)
    rows = [value.reshape(len(value), -1) for value in values]
    for i, output in enumerate(outputs):
        spread = float(np.var(output)) or 1.0
        orders = list(_orders(output, turned=i in turned))
        for j, row in enumerate(rows):
            if output.size == row.size:
                distances[i, j] = min(float(np.mean(np.square(order - row))) for order in orders) / spread
    if not distances.size:
        return {}
    nearest, nearest_call = distances.argmin(axis=1), distances.argmin(axis=0)
    together = ((i, int(j)) for i, j in enumerate(nearest) if nearest_call[j] == i and distances[i, j] < _UNLIKE)
    return {i: grids[j] for i, j in together}


def _orders(output: np.ndarray, *, turned: bool) -> Iterator[np.ndarray]:
    """An array ``(n, ...)`` as rows, where it is ``turned`` with its axes in every order."""
    axes = range(1, output.ndim)
    for order in permutations(axes) if turned else [tuple(axes)]:
        yield output.transpose(0, *order).reshape(len(output), -1)


def on_grid(kernel: np.ndarray, axes: Sequence[int]) -> np.ndarray:
    """The values that int8 integers stand for: symmetric, one scale along ``axes``."""
    scale = np.max(np.abs(kernel), axis=tuple(axes), keepdims=True) / _INTEGERS
    scale = np.where(scale == 0, 1, scale)
    return np.asarray(np.round(kernel / scale) * scale, np.float32)


def summed(class_name: str, rank: int, equation: str = "") -> tuple[int, ...]:
    """The axes of a kernel that a layer sums over: what is left has a scale each."""
    if class_name == "DepthwiseConv2D":
        return (0, 1)
    if class_name == "EinsumDense":
        own, result = equation.split(",")[1].split("->")
        return tuple(axis for axis, letter in enumerate(own) if letter not in result)
    return tuple(range(rank - 1))
