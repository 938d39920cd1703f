"""Which rewrites a network gets: each that applies and, tried on calibration images, answers as the network does."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from tflite_export.precision import precision_named
from tflite_export.rewrites import graph, norms

if TYPE_CHECKING:
    import keras

L2 = "l2_normalization"  # what targets without the operator have lowered
# Of the largest value of an output: what another order of sums makes of floats.
TOLERANCE = 1e-4
_IMAGES = 4


@dataclass(frozen=True)
class Rewrite:
    """One rewrite: of how many layers, and by how much of its largest value an output differs at most.

    One that was not ``kept`` differs by more than ``TOLERANCE``.
    """

    name: str
    count: int
    difference: float

    @property
    def kept(self) -> bool:
        """Whether the network has it."""
        return self.difference <= TOLERANCE


@dataclass(frozen=True)
class Rewritten:
    """A network and what became of each rewrite that applies to it."""

    model: Any = field(repr=False)
    rewrites: tuple[Rewrite, ...] = ()


def rewritten(model: keras.Model, precision: str, lower: Collection[str], images: Sequence[np.ndarray]) -> Rewritten:
    """The network as a precision is best served; itself where nothing applies.

    ``images`` are batches ``(1, h, w, c)`` of what it takes, of which a few are tried.
    """
    recipe = precision_named(precision)
    if not recipe.calibrated or "INT8" not in recipe.activations or L2 in lower:
        return Rewritten(model)
    few = np.concatenate(images[:_IMAGES])
    best = Rewritten(model)
    for rewrite in _REWRITES:
        best = _tried(best, rewrite, few)
    return best


def _tried(before: Rewritten, rewrite: Callable[..., Any], few: np.ndarray) -> Rewritten:
    twin, name, count = rewrite(before.model, few)
    if not count:
        return before
    result = Rewrite(name, count, _difference(before.model, twin, few))
    return Rewritten(twin if result.kept else before.model, (*before.rewrites, result))


def _difference(model: keras.Model, twin: keras.Model, images: np.ndarray) -> float:
    """The largest difference of an output, of its largest value."""
    pairs = zip(graph.run(model, images), graph.run(twin, images), strict=True)
    return max(float(np.abs(a - b).max() / max(np.abs(a).max(), 1e-30)) for a, b in pairs)


def _l2_norms(model: keras.Model, few: np.ndarray) -> tuple[keras.Model, str, int]:
    layers = norms.replacements(graph.flat(model), few)
    return graph.replaced(model, layers) if layers else model, "norms", len(layers)


_REWRITES = (_l2_norms,)
