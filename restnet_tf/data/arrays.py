"""Arrays as users have them: ``.npz`` files, pixels of any type, labels of any form."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np

from restnet_tf.records import RestnetError

# What helps where an array is taken for photos.
_NO_PHOTOS = "; if they are no photos, write values: in front of the name"


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """All arrays of an ``.npz``, memory-mapped where stored uncompressed; RestnetError for a broken file."""
    try:
        with zipfile.ZipFile(path) as archive:
            return {info.filename.removesuffix(".npy"): _member(path, archive, info) for info in archive.infolist()}
    except (zipfile.BadZipFile, zlib.error, ValueError, EOFError, RuntimeError) as error:
        raise RestnetError(f"{path}: not a readable .npz file: {one_line(error)}") from error


def _member(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    """One array; memory-mapped where its bytes lie in the file as they are, which np.load cannot do."""
    headers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    with archive.open(info) as stream:
        read_header = headers.get(np.lib.format.read_magic(stream))
        if info.compress_type == zipfile.ZIP_STORED and read_header is not None:
            shape, fortran_order, dtype = read_header(stream)
            if 0 not in shape and not dtype.hasobject:
                header_bytes = stream.tell()
                while stream.read(1 << 20):  # to the end, where zipfile compares the checksum
                    pass
                offset = _member_offset(path, info) + header_bytes
                return np.memmap(path, dtype, "r", offset, shape, "F" if fortran_order else "C")
    with archive.open(info) as stream:
        return np.lib.format.read_array(stream, allow_pickle=False)


def _member_offset(path: Path, info: zipfile.ZipInfo) -> int:
    """Where the bytes of a stored member begin: behind its local header (APPNOTE.TXT 4.3.7)."""
    with path.open("rb") as file:
        file.seek(info.header_offset + 26)
        name_bytes, extra_bytes = np.frombuffer(file.read(4), "<u2").tolist()
    return info.header_offset + 30 + name_bytes + extra_bytes


def raw_pixels(where: str, x: np.ndarray) -> np.ndarray:
    """``x`` as uint8 ``(n, h, w, c)``; RestnetError where that would change a value."""
    if x.ndim == 3:
        x = x[..., np.newaxis]
    if x.ndim != 4 or x.shape[-1] not in (1, 3) or 0 in x.shape[1:3]:
        raise RestnetError(f"{where}: images of shape {x.shape}; (n, h, w) or (n, h, w, 1 or 3) is needed{_NO_PHOTOS}")
    if x.dtype == np.uint8 or len(x) == 0:
        return x.astype(np.uint8, copy=False)
    if x.dtype.kind not in "iuf":
        raise RestnetError(f"{where}: images of type {x.dtype}; give uint8, raw 0..255")
    low, high = x.min(), x.max()
    raw = np.empty(x.shape, np.uint8)
    # A float array of zeros and ones holds whole numbers, but means black and white.
    usable = low >= 0 and high <= 255 and not (x.dtype.kind == "f" and high <= 1)
    for start in range(0, len(x) if usable else 0, 1024):
        block = x[start : start + 1024]
        raw[start : start + 1024] = block
        usable = usable and np.array_equal(raw[start : start + 1024], block)
    if not usable:
        raise RestnetError(
            f"{where}: images of type {x.dtype} with values {low:g}..{high:g}; raw whole numbers 0..255 "
            f"are needed: undo the scaling and save them as uint8{_NO_PHOTOS}"
        )
    return raw


def integer_labels(where: str, y: np.ndarray, n: int) -> np.ndarray:
    """``y`` as int64 ``(n,)``, from class numbers ``(n,)`` or ``(n, 1)`` or one-hot rows ``(n, k)``."""
    if y.shape[:1] != (n,):
        raise RestnetError(f"{where}: {n} images, but labels of shape {y.shape}; one label an image is needed")
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim > 2 or y.dtype.kind not in "biuf":
        raise RestnetError(f"{where}: labels of type {y.dtype}{y.shape}; whole numbers or one-hot rows are needed")
    if y.ndim == 2:
        if not (np.isin(y, (0, 1)).all() and (y.sum(axis=1) == 1).all()):
            raise RestnetError(f"{where}: labels of shape {y.shape} that are not one-hot; give class numbers")
        return y.argmax(axis=1).astype(np.int64)
    if not np.isfinite(y).all() or (y != np.floor(y)).any():
        raise RestnetError(f"{where}: labels that are no whole numbers; give class numbers 0, 1, ...")
    if n and y.min() < 0:
        raise RestnetError(f"{where}: negative label {y.min():g}; class numbers start at 0")
    return y.astype(np.int64)


def one_line(error: BaseException) -> str:
    """What an error says, on one line."""
    return " ".join(str(error).split()) or type(error).__name__
