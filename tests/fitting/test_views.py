"""Views: a function of their arguments, as many as asked, mixed with their labels alike."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from networks import CLASSES, anchor, images, split

from restnet_tf.data import splits
from restnet_tf.data.images import Pixels
from restnet_tf.data.splits import Split
from restnet_tf.fitting import views


def drawn(given: Split, count: int = 50, batch: int = 16, mirror: bool = True, seed: int = 0):
    return list(views.stream(given, (8, 8, 3), count, batch, classes=CLASSES, mirror=mirror, seed=seed))


def joined(batches: list, which: int) -> np.ndarray:
    return np.concatenate([batch[which] for batch in batches])


def test_the_same_arguments_give_the_same_views():
    first, again, other = drawn(split()), drawn(split()), drawn(split(), seed=1)
    for which in (0, 1):
        np.testing.assert_array_equal(joined(first, which), joined(again, which))
        assert not np.array_equal(joined(first, which), joined(other, which))


@pytest.mark.parametrize("count", [1, 16, 39, 40, 41, 100])
def test_as_many_as_asked(count):
    batches = drawn(split(40), count)
    assert [len(x) for x, _ in batches] == [16] * (count // 16) + [count % 16] * bool(count % 16)
    assert joined(batches, 0).shape == (count, 8, 8, 3)


def test_labels_are_mixtures():
    labels = joined(drawn(split()), 1)
    assert labels.dtype == np.float32
    np.testing.assert_allclose(labels.sum(axis=1), 1, rtol=1e-6)
    assert ((labels > 0.01).sum(axis=1) == 2).any()
    assert joined(drawn(split(labelled=False)), 1).shape == (50, 0)


def test_images_are_mixed_at_the_ratio_of_their_labels():
    """Images of a constant brightness that tells their class: away from the edge, both mix alike."""
    labels = np.arange(40) % 2
    plain = np.where(labels[:, None, None, None] == 1, 200, 100).astype(np.uint8) * np.ones((1, 8, 8, 3), np.uint8)
    given = Split("fit", Pixels(plain, np.arange(40)), labels)
    batches = drawn(given)
    centre = joined(batches, 0)[:, 3:5, 3:5].mean(axis=(1, 2, 3))
    np.testing.assert_allclose(centre, joined(batches, 1)[:, :2] @ [100, 200], rtol=1e-5)


@pytest.mark.parametrize("mirror", [True, False])
def test_no_mirror_means_no_mirror(mirror):
    """Of images that rise to the right, an unmirrored view never falls; whatever is mixed in."""
    ramp = np.broadcast_to(np.arange(8, dtype=np.uint8)[:, None] * 20 + 50, (40, 8, 8, 3))
    given = Split("fit", Pixels(ramp, np.arange(40)), None)
    pixels = joined(drawn(given, 200, mirror=mirror), 0)[:, 4, 2:6, 0]
    falls = np.diff(pixels, axis=1).min(axis=1) < -1e-3
    assert falls.any() == mirror


def test_shifts_move_by_an_eighth_at_most():
    spot = np.zeros((40, 8, 8, 3), np.uint8)
    spot[:, 4, 4] = 200
    pixels = joined(drawn(Split("fit", Pixels(spot, np.arange(40)), None), 100, mirror=False), 0)
    seen = pixels.max(axis=(0, 3)) > 0
    expected = np.zeros((8, 8), bool)
    expected[3:6, 3:6] = True
    np.testing.assert_array_equal(seen, expected)


def classifier(symmetric: bool):
    """An anchor that looks at the left half, or at all, of an image."""
    image = keras.Input((8, 8, 3))
    seen = image if symmetric else keras.layers.Cropping2D(((0, 0), (0, 4)))(image)
    logits = keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(seen))
    model = keras.Model(image, logits)
    bright = np.array([[1, -1, 0]] * 3), np.array([-1, 1, 0]) * 3 * 127.5 + [0, 0, -1e6]
    model.layers[-1].set_weights(bright)  # class 0 is bright, class 1 is dark
    return replace(anchor(), model=model, logits=logits)


def test_mirrors_asks_the_anchor():
    assert views.mirrors(classifier(symmetric=True), split(30))
    assert not views.mirrors(classifier(symmetric=False), split(30))


def test_resized():
    x = images(2).astype(np.float32)
    assert views.resized(x, (8, 8, 3)) is x
    half = np.asarray(views.resized(x, (4, 4, 3)))
    assert half.shape == (2, 4, 4, 3)
    np.testing.assert_allclose(half.mean(), x.mean(), rtol=0.05)
    grey = np.asarray(views.resized(x, (8, 8, 1)))
    np.testing.assert_allclose(grey[..., 0], x @ [0.2989, 0.587, 0.114], rtol=1e-3)
    coloured = np.asarray(views.resized(grey, (16, 16, 3)))
    assert coloured.shape == (2, 16, 16, 3)
    np.testing.assert_array_equal(coloured[..., 0], coloured[..., 2])


def test_batches_bring_one_stream_to_every_shape():
    recipe = views.Views(count=50, shape=(8, 8, 3), classes=CLASSES, mirror=True, seed=0, batch=16)
    shapes = {"large": (8, 8, 3), "small": (4, 4, 1)}
    batches = list(views.batches(split(), shapes, recipe))
    assert [len(labels) for _, labels in batches] == [16, 16, 16, 2]
    stretches = [views.batches(split(), shapes, recipe, start, stop) for start, stop in ((0, 32), (32, 50))]
    for (one, _), (other, _) in zip(batches, (batch for each in stretches for batch in each), strict=True):
        np.testing.assert_array_equal(one["large"], other["large"])
    for (sized, labels), (plain, mixtures) in zip(batches, drawn(split()), strict=True):
        np.testing.assert_array_equal(labels, mixtures)
        np.testing.assert_array_equal(sized["large"], plain)
        np.testing.assert_array_equal(sized["small"], views.resized(plain, (4, 4, 1)))


def test_views_of_signals_are_shifted_in_time_and_never_mirrored(tmp_path: Path) -> None:
    steps = np.arange(1, 33, dtype=np.float32) * np.where(np.arange(20)[:, None] % 2, 10, -10)
    np.savez(tmp_path / "ramps.npz", x=np.stack([steps, steps], axis=-1) * np.arange(1, 21)[:, None, None])
    split = splits.load(str(tmp_path / "ramps.npz")).fit
    assert not views.mirrors(None, split)  # type: ignore[arg-type] # which is not asked
    plain = next(iter(split.batches((32, 2), 8))).numpy()
    shifted = views._shift_in_time(plain, True, np.random.default_rng(0))
    for before, after in zip(plain, shifted, strict=True):
        rows = [int(np.flatnonzero((before == row).all(axis=1))[0]) for row in after]
        assert set(np.diff(rows)) <= {0, 1}  # in their order, the ends going on
        assert abs(rows[16] - 16) <= 4
    assert any((before != after).any() for before, after in zip(plain, shifted, strict=True))
    mixed = [x for x, _ in views.stream(split, (32, 2), 30, 8, classes=0, mirror=False, seed=0)]
    assert sum(map(len, mixed)) == 30
