"""A few inputs of a data set, as batches give them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from restnet_tf.data import few, splits


def test_those_of_an_array_are_the_first_of_its_test_split() -> None:
    taken = few.inputs("digits", (8, 8, 1), 3)
    assert taken is not None
    images = splits.load("digits").test.images
    np.testing.assert_array_equal(taken[0, :, :, 0], np.asarray(images.image(0).convert("L")))
    assert (taken.shape, taken.dtype) == ((3, 8, 8, 1), np.float32)
    assert few.inputs("digits", (8, 8, 5), 3) is None


def test_photos_are_taken_from_all_over_a_folder(tmp_path: Path) -> None:
    for number, name in enumerate(("a", "b", "c")):
        (tmp_path / name).mkdir()
        for place in range(4):
            Image.new("RGB", (20, 10), (40 * number, place, 7)).save(tmp_path / name / f"{place}.png")
    taken = few.inputs(str(tmp_path), (5, 10, 3), 3)
    assert taken is not None
    assert taken[:, 0, 0, 0].tolist() == [0, 40, 80]
    assert taken.shape == (3, 5, 10, 3)


def test_where_there_is_nothing_there_is_none(tmp_path: Path) -> None:
    assert few.inputs(str(tmp_path), (8, 8, 3), 3) is None
    assert few.inputs(str(tmp_path / "none.npz"), (8, 8, 3), 3) is None
