"""What the user names becomes three disjoint splits: ``fit`` trains, ``rank`` decides, ``test`` reports.

Files stay on disk and only their paths are kept; an array of an ``.npz`` that is stored uncompressed
(``numpy.savez``) is memory-mapped, a compressed one is held in memory. Content decides where an image
goes, never its name: equal pixels share a split, and renaming or re-ordering files changes nothing.
"""

from __future__ import annotations

import hashlib
import warnings
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from restnet_tf.data import sources
from restnet_tf.data.batches import Blocks, Decoded, ImageReader
from restnet_tf.data.images import THREADS, Encoded, Files, Images, Pixels, fit
from restnet_tf.data.sources import ALIASES, SPLITS, ImageSet, Listing
from restnet_tf.data.values import Values, misfit, shaped
from restnet_tf.records import RestnetError, RestnetWarning
from tflite_export.inputs import InputKind

if TYPE_CHECKING:
    import tensorflow as tf

_SHARE = 0.15  # of the images, for each split that has to be cut from the training images
_LEAST_IN_ALL, _LEAST_IN_SPLIT = 16, 4
_SHOWN = 5


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

    @property
    def kind(self) -> InputKind:
        """What the numbers of an example are; of values that are no photos one pass over all of them."""
        return self.images.kind

    def check(self, shape: tuple[int, ...]) -> None:
        """Raise RestnetError where a model of that input shape cannot be fed."""
        if isinstance(self.images, Values):
            if not shaped(self.images.shape, shape):
                raise RestnetError(misfit(self.images.shape, shape))
        elif len(shape) != 3 or shape[2] not in (1, 3):
            raise RestnetError(
                "images are grey (1) or RGB (3 channels); a model that takes"
                f" {shape[2] if len(shape) == 3 else shape} cannot be fed;"
                " if the data are no photos, write values: in front of their name"
            )

    def first(self, shape: tuple[int, ...], count: int) -> np.ndarray:
        """The first few inputs, float32 ``(n, *shape)`` as ``batches`` gives them, without TensorFlow."""
        self.check(shape)
        images, rows = self.images, np.arange(min(count, len(self)))
        if isinstance(images, Values) or (isinstance(images, Pixels) and images.shape == tuple(shape)):
            return images.block(rows).reshape(-1, *shape).astype(np.float32)
        height, width, channels = shape
        fitted = [fit(images.image(int(row)), (height, width, channels)) for row in rows]
        return np.stack(fitted).astype(np.float32)

    def batches(self, shape: tuple[int, ...], batch: int, order: np.ndarray | None = None) -> Iterable[tf.Tensor]:
        """The images in ``order`` (indices into the split; default: natural) for a model's input.

        Yields float32 ``(b, h, w, c)`` with whole numbers 0..255; ``b`` is ``batch``, less in the last. Values that
        are no photos come as they are, ``(b, *shape)``.
        Centre crop to the aspect of ``shape``, antialiased bilinear resize, grey for ``c == 1``, RGB for 3.
        Decodes in parallel about four batches ahead, in order; the values do not depend on the thread count.
        Raises RestnetError for another ``c``, ValueError for indices or a batch that make no sense; and, where
        it is iterated, RestnetError for an image that can no longer be read.
        """
        self.check(shape)
        if batch < 1:
            raise ValueError(f"batch must be at least 1, not {batch}")
        images, rows = self.images, _checked_order(order, len(self))
        if isinstance(images, Values):
            return Blocks(lambda rows: images.block(rows).reshape(-1, *shape), rows, batch)
        if isinstance(images, Pixels) and images.shape == tuple(shape):
            return Blocks(images.block, rows, batch)
        return _decoded(images, (shape[0], shape[1], shape[2]), rows, batch)


def load(spec: str, *, seed: int = 0) -> Data:
    """Fit, rank and test splits of what ``spec`` names; the same for the same contents and ``seed``.

    ``spec``: a folder with a sub-folder per class; ``train`` / ``validation`` (``val``, ``valid``) /
    ``test`` folders of either kind; a flat folder of unlabelled images; an ``.npz`` with ``x`` [``y``] or
    ``x_train``, ``x_val``, ``x_test`` ... [``class_names``]; ``digits`` (scikit-learn's); ``cluttered-digits`` (made
    of these); ``keras:cifar10`` and the like. Numbers that are no photos are taken as they are (``values:`` in front of
    the name says so where they could be photos): ``(n, h, w, c)``, ``(n, t, c)`` or ``(n, t)``.
    Splits that the data brings are kept as given, with a warning where they share images; a missing one is cut from
    the training images by content: 15 % each, every class in every split.
    Inside a split the order is shuffled, so that contiguous batches mix the classes.
    ``Data.sha256`` covers pixels, labels, class names, split membership and order, but no file name.
    Raises RestnetError for whatever cannot be used; files that do not decode are in ``Data.skipped``.
    """
    try:
        source = sources.find(spec)
    except OSError as error:
        raise RestnetError(f"{spec}: cannot be read: {error}") from error
    _check(spec, source)
    _warn_of_overlap(source)
    _warn_of_small_classes(source)
    parts = _complete(spec, source.parts, seed)
    parts = {name: _shuffled(parts[name], f"{seed}:{name}") for name in SPLITS}
    fit, rank, test = (Split(name, parts[name].images, parts[name].labels) for name in SPLITS)
    whole, tested = (_sha256(parts, names, source.class_names) for names in (SPLITS, ("test",)))
    return Data(source.name, fit, rank, test, source.class_names, whole, source.skipped, tested)


def _decoded(images: Files | Encoded | Pixels, shape: tuple[int, int, int], rows: np.ndarray, batch: int) -> Decoded:
    import tensorflow as tf

    reader = ImageReader(lambda row: fit(images.image(row), shape))
    stream = tf.data.Dataset.from_tensor_slices(rows).map(
        lambda row: tf.numpy_function(reader, [row], "uint8"), num_parallel_calls=THREADS, deterministic=True
    )
    stream = stream.batch(batch).map(lambda x: tf.cast(tf.ensure_shape(x, (None, *shape)), tf.float32))
    options = tf.data.Options()
    options.autotune.enabled = False  # it would buffer up to half of the machine's memory
    return Decoded(stream.prefetch(2).with_options(options), reader)


def _checked_order(order: np.ndarray | None, n: int) -> np.ndarray:
    if order is None:
        return np.arange(n)
    order = np.asarray(order)
    if order.ndim != 1 or (order.size and (order.dtype.kind not in "iu" or order.min() < 0 or order.max() >= n)):
        raise ValueError(f"order must be a list of indices 0..{n - 1}")
    return order.astype(np.int64)


def _check(spec: str, source: Listing) -> None:
    total = sum(len(part.contents) for part in source.parts.values())
    if total < _LEAST_IN_ALL:
        raise RestnetError(f"{spec}: {total} {_many(source)}; at least {_LEAST_IN_ALL} are needed")
    every = [part.labels for part in source.parts.values() if part.labels is not None]  # fit's first
    if not every:
        return
    if len(every) != len(source.parts):
        missing = [ALIASES[name][0] for name, part in source.parts.items() if part.labels is None]
        raise RestnetError(f"{spec}: no labels for {', '.join(missing)}: label every split, or none")
    if np.unique(every[0]).size < 2:
        raise RestnetError(
            f"{spec}: the training {_many(source)} are of one class only; give two or more, or no labels"
        )
    top = max(int(labels.max(initial=0)) for labels in every)
    if source.class_names is not None and top >= len(source.class_names):
        raise RestnetError(f"{spec}: label {top}, but only {len(source.class_names)} class names")


def _many(source: Listing) -> str:
    """What inputs are called."""
    return source.parts["fit"].images.kind.many


def _warn_of_overlap(source: Listing) -> None:
    names = [name for name in SPLITS if name in source.parts]
    for i, first in enumerate(names):
        for second in names[i + 1 :]:
            contents = set(source.parts[first].contents)
            shared = sum(content in contents for content in source.parts[second].contents)
            if shared:
                first_name, second_name, many = ALIASES[first][0], ALIASES[second][0], _many(source)
                warnings.warn(
                    f"{source.name}: {shared} of the {second_name} {many} are {first_name} {many} too "
                    "(the splits are used as given)",
                    RestnetWarning,
                    stacklevel=3,
                )


def _warn_of_small_classes(source: Listing) -> None:
    """Say which classes have too few training images to be in every split that is cut from these."""
    fit, names = source.parts["fit"], source.class_names
    if fit.labels is None:
        return
    few = {label: count for label, count in _sizes(fit).items() if count < len(SPLITS)}
    said = [f"{names[label] if names else f'class {label}'} {count}" for label, count in few.items()]
    if said:
        many = _many(source)
        listed = ", ".join(said[:_SHOWN]) + (", ..." if len(said) > _SHOWN else "")
        warnings.warn(
            f"{source.name}: {len(said)} classes of one or two training {many}, too few to learn or to be tested on"
            f" ({many}: {listed}); give more of them, or leave these classes out",
            RestnetWarning,
            stacklevel=3,
        )


def _sizes(part: ImageSet) -> dict[int, int]:
    """How many different images each label has."""
    different = set(zip(part.contents, np.asarray(part.labels).tolist(), strict=True))
    return dict(sorted(Counter(label for _, label in different).items()))


def _complete(spec: str, parts: dict[str, ImageSet], seed: int) -> dict[str, ImageSet]:
    """All three splits: those that are missing are cut from the training images."""
    missing = [name for name in ("rank", "test") if name not in parts]
    whole, parts = parts["fit"], dict(parts)
    # Few images: 15 % of them are not enough for a split, so a larger share is tried.
    for share in (_SHARE, 0.2, 0.25, 0.3, 1 / 3) if missing else ():
        home = _homes(_by_class(whole, seed), missing, share)
        for name in ("fit", *missing):
            parts[name] = whole.take([i for i, c in enumerate(whole.contents) if home[c] == name])
        if all(len(parts[name].images) >= _LEAST_IN_SPLIT for name in SPLITS):
            break
    for name in SPLITS:
        if (count := len(parts[name].images)) < _LEAST_IN_SPLIT:
            many = whole.images.kind.many
            detail = f" (cut from {len(set(whole.contents))} different {many})" if name in missing else ""
            raise RestnetError(
                f"{spec}: {count} {many} in the {ALIASES[name][0]} split{detail}; "
                f"at least {_LEAST_IN_SPLIT} are needed in each"
            )
    return parts


def _by_class(part: ImageSet, seed: int) -> list[list[bytes]]:
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


def _shuffled(part: ImageSet, seed: str) -> ImageSet:
    labels = np.zeros(len(part.contents)) if part.labels is None else part.labels
    by_content = sorted(range(len(part.contents)), key=lambda i: (part.contents[i], labels[i]))
    number = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8])
    return part.take(np.asarray(by_content)[np.random.default_rng(number).permutation(len(by_content))])


def _sha256(parts: dict[str, ImageSet], splits: Iterable[str], class_names: tuple[str, ...] | None) -> str:
    digest = hashlib.sha256(repr(class_names).encode())
    for name in splits:
        part = parts[name]
        digest.update(f"{name} {len(part.contents)} {part.labels is not None}".encode())
        digest.update(b"".join(part.contents))
        if part.labels is not None:
            digest.update(part.labels.astype("<i8").tobytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class Data:
    """Three disjoint sets of images: ``fit`` trains, ``rank`` decides, ``test`` only reports."""

    name: str
    fit: Split
    rank: Split
    test: Split
    class_names: tuple[str, ...] | None
    sha256: str
    skipped: tuple[str, ...] = ()
    test_sha256: str = ""  # as sha256, of the test split alone

    @cached_property
    def kind(self) -> InputKind:
        """What the numbers of an example are, and between what those of the fit split lie."""
        return self.fit.kind

    @property
    def classes(self) -> int:
        """How many classes there are; 0 without labels."""
        if self.class_names is not None:
            return len(self.class_names)
        return 0 if self.fit.labels is None else 1 + int(self.fit.labels.max())

    @property
    def labelled(self) -> bool:
        """Whether the images carry labels."""
        return self.fit.labels is not None
