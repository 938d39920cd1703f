"""Stitches that leave folds out: the same as fitting each without its fold, and honest where a ridge overfits."""

from __future__ import annotations

from dataclasses import replace

import keras
import networks
import numpy as np
import pytest

from restnet_tf.methods.stitchnet import crossfit
from restnet_tf.records import Cut, RestnetError
from restnet_tf.stitches import steps, stitch

FOLDS = tuple(np.arange(12)[i::3] for i in range(3))
GRID, SMALLER, LARGER = (4, 4, 5), (2, 2, 7), (6, 6, 4)
TOKENS, CLASSLESS = (17, 6), (16, 3)


def cut(shape: tuple[int, ...], clamp: tuple[float | None, float | None] = (None, None)) -> Cut:
    grid = (4, 4) if len(shape) == 2 else None
    return Cut("cut", 0, "tokens" if len(shape) == 2 else "grid", shape, clamp, 0, 0, 0, 0, grid)


def features(shape: tuple[int, ...], seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(12, *shape)).astype(np.float32)


@pytest.mark.parametrize(
    ("source", "target"),
    [
        (GRID, GRID),
        (GRID, SMALLER),
        (GRID, LARGER),
        (GRID, TOKENS),
        (GRID, CLASSLESS),
        (TOKENS, GRID),
        (TOKENS, TOKENS),
    ],
)
def test_every_image_goes_through_the_map_that_left_its_fold_out(source, target, monkeypatch):
    monkeypatch.setattr(crossfit, "SHRINKAGES", (1e-2,))
    a, b, x, y = cut(source), cut(target, (0.0, 6.0)), features(source, 0), features(target, 1)
    fit = crossfit.join(a, b, x, y, FOLDS)
    for fold in FOLDS:
        rest = np.setdiff1d(np.arange(12), fold)
        ours = crossfit.join(a, b, x[rest], y[rest], (np.arange(4), np.arange(4, 8)))
        np.testing.assert_allclose(fit.features[fold], stitch.applied(ours.stitch, x[fold]), atol=1e-4)
    assert fit.stitch.clamp == (0.0, 6.0)
    assert fit.features.min() >= 0
    assert fit.features.shape == y.shape


@pytest.mark.parametrize(("source", "target"), [(GRID, SMALLER), (GRID, TOKENS), (TOKENS, GRID), (TOKENS, TOKENS)])
def test_a_stitch_in_numpy_is_the_one_in_keras(source, target):
    a, b, x, y = cut(source), cut(target, (0.0, None)), features(source, 0), features(target, 1)
    fitted = crossfit.join(a, b, x, y, FOLDS).stitch
    np.testing.assert_allclose(stitch.applied(fitted, x), networks.forward(stitch.build(fitted), x), atol=1e-4)


def test_noise_is_not_taken_for_a_fit():
    """Twelve images of more channels than that: all that a map learns of them is by heart."""
    x, y = features((1, 1, 40), 0), features((1, 1, 5), 1)
    fit = crossfit.join(cut((1, 1, 40)), cut((1, 1, 5)), x, y, FOLDS)
    by_heart = stitch.applied(fit.stitch, x)
    assert 1 - np.sum((by_heart - y) ** 2) / np.sum((y - y.mean(axis=0)) ** 2) > 0.7
    assert fit.r2 < 0.1


def test_a_linear_map_is_found_and_known_to_be():
    x = features(GRID, 0)
    y = (x @ np.random.default_rng(2).normal(size=(5, 3)) + 1).astype(np.float32)
    fit = crossfit.join(cut(GRID), cut((4, 4, 3)), x, y, FOLDS)
    assert fit.r2 > 0.999
    np.testing.assert_allclose(fit.features, y, atol=0.05)


def test_features_that_are_not_finite_are_refused():
    x = features(GRID, 0)
    x[3, 0, 0, 0] = np.nan
    with pytest.raises(RestnetError, match="NaN or infinity"):
        crossfit.join(cut(GRID), replace(cut(GRID), name="other"), x, features(GRID, 1), FOLDS)


@pytest.mark.parametrize(("size", "wanted"), [((8, 6), (4, 3)), ((8, 6), (5, 9)), ((7, 7), (14, 14)), ((5, 8), (4, 2))])
def test_resampling_is_that_of_keras(size, wanted):
    grid = np.random.default_rng(0).normal(size=(2, *size, 3)).astype(np.float32)
    h, w = wanted
    if size[0] % h == 0 and size[1] % w == 0:
        layer = keras.layers.AveragePooling2D((size[0] // h, size[1] // w))
    else:
        layer = keras.layers.Resizing(h, w, interpolation="bilinear")
    (step,) = steps.resampling(size, wanted)
    np.testing.assert_allclose(step.numpy(grid, grid, {}), np.asarray(layer(grid)), atol=1e-5)
