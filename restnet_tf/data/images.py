"""Images as they are stored: files decoded whenever they are read, or rows of an array."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import ClassVar

import numpy as np
from PIL import Image, ImageOps

from restnet_tf.data.values import Values
from restnet_tf.records import RestnetError
from tflite_export.inputs import PHOTOS, InputKind

THREADS = min(16, os.cpu_count() or 1)


@dataclass(frozen=True)
class Files:
    """Images on disk, decoded whenever they are read."""

    paths: tuple[str, ...]
    kind: ClassVar[InputKind] = PHOTOS
    shape: ClassVar[None] = None  # any

    def __len__(self) -> int:
        """How many images."""
        return len(self.paths)

    def take(self, rows: Sequence[int] | np.ndarray) -> Files:
        """The images at ``rows``, in that order."""
        return Files(tuple(self.paths[i] for i in rows))

    def image(self, row: int) -> Image.Image:
        """One upright RGB image; RestnetError where the file has changed since it was examined."""
        try:
            return decode(Path(self.paths[row]).read_bytes())
        except Exception as error:
            raise RestnetError(f"{self.paths[row]} could be read at the start, but not now: {error}") from error


@dataclass(frozen=True)
class Encoded:
    """Images as the bytes of their files, in memory, decoded whenever they are read."""

    contents: tuple[bytes, ...] = field(repr=False)
    kind: ClassVar[InputKind] = PHOTOS
    shape: ClassVar[None] = None  # any

    def __len__(self) -> int:
        """How many images."""
        return len(self.contents)

    def take(self, rows: Sequence[int] | np.ndarray) -> Encoded:
        """The images at ``rows``, in that order."""
        return Encoded(tuple(self.contents[i] for i in rows))

    def image(self, row: int) -> Image.Image:
        """One upright RGB image."""
        return decode(self.contents[row])


@dataclass(frozen=True, eq=False)
class Pixels:
    """Rows of a uint8 array ``(n, h, w, 1 or 3)``, in memory or memory-mapped; no pixel is copied."""

    array: np.ndarray
    rows: np.ndarray
    kind: ClassVar[InputKind] = PHOTOS

    def __len__(self) -> int:
        """How many images."""
        return len(self.rows)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one image."""
        return tuple(self.array.shape[1:])

    def take(self, rows: Sequence[int] | np.ndarray) -> Pixels:
        """The images at ``rows``, in that order."""
        return Pixels(self.array, self.rows[np.asarray(rows, np.int64)])

    def image(self, row: int) -> Image.Image:
        """One grey or RGB image."""
        pixels = np.asarray(self.array[self.rows[row]])
        return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)

    def block(self, rows: np.ndarray) -> np.ndarray:
        """The images at ``rows`` as they are stored: uint8 ``(len(rows), h, w, c)``."""
        return np.asarray(self.array[self.rows[rows]])


Images = Files | Encoded | Pixels | Values


def decode(raw: bytes) -> Image.Image:
    """The first frame of an encoded image: upright, RGB, transparency on white, 16 bits scaled to 8."""
    with Image.open(BytesIO(raw)) as opened:
        opened.load()
        image = ImageOps.exif_transpose(opened)
    if image.mode == "F":
        raise ValueError("floating-point pixels have no known range")
    if image.mode == "I" or image.mode.startswith("I;16"):  # PIL itself would clip these at 255
        wide = np.asarray(image).astype(np.int64)
        if wide.min() < 0 or wide.max() > 65535:
            raise ValueError("32-bit pixels have no known range")
        image = Image.fromarray(((wide * 255 + 32767) // 65535).astype(np.uint8))
    elif image.mode in ("RGBA", "RGBa", "LA", "PA") or "transparency" in image.info:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    return image.convert("RGB")


def fit(image: Image.Image, shape: tuple[int, int, int]) -> np.ndarray:
    """uint8 ``shape``: the largest centred box of that aspect, resized (PIL antialiases when it shrinks)."""
    height, width, channels = shape
    w, h = image.size
    crop_w = min(w, max(1, round(h * width / height)))
    crop_h = min(h, max(1, round(w * height / width)))
    left, top = (w - crop_w) // 2, (h - crop_h) // 2
    # Cropped first: resize(box=...) would blend in pixels from outside the box.
    image = image.crop((left, top, left + crop_w, top + crop_h))
    image = image.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(image.convert("L" if channels == 1 else "RGB")).reshape(shape)


def content_hash(size: tuple[int, ...], pixels: np.ndarray | bytes) -> bytes:
    """What makes two images the same image: size and pixels."""
    return hashlib.sha256(repr(size).encode() + bytes(pixels)).digest()


def examine(path: str) -> bytes | None:
    """The content hash of an image file, None where it does not decode to the end."""
    try:
        raw = Path(path).read_bytes()
        with Image.open(BytesIO(raw)) as opened:
            opened.verify()  # checksums, which decoding alone passes over
        image = decode(raw)
    except MemoryError:
        raise
    except Exception:  # a broken file can make a decoder raise anything
        return None
    return content_hash(image.size, image.tobytes())


def mistaken(path: str) -> str:
    """What a file that is no image is instead, and what to do; empty where that is not known."""
    try:
        with open(path, "rb") as file:
            head = file.read(64)
    except OSError as error:
        return error.strerror or "cannot be read"
    if head[4:8] == b"ftyp":
        return "HEIC, which is not read: save them as JPEG"
    if head.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer: git lfs pull fetches the image"
    return "a web page, not an image" if head.lstrip()[:5].lower() in (b"<html", b"<!doc") else ""


def examine_all(paths: Sequence[str]) -> Iterator[bytes | None]:
    """The content hash of each file, in order; decoded by ``THREADS`` threads."""
    with ThreadPoolExecutor(THREADS) as pool:
        for start in range(0, len(paths), 4096):  # a bounded number of pending futures
            yield from pool.map(examine, paths[start : start + 4096])
