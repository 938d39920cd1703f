"""The layer between two anchors: an adapter of places, a 1x1 map with bias, and the clamp of its target.

The map starts at its closed-form ridge solution, which needs only sums over samples, so that the
sums of two shards add up and one pass over the data serves every pair of cuts.

| from -> to | adapter |
|---|---|
| grid -> grid | pool by a whole ratio, else bilinear resize; none where the grids are the same |
| tokens -> tokens | the same for the grid behind the class token, which runs through the map as well |
| grid -> tokens | the same; a bias for every position; a class token as a map of the pooled grid |
| tokens -> grid | the class token is left out |

A map that is too little for unlike anchors can be widened: beside the front's channels it then reads a few
ReLU features of them, made by a low-rank map of their own.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from restnet_tf.records import Cut, Layout, Reason, Stitch
from restnet_tf.stitches.resample import resampled

if TYPE_CHECKING:
    import keras


_REFIT_RIDGE = 1e-2
# Of the narrower side: hidden features then cost half of what the map itself does, where both are as wide.
_HIDDEN_SHARE, _HIDDEN_STEP = 4, 8


def delivered(stitch: Stitch, features: np.ndarray) -> np.ndarray:
    """What the map makes of features ``(n, ...)``: ``(n, places, c_out)``, before the clamp.

    A class token that is made of the pooled grid is not among the places.
    """
    made = read(stitch, features) @ stitch.kernel + stitch.bias
    return made if stitch.positions is None else made + stitch.positions


def applied(stitch: Stitch, features: np.ndarray) -> np.ndarray:
    """The whole stitch on features ``(n, ...)``, as ``build`` computes it: float32 ``(n, *target)``."""
    target = stitch.target
    made = delivered(stitch, features).astype(np.float32)
    if stitch.class_kernel is not None and stitch.class_bias is not None:
        pooled = features.reshape(len(features), -1, stitch.source.channels).mean(axis=1, keepdims=True)
        made = np.concatenate([(pooled @ stitch.class_kernel + stitch.class_bias).astype(np.float32), made], axis=1)
    low, high = stitch.clamp
    if low is not None:
        np.clip(made, low, high, out=made)
    return made.reshape(len(features), *target.shape)


def refitted(stitch: Stitch, wanted: np.ndarray, found: np.ndarray) -> Stitch:
    """The stitch that gives on ``found`` what it gave on ``wanted``.

    Both are features ``(n, ...)`` of the same images at the front's cut, ``found`` as a quantised
    front puts them out. Least squares, shrunk towards the stitch itself.
    """
    x = _flat(read(stitch, found))
    residual = _flat(delivered(stitch, wanted) - delivered(stitch, found))
    mean_x, mean_r = x.mean(axis=0), residual.mean(axis=0)
    covariance = (x - mean_x).T @ (x - mean_x)
    penalty = _REFIT_RIDGE * (float(np.mean(np.diag(covariance))) or 1.0)
    change = np.linalg.solve(covariance + penalty * np.eye(len(covariance)), (x - mean_x).T @ (residual - mean_r))
    kernel, bias = stitch.kernel + change, stitch.bias + mean_r - mean_x @ change
    return replace(stitch, kernel=kernel.astype(np.float32), bias=bias.astype(np.float32))


def read(stitch: Stitch, features: np.ndarray) -> np.ndarray:
    """What the map reads of features ``(n, ...)``: ``(n, places, c_in)``, float64, hidden features last."""
    x = adapted(features, stitch.source, stitch.target).astype(np.float64)
    if stitch.hidden_kernel is None or stitch.hidden_bias is None:
        return x
    return np.concatenate([x, np.maximum(x @ stitch.hidden_kernel + stitch.hidden_bias, 0)], axis=2)


def widened(stitch: Stitch, features: np.ndarray, seed: int) -> Stitch:
    """The same function with hidden features that its map does not heed yet, to be trained.

    They are random directions of the features ``(n, ...)`` at the front's cut, each on at half of them.
    """
    x = _flat(adapted(features, stitch.source, stitch.target))
    width = max(_HIDDEN_STEP, min(stitch.kernel.shape) // _HIDDEN_SHARE // _HIDDEN_STEP * _HIDDEN_STEP)
    kernel = np.random.default_rng(seed).normal(size=(x.shape[1], width))
    made = replace(
        stitch,
        kernel=np.concatenate([stitch.kernel, np.zeros((width, stitch.kernel.shape[1]), np.float32)]),
        hidden_kernel=kernel.astype(np.float32),
        hidden_bias=-(x.mean(axis=0) @ kernel).astype(np.float32),
    )
    return balanced(made, features)


def balanced(stitch: Stitch, features: np.ndarray) -> Stitch:
    """The same function with hidden features that reach as high as the front's own.

    A ReLU passes factors on to the map behind it. Integers then hold both by one scale and zero point.
    """
    if stitch.hidden_kernel is None or stitch.hidden_bias is None:
        return stitch
    rows, width = _flat(read(stitch, features)), stitch.hidden_kernel.shape[1]
    highest, peaks = float(rows[:, :-width].max()), rows[:, -width:].max(axis=0)
    if highest <= 0:
        return stitch
    factors = np.where(peaks > 0, highest / np.where(peaks > 0, peaks, 1), 1).astype(np.float32)
    kernel = stitch.kernel.copy()
    kernel[-width:] /= factors[:, None]
    return replace(
        stitch, kernel=kernel, hidden_kernel=stitch.hidden_kernel * factors, hidden_bias=stitch.hidden_bias * factors
    )


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


def pools_class(source: Layout, target: Layout) -> bool:
    """Whether the target's class token is made of the pooled source, which has none."""
    return target.classes > 0 and not source.classes


def places(source: Layout, target: Layout) -> int:
    """How many biases the map has: one, or one for each token that a grid becomes."""
    return prod(target.size) if target.tokens and not source.tokens else 1


def adapted(features: np.ndarray, source: Layout, target: Layout) -> np.ndarray:
    """Features ``(n, ...)`` as the map reads them: ``(n, places, c_in)``, at the target's places.

    A class token that the target has too comes first; one that it lacks is left out.
    """
    head = features[:, : source.classes] if source.classes and target.classes else None
    grid = features[:, source.classes :] if source.tokens else features
    if source.size != target.size:
        grid = resampled(grid.reshape(len(grid), *source.size, source.channels), target.size)
    rows = grid.reshape(len(grid), -1, source.channels)
    return rows if head is None else np.concatenate([head, rows], axis=1)


def spread(rows: np.ndarray, places: int, most: int) -> np.ndarray:
    """At most so many rows ``(n, rows, c)`` of every image, evenly; all of them where each has a bias of its own."""
    count = rows.shape[1]
    return rows if places > 1 or count <= most else rows[:, np.linspace(0, count - 1, most).astype(int)]


def wanted(features: np.ndarray, source: Layout, target: Layout) -> np.ndarray:
    """Features ``(n, ...)`` of the target at the places that ``adapted`` gives: ``(n, places, c_out)``."""
    rows = features.reshape(len(features), -1, target.channels)
    return rows[:, target.classes :] if target.classes and not source.classes else rows


def resample(source: Layout, target: Layout) -> list[Any]:
    """Keras layers that bring a grid ``(n, h, w, c)`` to the height and width of another; may be none.

    A whole ratio down is an average pool, anything else a bilinear resize.
    """
    import keras

    (h, w), (th, tw) = source.size, target.size
    if (h, w) == (th, tw):
        return []
    if h % th == 0 and w % tw == 0:
        return [keras.layers.AveragePooling2D((h // th, w // tw), name="pool")]
    return [keras.layers.Resizing(th, tw, interpolation="bilinear", name="resize")]


def build(stitch: Stitch, name: str = "stitch") -> keras.Model:
    """The stitch as a Keras model from source to target ``(n, ...)`` with its fitted weights."""
    import keras

    source, target = stitch.source, stitch.target
    inputs = keras.Input(source.shape)
    x = _at_target(inputs, source, target)
    if stitch.hidden_bias is not None:
        hidden = _map(target, len(stitch.hidden_bias), name="hidden", activation="relu")(x)
        x = keras.layers.Concatenate(name="wide")([x, hidden])
    x = _map(target, target.channels, name="project")(x)
    if stitch.positions is not None:
        from restnet_tf.graph.tokens import PositionBias

        x = PositionBias(name="positions")(x)
    if stitch.class_kernel is not None:
        pool = keras.layers.GlobalAveragePooling1D if source.tokens else keras.layers.GlobalAveragePooling2D
        pooled = pool(name="class_pool")(inputs)
        made = keras.layers.Dense(target.channels, name="class_project")(pooled)
        made = keras.layers.Reshape((1, target.channels), name="class_token")(made)
        x = keras.layers.Concatenate(axis=1, name="tokens")([made, x])
    low, high = stitch.clamp
    if low is not None:
        x = keras.layers.ReLU(max_value=high, name="clamp")(x)
    model = keras.Model(inputs, x, name=name)
    for name, values in weights(stitch).items():
        model.get_layer(name).set_weights(
            [v.reshape(w.shape) for v, w in zip(values, model.get_layer(name).weights, strict=True)]
        )
    return model


def trained(stitch: Stitch, model: keras.Model) -> Stitch:
    """The stitch with the weights that its model (``build``) has by now."""
    values = {name: model.get_layer(name).get_weights() for name in weights(stitch)}
    kernel, bias = values["project"]
    found = replace(stitch, kernel=kernel.reshape(stitch.kernel.shape), bias=bias)
    if "hidden" in values:
        kernel, bias = values["hidden"]
        found = replace(found, hidden_kernel=kernel.reshape(kernel.shape[-2:]), hidden_bias=bias)
    if "positions" in values:
        found = replace(found, positions=values["positions"][0])
    if "class_project" in values:
        found = replace(found, class_kernel=values["class_project"][0], class_bias=values["class_project"][1])
    return found


def weights(stitch: Stitch) -> dict[str, list[np.ndarray]]:
    """Fitted weights by the layer of ``build`` that holds them."""
    found = {"project": [stitch.kernel, stitch.bias]}
    if stitch.hidden_kernel is not None and stitch.hidden_bias is not None:
        found["hidden"] = [stitch.hidden_kernel, stitch.hidden_bias]
    if stitch.positions is not None:
        found["positions"] = [stitch.positions]
    if stitch.class_kernel is not None and stitch.class_bias is not None:
        found["class_project"] = [stitch.class_kernel, stitch.class_bias]
    return found


def _map(target: Layout, channels: int, **options: Any) -> Any:
    """The layer of a 1x1 map to a grid or to tokens."""
    from keras import layers

    return layers.Dense(channels, **options) if target.tokens else layers.Conv2D(channels, 1, **options)


def _at_target(x: Any, source: Layout, target: Layout) -> Any:
    """``adapted`` in layers: a grid for a grid, tokens for tokens."""
    from keras import layers

    same, classes = source.size == target.size, source.classes
    if source.tokens and target.tokens and same and bool(classes) == bool(target.classes):
        return x
    grid = layers.Cropping1D((classes, 0), name="patches")(x) if classes else x
    if source.tokens and not (same and target.tokens):
        grid = layers.Reshape((*source.size, source.channels), name="grid")(grid)
    for layer in resample(source, target):
        grid = layer(grid)
    if not target.tokens:
        return grid
    if len(grid.shape) == 4:
        grid = layers.Reshape((prod(target.size), source.channels), name="rows")(grid)
    if classes and target.classes:
        head = layers.Cropping1D((0, source.shape[0] - classes), name="class_of_front")(x)
        grid = layers.Concatenate(axis=1, name="with_class")([head, grid])
    return grid


def macs(source: Layout, target: Layout, hidden: int = 0) -> int:
    """MACs of the map, which runs at the target's places, and of that of a pooled class token."""
    rows = _rows(source, target)
    wide = rows * hidden * (source.channels + target.channels)
    return wide + (rows + pools_class(source, target)) * source.channels * target.channels


def params(source: Layout, target: Layout, hidden: int = 0) -> int:
    """Kernel and bias, those of a pooled class token, and a bias for each position of new tokens."""
    count = (source.channels + 1) * target.channels * (1 + pools_class(source, target))
    count += hidden * (source.channels + 1 + target.channels)
    return count + (prod(target.size) * target.channels if places(source, target) > 1 else 0)


def widening(stitch: Stitch) -> tuple[int, int]:
    """MACs and parameters that a fitted stitch has beyond those of a map without hidden features."""
    ends, hidden = (stitch.source, stitch.target), 0 if stitch.hidden_bias is None else len(stitch.hidden_bias)
    return macs(*ends, hidden) - macs(*ends), params(*ends, hidden) - params(*ends)


def _rows(source: Layout, target: Layout) -> int:
    return prod(target.size) + (target.classes if source.classes else 0)
