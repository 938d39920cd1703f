"""What files answer to the rank and the test split, run by the interpreter once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from tflite_export.devices import host

SPLITS = ("rank", "test")

Shape = tuple[int, ...]
Key = tuple[str, str, Shape]  # a file: its point, precision and input shape
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
        together: Callable[[str, Sequence[Key]], Iterator[np.ndarray]] | None = None,
    ) -> None:
        """``path`` names the file of a point in a precision, ``shapes`` what the points take.

        ``together`` asks many files about a split at once, where more than one process can.
        """
        self._path, self._shapes, self._images, self._splits = path, shapes, images, splits
        self._together = together
        self._kept: dict[Key, dict[str, np.ndarray]] = {}

    def gather(self, files: Sequence[tuple[str, str]], splits: Sequence[str]) -> None:
        """Ask files, by point and precision, at once where that can be; what they answer is given when it is asked."""
        if self._together is None:
            return
        for split in splits:
            named = [(point, precision, self._shapes[point]) for point, precision in files]
            keys = [key for key in named if split not in self._kept.get(key, {})]
            for key, scores in zip(keys, self._together(split, keys), strict=True):
                self._kept.setdefault(key, {})[split] = scores

    def of(self, point: str, precision: str) -> dict[str, np.ndarray]:
        """Of a point's own file."""
        return self.resized(point, precision, self._shapes[point], self._content(point, precision))

    def on(self, split: str, point: str, precision: str) -> np.ndarray:
        """Of a point's own file, to one split alone."""
        shape = self._shapes[point]
        return self._answered((point, precision, shape), [split], self._content(point, precision))[split]

    def resized(self, point: str, precision: str, shape: Shape, content: Callable[[], bytes]) -> dict[str, np.ndarray]:
        """Of a point that is given images of another shape; ``content`` is the file that takes them."""
        return dict(self._answered((point, precision, shape), self._splits, content))

    def _content(self, point: str, precision: str) -> Callable[[], bytes]:
        return lambda: self._path(point, precision).read_bytes()

    def _answered(self, key: Key, splits: Sequence[str], content: Callable[[], bytes]) -> dict[str, np.ndarray]:
        """What is known of a file, with its answers to these splits."""
        answers = self._kept.setdefault(key, {})
        if missing := [split for split in splits if split not in answers]:
            file = content()
            answers |= {split: host.scores(file, self._images(split, key[2])) for split in missing}
        return answers

    def forget(self, point: str, precision: str) -> None:
        """Let go of what an older file answered."""
        self._kept = {key: value for key, value in self._kept.items() if key[:2] != (point, precision)}
