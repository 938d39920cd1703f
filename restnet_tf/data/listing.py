"""What a source of images comes to: which splits were given, and what is in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from restnet_tf.data.images import Images

# What each split is called in arrays (``x_train``); the first is what a person is told.
ALIASES = {"fit": ("train",), "rank": ("validation", "val", "valid"), "test": ("test",)}
SPLITS = tuple(ALIASES)


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images that belong together, with the content hash of each."""

    images: Images
    labels: np.ndarray | None
    contents: tuple[bytes, ...]

    def take(self, rows: Sequence[int] | np.ndarray) -> ImageSet:
        """The images at ``rows``, in that order."""
        labels = None if self.labels is None else self.labels[np.asarray(rows, np.int64)]
        return ImageSet(self.images.take(rows), labels, tuple(self.contents[i] for i in rows))


@dataclass(frozen=True, eq=False)
class Listing:
    """What the user named: ``parts`` holds "fit" and whichever other splits were given."""

    name: str
    parts: dict[str, ImageSet]
    class_names: tuple[str, ...] | None = None
    skipped: tuple[str, ...] = ()
