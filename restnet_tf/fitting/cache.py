"""Features of a fixed set of images, on disk: computed once, read by every fit.

One folder holds ``.npy`` files, memory-mapped when read: float16 features of cuts, float32 logits and
penultimate features. A folder appears whole or not at all.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np

from restnet_tf.graph import cuts, infer
from restnet_tf.records import Anchor

if TYPE_CHECKING:
    from restnet_tf.data.splits import Split

# What can be cached of an anchor beside its cuts.
INPUT, LOGITS, PENULTIMATE = "input", "logits", "penultimate"
_EXACT = (LOGITS, PENULTIMATE)
_HALF_MAX = float(np.finfo(np.float16).max)


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
        found = self._open("labels")
        return found if found.shape[1] else None

    def path(self, name: str) -> Path:
        """The file of ``<role>.<cut>``, ``<role>.logits``, ``<role>.penultimate`` or ``labels``."""
        return self.folder / f"{_file_name(name)}.npy"

    def _open(self, name: str) -> np.ndarray:
        return np.load(self.path(name), mmap_mode="r")


def bytes_per_image(anchors: Mapping[str, Anchor], wanted: Mapping[str, Iterable[str]]) -> int:
    """Disk bytes that one image takes with this cached."""
    return sum(
        (4 if name in _EXACT else 2) * prod(_watched(anchors[role], name).shape[1:])
        for role in wanted
        for name in wanted[role]
    )


def fill(
    folder: Path,
    anchors: Mapping[str, Anchor],
    wanted: Mapping[str, Iterable[str]],
    batches: Iterable[tuple[Mapping[str, Any], np.ndarray]],
    count: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Cache:
    """Run the anchors over ``count`` images once and keep what ``wanted`` names, by role.

    ``batches`` yields the images of each role and their label mixtures. A folder that is there
    already is taken as it is.
    """
    if folder.exists():
        return Cache(folder)
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    runs = {role: _runner(anchors[role], tuple(names)) for role, names in wanted.items() if names}
    files: dict[str, np.memmap] = {}

    def write(name: str, rows: np.ndarray, dtype: type, at: int) -> None:
        if name not in files:
            path = partial / f"{_file_name(name)}.npy"
            files[name] = np.lib.format.open_memmap(path, "w+", dtype, (count, *rows.shape[1:]))
        files[name][at : at + len(rows)] = rows

    done = 0
    for images, labels in batches:
        write("labels", labels, np.float32, done)
        for role, run in runs.items():
            for name, rows in run(images[role]).items():
                exact = name in _EXACT
                rows = np.asarray(rows) if exact else np.clip(rows, -_HALF_MAX, _HALF_MAX)
                write(f"{role}.{name}", rows, np.float32 if exact else np.float16, done)
        done += len(labels)
        progress(done, count)
    for array in files.values():
        array.flush()
    partial.rename(folder)
    return Cache(folder)


def plain(split: Split, anchors: Mapping[str, Anchor], batch: int = 64) -> Iterable[tuple[dict[str, Any], np.ndarray]]:
    """A split's own images at every anchor's input shape, with one-hot labels: what ``fill`` reads."""
    classes = next(iter(anchors.values())).classes
    labels = np.zeros((len(split), 0)) if split.labels is None else np.eye(classes)[split.labels]
    streams = [split.batches(anchor.input_shape, batch) for anchor in anchors.values()]
    for index, images in enumerate(zip(*streams, strict=True)):
        yield dict(zip(anchors, images, strict=True)), labels[index * batch : (index + 1) * batch]


def _runner(anchor: Anchor, names: tuple[str, ...]) -> Callable[[Any], dict[str, Any]]:
    import keras
    import tensorflow as tf

    model = keras.Model(anchor.model.inputs[0], {name: _watched(anchor, name) for name in names})
    run = infer.compiled(model)
    return lambda images: run(tf.convert_to_tensor(images, tf.float32))


def _watched(anchor: Anchor, name: str) -> Any:
    known = {INPUT: anchor.model.inputs[0], LOGITS: anchor.logits, PENULTIMATE: anchor.features}
    return known[name] if name in known else cuts.tensor(anchor.model, name)


def _file_name(name: str) -> str:
    return quote(name, safe="")  # Keras names may hold slashes
