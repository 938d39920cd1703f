"""The plain records that pass between stages, and the one error that a user may see.

A stage is a function from records to records. Nothing here computes; whatever a stage needs to
know about another stage's result stands in a record.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from tflite_export.errors import DomainError

if TYPE_CHECKING:
    import keras


class RestnetError(DomainError):
    """A model, data, a run or a wish that cannot be used; the one error of this package."""


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
class Layout:
    """How the values of a cut lie: a grid ``(h, w, c)``, or tokens ``(t, c)``.

    The last ``h * w`` tokens are those of ``grid`` ``(h, w)``, row by row, and what comes before them are
    class tokens; where ``grid`` is None, nothing is known of them.
    """

    shape: tuple[int, ...]
    grid: tuple[int, int] | None = None

    @property
    def channels(self) -> int:
        """Values a position."""
        return self.shape[-1]

    @property
    def tokens(self) -> bool:
        """Whether these are tokens and no grid."""
        return len(self.shape) == 2

    @property
    def size(self) -> tuple[int, int]:
        """``(h, w)``; of tokens without a known grid, a column of all of them."""
        if self.tokens:
            return self.grid or (self.shape[0], 1)
        return self.shape[0], self.shape[1]

    @property
    def classes(self) -> int:
        """How many class tokens stand before the grid."""
        return self.shape[0] - prod(self.size) if self.tokens else 0


@dataclass(frozen=True)
class Cut:
    """A tensor that every path from input to output runs through, at a block boundary.

    ``shape`` is without the batch; ``clamp`` is the range that the tensor's own activation
    allows, ``(None, None)`` where it has none; costs are of one image. ``grid`` is the height and width
    that tokens come from, None where it is not known; those before it are class tokens.
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
    grid: tuple[int, int] | None = None

    @property
    def layout(self) -> Layout:
        """How its values lie."""
        return Layout(self.shape, self.grid)


@dataclass(frozen=True)
class Piece:
    """A stretch of one anchor in a route: from a cut (None: the input) to a cut (None: the output)."""

    anchor: str  # its role in the family: "large" or "small", or a letter
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
    """A fitted 1x1 map ``(c_in, c_out)`` with bias, between two cuts, ending in a clamp.

    ``parts`` are the weights of the steps beside the map, by the names that these give them, in the order in which
    they are saved. ``tuned`` holds the weights of the back that were trained with it, by weight path; empty where
    the back is the anchor's own.
    """

    kernel: np.ndarray
    bias: np.ndarray
    source: Layout
    target: Layout
    clamp: tuple[float | None, float | None]
    parts: Mapping[str, np.ndarray] = field(default_factory=dict)
    tuned: dict[str, np.ndarray] = field(default_factory=dict)


def title(plan: Plan, names: Mapping[str, str]) -> str:
    """The route in words: ``resnet56 to layer2.4.out + resnet20 from layer2.1.out``."""
    return " + ".join(" ".join([names[p.anchor], *_ends(p)]) for p in plan.route)


def _ends(piece: Piece) -> list[str]:
    return [f"{word} {cut}" for word, cut in (("from", piece.start), ("to", piece.stop)) if cut is not None]
