"""Inputs that are no photos: signals and grids of numbers of any range, taken as they are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from restnet_tf.records import RestnetError
from tflite_export.inputs import RAW, InputKind

# In front of what --data names: numbers are taken as they are, even where they could be photos.
PREFIX = "values:"
_BLOCK = 1024
_PHOTO_CHANNELS = (1, 3)


@dataclass(frozen=True, eq=False)
class Values:
    """Rows of an array ``(n, h, w, c)`` or ``(n, t, c)`` of numbers, in memory or memory-mapped."""

    array: np.ndarray
    rows: np.ndarray

    def __len__(self) -> int:
        """How many examples."""
        return len(self.rows)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one example."""
        return tuple(self.array.shape[1:])

    @cached_property
    def kind(self) -> InputKind:
        """No photos, and between what they lie; one pass over all of them."""
        ends = [(block.min(), block.max()) for block in self._blocks()]
        return InputKind(False, float(min(low for low, _ in ends)), float(max(high for _, high in ends)))

    def take(self, rows: Sequence[int] | np.ndarray) -> Values:
        """The examples at ``rows``, in that order."""
        return Values(self.array, self.rows[np.asarray(rows, np.int64)])

    def block(self, rows: np.ndarray) -> np.ndarray:
        """The examples at ``rows``: float32 ``(len(rows), *shape)``."""
        return np.asarray(self.array[self.rows[rows]], np.float32)

    def _blocks(self) -> Iterable[np.ndarray]:
        return (self.array[self.rows[start : start + _BLOCK]] for start in range(0, len(self), _BLOCK))


def meant(x: np.ndarray) -> bool:
    """Whether an array can be no photos: complex, of negative numbers, or of another shape than images have.

    Floats that may be scaled photos, 0..1 or -1..1 with one or three channels, are not: these are refused as photos.
    """
    if x.dtype.kind == "c":
        return True
    if x.dtype.kind not in "if" or x.ndim not in (2, 3, 4) or x.size == 0:
        return False
    low, high = float(x.min()), float(x.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        return False
    if x.ndim == 4 and x.dtype.kind == "f" and x.shape[-1] not in _PHOTO_CHANNELS:
        return True
    least = -1.0 if x.ndim == 4 and x.dtype.kind == "f" else RAW[0]  # grids of -1..1 may be scaled photos
    return low < least or high > RAW[1]


def of_array(where: str, x: np.ndarray) -> Values:
    """An array ``(n, h, w, c)``, ``(n, t, c)`` or ``(n, t)`` as it is; complex numbers as two channels.

    Raises RestnetError for another shape or type, and for values that are not finite.
    """
    if x.dtype.kind == "c":
        x = x.astype(np.complex64, copy=False)
        x = np.stack([x.real, x.imag], axis=-1).reshape(*x.shape[:2], *x.shape[2:-1], -1)
    if x.ndim == 2:
        x = x[..., np.newaxis]
    if x.ndim not in (3, 4) or 0 in x.shape[1:] or x.dtype.kind not in "iuf":
        raise RestnetError(
            f"{where}: an array of {x.dtype}{x.shape}; numbers of (n, h, w, c), (n, t, c) or (n, t) are needed"
        )
    values = Values(x, np.arange(len(x)))
    for start, block in zip(range(0, len(x), _BLOCK), values._blocks(), strict=False):
        bad = np.flatnonzero(~np.isfinite(block.reshape(len(block), -1)).all(axis=1))
        if len(bad):
            raise RestnetError(f"{where}: example {start + bad[0]} holds NaN or infinity; mend it or leave it out")
    return values


def shaped(own: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    """Whether examples of one shape are those of another but for sides of 1, so that no value has to change."""
    return [side for side in own if side != 1] == [side for side in shape if side != 1]


def misfit(own: tuple[int, ...], shape: tuple[int, ...]) -> str:
    """What to say where they are not."""
    return (
        f"the model takes {shape}, but an example of the data is {own}; only photos are resized,"
        f" so give a model that takes {own}"
    )
