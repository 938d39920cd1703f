"""Epochs of training in one call come to what Keras comes to, step by step."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

from restnet_tf.anchors import demo, epochs
from restnet_tf.data import splits

NET = demo.DemoNet(widths=(4,), blocks=(1,), epochs=2, batch=16, rate=0.01)
SHAPE, CLASSES, ROWS = (8, 8, 1), 3, np.random.default_rng(1).permutation(96).reshape(6, 16)
RNG = np.random.default_rng(0)
IMAGES, LABELS = RNG.integers(256, size=(96, *SHAPE)).astype(np.float32), RNG.integers(CLASSES, size=96)


@pytest.fixture(scope="module")
def pair() -> tuple[keras.Model, keras.Model]:
    """One network twice: trained by Keras on rows of images, and by ``trainer``."""
    keras.utils.set_random_seed(0)
    ours = demo.network(NET, SHAPE, CLASSES, "ours")
    theirs = keras.models.clone_model(ours)
    theirs.set_weights(ours.get_weights())
    # By plain descent, which makes no large step of a small difference.
    epochs.trainer(ours, keras.optimizers.SGD(0.05), IMAGES, LABELS)(ROWS)
    theirs.compile(keras.optimizers.SGD(0.05), "sparse_categorical_crossentropy", jit_compile=False)
    for rows in ROWS:
        theirs.train_on_batch(IMAGES[rows], LABELS[rows])
    return ours, theirs


def test_all_weights_are_those_that_keras_trains(pair: tuple[keras.Model, keras.Model]) -> None:
    """But for the moving variances: ours follow unbiased ones, of 256 values and more."""
    for ours, theirs in zip(*(model.weights for model in pair), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0.02, atol=2e-4, err_msg=ours.path)


def test_training_moved_the_weights_and_the_statistics(pair: tuple[keras.Model, keras.Model]) -> None:
    means = [v for v in pair[0].weights if v.path.endswith("moving_mean")]
    assert means
    assert all(np.abs(np.asarray(v)).max() > 0 for v in means)


def test_the_network_is_left_of_plain_layers(pair: tuple[keras.Model, keras.Model]) -> None:
    assert not any(isinstance(layer, keras.layers.Lambda) for layer in pair[0].layers)
    assert pair[0].get_config()["layers"][2:] == pair[1].get_config()["layers"][2:]
    assert all(layer.trainable for layer in pair[0].layers)


def test_images_that_fill_no_batch_are_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez(tmp_path / "few.npz", x=IMAGES, y=LABELS)
    monkeypatch.setattr(demo, "NETS", {"small": replace(NET, batch=500)})
    told: list[tuple[int, int]] = []
    data = splits.load(str(tmp_path / "few.npz"), seed=0)
    demo.train(tmp_path / "net.keras", "small", data, 0, lambda done, total: told.append((done, total)))
    assert told == [(1, 2), (2, 2)]
    norms = [v for v in keras.models.load_model(tmp_path / "net.keras").weights if v.path.endswith("beta")]
    assert all(np.abs(np.asarray(v)).max() > 0 for v in norms)
