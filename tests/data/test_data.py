"""Every source, every refusal, and what a split promises: disjoint by content, repeatable, streamed."""

from __future__ import annotations

import gzip
import os
import re
import subprocess
import sys
import time
import warnings
from pathlib import Path

import needs
import numpy as np
import paths
import pytest
from PIL import Image

from restnet_tf.data import images as images_module
from restnet_tf.data import splits as data_module
from restnet_tf.data.images import Files, Pixels
from restnet_tf.data.splits import Data, Split, load
from restnet_tf.records import RestnetError, RestnetWarning

SHARED = paths.SHARED / "data"
SPLITS = ("fit", "rank", "test")


def noise(n: int, h: int = 6, w: int = 6, c: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, h, w, c), np.uint8)


def write(folder: Path, images: np.ndarray, suffix: str = ".png") -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{i:03d}{suffix}" for i in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(image).save(path)
    return paths


def class_folder(root: Path, *, n: int = 20, classes: tuple[str, ...] = ("cat", "dog")) -> Path:
    """Class ``k`` has 0 or 1 in the low bits of its first pixel's red, so that a label can be checked."""
    for k, name in enumerate(classes):
        images = noise(n, seed=k)
        images[:, 0, 0, 0] = k
        write(root / name, images)
    return root


def npz(path: Path, compressed: bool = True, **arrays: np.ndarray) -> str:
    (np.savez_compressed if compressed else np.savez)(path, allow_pickle=True, **arrays)
    return str(path)


def splits(data: Data) -> tuple[Split, Split, Split]:
    return data.fit, data.rank, data.test


def pixels(split: Split, shape: tuple[int, int, int] = (6, 6, 3), **kwargs: np.ndarray) -> np.ndarray:
    batches = [np.asarray(b) for b in split.batches(shape, 7, **kwargs)]
    return np.concatenate(batches) if batches else np.zeros((0, *shape), np.float32)


def contents(split: Split, shape: tuple[int, int, int] = (6, 6, 3)) -> set[bytes]:
    return {image.tobytes() for image in pixels(split, shape)}


def as_bytes(images: np.ndarray) -> set[bytes]:
    return {image.astype(np.float32).tobytes() for image in images}


def one_image(path: Path, shape: tuple[int, int, int]) -> np.ndarray:
    return pixels(Split("fit", Files((str(path),)), None), shape)[0]


# --- sources --------------------------------------------------------------------------------------


def test_class_folder_labels_follow_the_images(tmp_path):
    data = load(str(class_folder(tmp_path / "pets")))
    assert (data.name, data.class_names, data.labelled, data.skipped) == ("pets", ("cat", "dog"), True, ())
    assert [s.name for s in splits(data)] == list(SPLITS)
    assert [len(s) for s in splits(data)] == [28, 6, 6]
    for split in splits(data):
        assert split.labels is not None
        assert split.labels.dtype == np.int64
        np.testing.assert_array_equal(pixels(split)[:, 0, 0, 0], split.labels)
    seen = [contents(split) for split in splits(data)]
    assert len(set.union(*seen)) == 40 == sum(map(len, seen))


@pytest.mark.parametrize("validation", ["validation", "val", "valid", "Val"])
def test_split_folders_are_used_as_given(tmp_path, validation):
    for seed, name in enumerate(("train", validation, "test")):
        for k, label in enumerate(("a", "b")):
            write(tmp_path / name / label, noise(8, seed=10 * seed + k))
    data = load(str(tmp_path))
    for seed, split in enumerate(splits(data)):
        expected = as_bytes(noise(8, seed=10 * seed)) | as_bytes(noise(8, seed=10 * seed + 1))
        assert contents(split) == expected
        assert split.labels is not None
        assert np.bincount(split.labels).tolist() == [8, 8]


def test_missing_split_is_cut_from_train(tmp_path):
    write(tmp_path / "train", noise(40, seed=1))
    write(tmp_path / "test", noise(8, seed=2))
    data = load(str(tmp_path))
    assert [len(s) for s in splits(data)] == [34, 6, 8]
    assert contents(data.test) == as_bytes(noise(8, seed=2))
    assert contents(data.fit) | contents(data.rank) == as_bytes(noise(40, seed=1))


@pytest.mark.parametrize("folders", [("",), ("train", "val", "test")], ids=["flat", "split"])
def test_unlabelled_folders(tmp_path, folders):
    for seed, name in enumerate(folders):
        write(tmp_path / name, noise(40, seed=seed))
    data = load(str(tmp_path))
    assert not data.labelled
    assert data.class_names is None
    assert all(split.labels is None for split in splits(data))
    assert sum(map(len, splits(data))) == 40 * len(folders)


def test_classes_named_like_a_split_and_nested_folders(tmp_path):
    for k, name in enumerate(("train", "truck", "car")):
        write(tmp_path / name / "deep" / "er", noise(10, seed=k))
    assert load(str(tmp_path)).class_names == ("car", "train", "truck")


def test_other_files_are_left_out_with_a_warning_and_hidden_ones_without(tmp_path):
    class_folder(tmp_path)
    (tmp_path / "cat" / ".DS_Store").write_bytes(b"x")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        before = load(str(tmp_path))
    (tmp_path / "cat" / "notes.txt").write_text("x")
    with pytest.warns(RestnetWarning, match=r"1 files without an image suffix left out: .*notes\.txt"):
        assert load(str(tmp_path)).sha256 == before.sha256


def test_npz_with_x_and_y(tmp_path):
    x = noise(40)
    x[:, 0, 0, 0] = np.arange(40) % 4
    names = np.array(["a", "b", "c", "d"])
    written = Path(npz(tmp_path / "a.npz", x=x, y=np.arange(40) % 4, class_names=names))
    data = load(str(written.rename(tmp_path / "four.NPZ")))
    assert (data.name, data.class_names) == ("four", ("a", "b", "c", "d"))
    for split in splits(data):
        np.testing.assert_array_equal(pixels(split)[:, 0, 0, 0], split.labels)
    assert set.union(*map(contents, splits(data))) == as_bytes(x)


@pytest.mark.parametrize("val", ["val", "valid", "validation"])
def test_npz_splits_are_used_as_given(tmp_path, val):
    arrays = {"x_train": noise(20, seed=1), "y_train": np.arange(20) % 2, f"x_{val}": noise(6, seed=2)}
    arrays |= {f"y_{val}": np.arange(6) % 2, "x_test": noise(7, seed=3), "y_test": np.arange(7) % 2}
    data = load(npz(tmp_path / "d.npz", **arrays))
    for split, (n, seed) in zip(splits(data), ((20, 1), (6, 2), (7, 3)), strict=True):
        assert contents(split) == as_bytes(noise(n, seed=seed))


@pytest.mark.parametrize(
    ("x", "y"), [("{}_images", "{}_labels"), ("X_{}", "Y_{}"), ("{}_data", "{}_targets"), ("images_{}", "labels_{}")]
)
def test_npz_by_other_names(tmp_path, x, y):
    """The first are MedMNIST's, whose labels are a column."""
    arrays = {}
    for seed, split in enumerate(("train", "val", "test")):
        labels = np.arange(8)[:, None] % 2
        arrays |= {x.format(split): noise(8, seed=seed), y.format(split): labels}
    data = load(npz(tmp_path / "m.npz", **arrays))
    for seed, split in enumerate(splits(data)):
        assert contents(split) == as_bytes(noise(8, seed=seed))
        assert np.bincount(split.labels).tolist() == [4, 4]


def test_unlabelled_grey_npz_gets_a_channel_axis(tmp_path):
    data = load(npz(tmp_path / "d.npz", x=noise(40)[..., 0]))
    assert data.fit.labels is None
    assert pixels(data.fit, (6, 6, 1)).shape == (28, 6, 6, 1)
    rgb = pixels(data.fit, (6, 6, 3))
    np.testing.assert_array_equal(rgb, np.repeat(pixels(data.fit, (6, 6, 1)), 3, axis=-1))


def test_uncompressed_npz_is_mapped_and_equal_to_the_compressed_one(tmp_path):
    arrays = {"y": np.arange(40) % 2, "x": noise(40)}
    mapped = load(npz(tmp_path / "a.npz", compressed=False, **arrays))
    packed = load(npz(tmp_path / "b.npz", **arrays))
    assert isinstance(mapped.fit.images, Pixels)
    assert isinstance(mapped.fit.images.array, np.memmap)
    assert isinstance(packed.fit.images, Pixels)
    assert not isinstance(packed.fit.images.array, np.memmap)
    assert mapped.sha256 == packed.sha256
    np.testing.assert_array_equal(pixels(mapped.fit), pixels(packed.fit))


def test_fortran_ordered_npz_is_mapped_right(tmp_path):
    x = noise(40)
    data = load(npz(tmp_path / "a.npz", compressed=False, x=np.asfortranarray(x)))
    assert data.sha256 == load(npz(tmp_path / "b.npz", x=x)).sha256
    assert contents(data.fit) <= as_bytes(x)


@pytest.mark.parametrize("dtype", [np.float32, np.int64, ">i2"])
def test_whole_numbers_of_another_type_are_the_same_pixels(tmp_path, dtype):
    x = noise(40)
    other = load(npz(tmp_path / "a.npz", x=x.astype(dtype)))
    assert other.sha256 == load(npz(tmp_path / "b.npz", x=x)).sha256


@pytest.mark.parametrize(
    "y",
    [np.eye(3)[np.arange(40) % 3], (np.arange(40) % 3)[:, None], (np.arange(40) % 3).astype(np.float32)],
    ids=["one-hot", "column", "float"],
)
def test_label_forms_are_converted(tmp_path, y):
    x = noise(40)
    expected = load(npz(tmp_path / "a.npz", x=x, y=np.arange(40) % 3))
    assert load(npz(tmp_path / "b.npz", x=x, y=y)).sha256 == expected.sha256


def test_digits():
    data = load("digits")
    assert data.class_names == tuple("0123456789")
    assert sum(map(len, splits(data))) == 1797
    x = pixels(data.rank, (8, 8, 1))
    assert x.shape == (len(data.rank), 8, 8, 1)
    # 0..16 becomes 0..255: 17 levels, both ends reached.
    assert set(np.unique(x)) == {float(np.rint(i * 255 / 16)) for i in range(17)}
    for split in splits(data):
        assert split.labels is not None
        assert set(split.labels) == set(range(10))


def idx(array: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes()
    return gzip.compress(header + array.tobytes())


@pytest.mark.slow
def test_keras_data_sets_from_the_cache_and_without_network(tmp_path):
    """In a process of its own: Keras reads KERAS_HOME once; a proxy nobody listens on is no network."""
    cache = tmp_path / "datasets" / "fashion-mnist"
    cache.mkdir(parents=True)
    for seed, (name, n) in enumerate((("train", 60), ("t10k", 20))):
        images = noise(n, 28, 28, 1, seed)[..., 0]
        (cache / f"{name}-images-idx3-ubyte.gz").write_bytes(idx(images))
        (cache / f"{name}-labels-idx1-ubyte.gz").write_bytes(idx((np.arange(n) % 10).astype(np.uint8)))
    script = (
        "from restnet_tf.data.splits import load\n"
        "d = load('keras:fashion_mnist')\n"
        "print(d.name, len(d.fit), len(d.rank), len(d.test), d.class_names[9], d.fit.images.array.shape)\n"
        "for name in ('cifar10', 'mnist'):\n"
        "    try: load('keras:' + name)\n"
        "    except Exception as error: print(type(error).__name__, '|', error)\n"
    )
    proxies = dict.fromkeys(("http_proxy", "https_proxy", "HTTPS_PROXY"), "http://127.0.0.1:9")
    env = {**os.environ, **proxies, "KERAS_HOME": str(tmp_path), "TF_CPP_MIN_LOG_LEVEL": "3"}
    env |= {"PYTHONPATH": str(paths.ROOT), "no_proxy": "", "NO_PROXY": ""}
    run = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    lines = [line for line in run.stdout.splitlines() if not line.startswith("Downloading")]
    assert lines[0] == "fashion_mnist 50 10 20 Ankle boot (60, 28, 28, 1)"
    folder = tmp_path / "datasets"
    assert lines[1].startswith("RestnetError | keras:cifar10: not in Keras' cache")
    assert "cifar-10-batches-py-target_archive" in lines[1]
    assert lines[1].endswith(f"into {folder}")
    assert "put mnist.npz into" in lines[2]


# --- what is refused ------------------------------------------------------------------------------


def refused(spec: object) -> str:
    with pytest.raises(RestnetError) as caught:
        load(str(spec))
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_specs_that_name_nothing(tmp_path):
    message = refused(tmp_path / "absent")
    assert "absent: no such file or folder" in message
    assert "keras:cifar10" in message
    assert "keras:nothing: no such data set" in refused("keras:nothing")
    (tmp_path / "a.zip").write_bytes(b"x")
    assert "not .npz" in refused(tmp_path / "a.zip")
    (tmp_path / "a.npz").write_bytes(b"x")
    assert "not a readable .npz" in refused(tmp_path / "a.npz")


@pytest.mark.parametrize("compressed", [True, False])
def test_damaged_npz(tmp_path, compressed):
    path = Path(npz(tmp_path / "a.npz", compressed=compressed, x=noise(40)))
    raw = bytearray(path.read_bytes())
    raw[2000] ^= 0xFF
    path.write_bytes(raw)
    assert "not a readable .npz" in refused(path)


X, Y = noise(40), np.arange(40) % 2
BAD_ARRAYS = {
    "no x": ({"images": X}, "neither x nor x_train among its arrays (images)"),
    "no train": ({"x_test": X}, "neither x nor x_train"),
    "both forms": ({"x": X, "x_test": X}, "both x and x_test"),
    "two names": ({"x_train": X, "x_val": X, "x_valid": X}, "x_val and x_valid mean the same split"),
    "length": ({"x": X, "y": Y[:39]}, "40 images, but labels of shape (39,)"),
    "scalar": ({"x": X, "y": np.array(3)}, "labels of shape ()"),
    "negative": ({"x": X, "y": Y - 1}, "negative label -1"),
    "fraction": ({"x": X, "y": Y + 0.5}, "no whole numbers"),
    "nan": ({"x": X, "y": np.where(Y, np.nan, 0)}, "no whole numbers"),
    "text": ({"x": X, "y": np.array(["a", "b"] * 20)}, "labels of type <U1"),
    "soft": ({"x": X, "y": np.full((40, 2), 0.5)}, "not one-hot"),
    "multi-hot": ({"x": X, "y": np.ones((40, 2))}, "not one-hot"),
    "one class": ({"x": X, "y": Y * 0 + 3}, "one class only"),
    "few names": ({"x": X, "y": Y, "class_names": np.array(["a"])}, "label 1, but only 1 class names"),
    "names type": ({"x": X, "y": Y, "class_names": np.arange(2)}, "class_names must be a list of strings"),
    "half labelled": ({"x_train": X, "y_train": Y, "x_test": X}, "no labels for test"),
    "labels alone": ({"x_train": X, "y_train": Y, "y_test": Y}, "labels, but no images (x) for test"),
    "0..1": ({"x": X / 255.0}, "undo the scaling"),
    "black and white floats": ({"x": (X > 127).astype(np.float32)}, "undo the scaling"),
    "-1..1": ({"x": X / 127.5 - 1}, "values -1..1"),
    "fractions": ({"x": X + 0.5 * (X < 255)}, "whole numbers 0..255"),
    "nan pixels": ({"x": np.where(X == 0, np.nan, X)}, "whole numbers 0..255"),
    "16 bits": ({"x": X.astype(np.uint16) * 257}, "values 0..65535"),
    "strings": ({"x": X.astype(str)}, "images of type <U3"),
    "bool": ({"x": X > 127}, "images of type bool"),
    "channels first": ({"x": X.transpose(0, 3, 1, 2)}, "images of shape (40, 3, 6, 6)"),
    "flat": ({"x": X.reshape(40, -1)}, "images of shape (40, 108)"),
    "few": ({"x": X[:15]}, "15 images; at least 16"),
    "none": ({"x": X[:0]}, "0 images; at least 16"),
    "few in a split": ({"x_train": X, "x_val": X[:3], "x_test": X}, "3 images in the validation split"),
    "copies": ({"x": np.repeat(X[:2], 10, 0)}, "cut from 2 different images"),
}


@pytest.mark.filterwarnings("ignore:.*images are .* images too")
@pytest.mark.parametrize("case", BAD_ARRAYS)
def test_arrays_that_cannot_be_used(tmp_path, case):
    arrays, expected = BAD_ARRAYS[case]
    assert expected in refused(npz(tmp_path / "a.npz", **arrays))


def test_pickled_arrays_are_refused(tmp_path):
    assert "not a readable .npz" in refused(npz(tmp_path / "a.npz", x=np.array([X, "x"], object)))


def test_arrays_that_are_not_used_are_named(tmp_path):
    with pytest.warns(RestnetWarning, match="not used: lables"):
        load(npz(tmp_path / "a.npz", x=X, lables=Y))


def test_folders_that_cannot_be_used(tmp_path):
    empty = tmp_path / "empty"
    (empty / "cat").mkdir(parents=True)
    assert "no images in it" in refused(empty)
    assert "one class only (cat)" in refused(class_folder(tmp_path / "one", classes=("cat",)))
    hollow = class_folder(tmp_path / "hollow")
    (hollow / "cow").mkdir()
    assert "no images in class folder cow" in refused(hollow)
    mixed = class_folder(tmp_path / "mixed")
    write(mixed, noise(2))
    assert "2 images beside the class folders" in refused(mixed)
    assert "7 images; at least 16" in refused(write(tmp_path / "few", noise(7))[0].parent)


def test_split_folders_that_cannot_be_used(tmp_path):
    def tree(name: str, *folders: str) -> Path:
        for k, folder in enumerate(folders):
            write(tmp_path / name / folder, noise(8, seed=k))
        return tmp_path / name

    assert "has no train folder" in refused(tree("a", "val", "test"))
    assert "has also extra" in refused(tree("b", "train", "test", "extra"))
    assert "val and valid mean the same split" in refused(tree("c", "train", "val", "valid"))
    assert "class folders in train only" in refused(tree("d", "train/a", "train/b", "test"))
    assert "classes in test only: c" in refused(tree("e", "train/a", "train/b", "test/a", "test/c"))
    loose = tree("f", "train", "test")
    write(loose, noise(1, seed=9))
    assert "1 images beside train" in refused(loose)


# --- corrupt files --------------------------------------------------------------------------------


def damage(path: Path, how: str) -> None:
    raw = path.read_bytes()
    flipped = bytearray(raw)
    flipped[len(raw) // 2] ^= 0xFF
    path.write_bytes({"cut": raw[: len(raw) // 2], "text": b"<html>", "empty": b"", "bit": bytes(flipped)}[how])


@pytest.mark.parametrize("how", ["cut", "text", "empty", "bit"])
def test_corrupt_images_are_listed_and_skipped(tmp_path, how):
    class_folder(tmp_path)
    bad = [tmp_path / "cat" / "003.png", tmp_path / "dog" / "007.png"]
    for path in bad:
        damage(path, how)
    data = load(str(tmp_path))  # 2 of 40 is 5 %: just allowed
    assert data.skipped == tuple(map(str, bad))
    assert sum(map(len, splits(data))) == 38
    for split in splits(data):
        np.testing.assert_array_equal(pixels(split)[:, 0, 0, 0], split.labels)


def test_wrong_checksum_is_corrupt(tmp_path):
    """The pixels would decode; only the checksum behind them tells that a bit is wrong somewhere."""
    paths = write(tmp_path, noise(40))
    raw = bytearray(paths[5].read_bytes())
    raw[raw.index(b"IEND") - 5] ^= 1  # the last byte of the checksum of IDAT
    paths[5].write_bytes(raw)
    assert load(str(tmp_path)).skipped == (str(paths[5]),)


def test_truncated_jpeg_is_corrupt(tmp_path):
    paths = write(tmp_path, noise(40, 32, 32), ".jpg")
    damage(paths[5], "cut")
    assert load(str(tmp_path)).skipped == (str(paths[5]),)


def test_more_than_five_percent_corrupt_is_an_error(tmp_path):
    paths = write(tmp_path, noise(40))
    for path in paths[:3]:
        damage(path, "text")
    message = refused(tmp_path)
    assert "3 of 40 images cannot be decoded, more than 5%" in message
    assert str(paths[0]) in message


def test_all_corrupt_is_an_error(tmp_path):
    for path in write(tmp_path, noise(20)):
        damage(path, "text")
    assert "none of its 20 images can be decoded" in refused(tmp_path)


# --- splitting ------------------------------------------------------------------------------------


def same(a: Data, b: Data) -> bool:
    return a.sha256 == b.sha256 and all(
        np.array_equal(pixels(s), pixels(t)) and str(s.labels) == str(t.labels)
        for s, t in zip(splits(a), splits(b), strict=True)
    )


def test_same_input_and_seed_same_data_other_seed_other_split(tmp_path):
    spec = str(class_folder(tmp_path))
    first = load(spec, seed=3)
    assert same(first, load(spec, seed=3))
    other = load(spec, seed=4)
    assert contents(other.test) != contents(first.test)
    assert other.sha256 != first.sha256


def test_renaming_files_changes_nothing(tmp_path):
    root = class_folder(tmp_path / "a")
    before = load(str(root))
    kept = [pixels(split) for split in splits(before)]
    for k, path in enumerate(sorted(root.rglob("*.png"))):
        path.rename(path.with_name(f"{(k * 37) % 101:03d}-{k}.PNG"))
    root = root.rename(tmp_path / "b")
    after = load(str(root))
    assert after.sha256 == before.sha256
    for split, images in zip(splits(after), kept, strict=True):
        np.testing.assert_array_equal(pixels(split), images)


def test_order_of_an_array_changes_nothing(tmp_path):
    x, y = noise(60), np.arange(60) % 3
    mixed = np.random.default_rng(1).permutation(60)
    assert same(load(npz(tmp_path / "a.npz", x=x, y=y)), load(npz(tmp_path / "b.npz", x=x[mixed], y=y[mixed])))


@pytest.mark.parametrize("seed", range(5))
def test_duplicates_share_a_split_and_none_is_removed(tmp_path, seed):
    """Copies, also as another lossless format and under another label."""
    images = noise(20, seed=9)
    for folder, suffix in (("a", ".png"), ("a/more", ".bmp"), ("b", ".tif")):
        write(tmp_path / folder, images, suffix)
    write(tmp_path / "b", noise(20, seed=10))
    data = load(str(tmp_path), seed=seed)
    assert sum(map(len, splits(data))) == 80
    fit, rank, test = map(contents, splits(data))
    assert not fit & rank | fit & test | rank & test
    assert len(fit | rank | test) == 40


@pytest.mark.parametrize("counts", [(3, 50), (3, 3, 3, 3, 4), (3,) * 12, (1, 2, 3, 40), (100, 17, 5), (8, 8)])
def test_every_class_of_three_is_in_every_split(tmp_path, counts):
    y = np.repeat(np.arange(len(counts)), counts)
    for seed in range(3):
        data = load(npz(tmp_path / "a.npz", x=noise(len(y)), y=y), seed=seed)
        for split in splits(data):
            assert split.labels is not None
            assert {k for k, n in enumerate(counts) if n >= 3} <= set(split.labels.tolist())
            assert len(split) >= 4


def test_shares_are_70_15_15_in_each_class(tmp_path):
    data = load(npz(tmp_path / "a.npz", x=noise(300), y=np.repeat([0, 1], [200, 100])))
    expected = ([140, 70], [30, 15], [30, 15])
    for split, counts in zip(splits(data), expected, strict=True):
        assert split.labels is not None
        assert np.bincount(split.labels).tolist() == counts


def test_sixteen_images_are_enough(tmp_path):
    assert [len(s) for s in splits(load(npz(tmp_path / "a.npz", x=noise(16))))] == [8, 4, 4]


def test_contiguous_batches_mix_the_classes(tmp_path):
    y = np.repeat(np.arange(4), 100)
    arrays = {"x_train": noise(400), "y_train": y, "x_val": noise(400, seed=1), "y_val": y}
    data = load(npz(tmp_path / "a.npz", **arrays, x_test=noise(400, seed=2), y_test=y))
    for split in splits(data):
        assert split.labels is not None
        for start in range(0, 400, 40):
            assert np.bincount(split.labels[start : start + 40], minlength=4).min() >= 2


def test_given_splits_that_overlap_are_kept_with_a_warning(tmp_path):
    x = noise(40)
    spec = npz(tmp_path / "a.npz", x_train=x, x_val=noise(8, seed=1), x_test=x[:5])
    with pytest.warns(RestnetWarning, match="a: 5 of the test images are train images too") as caught:
        data = load(spec)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert [len(s) for s in splits(data)] == [40, 8, 5]


def test_seed_shuffles_given_splits_too(tmp_path):
    spec = npz(tmp_path / "a.npz", x_train=noise(20), x_val=noise(8, seed=1), x_test=noise(8, seed=2))
    first, second = load(spec, seed=0), load(spec, seed=1)
    for one, other in zip(splits(first), splits(second), strict=True):
        assert contents(one) == contents(other)
        assert not np.array_equal(pixels(one), pixels(other))


def test_hash_of_unlabelled_images_covers_every_pixel(tmp_path):
    x = noise(40)
    before = load(npz(tmp_path / "a.npz", x=x)).sha256
    x[39, 5, 5, 2] ^= 1
    assert load(npz(tmp_path / "b.npz", x=x)).sha256 != before


def test_disjoint_given_splits_do_not_warn(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load(npz(tmp_path / "a.npz", x_train=noise(20), x_val=noise(8, seed=1), x_test=noise(8, seed=2)))


def test_hash_covers_pixels_labels_names_and_membership(tmp_path):
    base = {"x_train": noise(20), "y_train": np.arange(20) % 2, "x_val": noise(8, seed=1)}
    base |= {"y_val": np.arange(8) % 2, "x_test": noise(8, seed=2), "y_test": np.arange(8) % 2}
    base["class_names"] = np.array(["a", "b"])
    pixel = base["x_test"].copy()
    pixel[3, 2, 1, 0] ^= 1
    label = base["y_test"].copy()
    label[3] ^= 1
    swapped = {"x_val": base["x_test"], "x_test": base["x_val"]}
    changes: list[dict[str, np.ndarray]] = [{}, {"x_test": pixel}, {"y_test": label}, swapped]
    changes.append({"class_names": np.array(["a", "c"])})
    hashes = {load(npz(tmp_path / f"{i}.npz", **(base | c))).sha256 for i, c in enumerate(changes)}
    assert len(hashes) == len(changes)


# --- decoding -------------------------------------------------------------------------------------


UPRIGHT = noise(1, 4, 6)[0]
STORED = {  # how an image lies in the file whose orientation tag turns it back into UPRIGHT
    1: UPRIGHT,
    2: UPRIGHT[:, ::-1],
    3: UPRIGHT[::-1, ::-1],
    4: UPRIGHT[::-1],
    5: UPRIGHT.transpose(1, 0, 2),
    6: np.rot90(UPRIGHT, 1),
    7: UPRIGHT[::-1, ::-1].transpose(1, 0, 2),
    8: np.rot90(UPRIGHT, -1),
}


@pytest.mark.parametrize("orientation", STORED)
def test_exif_orientation_is_honoured(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "a.png"
    Image.fromarray(np.ascontiguousarray(STORED[orientation])).save(path, exif=exif)
    np.testing.assert_array_equal(one_image(path, (4, 6, 3)), UPRIGHT)


RED, WHITE = [255.0, 0.0, 0.0], [255.0, 255.0, 255.0]


def test_grey_png_as_rgb_and_rgb_as_grey(tmp_path):
    grey = noise(1, 4, 4, 1)[0, ..., 0]
    Image.fromarray(grey).save(tmp_path / "g.png")
    np.testing.assert_array_equal(one_image(tmp_path / "g.png", (4, 4, 3)), np.stack([grey] * 3, -1))
    np.testing.assert_array_equal(one_image(tmp_path / "g.png", (4, 4, 1))[..., 0], grey)
    Image.new("RGB", (4, 4), (255, 0, 0)).save(tmp_path / "r.png")
    # ITU-R 601 luma of pure red: 0.299 * 255.
    assert (one_image(tmp_path / "r.png", (4, 4, 1)) == 76).all()


@pytest.mark.parametrize("suffix", [".png", ".tif", ".pgm"])
def test_sixteen_bits_are_scaled_not_clipped(tmp_path, suffix):
    wide = np.array([[0, 257, 32896, 65535]] * 4, np.uint16)
    Image.fromarray(wide).save(tmp_path / f"a{suffix}")
    assert one_image(tmp_path / f"a{suffix}", (4, 4, 1))[0, :, 0].tolist() == [0, 1, 128, 255]


def test_transparency_lies_on_white(tmp_path):
    rgba = np.zeros((4, 4, 4), np.uint8)
    rgba[:, :2] = (255, 0, 0, 255)  # left half red, right half fully transparent black
    Image.fromarray(rgba).save(tmp_path / "rgba.png")
    Image.fromarray(rgba[..., [0, 3]]).save(tmp_path / "la.png")
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([255, 0, 0, 0, 0, 0])
    palette.paste(0, (0, 0, 2, 4))
    palette.save(tmp_path / "p.png", transparency=1)
    for name, left in (("rgba.png", RED), ("la.png", WHITE), ("p.png", RED)):
        image = one_image(tmp_path / name, (4, 4, 3))
        assert image[0, 0].tolist() == left, name
        assert image[0, 3].tolist() == WHITE, name


def test_palette_bilevel_and_cmyk(tmp_path):
    red = Image.new("RGB", (8, 8), (255, 0, 0))
    red.convert("P").save(tmp_path / "p.png")
    red.convert("CMYK").save(tmp_path / "c.jpg")
    Image.new("1", (8, 8), 1).save(tmp_path / "b.png")
    assert (one_image(tmp_path / "p.png", (8, 8, 3)) == RED).all()
    assert np.abs(one_image(tmp_path / "c.jpg", (8, 8, 3)) - RED).max() <= 2
    assert (one_image(tmp_path / "b.png", (8, 8, 3)) == 255).all()


def test_first_frame_of_a_gif(tmp_path):
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert (one_image(tmp_path / "a.gif", (4, 4, 3)) == RED).all()


def test_pixels_without_a_known_range_are_skipped_not_guessed(tmp_path):
    write(tmp_path, noise(40))
    Image.fromarray(np.linspace(0, 1, 36, dtype=np.float32).reshape(6, 6)).save(tmp_path / "f.tif")
    Image.fromarray(np.full((6, 6), 70000, np.int32)).save(tmp_path / "i.tif")
    assert [Path(p).name for p in load(str(tmp_path)).skipped] == ["f.tif", "i.tif"]


def test_centre_crop_by_hand(tmp_path):
    wide, tall, square = noise(1, 4, 8)[0], noise(1, 6, 2)[0], noise(1, 10, 10)[0]
    for name, image in (("wide", wide), ("tall", tall), ("square", square)):
        Image.fromarray(image).save(tmp_path / f"{name}.png")
    np.testing.assert_array_equal(one_image(tmp_path / "wide.png", (4, 4, 3)), wide[:, 2:6])
    np.testing.assert_array_equal(one_image(tmp_path / "tall.png", (2, 2, 3)), tall[2:4])
    np.testing.assert_array_equal(one_image(tmp_path / "square.png", (5, 10, 3)), square[2:7])


@pytest.mark.parametrize("in_file", [True, False])
def test_antialiased_bilinear_by_hand(tmp_path, in_file):
    """4 columns to 2: a triangle of half-width 2 around 1 and 3, weights 3, 3, 1 of 7; then 1, 3, 3.

    Outside the centred crop all is white: had the resize looked there, it would show.
    """
    image = np.full((4, 8, 1), 255, np.uint8)
    image[:, 2:6, 0] = [0, 255, 0, 255]
    if in_file:
        Image.fromarray(image[..., 0]).save(tmp_path / "a.png")
        small = one_image(tmp_path / "a.png", (2, 2, 1))
    else:
        small = pixels(Split("fit", Pixels(image[None], np.arange(1)), None), (2, 2, 1))[0]
    assert small[..., 0].tolist() == [[109, 146], [109, 146]]  # 255 * 3/7 and 255 * 4/7


# --- batches --------------------------------------------------------------------------------------


@pytest.fixture(params=["files", "same size", "resized"])
def split_of_20(request, tmp_path) -> Split:
    images = noise(20, 6, 9 if request.param == "resized" else 6)
    if request.param == "files":
        return Split("fit", Files(tuple(map(str, write(tmp_path, images)))), np.arange(20))
    return Split("fit", Pixels(images, np.arange(20)), np.arange(20))


@pytest.mark.parametrize("side", [6, 3])
def test_batches_are_whole_float32_in_order_with_a_smaller_last(split_of_20, side):
    """As they lie in the array, and resized."""
    batches = list(split_of_20.batches((side, side, 3), 8))
    assert [b.shape for b in batches] == [(8, side, side, 3), (8, side, side, 3), (4, side, side, 3)]
    assert all(b.dtype == "float32" for b in batches)
    whole = np.concatenate([b.numpy() for b in batches])
    np.testing.assert_array_equal(whole, np.rint(whole))


def test_natural_order_gives_the_images_themselves(tmp_path):
    images = noise(20)
    in_files = Split("fit", Files(tuple(map(str, write(tmp_path, images)))), None)
    in_array = Split("fit", Pixels(images, np.arange(20)), None)
    np.testing.assert_array_equal(pixels(in_files), images)
    np.testing.assert_array_equal(pixels(in_array), images)
    wide = noise(20, 6, 9)  # cropped to columns 1..6
    np.testing.assert_array_equal(pixels(Split("fit", Pixels(wide, np.arange(20)), None)), wide[:, :, 1:7])


def test_order_is_honoured(split_of_20):
    natural = pixels(split_of_20)
    order = np.array([19, 3, 3, 0, 7, 11, 2, 5, 1])
    np.testing.assert_array_equal(pixels(split_of_20, order=order), natural[order])
    assert len(pixels(split_of_20, order=np.array([], int))) == 0


def test_head(split_of_20):
    head = split_of_20.head(5)
    assert (len(head), head.name, head.labels.tolist()) == (5, "fit", [0, 1, 2, 3, 4])
    np.testing.assert_array_equal(pixels(head), pixels(split_of_20)[:5])
    assert len(split_of_20.head(100)) == 20


@pytest.mark.parametrize("order", [[20], [-1], [0.5], [[1]]])
def test_orders_that_make_no_sense(split_of_20, order):
    with pytest.raises(ValueError, match=r"indices 0\.\.19"):
        split_of_20.batches((6, 6, 3), 4, order=np.array(order))


def test_shapes_and_batches_that_make_no_sense(split_of_20):
    with pytest.raises(RestnetError, match="takes 4 cannot be fed"):
        split_of_20.batches((6, 6, 4), 4)
    with pytest.raises(ValueError, match="batch must be at least 1"):
        split_of_20.batches((6, 6, 3), 0)


def test_thread_count_changes_no_pixel(tmp_path, monkeypatch):
    write(tmp_path, noise(60, 40, 50), ".jpg")
    results = []
    for threads in (1, 8):
        monkeypatch.setattr(data_module, "THREADS", threads)
        monkeypatch.setattr(images_module, "THREADS", threads)
        data = load(str(tmp_path))
        results.append((data.sha256, pixels(data.fit, (24, 24, 3))))
    assert results[0][0] == results[1][0]
    np.testing.assert_array_equal(results[0][1], results[1][1])


def test_first_batch_does_not_decode_everything(tmp_path, monkeypatch):
    paths = write(tmp_path, noise(400, seed=7))
    split = Split("fit", Files(tuple(map(str, paths))), None)
    own = {path.read_bytes() for path in paths}  # what an earlier test left unread may be read ahead meanwhile
    decoded: list[int] = []
    decode = images_module.decode
    monkeypatch.setattr(images_module, "decode", lambda raw: (raw in own and decoded.append(1)) or decode(raw))
    monkeypatch.setattr(data_module, "THREADS", 2)
    stream = iter(split.batches((6, 6, 3), 4))
    next(stream)
    seen = -1
    while seen != len(decoded):  # until the read-ahead rests
        seen = len(decoded)
        time.sleep(0.2)
    assert 4 <= len(decoded) <= 40  # ten batches: what is in hand, prefetched and in flight
    assert sum(len(batch) for batch in stream) == 396
    assert len(decoded) == 400


def test_loading_keeps_paths_not_pixels(tmp_path):
    data = load(str(class_folder(tmp_path)))
    assert isinstance(data.fit.images, Files)
    assert all(Path(path).is_file() for path in data.fit.images.paths)


def test_a_file_that_vanished_is_named(tmp_path):
    paths = write(tmp_path, noise(40))
    split = load(str(tmp_path)).fit
    for path in paths:
        path.unlink()
    with pytest.raises(RestnetError, match=r"\.png could be read at the start, but not now"):
        list(split.batches((6, 6, 3), 4))


def test_an_image_that_vanishes_in_the_middle_ends_there_and_can_come_back(tmp_path):
    write(tmp_path, noise(160))
    split = load(str(tmp_path)).fit
    assert isinstance(split.images, Files)
    last = Path(split.images.paths[-1])
    content = last.read_bytes()
    batches = split.batches((6, 6, 3), 4)
    stream = iter(batches)
    first = [np.asarray(next(stream)) for _ in range(2)]
    last.unlink()
    with pytest.raises(RestnetError, match=rf"^{last} could be read at the start, but not now: "):
        first += [np.asarray(batch) for batch in stream]
    assert 2 <= len(first) < len(split) // 4
    last.write_bytes(content)
    assert sum(len(batch) for batch in batches) == len(split)


def test_an_error_that_is_none_of_ours_stays_what_it_is(tmp_path, monkeypatch):
    import tensorflow as tf

    write(tmp_path, noise(40))
    split = load(str(tmp_path)).fit
    monkeypatch.setattr(data_module, "fit", lambda image, shape: 1 / 0)
    with pytest.raises(tf.errors.OpError, match="ZeroDivisionError"):
        list(split.batches((6, 6, 3), 4))


@pytest.mark.parametrize("link", ["cat/again", "cat/deep/er/again", "again"])
def test_a_folder_linked_into_itself_is_refused(tmp_path, link):
    root = class_folder(tmp_path / "pets")
    (root / link).parent.mkdir(parents=True, exist_ok=True)
    (root / link).symlink_to(root, target_is_directory=True)
    assert re.search(r"again: a link to a folder that it lies in.*remove it", refused(root))


def test_a_linked_class_folder_is_read(tmp_path):
    root = class_folder(tmp_path / "pets", classes=("cat", "dog"))
    (root / "dog").rename(tmp_path / "elsewhere")
    (root / "dog").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    assert load(str(root)).class_names == ("cat", "dog")


def test_importing_does_not_import_tensorflow():
    code = "import sys, restnet_tf.data; print('tensorflow' in sys.modules, 'sklearn' in sys.modules)"
    env = {**os.environ, "PYTHONPATH": str(paths.ROOT)}
    run = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["False", "False"]


# --- real data ------------------------------------------------------------------------------------


def shared(name: str) -> str:
    needs.beside(f"data/{name}").or_skip()
    return str(SHARED / name)


def test_real_cifar_subset():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = load(shared("cifar10_subset.npz"))
    assert [len(s) for s in splits(data)] == [7728, 300, 700]
    assert data.class_names is not None
    assert data.class_names[0] == "airplane"
    with np.load(SHARED / "cifar10_subset.npz") as raw:
        known = {x.tobytes(): int(y) for x, y in zip(raw["x_test"], raw["y_test"], strict=True)}
    assert data.test.labels is not None
    for image, label in zip(pixels(data.test, (32, 32, 3)), data.test.labels, strict=True):
        assert known[image.astype(np.uint8).tobytes()] == label


@pytest.mark.slow
def test_real_clothing_photos():
    data = load(shared("clothing"))
    assert [len(s) for s in splits(data)] == [3068, 341, 372]
    assert data.class_names is not None
    assert len(data.class_names) == 10
    assert isinstance(data.rank.images, Files)
    assert data.rank.labels is not None
    for path, label in zip(data.rank.images.paths, data.rank.labels, strict=True):
        assert Path(path).parent.name == data.class_names[label]
    batch = next(iter(data.fit.batches((224, 224, 3), 16))).numpy()
    assert batch.std(axis=(1, 2, 3)).min() > 1


def test_real_flat_folder():
    data = load(shared("imagenet_sample"))
    assert [len(s) for s in splits(data)] == [350, 75, 75]
    assert not data.labelled
