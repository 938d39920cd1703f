"""Tables of images: with and without a header, with splits, whatever the delimiter; what cannot be read is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from restnet_tf.data.splits import Data, load
from restnet_tf.records import RestnetError, RestnetWarning

COUNT = 20


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder with images 0.png to 39.png, half of them cats: red 0."""
    (tmp_path / "img").mkdir()
    for i in range(2 * COUNT):
        pixels = np.random.default_rng(i).integers(0, 256, (6, 6, 3), np.uint8)
        pixels[0, 0, 0] = i >= COUNT
        Image.fromarray(pixels).save(tmp_path / "img" / f"{i}.png")
    return tmp_path


def rows(cat: str = "cat", dog: str = "dog", mark: str = ",", path: str = "img/{}.png") -> list[str]:
    return [f"{path.format(i)}{mark}{dog if i >= COUNT else cat}" for i in range(2 * COUNT)]


def table(folder: Path, lines: list[str], name: str = "list.csv", encoding: str = "utf-8") -> str:
    (folder / name).write_text("\n".join(lines) + "\n", encoding=encoding)
    return str(folder / name)


def right(data: Data) -> bool:
    for split in (data.fit, data.rank, data.test):
        images = np.concatenate([np.asarray(batch) for batch in split.batches((6, 6, 3), 64)])
        if split.labels is None or images[:, 0, 0, 0].tolist() != split.labels.tolist():
            return False
    return len(data.fit) + len(data.rank) + len(data.test) == 2 * COUNT


FORMS = {
    "header": ["path,label", *rows()],
    "no header": rows(),
    "of another column order": ["label,file_name", *(",".join(row.split(",")[::-1]) for row in rows())],
    "no header, label first": [",".join(row.split(",")[::-1]) for row in rows()],
    "semicolons": ["Image;Class", *rows(mark=";")],
    "tabs": rows(mark="\t"),
    "spaces": rows(mark=" "),
    "names without suffix": ["id,breed_label", *rows(path="img/{}")],
    "quoted": ["path,label", *(f'"{row.split(",")[0]}","{row.split(",")[1]}"' for row in rows())],
    "backslashes": ["path,label", *rows(path="img\\{}.png")],
    "unknown header": ["photo,animal", *rows()],
}


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_a_list(photos: Path, form: str) -> None:
    data = load(table(photos, FORMS[form]))
    assert (data.name, data.class_names) == ("list", ("cat", "dog"))
    assert right(data)


@pytest.mark.parametrize("name", ["list.tsv", "LIST.CSV", "list.txt"])
def test_suffixes_and_a_mark_of_utf8(photos: Path, name: str) -> None:
    assert right(load(table(photos, rows("chat", "châtaigne", "\t"), name, "utf-8-sig")))


def test_absolute_paths(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    assert right(load(table(elsewhere, rows(path=f"{photos}/img/{{}}.png"))))


@pytest.mark.parametrize("header", [["path,label,split"], []])
def test_a_column_of_splits(photos: Path, header: list[str]) -> None:
    words = ["Train", "val", "testing", "train"]
    data = load(table(photos, header + [f"{row},{words[i % 4]}" for i, row in enumerate(rows())]))
    assert [len(s) for s in (data.fit, data.rank, data.test)] == [20, 10, 10]
    assert right(data)


def test_numbers_from_0_on_are_class_numbers(photos: Path) -> None:
    data = load(table(photos, rows("0", "1")))
    assert data.class_names is None
    assert right(data)
    assert load(table(photos, rows("9", "10"))).class_names == ("9", "10")


def test_without_labels(photos: Path) -> None:
    data = load(table(photos, ["path", *(row.split(",")[0] for row in rows())]))
    assert not data.labelled
    assert len(data.fit) == 28


def test_a_file_that_is_missing_is_said(photos: Path) -> None:
    (photos / "img" / "3.png").unlink()
    with pytest.warns(RestnetWarning, match=r"1 of its 40 files are not there, such as .*img/3\.png"):
        data = load(table(photos, rows()))
    assert len(data.fit) + len(data.rank) + len(data.test) == 39


BAD = {
    "nothing": ([], "empty"),
    "header alone": (["path,label"], "no image in it"),
    "no file there": (rows(path="nowhere/{}.png"), "none of its 40 files is there"),
    "a split that is none": (
        ["path,label,split", *(f"{row},often" for row in rows())],
        "the split 'often' is not known",
    ),
    "no training": (["path,label,split", *(f"{row},test" for row in rows())], "no row is of the training"),
    "some labels": ([*rows()[:-1], "img/39.png,"], "some rows have no label"),
    "short rows": (["path,label", *rows()[:-1], "img/39.png"], "'img/39.png' is shorter than others"),
    "many columns": ([f"{row},1,2,3" for row in rows()], "5 columns are not understood"),
    "three columns": ([f"{row},x" for row in rows()], "3 columns are not understood"),
    "one class": (["path,label", *rows("dog", "dog")], "one class only"),
}


@pytest.mark.parametrize("case", BAD)
def test_lists_that_cannot_be_used(photos: Path, case: str) -> None:
    lines, message = BAD[case]
    with pytest.raises(RestnetError) as caught:
        load(table(photos, lines))
    assert message in str(caught.value)


def test_a_list_of_another_encoding(photos: Path) -> None:
    with pytest.raises(RestnetError, match="no text of UTF-8; save it so"):
        load(table(photos, rows("chât", "dog"), encoding="latin-1"))


def test_a_list_in_a_folder_is_pointed_to(photos: Path) -> None:
    table(photos / "img", rows())
    with pytest.warns(RestnetWarning, match=r"if .*list\.csv lists images and labels, give it as the data"):
        assert not load(str(photos / "img")).labelled
