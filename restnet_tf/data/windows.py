"""Files that hold one example each: an array of numbers (``.npy``), or a window of a signal as a table (``.csv``)."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from restnet_tf.data.arrays import one_line
from restnet_tf.records import RestnetError, RestnetWarning

SUFFIXES = (".npy", ".csv", ".tsv")
# Columns that say when a row was taken, by the first word of their names: no part of the signal.
_TIMES = {"t", "time", "timestamp"}
_SEPARATORS = (",", ";", "\t")


def read(paths: Sequence[str]) -> np.ndarray:
    """The arrays of files, one behind the other: ``(n, t, c)`` or ``(n, h, w, c)`` float32.

    A table has a row for each step in time and a column for each channel; a first line of names is left out, and so
    is a column of times, with a warning. Raises RestnetError for a file that holds no such numbers and for files of
    several shapes.
    """
    dropped: set[str] = set()
    every: np.ndarray | None = None
    for at, path in enumerate(paths):
        values = _read(Path(path), dropped)
        if every is None:
            every = np.empty((len(paths), *values.shape), np.float32)
        if values.shape != every.shape[1:]:
            raise RestnetError(
                f"{path} is {values.shape}, but {paths[0]} is {every.shape[1:]}; cut all files to one length"
            )
        every[at] = values
    if dropped:
        names = ", ".join(sorted(dropped))
        warnings.warn(f"{paths[0]} and the like: left out, as times: {names}", RestnetWarning, stacklevel=5)
    assert every is not None  # a folder without files is refused before
    return every


def _read(path: Path, dropped: set[str]) -> np.ndarray:
    try:
        values = np.load(path, allow_pickle=False) if path.suffix.lower() == ".npy" else _table(path, dropped)
    except (ValueError, EOFError, OSError, UnicodeDecodeError) as error:
        raise RestnetError(f"{path} holds no array of numbers: {one_line(error)}") from error
    if values.dtype.kind == "c":
        values = np.stack([values.real, values.imag], axis=-1).reshape(len(values), -1)
    if values.ndim == 1:
        values = values[:, np.newaxis]
    if values.ndim not in (2, 3) or 0 in values.shape or values.dtype.kind not in "iuf":
        raise RestnetError(f"{path} is {values.dtype}{values.shape}; numbers of (h, w, c), (t, c) or (t,) are needed")
    return values.astype(np.float32)


def _table(path: Path, dropped: set[str]) -> np.ndarray:
    """Rows and columns of numbers; raises ValueError for other text."""
    lines = [line for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    if not lines:
        raise ValueError("it is empty")
    separator = next((one for one in _SEPARATORS if one in lines[0]), None)
    names = [cell.strip() for cell in lines[0].split(separator)]
    if all(map(_is_number, names)):
        return np.loadtxt(lines, delimiter=separator, ndmin=2)
    times = {at for at, name in enumerate(names) if re.split(r"[^a-z]", name.lower())[0] in _TIMES}
    dropped |= {names[at] for at in times}
    columns = [at for at in range(len(names)) if at not in times]
    if not columns:
        raise ValueError(f"its columns are times alone ({', '.join(names)})")
    return np.loadtxt(lines[1:], delimiter=separator, ndmin=2, usecols=columns)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
