"""Folders as people have them: splits by many names are never classes; what is no class is left out and said."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from restnet_tf.data import split_names
from restnet_tf.data.splits import Data, load
from restnet_tf.records import RestnetError, RestnetWarning


def write(root: Path, *folders: str, n: int = 8) -> Path:
    """``n`` images in each folder, all different; the red of the first pixel is 0 for cats and 1 for others."""
    for seed, folder in enumerate(folders):
        (root / folder).mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(len(folder) + 99 * seed).integers(0, 256, (n, 6, 6, 3), np.uint8)
        pixels[:, 0, 0, 0] = Path(folder).name != "cat"
        for i, image in enumerate(pixels):
            Image.fromarray(image).save(root / folder / f"{i}.png")
    return root


def two(*splits: str) -> list[str]:
    """Folders of two classes in each of the splits."""
    return [f"{split}/{label}" for split in splits for label in ("cat", "dog")]


def counts(data: Data) -> tuple[int, ...]:
    for split in (data.fit, data.rank, data.test):
        images = np.concatenate([np.asarray(batch) for batch in split.batches((6, 6, 3), 64)])
        assert split.labels is None or images[:, 0, 0, 0].tolist() == split.labels.tolist()
    return len(data.fit), len(data.rank), len(data.test)


def refused(root: Path) -> str:
    with pytest.raises(RestnetError) as caught:
        said(root)
    return str(caught.value)


@pytest.mark.parametrize(
    "names",
    [
        ("Training", "Testing"),  # brain tumour MRI
        ("Training", "Test"),  # Fruits-360
        ("seg_train/seg_train", "seg_test/seg_test"),  # Intel scenes
        ("training_set/training_set", "test_set/test_set"),  # cats and dogs
        ("TRAIN", "TEST"),
        ("train_images", "testImages"),
        ("train2017", "test2017"),
        ("1-training data", "2-testing data"),
        ("trainset", "testset"),
        ("chest_xray/train", "chest_xray/test"),
        ("archive/data/Train", "archive/data/Holdout"),
    ],
)
def test_folders_named_as_splits_are_splits(tmp_path: Path, names: tuple[str, str]) -> None:
    write(tmp_path, *two(*names), n=20)
    with warnings.catch_warnings(record=True):
        data = load(str(tmp_path))
    assert data.class_names == ("cat", "dog")
    assert counts(data) == (34, 6, 40)


@pytest.mark.parametrize("middle", ["Valid", "val", "Validation", "dev", "eval", "validation_set", "development"])
def test_three_splits_by_any_name(tmp_path: Path, middle: str) -> None:
    data = load(str(write(tmp_path, *two("Train", middle, "Test"))))
    assert (data.class_names, counts(data)) == (("cat", "dog"), (16, 16, 16))


def test_splits_inside_class_folders_are_splits(tmp_path: Path) -> None:
    folders = [f"{label}/{split}" for split in ("Train", "Test") for label in ("cat", "dog")]
    for seed, folder in enumerate(folders):
        (tmp_path / folder).mkdir(parents=True)
        for i in range(20):
            pixels = np.random.default_rng((seed, i)).integers(0, 256, (6, 6, 3), np.uint8)
            pixels[0, 0, 0] = folder.startswith("dog")
            Image.fromarray(pixels).save(tmp_path / folder / f"{i}.png")
    data = load(str(tmp_path))
    assert (data.class_names, counts(data)) == (("cat", "dog"), (34, 6, 40))


@pytest.mark.parametrize("names", [("A", "B"), ("fold1", "fold2", "fold3"), ("original", "cropped"), ("train", "more")])
def test_folders_that_all_hold_the_same_folders_are_no_classes(tmp_path: Path, names: tuple[str, ...]) -> None:
    message = refused(write(tmp_path, *two(*names)))
    assert "has the same sub-folders (cat, dog)" in message
    assert "name them train/, validation/, test/" in message
    # What the message says works: other names, or one of them alone.
    for name, split in zip(names, ("train", "test", "validation"), strict=False):
        (tmp_path / name).rename(tmp_path / split)
    assert load(str(tmp_path)).class_names == ("cat", "dog")
    assert load(str(tmp_path / "test")).class_names == ("cat", "dog")


def test_a_split_beside_what_is_none_is_no_class(tmp_path: Path) -> None:
    message = refused(write(tmp_path, *two("Training"), "unlabelled"))
    assert "Training looks like a split" in message
    assert load(str(tmp_path / "Training")).class_names == ("cat", "dog")


def test_classes_whose_names_hold_a_word_of_splits_stay_classes(tmp_path: Path) -> None:
    write(tmp_path, "train_station", "test_tube", "valley", "contest", n=10)
    assert load(str(tmp_path)).class_names == ("contest", "test_tube", "train_station", "valley")


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("train", "val", "test", "notes"), {"train": "fit", "val": "rank", "test": "test"}),
        (("train", "eval"), {"train": "fit", "eval": "test"}),
        (("train_test",), {}),
        (("valve", "strain", "latest"), {}),
        (("seg_train", "seg_test", "seg_pred"), {"seg_train": "fit", "seg_test": "test"}),
        (("TrainData", "ValData"), {"TrainData": "fit", "ValData": "rank"}),
    ],
)
def test_names_that_speak_of_splits(names: tuple[str, ...], expected: dict[str, str]) -> None:
    assert split_names.splits_of(names) == expected


def said(root: Path) -> tuple[Data, list[str]]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        data = load(str(root))
    return data, [str(w.message) for w in caught if issubclass(w.category, RestnetWarning)]


@pytest.mark.parametrize("name", ["annotations", "Meta", "labels", "__MACOSX", "@eaDir"])
def test_folders_beside_the_classes_are_left_out_and_said(tmp_path: Path, name: str) -> None:
    data, lines = said(write(tmp_path, "cat", "dog", name, n=20))
    assert (data.class_names, sum(counts(data))) == (("cat", "dog"), 40)
    assert len(lines) == 1
    assert f"left out, as no class by its name: {tmp_path / name}" in lines[0]


def test_a_class_may_be_called_meta(tmp_path: Path) -> None:
    assert load(str(write(tmp_path, "meta", "rival", n=20))).class_names == ("meta", "rival")


def test_images_without_labels_beside_splits_are_left_out_and_said(tmp_path: Path) -> None:
    data, lines = said(write(tmp_path, *two("seg_train/seg_train", "seg_test/seg_test"), "seg_pred/seg_pred"))
    assert data.class_names == ("cat", "dog")
    assert [str(tmp_path / "seg_pred") in line for line in lines] == [True]


def test_what_systems_leave_is_no_image(tmp_path: Path) -> None:
    write(tmp_path, "cat", "dog", ".ipynb_checkpoints", n=20)
    for name in (".DS_Store", "Thumbs.db", "cat/._0.png"):
        (tmp_path / name).write_bytes(b"x")
    data, lines = said(tmp_path)
    assert (data.class_names, sum(counts(data)), data.skipped) == (("cat", "dog"), 40, ())
    assert len(lines) == 1
    assert "Thumbs.db" in lines[0]


def test_one_folder_in_another_is_gone_into_and_said(tmp_path: Path) -> None:
    data, lines = said(write(tmp_path, "archive/pets/cat", "archive/pets/dog", n=20))
    assert data.class_names == ("cat", "dog")
    assert lines == [f"{tmp_path}: its images are in {tmp_path / 'archive' / 'pets'}"]


def heic(paths: Iterable[Path]) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40))


def test_heic_is_named_with_a_hint(tmp_path: Path) -> None:
    write(tmp_path / "some", "cat", "dog", n=20)
    heic(tmp_path / "some" / "cat" / f"x{i}.heic" for i in range(3))
    assert any("3 are HEIC, which is not read: save them as JPEG" in line for line in said(tmp_path / "some")[1])
    heic(tmp_path / "all" / label / f"{i}.HEIC" for i in range(9) for label in ("cat", "dog"))
    assert "18 are HEIC" in refused(tmp_path / "all")
    write(tmp_path / "one", "cat", n=20)
    heic(tmp_path / "one" / "dog" / f"{i}.heif" for i in range(9))
    assert "no images in class folder dog; fill it or remove it; 9 are HEIC" in refused(tmp_path / "one")
    heic(tmp_path / "named" / label / f"{i}.jpg" for i in range(9) for label in ("cat", "dog"))
    assert "(HEIC, which is not read: save them as JPEG)" in refused(tmp_path / "named")


@pytest.mark.parametrize(
    ("content", "word"),
    [(b"version https://git-lfs.github.com/spec/v1\noid", "git lfs pull"), (b"<!DOCTYPE html><p>", "a web page")],
)
def test_files_that_are_no_images_are_told_by_what_they_are(tmp_path: Path, content: bytes, word: str) -> None:
    write(tmp_path, "cat", "dog", n=20)
    for i in range(9):
        (tmp_path / "cat" / f"{i}.png").write_bytes(content)
    assert word in refused(tmp_path)


def test_a_class_of_one_or_two_images_is_said(tmp_path: Path) -> None:
    write(tmp_path, "cat", "dog", n=20)
    write(tmp_path, "eel", n=1)
    write(tmp_path, "fox", n=2)
    data, lines = said(tmp_path)
    assert sorted(data.class_names or ()) == ["cat", "dog", "eel", "fox"]
    assert len(lines) == 1
    assert "2 classes of one or two training images" in lines[0]
    assert "(images: eel 1, fox 2)" in lines[0]


def test_a_name_that_is_no_text_can_be_written(tmp_path: Path) -> None:
    write(tmp_path, "cat", n=20)
    (tmp_path / "cat").rename(tmp_path / "caf\udce9")
    write(tmp_path, "dog", n=20)
    assert load(str(tmp_path)).class_names == ("caf�", "dog")
