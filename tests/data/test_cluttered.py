"""Cluttered digits: the same every time, each with its digit in it, no digit in two splits."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits

from restnet_tf.data import cluttered, splits

FEW = {"train": 300, "val": 40, "test": 40}


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setattr(cluttered, "IMAGES", FEW)
    return monkeypatch


def test_the_splits_are_those_of_the_data_and_the_same_every_time(few: pytest.MonkeyPatch) -> None:
    data = splits.load("cluttered-digits")
    assert (data.name, len(data.fit), len(data.rank), len(data.test)) == ("cluttered-digits", *FEW.values())
    assert data.class_names == tuple("0123456789")
    assert next(iter(data.test.batches((16, 16, 1), 40))).shape == (40, 16, 16, 1)
    assert set(np.asarray(data.test.labels)) == set(range(10))
    assert splits.load("cluttered-digits").sha256 == data.sha256


def test_no_digit_is_in_two_splits() -> None:
    homes = list(cluttered.homes(1797, np.random.default_rng(0)).values())
    assert len(np.unique(np.concatenate(homes))) == sum(map(len, homes)) > 1790
    assert min(map(len, homes)) > 350


def test_a_digit_lies_whole_in_its_image(few: pytest.MonkeyPatch) -> None:
    few.setattr(cluttered, "_TURN", 0)
    few.setattr(cluttered, "_FRAGMENTS", 0)
    arrays = cluttered.arrays()
    by_class = [load_digits().images[load_digits().target == digit] for digit in range(10)]
    ink = [(255 / 16 * images.sum(axis=(1, 2))) for images in by_class]
    for image, label in zip(arrays["x_test"], arrays["y_test"], strict=True):
        assert np.abs(ink[label] - image.sum(dtype=float)).min() < 20  # of thousands: each pixel was rounded


def test_fragments_only_add_ink(few: pytest.MonkeyPatch) -> None:
    few.setattr(cluttered, "_FRAGMENTS", 0)
    plain = cluttered.arrays()["x_train"].astype(int)
    few.undo()
    few.setattr(cluttered, "IMAGES", FEW)
    more = cluttered.arrays()["x_train"].astype(int) - plain
    assert more.min() == 0
    assert (more.max(axis=(1, 2)) > 0).mean() > 0.95
    assert (more > 0).mean() < 4 * 9 / 256
