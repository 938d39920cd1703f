"""The layer between two anchors: an adapter of places, a 1x1 map with bias, and the clamp of its target.

The map starts at its closed-form ridge solution, which needs only sums over samples, so that the
sums of two shards add up and one pass over the data serves every pair of cuts. What a stitch does is read off its
steps (``steps.between``), here and wherever it is built, run, counted, saved or linked.

A map that is too little for unlike anchors can be widened: beside the front's channels it then reads a few
ReLU features of them, made by a low-rank map of their own.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from restnet_tf.records import Cut, Layout, Reason, Stitch
from restnet_tf.stitches.step import Position, Step, Weights
from restnet_tf.stitches.steps import PooledClass, Positions, between

if TYPE_CHECKING:
    import keras


_REFIT_RIDGE = 1e-2
# Of the narrower side: hidden features then cost half of what the map itself does, where both are as wide.
_HIDDEN_SHARE, _HIDDEN_STEP = 4, 8


@dataclass(frozen=True)
class Pipeline:
    """A stitch as its steps and their weights by name; ``source`` and ``target`` are shapes without the batch."""

    source: tuple[int, ...]
    target: tuple[int, ...]
    steps: tuple[Step, ...]
    weights: Weights

    def run(self, features: np.ndarray, positions: Container[Position] = tuple(Position)) -> np.ndarray:
        """What the steps of some positions make of features ``(n, ...)`` in NumPy."""
        x = features
        for step in self.steps:
            if step.position in positions:
                x = step.numpy(x, features, self.weights)
        return x

    def held(self, reads: np.ndarray | None, writes: np.ndarray | None) -> Pipeline:
        """The same between cuts that hold channels otherwise, by the maps of ``Step.held``; None where as they are."""
        reads = np.eye(self.source[-1]) if reads is None else reads
        writes = np.eye(self.target[-1]) if writes is None else writes
        steps, values = zip(*(step.held(reads, writes, self.weights) for step in self.steps), strict=True)
        weights = {name: v.astype(np.float32) for part in values for name, v in part.items()}
        ends = (*self.source[:-1], len(reads)), (*self.target[:-1], writes.shape[1])
        return Pipeline(*ends, steps, {**self.weights, **weights})


def pipeline(stitch: Stitch) -> Pipeline:
    """The list of steps that a stitch is: what the linker takes."""
    ends = stitch.source, stitch.target
    weights = {"kernel": stitch.kernel, "bias": stitch.bias, **stitch.parts}
    return Pipeline(ends[0].shape, ends[1].shape, between(*ends, hidden(stitch), stitch.clamp), weights)


def hidden(stitch: Stitch) -> int:
    """How many hidden features its map reads."""
    return len(stitch.parts["hidden_bias"]) if "hidden_bias" in stitch.parts else 0


def delivered(stitch: Stitch, features: np.ndarray) -> np.ndarray:
    """What the map makes of features ``(n, ...)``: ``(n, places, c_out)``, before the clamp.

    A class token that is made of the pooled grid is not among the places.
    """
    return _rows(pipeline(stitch).run(features, (Position.PLACES, Position.FEATURES, Position.MAP)))


def applied(stitch: Stitch, features: np.ndarray) -> np.ndarray:
    """The whole stitch on features ``(n, ...)``, as ``build`` computes it: float32 ``(n, *target)``."""
    return pipeline(stitch).run(features).astype(np.float32).reshape(len(features), *stitch.target.shape)


def refitted(stitch: Stitch, exact: np.ndarray, quantised: np.ndarray) -> Stitch:
    """The stitch that gives on ``quantised`` what it gave on ``exact``.

    Both are features ``(n, ...)`` of the same images at the front's cut, ``quantised`` as a quantised
    front puts them out. Least squares, shrunk towards the stitch itself.
    """
    x = _flat(read(stitch, quantised))
    residual = _flat(delivered(stitch, exact) - delivered(stitch, quantised))
    mean_x, mean_r = x.mean(axis=0), residual.mean(axis=0)
    covariance = (x - mean_x).T @ (x - mean_x)
    penalty = _REFIT_RIDGE * (float(np.mean(np.diag(covariance))) or 1.0)
    change = np.linalg.solve(covariance + penalty * np.eye(len(covariance)), (x - mean_x).T @ (residual - mean_r))
    kernel, bias = stitch.kernel + change, stitch.bias + mean_r - mean_x @ change
    return replace(stitch, kernel=kernel.astype(np.float32), bias=bias.astype(np.float32))


def read(stitch: Stitch, features: np.ndarray) -> np.ndarray:
    """What the map reads of features ``(n, ...)``: ``(n, places, c_in)``, float64, hidden features last."""
    return _rows(pipeline(stitch).run(features, (Position.PLACES, Position.FEATURES))).astype(np.float64)


def widened(stitch: Stitch, features: np.ndarray, seed: int) -> Stitch:
    """The same function with hidden features that its map does not heed yet, to be trained.

    They are random directions of the features ``(n, ...)`` at the front's cut, each on at half of them.
    """
    x = _flat(adapted(features, stitch.source, stitch.target))
    width = max(_HIDDEN_STEP, min(stitch.kernel.shape) // _HIDDEN_SHARE // _HIDDEN_STEP * _HIDDEN_STEP)
    directions = np.random.default_rng(seed).normal(size=(x.shape[1], width))
    kernel = np.concatenate([stitch.kernel, np.zeros((width, stitch.kernel.shape[1]), np.float32)])
    bias = -(x.mean(axis=0) @ directions).astype(np.float32)
    parts = {"hidden_kernel": directions.astype(np.float32), "hidden_bias": bias, **stitch.parts}
    return balanced(replace(stitch, kernel=kernel, parts=parts), features)


def balanced(stitch: Stitch, features: np.ndarray) -> Stitch:
    """The same function with hidden features that reach as high as the front's own.

    A ReLU passes factors on to the map behind it. Integers then hold both by one scale and zero point.
    """
    width = hidden(stitch)
    if not width:
        return stitch
    rows = _flat(read(stitch, features))
    highest, peaks = float(rows[:, :-width].max()), rows[:, -width:].max(axis=0)
    if highest <= 0:
        return stitch
    factors = np.where(peaks > 0, highest / np.where(peaks > 0, peaks, 1), 1).astype(np.float32)
    kernel = stitch.kernel.copy()
    kernel[-width:] /= factors[:, None]
    scaled = {name: stitch.parts[name] * factors for name in ("hidden_kernel", "hidden_bias")}
    return replace(stitch, kernel=kernel, parts={**stitch.parts, **scaled})


def _rows(x: np.ndarray) -> np.ndarray:
    """Features ``(n, ..., c)`` as ``(n, places, c)``."""
    return x.reshape(len(x), -1, x.shape[-1])


def _flat(rows: np.ndarray) -> np.ndarray:
    return rows.reshape(-1, rows.shape[-1]).astype(np.float64)


def compatible(source: Cut, target: Cut) -> Reason | None:
    """Why these cuts cannot be stitched; None where they can.

    Grids, of pixels or tokens, of the same or the adjacent resolution are joined: a factor of about two
    either way.
    """
    if "vector" in (source.kind, target.kind):
        return Reason("no_adapter", source=source.kind, target=target.kind)
    a, b = source.layout, target.layout
    if any(end.tokens and end.grid is None for end in (a, b)):
        alike = a.tokens and b.tokens and a.size == b.size
        return None if alike else Reason("unknown_places")
    if a.classes and b.classes and a.classes != b.classes:
        return Reason("class_tokens", counts=(a.classes, b.classes))
    if not 0.45 <= a.size[0] / b.size[0] <= 2.2:
        return Reason("resolutions", sizes=(a.size, b.size))
    return None


def exchanged(source: Cut, target: Cut, back: str) -> Reason | None:
    """Why a stitch between these cuts makes no new network: all of the ``back`` anchor but its embedding is in it."""
    same = source.linear and target.linear and source.layout.size == target.layout.size
    return Reason("anchor_again", rival=back) if same else None


def pooled_class(source: Layout, target: Layout) -> PooledClass | None:
    """The step that makes the target's class token of the pooled source, where that has none."""
    return next((step for step in between(source, target) if isinstance(step, PooledClass)), None)


def places(source: Layout, target: Layout) -> int:
    """How many biases the map has: one, or one for each token that a grid becomes."""
    return next((step.rows for step in between(source, target) if isinstance(step, Positions)), 1)


def adapted(features: np.ndarray, source: Layout, target: Layout) -> np.ndarray:
    """Features ``(n, ...)`` as the map reads them: ``(n, places, c_in)``, at the target's places.

    A class token that the target has too comes first; one that it lacks is left out.
    """
    return _rows(Pipeline(source.shape, target.shape, between(source, target), {}).run(features, (Position.PLACES,)))


def spread(rows: np.ndarray, places: int, most: int) -> np.ndarray:
    """At most so many rows ``(n, rows, c)`` of every image, evenly; all of them where each has a bias of its own."""
    count = rows.shape[1]
    return rows if places > 1 or count <= most else rows[:, np.linspace(0, count - 1, most).astype(int)]


def goal(features: np.ndarray, source: Layout, target: Layout) -> np.ndarray:
    """Features ``(n, ...)`` of the target at the places that ``adapted`` gives: ``(n, places, c_out)``."""
    return _rows(features)[:, 1 if pooled_class(source, target) else 0 :]


def blank(source: Cut, target: Cut) -> Stitch:
    """A stitch of these cuts that nothing was fitted to: it takes as much room as one that was."""
    ends = source.layout, target.layout
    shapes = {name: shape for step in between(*ends) for name, shape in step.shapes.items()}
    values = {name: np.linspace(-1, 1, prod(shape), dtype=np.float32).reshape(shape) for name, shape in shapes.items()}
    return Stitch(values.pop("kernel"), values.pop("bias"), *ends, target.clamp, values)


def build(stitch: Stitch, name: str = "stitch") -> keras.Model:
    """The stitch as a Keras model from source to target ``(n, ...)`` with its fitted weights."""
    import keras

    x = front = keras.Input(stitch.source.shape)
    for step in pipeline(stitch).steps:
        x = step.keras(x, front)
    model = keras.Model(front, x, name=name)
    fill(model, stitch)
    return model


def fill(model: keras.Model, stitch: Stitch) -> None:
    """Give a model of the same steps (``build``) the fitted weights of a stitch."""
    for layer, values in weights(stitch).items():
        held = model.get_layer(layer).weights
        model.get_layer(layer).set_weights([v.reshape(w.shape) for v, w in zip(values, held, strict=True)])


def trained(stitch: Stitch, model: keras.Model) -> Stitch:
    """The stitch with the weights that its model (``build``) has by now."""
    values: dict[str, np.ndarray] = {}
    for step in _weighted(stitch):
        held = model.get_layer(step.layer).get_weights()
        values |= {name: v.reshape(shape) for (name, shape), v in zip(step.shapes.items(), held, strict=True)}
    return replace(stitch, kernel=values.pop("kernel"), bias=values.pop("bias"), parts=values)


def weights(stitch: Stitch) -> dict[str, list[np.ndarray]]:
    """Fitted weights by the layer of ``build`` that holds them, the map's first."""
    values = pipeline(stitch).weights
    steps = sorted(_weighted(stitch), key=lambda step: "kernel" not in step.shapes)
    return {step.layer: [values[name] for name in step.shapes] for step in steps}


def _weighted(stitch: Stitch) -> list[Step]:
    return [step for step in pipeline(stitch).steps if step.shapes]


def macs(source: Layout, target: Layout, hidden: int = 0) -> int:
    """MACs of the map, which runs at the target's places, and of that of a pooled class token."""
    return sum(step.macs for step in between(source, target, hidden))


def params(source: Layout, target: Layout, hidden: int = 0) -> int:
    """Kernel and bias, those of a pooled class token, and a bias for each position of new tokens."""
    return sum(step.params for step in between(source, target, hidden))


def widening(stitch: Stitch) -> tuple[int, int]:
    """MACs and parameters that a fitted stitch has beyond those of a map without hidden features."""
    ends, width = (stitch.source, stitch.target), hidden(stitch)
    return macs(*ends, width) - macs(*ends), params(*ends, width) - params(*ends)
