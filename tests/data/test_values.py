"""Data that are no photos: signals and grids of numbers, taken as they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from signals import STEPS, archive, signals

from restnet_tf.data import splits
from restnet_tf.records import RestnetError
from tflite_export.inputs import PHOTOS

X, Y = signals(40)
GRID = np.random.default_rng(0).normal(0, 50, (40, 5, 4, 1)).astype(np.float32)


def loaded(tmp_path: Path, prefix: str = "", **arrays: np.ndarray) -> splits.Data:
    np.savez(tmp_path / "a.npz", **arrays)
    return splits.load(f"{prefix}{tmp_path / 'a.npz'}")


def rows(split: splits.Split, shape: tuple[int, ...]) -> np.ndarray:
    return np.concatenate([np.asarray(batch) for batch in split.batches(shape, 7)])


def every(data: splits.Data, shape: tuple[int, ...]) -> set[bytes]:
    return {row.tobytes() for split in (data.fit, data.rank, data.test) for row in rows(split, shape)}


def test_signals_come_as_they_are(tmp_path: Path) -> None:
    data = splits.load(str(archive(tmp_path / "waves.npz")))
    x, y = signals(96)
    assert every(data, (STEPS, 2)) == {row.tobytes() for row in x}
    by_value = {row.tobytes(): label for row, label in zip(x, y, strict=True)}
    assert [by_value[row.tobytes()] for row in rows(data.fit, (STEPS, 2))] == data.fit.labels.tolist()
    assert data.class_names == ("low", "middle", "high")


@pytest.mark.parametrize(
    ("x", "shape"),
    [
        (GRID, (5, 4, 1)),
        (np.repeat(GRID, 6, axis=3), (5, 4, 6)),
        (X[..., 0], (STEPS, 1)),
        ((X * 100).astype(np.int16), (STEPS, 2)),
    ],
    ids=["grid", "many channels", "one channel", "int16"],
)
def test_whatever_can_be_no_photo_is_a_value(tmp_path: Path, x: np.ndarray, shape: tuple[int, ...]) -> None:
    data = loaded(tmp_path, x=x, y=Y)
    assert not data.kind.photos
    assert every(data, shape) == {row.reshape(shape).astype(np.float32).tobytes() for row in x}


def test_complex_samples_become_two_channels(tmp_path: Path) -> None:
    data = loaded(tmp_path, x=X[..., 0] + 1j * X[..., 1], y=Y)
    assert every(data, (STEPS, 2)) == {row.tobytes() for row in X}


def test_the_kind_says_between_what_the_fit_examples_lie(tmp_path: Path) -> None:
    data = loaded(tmp_path, x=X, y=Y)
    fit = rows(data.fit, (STEPS, 2))
    assert (data.kind.low, data.kind.high) == (fit.min(), fit.max())
    assert data.kind.limits == (-np.inf, np.inf)


def test_photos_stay_photos(tmp_path: Path) -> None:
    photos = np.random.default_rng(0).integers(0, 256, (40, 6, 6, 3))
    assert loaded(tmp_path, x=photos.astype(np.float32)).kind == PHOTOS
    assert loaded(tmp_path, x=photos[..., 0].astype(np.uint8)).kind == PHOTOS


@pytest.mark.parametrize("scaled", [X[..., :1, None] * 0 + 0.5, np.zeros((40, 6, 6, 3), np.float32) - 0.5])
def test_what_may_be_scaled_photos_is_refused_with_the_word_that_takes_it(tmp_path: Path, scaled: np.ndarray) -> None:
    scaled = scaled + np.linspace(0, 0.1, 40, dtype=np.float32).reshape(-1, 1, 1, 1)
    with pytest.raises(RestnetError, match="write values: in front"):
        loaded(tmp_path, x=scaled)
    assert every(loaded(tmp_path, "values:", x=scaled), scaled.shape[1:]) == {row.tobytes() for row in scaled}


def test_bytes_are_values_where_that_is_said(tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(0, 256, (40, 16, 2), np.uint8)
    data = loaded(tmp_path, "values:", x=x)
    assert not data.kind.photos
    assert rows(data.fit, (16, 2)).dtype == np.float32


def test_sides_of_one_are_no_other_shape_and_nothing_is_resized(tmp_path: Path) -> None:
    data = loaded(tmp_path, x=GRID[..., 0], y=Y)
    assert rows(data.fit, (5, 4, 1)).shape == (len(data.fit), 5, 4, 1)
    with pytest.raises(RestnetError, match=r"takes \(5, 5\), but an example of the data is \(5, 4\)"):
        data.fit.batches((5, 5), 8)


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({"x": np.where(X[3, 0, 0] == X, np.inf, X)}, r"example 3 holds NaN or infinity"),
        ({"x": X[:, :, :, None, None]}, "are needed"),
        ({"x_train": X, "x_test": X[:, :16]}, r"several shapes, \(16, 2\) and \(32, 2\)"),
    ],
    ids=["infinite", "five sides", "two lengths"],
)
def test_values_that_cannot_be_used(tmp_path: Path, arrays: dict[str, np.ndarray], reason: str) -> None:
    with pytest.raises(RestnetError, match=reason):
        loaded(tmp_path, "values:", **arrays)


def test_a_model_of_signals_is_fed_no_photos(tmp_path: Path) -> None:
    data = loaded(tmp_path, x=np.zeros((40, 6, 6), np.uint8) + np.arange(40, dtype=np.uint8)[:, None, None])
    with pytest.raises(RestnetError, match="write values: in front"):
        data.fit.check((6, 6))


def folder(root: Path, suffix: str) -> Path:
    """Signals as a file each, in class folders inside splits."""
    x, y = signals(48)
    for i, (window, label) in enumerate(zip(x, y, strict=True)):
        path = root / ("train" if i < 30 else "test") / f"class{label}" / f"{i}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        if suffix == ".npy":
            np.save(path, window)
        else:
            rows = [f"{step},{a:.9g},{b:.9g}" for step, (a, b) in enumerate(window)]
            path.write_text("\n".join(["timestamp,accX,accY", *rows]))
    return root


@pytest.mark.parametrize("suffix", [".npy", ".csv"])
@pytest.mark.filterwarnings("ignore:.*left out, as times")
def test_a_folder_of_windows_is_read_like_one_of_images(tmp_path: Path, suffix: str) -> None:
    data = splits.load(str(folder(tmp_path / "waves", suffix)))
    x, y = signals(48)
    assert every(data, (STEPS, 2)) == {row.tobytes() for row in x}
    assert {row.tobytes() for row in rows(data.test, (STEPS, 2))} == {row.tobytes() for row in x[30:]}
    labels = {row.tobytes(): label for row, label in zip(x, y, strict=True)}
    assert [labels[row.tobytes()] for row in rows(data.fit, (STEPS, 2))] == data.fit.labels.tolist()
    assert data.class_names == ("class0", "class1", "class2")
    assert not data.kind.photos


def test_a_column_of_times_is_left_out_with_a_word(tmp_path: Path) -> None:
    with pytest.warns(match="left out, as times: timestamp"):
        splits.load(str(folder(tmp_path / "waves", ".csv")))


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.npy", b"nothing", r"a\.npy holds no array of numbers"),
        ("a.csv", b"left,right\none,two", r"a\.csv holds no array of numbers"),
        ("a.csv", b"1,2\n3,4", r"a\.csv is \(2, 2\), but .* is \(32, 2\); cut all files to one length|is \(2, 2\)"),
    ],
)
def test_windows_that_cannot_be_read_are_named(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    root = folder(tmp_path / "waves", Path(name).suffix)
    (root / "train" / "class0" / name).write_bytes(content)
    with pytest.raises(RestnetError, match=reason):
        splits.load(str(root))
