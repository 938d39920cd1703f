"""A table of images and labels: a CSV with a row an image, ``path,label`` and, where it says so, the split."""

from __future__ import annotations

import csv
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from restnet_tf.data import folders, split_names
from restnet_tf.data.folders import SUFFIXES
from restnet_tf.data.images import Files
from restnet_tf.data.listing import SPLITS, ImageSet, Listing
from restnet_tf.records import RestnetError, RestnetWarning

ENDINGS = (".csv", ".tsv", ".txt")
_DELIMITERS = (",", ";", "\t", " ")
_NAMES = {
    "path": ("path", "file", "filename", "file_name", "filepath", "file_path", "image", "image_path", "img", "id"),
    "label": ("label", "labels", "class", "class_name", "category", "target", "y"),
    "split": ("split", "subset", "set", "partition", "usage", "fold"),
}
_FORM = "give a row an image, path,label and optionally its split (train, validation or test)"


@dataclass(frozen=True)
class _Row:
    """One image: where it lies, its label as it is written, None where there is none, and its split."""

    path: str
    label: str | None
    split: str


def read(path: Path) -> Listing:
    """The images that a table names, by paths relative to it; RestnetError where it cannot be understood."""
    rows = _rows(path)
    missing = [row.path for row in rows if not Path(row.path).is_file()]
    if len(missing) == len(rows):
        raise RestnetError(f"{path}: none of its {len(rows)} files is there, such as {missing[0]}; paths begin there")
    if missing:
        text = f"{path}: {len(missing)} of its {len(rows)} files are not there, such as {missing[0]}"
        warnings.warn(text, RestnetWarning, stacklevel=4)
    lost = set(missing)
    rows = [row for row in rows if row.path not in lost]
    labels, names = _labels(path, rows)
    contents = folders.examined(str(path), list(dict.fromkeys(row.path for row in rows)))
    parts = {split: _part(rows, labels, contents, split) for split in SPLITS if any(r.split == split for r in rows)}
    skipped = tuple(sorted(file for file, content in contents.items() if content is None))
    return Listing(path.stem, parts, names, skipped)


def _rows(path: Path) -> list[_Row]:
    cells = _cells(path)
    columns, has_header = _columns(path, cells)
    body = cells[has_header:]
    if not body:
        raise RestnetError(f"{path}: no image in it; {_FORM}")
    if ragged := next((row for row in body if len(row) <= max(columns.values())), None):
        raise RestnetError(f"{path}: the row {','.join(ragged)!r} is shorter than others; {_FORM}")
    rows = [
        _Row(
            _file(path.parent, row[columns["path"]].strip()),
            row[columns["label"]].strip() if "label" in columns else None,
            _split(path, row[columns["split"]]) if "split" in columns else "fit",
        )
        for row in body
    ]
    if all(row.split != "fit" for row in rows):
        raise RestnetError(f"{path}: no row is of the training; {_FORM}")
    return rows


def _cells(path: Path) -> list[list[str]]:
    """The table, at the delimiter that gives most rows the same number of columns."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise RestnetError(f"{path}: no text of UTF-8; save it so") from None
    lines = [line for line in text.splitlines() if line.strip()]
    try:
        tables = [[row for row in csv.reader(lines, delimiter=mark) if row] for mark in _DELIMITERS]
    except csv.Error as error:
        raise RestnetError(f"{path}: no table of text: {error}") from None
    fitting = [table for table in tables if table and len(table[0]) > 1 and len({len(row) for row in table}) == 1]
    return fitting[0] if fitting else tables[0]


def _columns(path: Path, cells: list[list[str]]) -> tuple[dict[str, int], bool]:
    """Which column is the path, the label and the split; whether the first row names them."""
    if not cells:
        raise RestnetError(f"{path}: empty; {_FORM}")
    head = ["_".join(cell.strip().lower().split()) for cell in cells[0]]
    named = {role: head.index(name) for role, names in _NAMES.items() for name in names[::-1] if name in head}
    has_header = not any(_is_file(path.parent, cell.strip()) for cell in cells[0])
    if has_header and "path" in named and len(set(named.values())) == len(named):
        others = [i for i in range(len(head)) if i not in named.values()]
        return ({"label": others[0]} if len(others) == 1 else {}) | named, True
    has_header = has_header and not any(Path(cell.strip()).suffix.lower() in SUFFIXES for cell in cells[0])
    body = cells[has_header:]
    return _guessed(path, body), has_header


def _guessed(path: Path, body: list[list[str]]) -> dict[str, int]:
    """By what stands in them: files, then labels; a third column may be the split."""
    width = len(body[0]) if body else 0
    files = [i for i in range(width) if any(_is_file(path.parent, row[i].strip()) for row in body[:50] if i < len(row))]
    if not 1 <= width <= len(_NAMES) or len(files) > 1:
        raise RestnetError(
            f"{path}: its {width} columns are not understood; name path, label and split in its first row"
        )
    at = files[0] if files else 0
    rest = [i for i in range(width) if i != at]
    of_splits = [i for i in rest if all(len(row) > i and split_names.split_and_rest(row[i]) for row in body)]
    splits = of_splits if width == len(_NAMES) else []
    if width == len(_NAMES) and len(splits) != 1:
        raise RestnetError(f"{path}: its 3 columns are not understood; name path, label and split in its first row")
    labels = [i for i in rest if i not in splits]
    return {"path": at} | ({"label": labels[0]} if labels else {}) | ({"split": splits[0]} if splits else {})


def _is_file(folder: Path, text: str) -> bool:
    try:
        return bool(text) and Path(_file(folder, text)).is_file()
    except (OSError, ValueError):
        return False


def _file(folder: Path, text: str) -> str:
    """Where an image lies: its name may lack the suffix."""
    path = folder / text.replace("\\", "/")
    if path.suffix.lower() in SUFFIXES or path.is_file():
        return str(path)
    return next((str(p) for suffix in SUFFIXES if (p := path.with_name(path.name + suffix)).is_file()), str(path))


def _split(path: Path, text: str) -> str:
    spoken = split_names.split_and_rest(text)
    if spoken is None:
        raise RestnetError(f"{path}: the split {text.strip()!r} is not known; write train, validation or test")
    return spoken[0]


def _labels(path: Path, rows: list[_Row]) -> tuple[dict[str, int] | None, tuple[str, ...] | None]:
    """Label as it is written -> class number, and the names of the classes; numbers from 0 on are taken as such."""
    written = {row.label for row in rows}
    if written == {None} or written == {""}:
        return None, None
    texts = sorted(str(label) for label in written if label)
    if len(texts) < len(written):
        raise RestnetError(f"{path}: some rows have no label; label every image, or none")
    if all(text.isdecimal() for text in texts):
        texts.sort(key=int)
        if [int(text) for text in texts] == list(range(len(texts))):
            return {text: int(text) for text in texts}, None
    return {text: i for i, text in enumerate(texts)}, tuple(texts)


def _part(rows: list[_Row], labels: dict[str, int] | None, contents: dict[str, bytes | None], split: str) -> ImageSet:
    good = [(row, content) for row in rows if row.split == split and (content := contents[row.path]) is not None]
    numbers = None if labels is None else np.asarray([labels[str(row.label)] for row, _ in good], np.int64)
    return ImageSet(Files(tuple(row.path for row, _ in good)), numbers, tuple(content for _, content in good))
