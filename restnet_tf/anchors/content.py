"""What a model file is, by its content: people and tools give the same file many names."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from restnet_tf.records import RestnetError

if TYPE_CHECKING:
    import h5py

ARCHIVE, HDF5, FOLDER, SAVED_MODEL, TFLITE, OTHER = "archive", "hdf5", "folder", "saved model", "tflite", "other"
CONFIG = "config.json"  # of a .keras archive
_LFS = b"version https://git-lfs"
_PAGE = (b"<!doctype html", b"<html")
# What reading raises where bytes are not what they were; in HDF5 that may be almost anything.
DAMAGED = (EOFError, KeyError, OSError, RuntimeError, ValueError, zipfile.BadZipFile, zlib.error)
_ZIP, _TFLITE = b"PK\x03\x04", b"TFL3"


class DamagedError(RestnetError):
    """A file that is cut short or damaged."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path} is not a Keras model that can be read: it is cut short or damaged, as an interrupted download is;"
            " get it again"
        )


def of(path: Path) -> str:
    """The kind of a file or folder, one of the names above.

    Raises RestnetError for a file that stands for another, and for one that is cut short.
    """
    if path.is_dir():
        return SAVED_MODEL if (path / "saved_model.pb").is_file() else FOLDER
    try:
        with path.open("rb") as file:
            head = file.read(64)
    except OSError as error:
        raise RestnetError(f"{path} cannot be read: {error.strerror}") from error
    _check_whole(path, head)
    if head.startswith(_ZIP):
        return ARCHIVE if _holds_config(path) else OTHER
    if head[4:8] == _TFLITE:
        return TFLITE
    return HDF5 if _is_hdf5(path) else OTHER


@contextmanager
def opened(path: Path) -> Iterator[h5py.File]:
    """An HDF5 file to read in; raises RestnetError where it is cut short, or what is read turns out to be damaged."""
    import h5py

    try:
        with h5py.File(path) as file:
            yield file
    except DAMAGED as error:
        raise DamagedError(path) from error


def _is_hdf5(path: Path) -> bool:
    import h5py

    if not h5py.is_hdf5(path):
        return False
    with opened(path):
        return True


def _holds_config(path: Path) -> bool:
    """Whether a zip file is one of Keras; arrays of NumPy are zip files too."""
    try:
        with zipfile.ZipFile(path) as archive:
            return CONFIG in archive.namelist()
    except DAMAGED as error:
        raise DamagedError(path) from error


def _check_whole(path: Path, head: bytes) -> None:
    if not head:
        raise RestnetError(f"{path} is not a Keras model: it is empty")
    if head.startswith(_LFS):
        raise RestnetError(
            f"{path} is not a Keras model: it is a pointer of Git LFS to one; git lfs pull brings the file itself"
        )
    if head.lstrip().lower().startswith(_PAGE):
        raise RestnetError(f"{path} is not a Keras model: it is a web page; download the file itself")
