"""Batches of images: blocks of arrays as they lie, or what TensorFlow's threads decode ahead.

What their reading raised reaches who iterates them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from tflite_export.errors import DomainError

if TYPE_CHECKING:
    import tensorflow as tf


class ImageReader:
    """A function that reads images for a data set, and the errors of ours that it raised there.

    TensorFlow hands an exception on as text in one of its own; the exception itself is kept here.
    """

    def __init__(self, read: Callable[[Any], np.ndarray]) -> None:
        self._read = read
        self.errors: list[DomainError] = []

    def __call__(self, rows: Any) -> np.ndarray:
        """The images at ``rows``, as the function reads them."""
        try:
            return self._read(rows)
        except DomainError as error:
            self.errors.append(error)
            raise


class Blocks:
    """Batches of rows of an array ``(b, *shape)``, float32, read whenever they are iterated.

    Where nothing has to be decoded, setting up a data set takes longer than a small network takes for its images.
    """

    def __init__(self, read: Callable[[np.ndarray], np.ndarray], rows: np.ndarray, batch: int) -> None:
        self._read, self._rows, self._batch = read, rows, batch

    def __iter__(self) -> Iterator[tf.Tensor]:
        """Batch by batch."""
        import tensorflow as tf

        for at in range(0, len(self._rows), self._batch):
            yield tf.constant(self._read(self._rows[at : at + self._batch]), tf.float32)


class Decoded:
    """Batches of images ``(b, h, w, c)``, read anew whenever they are iterated."""

    def __init__(self, dataset: tf.data.Dataset, reader: ImageReader) -> None:
        self._dataset, self._reader = dataset, reader

    def __iter__(self) -> Iterator[tf.Tensor]:
        """Batch by batch; raises the ``DomainError`` that reading an image raised."""
        import tensorflow as tf

        self._reader.errors.clear()
        try:
            yield from self._dataset
        except tf.errors.OpError as error:
            if self._reader.errors:
                raise self._reader.errors[0] from error
            raise
