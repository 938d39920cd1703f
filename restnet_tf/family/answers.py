"""What files answer to the rank and the test split, run by the interpreter once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from tflite_export.devices import host

SPLITS = ("rank", "test")

Shape = tuple[int, int, int]
# Batches ``(b, h, w, c)`` of a split by its name, as a network of that input shape takes them.
Images = Callable[[str, Shape], Iterator[np.ndarray]]


class Answers:
    """Scores ``(n, classes)`` of a run's files by split; those of one file are kept."""

    def __init__(
        self,
        path: Callable[[str, str], Path],
        shapes: Mapping[str, Shape],
        images: Images,
        splits: Sequence[str] = SPLITS,
    ) -> None:
        """``path`` names the file of a point in a precision, ``shapes`` what the points take."""
        self._path, self._shapes, self._images, self._splits = path, shapes, images, splits
        self._kept: dict[tuple[str, str, Shape], dict[str, np.ndarray]] = {}

    def of(self, point: str, precision: str) -> dict[str, np.ndarray]:
        """Of a point's own file."""
        shape = self._shapes[point]
        return self.resized(point, precision, shape, lambda: self._path(point, precision).read_bytes())

    def resized(self, point: str, precision: str, shape: Shape, content: Callable[[], bytes]) -> dict[str, np.ndarray]:
        """Of a point that is given images of another shape; ``content`` is the file that takes them."""
        key = (point, precision, shape)
        if key not in self._kept:
            file = content()
            self._kept[key] = {split: host.scores(file, self._images(split, shape)) for split in self._splits}
        return self._kept[key]

    def forget(self, point: str, precision: str) -> None:
        """Let go of what an older file answered."""
        self._kept = {key: value for key, value in self._kept.items() if key[:2] != (point, precision)}
