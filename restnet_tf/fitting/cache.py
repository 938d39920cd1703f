"""Features of a fixed set of images, on disk: computed once, read by every fit.

One folder holds ``.npy`` files, memory-mapped when read: float16 features of cuts, float32 logits and
penultimate features. A folder appears whole or not at all.
"""

from __future__ import annotations

import json
import mmap
import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import quote

import numpy as np

from restnet_tf import atomic
from restnet_tf.graph import cuts, finite, infer
from restnet_tf.records import Anchor, RestnetError

if TYPE_CHECKING:
    from restnet_tf.data.splits import Split

# What can be cached of an anchor beside its cuts.
INPUT, LOGITS, PENULTIMATE = "input", "logits", "penultimate"
_EXACT = (LOGITS, PENULTIMATE)
# In a folder that is being filled: what it will hold, and which pieces it does.
_LAYOUT, _PIECE = "layout.json", "piece"
# Each write is on the disk when it returns: what a machine keeps of a file it may fill up to whole pages later.
_IN_PLACE = os.O_WRONLY | getattr(os, "O_DSYNC", 0) | getattr(os, "O_BINARY", 0)
_HALF_MAX = float(np.finfo(np.float16).max)

# Images by role, as raw batches ``(b, h, w, c)``, and their label mixtures ``(b, classes)`` or ``(b, 0)``.
Batches = Iterable[tuple[Mapping[str, Any], np.ndarray]]


@dataclass(frozen=True)
class Cache:
    """A filled folder; every array has one row an image, in the same order."""

    folder: Path

    def features(self, role: str, cut: str) -> np.ndarray:
        """Float16 ``(n, ...)`` at a cut of an anchor, or its images at ``INPUT``."""
        return self._open(f"{role}.{cut}")

    def logits(self, role: str) -> np.ndarray:
        """Float32 ``(n, classes)`` of an anchor."""
        return self._open(f"{role}.{LOGITS}")

    def penultimate(self, role: str) -> np.ndarray:
        """Float32 ``(n, d)``: what the anchor's classifier reads."""
        return self._open(f"{role}.{PENULTIMATE}")

    def labels(self) -> np.ndarray | None:
        """Float32 ``(n, classes)`` mixtures of labels; None where the images have none."""
        labels = self._open("labels")
        return labels if labels.shape[1] else None

    def path(self, name: str) -> Path:
        """The file of ``<role>.<cut>``, ``<role>.logits``, ``<role>.penultimate`` or ``labels``."""
        return self.folder / f"{_file_name(name)}.npy"

    def _open(self, name: str) -> np.ndarray:
        return np.load(self.path(name), mmap_mode="r")


def content(anchor: str, name: str) -> str:
    """What is cached of an anchor, as errors call it."""
    names = {INPUT: f"the inputs of {anchor}", LOGITS: finite.logits(anchor)}
    return names.get(name) or finite.features(anchor, "its classifier" if name == PENULTIMATE else name)


def bytes_per_image(anchors: Mapping[str, Anchor], contents: Mapping[str, Iterable[str]]) -> int:
    """Disk bytes that one image takes with these contents, by role."""
    return sum(
        (4 if name in _EXACT else 2) * prod(_tensor(anchors[role], name).shape[1:])
        for role, names in contents.items()
        for name in names
    )


def claim(
    folder: Path, anchors: Mapping[str, Anchor], contents: Mapping[str, Sequence[str]], labels: int, count: int
) -> Path:
    """A folder beside it with every file at its full size, to be written by pieces and then published.

    ``labels`` is how wide label mixtures are. What another process that was stopped wrote of the same stays. Raises
    ``RestnetError`` where the disk lacks the room.
    """
    shapes = {"labels": (labels,)} | {
        f"{role}.{name}": tuple(_tensor(anchors[role], name).shape[1:])
        for role, names in contents.items()
        for name in names
    }
    layout = json.dumps([count, sorted((name, *shape) for name, shape in shapes.items())])
    partial = _beside(folder)
    note = partial / _LAYOUT
    if note.exists() and note.read_text(encoding="utf-8") == layout:
        return partial
    drop(folder)
    atomic.check_room(folder, count * bytes_per_image(anchors, contents))
    partial.mkdir(parents=True)
    try:
        for name, shape in shapes.items():
            atomic.array(partial / f"{_file_name(name)}.npy", _dtype(name), (count, *shape))
        note.write_text(layout, encoding="utf-8")
    except RestnetError:
        drop(folder)  # it may have taken the last room on the disk
        raise
    return partial


def written(partial: Path) -> set[int]:
    """The first rows of the pieces that are in a claimed folder by now."""
    return {int(path.suffix[1:]) for path in partial.glob(f"{_PIECE}.*")}


def write_piece(
    partial: Path,
    runs: Mapping[str, FeatureRun],
    batches: Batches,
    count: int,
    at: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Write what batches come to into the files of ``count`` rows, from row ``at`` on, and a note that it is there.

    ``batches`` yields the images of each role and their label mixtures (``plain``, ``views.batches``). Pieces may be
    written at once, on any machine. Raises ``RestnetError`` where an anchor puts out NaN or infinity.
    """
    done = at
    with _Files(partial, count) as files:
        for images, labels in batches:
            files.write("labels", labels, done)
            for role, run in runs.items():
                for name, rows in run(images[role]).items():
                    exact = name in _EXACT
                    files.write(f"{role}.{name}", rows if exact else np.clip(rows, -_HALF_MAX, _HALF_MAX), done)
            done += len(labels)
            progress(done, count)
    (partial / f"{_PIECE}.{at}").touch()


def read(array: np.ndarray, rows: Any) -> np.ndarray:
    """Rows of a cached array, float32.

    Pages of its file that were read for them are let go: they would count as memory of this process, and Dask ends a
    worker for what the system could take back at any time.
    """
    values = np.array(array[rows], np.float32)
    mapped = getattr(array, "_mmap", None)
    if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):  # not on every system
        mapped.madvise(mmap.MADV_DONTNEED)
    return values


def publish(folder: Path) -> None:
    """Give a folder that is filled its name."""
    partial = _beside(folder)
    for note in (*partial.glob(_LAYOUT), *partial.glob(f"{_PIECE}.*")):
        note.unlink()
    partial.rename(folder)


def drop(folder: Path) -> None:
    """Give back the room of a folder that was claimed."""
    shutil.rmtree(_beside(folder), ignore_errors=True)


def runs(anchors: Mapping[str, Anchor], contents: Mapping[str, Iterable[str]]) -> dict[str, FeatureRun]:
    """What computes the contents, by role."""
    named = {role: tuple(names) for role, names in contents.items()}
    return {role: FeatureRun(role, anchors[role], names) for role, names in named.items() if names}


def _beside(folder: Path) -> Path:
    return folder.with_name(folder.name + ".partial")


def plain(
    split: Split, anchors: Mapping[str, Anchor], batch: int = 64, start: int = 0, stop: int | None = None
) -> Batches:
    """A split's own images at every anchor's input shape, with one-hot labels.

    ``start`` and ``stop`` are rows; ``start`` is that of a whole batch.
    """
    classes = next(iter(anchors.values())).classes
    labels = np.zeros((len(split), 0)) if split.labels is None else np.eye(classes)[split.labels]
    rows = np.arange(len(split))[start:stop]
    streams = [split.batches(anchor.input_shape, batch, order=rows) for anchor in anchors.values()]
    for index, images in enumerate(zip(*streams, strict=True)):
        yield dict(zip(anchors, images, strict=True)), labels[rows[index * batch : (index + 1) * batch]]


class _Files:
    """The arrays of a claimed folder, open to write rows into.

    Written, not mapped: over NFS a mapping sends whole pages, with what it took a neighbour's rows to be before these
    were there. For the same reason nothing is read of a file.
    """

    def __init__(self, folder: Path, count: int) -> None:
        self._folder, self._count = folder, count
        self._open: dict[str, BinaryIO] = {}

    def __enter__(self) -> _Files:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._open.values():
            file.close()

    def write(self, name: str, rows: np.ndarray, at: int) -> None:
        """Put rows ``(n, ...)`` behind ``at`` others."""
        if name not in self._open:
            self._open[name] = os.fdopen(os.open(self._folder / f"{_file_name(name)}.npy", _IN_PLACE), "wb")
        file, content = self._open[name], np.asarray(rows, _dtype(name)).tobytes()
        behind = (self._count - at) * (len(content) // len(rows))
        file.seek(os.fstat(file.fileno()).st_size - behind)
        file.write(content)


class FeatureRun:
    """An anchor from images to what is kept of it, by name; finite, or refused."""

    def __init__(self, role: str, anchor: Anchor, names: tuple[str, ...]) -> None:
        import keras

        self._contents = {name: content(f"{role} ({anchor.name})", name) for name in names}
        model = keras.Model(anchor.model.inputs[0], {name: _tensor(anchor, name) for name in names})
        self._model = infer.compiled(model)

    def __call__(self, images: Any) -> dict[str, np.ndarray]:
        """The contents of a batch of images ``(b, h, w, c)``, by name."""
        import tensorflow as tf

        outputs = self._model(tf.convert_to_tensor(images, tf.float32))
        rows = {name: np.asarray(values) for name, values in outputs.items()}
        for name, values in rows.items():
            finite.check(values, self._contents[name])
        return rows


def _tensor(anchor: Anchor, name: str) -> Any:
    tensors = {INPUT: anchor.model.inputs[0], LOGITS: anchor.logits, PENULTIMATE: anchor.features}
    return tensors[name] if name in tensors else cuts.tensor(anchor.model, name)


def _dtype(name: str) -> type:
    """Of what is kept by a name, with its role before it."""
    return np.float32 if name == "labels" or name.partition(".")[2] in _EXACT else np.float16


def _file_name(name: str) -> str:
    return quote(name, safe="")  # Keras names may hold slashes
