"""The plain records that pass between stages, and the one error that a user may see.

A stage is a function from records to records. Nothing here computes; whatever a stage needs to
know about another stage's result stands in a record.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import keras

    from restnet_tf.data import Split


class RestnetError(Exception):
    """Something the user gave cannot be used; the message says what, why and what would work."""


@dataclass(frozen=True)
class Anchor:
    """A pretrained model that takes raw 0..255 images, with its label space.

    ``model`` is functional with one input ``(n, h, w, c)`` and one output ``(n, classes)``.
    ``logits`` is the symbolic tensor before the softmax (the output itself where there is none, None
    for a model without a classifier), ``features`` the one that the classifier reads: the pooled
    penultimate features ``(n, d)``.
    """

    name: str
    model: keras.Model
    logits: Any
    features: Any
    class_names: tuple[str, ...] | None
    sha256: str

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """``(h, w, c)`` of one raw image."""
        _, h, w, c = self.model.input_shape
        return h, w, c

    @property
    def classes(self) -> int:
        """How many classes the anchor tells apart; 0 without a classifier."""
        return 0 if self.logits is None else int(self.logits.shape[-1])


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

    @property
    def labelled(self) -> bool:
        """Whether the images carry labels."""
        return self.fit.labels is not None


@dataclass(frozen=True)
class Cut:
    """A tensor that every path from input to output runs through, at a block boundary.

    ``shape`` is without the batch; ``clamp`` is the range that the tensor's own activation
    allows, ``(None, None)`` where it has none; costs are of one image.
    """

    name: str
    index: int
    kind: str  # "grid" (h, w, c), "tokens" (t, c) or "vector" (c,)
    shape: tuple[int, ...]
    clamp: tuple[float | None, float | None]
    macs_before: int
    macs_after: int
    params_before: int
    params_after: int


@dataclass(frozen=True)
class Piece:
    """A stretch of one anchor in a route: from a cut (None: the input) to a cut (None: the output)."""

    anchor: str  # "large" or "small"
    start: str | None
    stop: str | None


@dataclass(frozen=True)
class Plan:
    """One route that could be built, what it costs, and what became of it.

    ``kl`` is the mean KL divergence (nats) from the large anchor's outputs on the rank split with
    the closed-form stitch, None where it was not computed. ``reason`` says why it was refused.
    """

    name: str
    route: tuple[Piece, ...]
    macs: int
    params: int
    cka: float
    r2: float
    kl: float | None = None
    status: str = "candidate"  # "candidate", "chosen" or "rejected"
    reason: str = ""


@dataclass(frozen=True)
class Stitch:
    """A fitted 1x1 map ``(c_in, c_out)`` with bias, between two grids, ending in a clamp.

    ``tuned`` holds the weights of the back that were trained with it, by weight path; empty where
    the back is the anchor's own.
    """

    kernel: np.ndarray
    bias: np.ndarray
    source_shape: tuple[int, ...]
    target_shape: tuple[int, ...]
    clamp: tuple[float | None, float | None]
    tuned: dict[str, np.ndarray] = field(default_factory=dict)
