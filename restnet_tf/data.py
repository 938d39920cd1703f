"""What the user names becomes three disjoint splits: ``fit`` trains, ``rank`` decides, ``test`` reports.

Files stay on disk and only their paths are kept; an array of an ``.npz`` that is stored uncompressed
(``numpy.savez``) is memory-mapped, a compressed one is held in memory. Content decides where an image
goes, never its name: equal pixels share a split, and renaming or re-ordering files changes nothing.
"""

from __future__ import annotations

import hashlib
import os
import warnings
import zipfile
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps

from restnet_tf.records import Data, RestnetError

if TYPE_CHECKING:
    import tensorflow as tf

# What each split is called in folders (``train/``) and in arrays (``x_train``).
_ALIASES = {"fit": ("train",), "rank": ("validation", "val", "valid"), "test": ("test",)}
_SPLITS = tuple(_ALIASES)
# Keras' data set -> the file that it looks for in its cache, the class names.
_KERAS: dict[str, tuple[str, tuple[str, ...] | None]] = {
    "cifar10": (
        "cifar-10-batches-py-target_archive (cifar-10-python.tar.gz under that name)",
        ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    ),
    "cifar100": ("cifar-100-python-target_archive (cifar-100-python.tar.gz under that name)", None),
    "mnist": ("mnist.npz", tuple("0123456789")),
    "fashion_mnist": (
        "fashion-mnist/{train,t10k}-{images-idx3,labels-idx1}-ubyte.gz (four files)",
        (
            "T-shirt/top",
            "Trouser",
            "Pullover",
            "Dress",
            "Coat",
            "Sandal",
            "Shirt",
            "Sneaker",
            "Bag",
            "Ankle boot",
        ),
    ),
}
_SUFFIXES: tuple[str, ...] = (
    ".bmp",
    ".dib",
    ".gif",
    ".jfif",
    ".jp2",
    ".jpe",
    ".jpeg",
    ".jpg",
    ".pbm",
    ".pgm",
)
_SUFFIXES += (".png", ".pnm", ".ppm", ".tga", ".tif", ".tiff", ".webp")
_ACCEPTED = (
    "a folder of images (a sub-folder per class; train/validation/test folders; or flat and unlabelled), "
    f"an .npz file, 'digits', or one of {', '.join(f'keras:{name}' for name in _KERAS)}"
)
_SHARE = 0.15  # of the images, for each split that has to be cut from the training images
_LEAST_IN_ALL, _LEAST_IN_SPLIT = 16, 4
_CORRUPT_LIMIT = 0.05
_THREADS = min(16, os.cpu_count() or 1)


@dataclass(frozen=True)
class Files:
    """Images on disk, decoded whenever they are read."""

    paths: tuple[str, ...]

    def __len__(self) -> int:
        """How many images."""
        return len(self.paths)

    def take(self, rows: Sequence[int] | np.ndarray) -> Files:
        """The images at ``rows``, in that order."""
        return Files(tuple(self.paths[i] for i in rows))

    def image(self, row: int) -> Image.Image:
        """One upright RGB image; RestnetError where the file has changed since it was examined."""
        try:
            return _decode(Path(self.paths[row]).read_bytes())
        except Exception as error:
            raise RestnetError(
                f"{self.paths[row]} could be read at the start, but not now: {error}"
            ) from error


@dataclass(frozen=True, eq=False)
class Pixels:
    """Rows of a uint8 array ``(n, h, w, 1 or 3)``, in memory or memory-mapped; no pixel is copied."""

    array: np.ndarray
    rows: np.ndarray

    def __len__(self) -> int:
        """How many images."""
        return len(self.rows)

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


Images = Files | Pixels


@dataclass(frozen=True, eq=False)
class Split:
    """One split of the data: its images and, where there are any, their labels ``(n,)`` int64."""

    name: str  # "fit", "rank" or "test"
    images: Images
    labels: np.ndarray | None

    def __len__(self) -> int:
        """How many images."""
        return len(self.images)

    def head(self, n: int) -> Split:
        """The first ``n`` images (all of them where there are fewer)."""
        rows = np.arange(len(self))[:n]
        return Split(self.name, self.images.take(rows), None if self.labels is None else self.labels[rows])

    def batches(
        self, shape: tuple[int, int, int], batch: int, order: np.ndarray | None = None
    ) -> tf.data.Dataset:
        """The images in ``order`` (indices into the split; default: natural) for a model's input.

        Yields float32 ``(b, h, w, c)`` with whole numbers 0..255; ``b`` is ``batch``, less in the last.
        Centre crop to the aspect of ``shape``, antialiased bilinear resize, grey for ``c == 1``, RGB for 3.
        Decodes in parallel about four batches ahead, in order; the values do not depend on the thread count.
        Raises RestnetError for another ``c``, ValueError for indices or a batch that make no sense.
        """
        import tensorflow as tf

        if shape[2] not in (1, 3):
            raise RestnetError(
                f"images are grey (1) or RGB (3 channels); a model that takes {shape[2]} cannot be fed"
            )
        if batch < 1:
            raise ValueError(f"batch must be at least 1, not {batch}")
        images = self.images
        rows = tf.data.Dataset.from_tensor_slices(_checked_order(order, len(self)))
        if isinstance(images, Pixels) and images.array.shape[1:] == tuple(shape):
            stream = _mapped(rows.batch(batch), images.block)
        else:
            stream = _mapped(rows, lambda row: _fitted(images.image(row), shape)).batch(batch)
        stream = stream.map(lambda x: tf.cast(tf.ensure_shape(x, (None, *shape)), tf.float32))
        options = tf.data.Options()
        options.autotune.enabled = False  # it would buffer up to half of the machine's memory
        return stream.prefetch(2).with_options(options)


def load(spec: str, *, seed: int = 0) -> Data:
    """Fit, rank and test splits of what ``spec`` names; the same for the same contents and ``seed``.

    ``spec``: a folder with a sub-folder per class; ``train`` / ``validation`` (``val``, ``valid``) /
    ``test`` folders of either kind; a flat folder of unlabelled images; an ``.npz`` with ``x`` [``y``] or
    ``x_train``, ``x_val``, ``x_test`` ... [``class_names``]; ``digits`` (scikit-learn's); ``keras:cifar10``
    and the like. Splits that the data brings are kept as given, with a warning where they share images;
    a missing one is cut from the training images by content: 15 % each, every class in every split.
    Inside a split the order is shuffled, so that contiguous batches mix the classes.
    ``Data.sha256`` covers pixels, labels, class names, split membership and order, but no file name.
    Raises RestnetError for whatever cannot be used; files that do not decode are in ``Data.skipped``.
    """
    try:
        source = _source(spec)
    except OSError as error:
        raise RestnetError(f"{spec}: cannot be read: {error}") from error
    _check(spec, source)
    _warn_of_overlap(source)
    parts = _complete(spec, source.parts, seed)
    parts = {name: _shuffled(parts[name], f"{seed}:{name}") for name in _SPLITS}
    fit, rank, test = (Split(name, parts[name].images, parts[name].labels) for name in _SPLITS)
    digest = _sha256(parts, source.class_names)
    return Data(source.name, fit, rank, test, source.class_names, digest, source.skipped)


# --- Pixels ---------------------------------------------------------------------------------------


def _decode(raw: bytes) -> Image.Image:
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


def _fitted(image: Image.Image, shape: tuple[int, int, int]) -> np.ndarray:
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


def _mapped(stream: tf.data.Dataset, read: Callable[..., np.ndarray]) -> tf.data.Dataset:
    import tensorflow as tf

    return stream.map(
        lambda rows: tf.numpy_function(read, [rows], tf.uint8),
        num_parallel_calls=_THREADS,
        deterministic=True,
    )


def _checked_order(order: np.ndarray | None, n: int) -> np.ndarray:
    if order is None:
        return np.arange(n)
    order = np.asarray(order)
    if order.ndim != 1 or (
        order.size and (order.dtype.kind not in "iu" or order.min() < 0 or order.max() >= n)
    ):
        raise ValueError(f"order must be a list of indices 0..{n - 1}")
    return order.astype(np.int64)


def _content(size: tuple[int, ...], pixels: np.ndarray | bytes) -> bytes:
    """What makes two images the same image: size and pixels."""
    return hashlib.sha256(repr(size).encode() + bytes(pixels)).digest()


def _examined(path: str) -> bytes | None:
    """The content hash of an image file, None where it does not decode to the end."""
    try:
        raw = Path(path).read_bytes()
        with Image.open(BytesIO(raw)) as opened:
            opened.verify()  # checksums, which decoding alone passes over
        image = _decode(raw)
    except MemoryError:
        raise
    except Exception:  # a broken file can make a decoder raise anything
        return None
    return _content(image.size, image.tobytes())


def _examined_all(paths: Sequence[str]) -> Iterator[bytes | None]:
    with ThreadPoolExecutor(_THREADS) as pool:
        for start in range(0, len(paths), 4096):  # a bounded number of pending futures
            yield from pool.map(_examined, paths[start : start + 4096])


# --- Dividing -------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Part:
    """Images that belong together, with the content hash of each."""

    images: Images
    labels: np.ndarray | None
    contents: tuple[bytes, ...]

    def take(self, rows: Sequence[int] | np.ndarray) -> _Part:
        labels = None if self.labels is None else self.labels[np.asarray(rows, np.int64)]
        return _Part(self.images.take(rows), labels, tuple(self.contents[i] for i in rows))


@dataclass(frozen=True, eq=False)
class _Source:
    """What the user named: ``parts`` holds "fit" and whichever other splits were given."""

    name: str
    parts: dict[str, _Part]
    class_names: tuple[str, ...] | None = None
    skipped: tuple[str, ...] = ()


def _check(spec: str, source: _Source) -> None:
    total = sum(len(part.contents) for part in source.parts.values())
    if total < _LEAST_IN_ALL:
        raise RestnetError(f"{spec}: {total} images; at least {_LEAST_IN_ALL} are needed")
    every = [part.labels for part in source.parts.values() if part.labels is not None]  # fit's first
    if not every:
        return
    if len(every) != len(source.parts):
        missing = [_ALIASES[name][0] for name, part in source.parts.items() if part.labels is None]
        raise RestnetError(f"{spec}: no labels for {', '.join(missing)}: label every split, or none")
    if np.unique(every[0]).size < 2:
        raise RestnetError(
            f"{spec}: the training images are of one class only; give two or more, or no labels"
        )
    top = max(int(labels.max(initial=0)) for labels in every)
    if source.class_names is not None and top >= len(source.class_names):
        raise RestnetError(f"{spec}: label {top}, but only {len(source.class_names)} class names")


def _warn_of_overlap(source: _Source) -> None:
    names = [name for name in _SPLITS if name in source.parts]
    for i, first in enumerate(names):
        for second in names[i + 1 :]:
            known = set(source.parts[first].contents)
            shared = sum(content in known for content in source.parts[second].contents)
            if shared:
                first_name, second_name = _ALIASES[first][0], _ALIASES[second][0]
                warnings.warn(
                    f"{source.name}: {shared} of the {second_name} images are {first_name} images too "
                    "(the splits are used as given)",
                    stacklevel=3,
                )


def _complete(spec: str, given: dict[str, _Part], seed: int) -> dict[str, _Part]:
    """All three splits: those that are missing are cut from the training images."""
    missing = [name for name in ("rank", "test") if name not in given]
    whole, parts = given["fit"], dict(given)
    # Few images: 15 % of them are not enough for a split, so a larger share is tried.
    for share in (_SHARE, 0.2, 0.25, 0.3, 1 / 3) if missing else ():
        home = _homes(_by_class(whole, seed), missing, share)
        for name in ("fit", *missing):
            parts[name] = whole.take([i for i, c in enumerate(whole.contents) if home[c] == name])
        if all(len(parts[name].images) >= _LEAST_IN_SPLIT for name in _SPLITS):
            break
    for name in _SPLITS:
        if (count := len(parts[name].images)) < _LEAST_IN_SPLIT:
            detail = f" (cut from {len(set(whole.contents))} different images)" if name in missing else ""
            raise RestnetError(
                f"{spec}: {count} images in the {_ALIASES[name][0]} split{detail}; "
                f"at least {_LEAST_IN_SPLIT} are needed in each"
            )
    return parts


def _by_class(part: _Part, seed: int) -> list[list[bytes]]:
    """The different contents of each class, in an order that only the seed and the contents decide."""
    labels = np.zeros(len(part.contents), np.int64) if part.labels is None else part.labels
    groups: dict[int, set[bytes]] = {}
    for content, label in zip(part.contents, labels.tolist(), strict=True):
        groups.setdefault(label, set()).add(content)
    return [
        sorted(groups[label], key=lambda c: hashlib.sha256(f"{seed}:".encode() + c).digest())
        for label in sorted(groups)
    ]


def _homes(groups: Iterable[list[bytes]], missing: Sequence[str], share: float) -> dict[bytes, str]:
    """Content -> split: ``share`` of each class, and at least one where that leaves one for ``fit``."""
    home: dict[bytes, str] = {}
    for group in groups:
        quota = max(1, round(share * len(group))) if len(group) > len(missing) else 0
        free = deque(content for content in group if content not in home)
        for name in missing:
            # An image that carries two labels has its home from the first; it counts for both.
            short = quota - sum(home.get(content) == name for content in group)
            for _ in range(min(short, len(free))):
                home[free.popleft()] = name
        home.update(dict.fromkeys(free, "fit"))
    return home


def _shuffled(part: _Part, seed: str) -> _Part:
    labels = np.zeros(len(part.contents)) if part.labels is None else part.labels
    by_content = sorted(range(len(part.contents)), key=lambda i: (part.contents[i], labels[i]))
    number = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8])
    return part.take(np.asarray(by_content)[np.random.default_rng(number).permutation(len(by_content))])


def _sha256(parts: dict[str, _Part], class_names: tuple[str, ...] | None) -> str:
    digest = hashlib.sha256(repr(class_names).encode())
    for name in _SPLITS:
        part = parts[name]
        digest.update(f"{name} {len(part.contents)} {part.labels is not None}".encode())
        digest.update(b"".join(part.contents))
        if part.labels is not None:
            digest.update(part.labels.astype("<i8").tobytes())
    return digest.hexdigest()


# --- Sources --------------------------------------------------------------------------------------


def _source(spec: str) -> _Source:
    if spec == "digits":
        return _digits()
    if spec.startswith("keras:"):
        return _keras(spec)
    path = Path(spec)
    if path.is_dir():
        return _folder(path)
    if not path.exists():
        raise RestnetError(f"{spec}: no such file or folder; give {_ACCEPTED}")
    if path.suffix.lower() != ".npz":
        raise RestnetError(f"{spec}: a file, but not .npz; give {_ACCEPTED}")
    arrays = _npz_arrays(path)
    return _from_arrays(path.stem, spec, arrays)


def _digits() -> _Source:
    from sklearn.datasets import load_digits

    bundle = load_digits()
    pixels = np.rint(bundle.images * (255 / 16)).astype(np.uint8)
    names = np.asarray([str(name) for name in bundle.target_names])
    return _from_arrays("digits", "digits", {"x": pixels, "y": bundle.target, "class_names": names})


def _keras(spec: str) -> _Source:
    name = spec.removeprefix("keras:")
    if name not in _KERAS:
        raise RestnetError(f"{spec}: no such data set; give {_ACCEPTED}")
    import keras

    wanted, class_names = _KERAS[name]
    try:
        (x_train, y_train), (x_test, y_test) = getattr(keras.datasets, name).load_data()
    except Exception as error:  # Keras raises a bare Exception where a download fails
        cache = Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser() / "datasets"
        raise RestnetError(
            f"{spec}: not in Keras' cache, and it cannot be downloaded ({_line(error)}); "
            f"where there is no network, put {wanted} into {cache}"
        ) from error
    arrays = {"x_train": x_train, "y_train": y_train, "x_test": x_test, "y_test": y_test}
    if class_names is not None:
        arrays["class_names"] = np.asarray(class_names)
    return _from_arrays(name, spec, arrays)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


# --- Sources: arrays ------------------------------------------------------------------------------


def _npz_arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        with zipfile.ZipFile(path) as archive:
            return {
                info.filename.removesuffix(".npy"): _npz_member(path, archive, info)
                for info in archive.infolist()
            }
    except (zipfile.BadZipFile, zlib.error, ValueError, EOFError, RuntimeError) as error:
        raise RestnetError(f"{path}: not a readable .npz file: {_line(error)}") from error


def _npz_member(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
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


def _from_arrays(name: str, spec: str, arrays: dict[str, np.ndarray]) -> _Source:
    left = dict(arrays)
    class_names = left.pop("class_names", None)
    if "x" in left and any(key.startswith("x_") for key in left):
        raise RestnetError(f"{spec}: both x and {next(k for k in left if k.startswith('x_'))}; give one form")
    if "x" in left:
        pairs = {"fit": (left.pop("x"), left.pop("y", None))}
    else:
        xs, ys = ({split: _popped(spec, left, prefix, split) for split in _SPLITS} for prefix in "xy")
        pairs = {split: (x, ys[split]) for split, x in xs.items() if x is not None}
        if alone := [_ALIASES[split][0] for split in _SPLITS if xs[split] is None and ys[split] is not None]:
            raise RestnetError(f"{spec}: labels, but no images (x) for {', '.join(alone)}")
    if "fit" not in pairs:
        raise RestnetError(f"{spec}: neither x nor x_train among its arrays ({', '.join(arrays) or 'none'})")
    if left:
        warnings.warn(f"{spec}: not used: {', '.join(left)}", stacklevel=4)
    parts = {split: _array_part(f"{spec}: {split}", x, y) for split, (x, y) in pairs.items()}
    return _Source(name, parts, _names(spec, class_names))


def _popped(spec: str, arrays: dict[str, np.ndarray], prefix: str, split: str) -> np.ndarray | None:
    found = [key for alias in _ALIASES[split] if (key := f"{prefix}_{alias}") in arrays]
    if len(found) > 1:
        raise RestnetError(f"{spec}: {' and '.join(found)} mean the same split; keep one")
    return arrays.pop(found[0]) if found else None


def _names(spec: str, names: np.ndarray | None) -> tuple[str, ...] | None:
    if names is None:
        return None
    if names.ndim != 1 or names.dtype.kind != "U":
        raise RestnetError(f"{spec}: class_names must be a list of strings, not {names.dtype}{names.shape}")
    return tuple(names.tolist())


def _array_part(where: str, x: np.ndarray, y: np.ndarray | None) -> _Part:
    pixels = _raw_pixels(where, x)
    labels = None if y is None else _integer_labels(where, y, len(pixels))
    contents = tuple(_content(pixels.shape[1:], image.tobytes()) for image in pixels)
    return _Part(Pixels(pixels, np.arange(len(pixels))), labels, contents)


def _raw_pixels(where: str, x: np.ndarray) -> np.ndarray:
    """``x`` as uint8 ``(n, h, w, c)``; RestnetError where that would change a value."""
    if x.ndim == 3:
        x = x[..., np.newaxis]
    if x.ndim != 4 or x.shape[-1] not in (1, 3) or 0 in x.shape[1:3]:
        raise RestnetError(f"{where}: images of shape {x.shape}; (n, h, w) or (n, h, w, 1 or 3) is needed")
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
            "are needed: undo the scaling and save them as uint8"
        )
    return raw


def _integer_labels(where: str, y: np.ndarray, n: int) -> np.ndarray:
    """``y`` as int64 ``(n,)``, from class numbers ``(n,)`` or ``(n, 1)`` or one-hot rows ``(n, k)``."""
    if y.shape[:1] != (n,):
        raise RestnetError(
            f"{where}: {n} images, but labels of shape {y.shape}; one label an image is needed"
        )
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim > 2 or y.dtype.kind not in "biuf":
        raise RestnetError(
            f"{where}: labels of type {y.dtype}{y.shape}; whole numbers or one-hot rows are needed"
        )
    if y.ndim == 2:
        if not (np.isin(y, (0, 1)).all() and (y.sum(axis=1) == 1).all()):
            raise RestnetError(f"{where}: labels of shape {y.shape} that are not one-hot; give class numbers")
        return y.argmax(axis=1).astype(np.int64)
    if not np.isfinite(y).all() or (y != np.floor(y)).any():
        raise RestnetError(f"{where}: labels that are no whole numbers; give class numbers 0, 1, ...")
    if n and y.min() < 0:
        raise RestnetError(f"{where}: negative label {y.min():g}; class numbers start at 0")
    return y.astype(np.int64)


# --- Sources: folders -----------------------------------------------------------------------------


_Tree = dict[str | None, list[str]]  # class name -> image paths; None -> unlabelled ones


def _folder(root: Path) -> _Source:
    strays: list[str] = []
    trees = {split: _tree(folder, strays) for split, folder in _split_folders(root, strays).items()}
    class_names = _class_names(root, trees)
    if strays:
        named = ", ".join(sorted(strays)[:3]) + (", ..." if len(strays) > 3 else "")
        warnings.warn(f"{root}: {len(strays)} files without an image suffix left out: {named}", stacklevel=4)
    contents = _contents(root, [path for tree in trees.values() for paths in tree.values() for path in paths])
    parts = {split: _file_part(tree, class_names, contents) for split, tree in trees.items()}
    skipped = tuple(sorted(path for path, content in contents.items() if content is None))
    return _Source(root.resolve().name, parts, class_names, skipped)


def _split_folders(root: Path, strays: list[str]) -> dict[str, Path]:
    """The folder of each split that is given; the whole root as "fit" where none is."""
    folders = {path.name.lower(): path for path in _visible(root) if path.is_dir()}
    known = {alias for aliases in _ALIASES.values() for alias in aliases}
    given = known & folders.keys()
    others = sorted(folders.keys() - known)
    if not given or (others and len(given) == 1):
        return {"fit": root}  # "train" beside "truck" and "bus" is a class
    if "train" not in given or others:
        wrong = f"has also {', '.join(others)}" if others else "has no train folder"
        raise RestnetError(
            f"{root}: has {', '.join(sorted(given))}, but {wrong}; give train, validation and test"
        )
    if images := _sorted_out([path for path in _visible(root) if path.is_file()], strays):
        raise RestnetError(
            f"{root}: {len(images)} images beside train, such as {images[0]}; move them into a split"
        )
    found = {split: [folders[a] for a in aliases if a in given] for split, aliases in _ALIASES.items()}
    for same in found.values():
        if len(same) > 1:
            raise RestnetError(f"{root}: {' and '.join(f.name for f in same)} mean the same split; keep one")
    return {split: same[0] for split, same in found.items() if same}


def _visible(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _sorted_out(files: Iterable[Path], strays: list[str]) -> list[str]:
    """The images among the files; the others are added to ``strays``."""
    images: list[str] = []
    for path in files:
        (images if path.suffix.lower() in _SUFFIXES else strays).append(str(path))
    return images


def _tree(folder: Path, strays: list[str]) -> _Tree:
    children = _visible(folder)
    loose = _sorted_out([path for path in children if path.is_file()], strays)
    classes: _Tree = {path.name: _below(path, strays) for path in children if path.is_dir()}
    if not any(classes.values()):
        return {None: loose}
    if loose:
        raise RestnetError(
            f"{folder}: {len(loose)} images beside the class folders, such as {loose[0]}; "
            "put every image into a class folder, or none"
        )
    return classes


def _below(folder: Path, strays: list[str]) -> list[str]:
    children = _visible(folder)
    images = _sorted_out([path for path in children if path.is_file()], strays)
    return images + [image for path in children if path.is_dir() for image in _below(path, strays)]


def _class_names(root: Path, trees: dict[str, _Tree]) -> tuple[str, ...] | None:
    """The class folders of the training images, sorted; None for unlabelled images."""
    if not any(paths for tree in trees.values() for paths in tree.values()):
        raise RestnetError(f"{root}: no images in it ({', '.join(_SUFFIXES)}); give {_ACCEPTED}")
    labelled = [split for split, tree in trees.items() if None not in tree]
    if not labelled:
        return None
    if len(labelled) < len(trees):
        raise RestnetError(
            f"{root}: class folders in {', '.join(_ALIASES[split][0] for split in labelled)} only; "
            "label every split, or none"
        )
    names = tuple(sorted(name for name in trees["fit"] if name is not None))
    if len(names) == 1:
        raise RestnetError(
            f"{root}: one class only ({names[0]}); give two or more class folders, "
            "or unlabelled images without a sub-folder"
        )
    if empty := [name for name in names if not trees["fit"][name]]:
        raise RestnetError(f"{root}: no images in class folder {', '.join(empty)}; fill it or remove it")
    for split, tree in trees.items():
        if extra := sorted(str(name) for name, paths in tree.items() if paths and name not in names):
            raise RestnetError(f"{root}: classes in {_ALIASES[split][0]} only: {', '.join(extra)}")
    return names


def _contents(root: Path, paths: list[str]) -> dict[str, bytes | None]:
    """Path -> content hash, None for what does not decode; RestnetError where that is too many."""
    contents = dict(zip(paths, _examined_all(paths), strict=True))
    corrupt = [path for path, content in contents.items() if content is None]
    if len(corrupt) == len(paths):
        raise RestnetError(f"{root}: none of its {len(paths)} images can be decoded, such as {corrupt[0]}")
    if len(corrupt) > _CORRUPT_LIMIT * len(paths):
        raise RestnetError(
            f"{root}: {len(corrupt)} of {len(paths)} images cannot be decoded, more than "
            f"{_CORRUPT_LIMIT:.0%}: {', '.join(corrupt[:3])}{', ...' if len(corrupt) > 3 else ''}"
        )
    return contents


def _file_part(tree: _Tree, class_names: tuple[str, ...] | None, contents: dict[str, bytes | None]) -> _Part:
    good = [
        (path, content, -1 if name is None or class_names is None else class_names.index(name))
        for name, paths in tree.items()
        for path in paths
        if (content := contents[path]) is not None
    ]
    labels = None if class_names is None else np.asarray([label for *_, label in good], np.int64)
    return _Part(Files(tuple(path for path, *_ in good)), labels, tuple(content for _, content, _ in good))
