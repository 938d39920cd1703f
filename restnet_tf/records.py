"""The plain records that pass between stages, and the error and the warning that a user may see.

A stage is a function from records to records. Nothing here computes; whatever a stage needs to
know about another stage's result stands in a record.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from tflite_export.errors import DomainError

if TYPE_CHECKING:
    import keras


class RestnetError(DomainError):
    """A model, data, a run or a wish that cannot be used; the one error of this package."""


class RestnetWarning(UserWarning):
    """Something the user gave is used, but not as it looks; the one warning of this package."""


@dataclass(frozen=True)
class Anchor:
    """A pretrained model that takes raw 0..255 images, or signals and grids as its data have them; with its labels.

    ``model`` is functional with one input ``(n, h, w, c)`` or ``(n, t, c)`` and one output ``(n, classes)``.
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
    def input_shape(self) -> tuple[int, ...]:
        """``(h, w, c)`` of one raw image or grid, ``(t, c)`` of a signal."""
        return tuple(self.model.input_shape[1:])

    @property
    def classes(self) -> int:
        """How many classes the anchor tells apart; 0 without a classifier."""
        return 0 if self.logits is None else int(self.logits.shape[-1])

    @property
    def ends_in_logits(self) -> bool:
        """Whether no softmax makes probabilities of the logits."""
        return self.logits is not None and self.model.outputs[0] is self.logits


@dataclass(frozen=True)
class Layout:
    """How the values of a cut lie: a grid ``(h, w, c)``, tokens ``(t, c)``, or a vector ``(c,)``.

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
    def vector(self) -> bool:
        """Whether these are values of no place, as logits are."""
        return len(self.shape) == 1

    @property
    def size(self) -> tuple[int, int]:
        """``(h, w)``; of tokens without a known grid, a column of all of them; of a vector, one place."""
        if self.vector:
            return 1, 1
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
    that tokens come from, None where it is not known; those before it are class tokens. A ``linear`` cut is a linear
    map of the image, as a patch embedding is.
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
    linear: bool = False

    @property
    def layout(self) -> Layout:
        """How its values lie."""
        return Layout(self.shape, self.grid)


# By code of a reason: the facts that it must have. Sentences are made of them in ``words`` alone.
FACTS: dict[str, tuple[str, ...]] = {
    "note": ("text",),  # of a person who edited a file
    "no_adapter": ("source", "target"),
    "class_tokens": ("counts",),
    "unknown_places": (),
    "resolutions": (),
    "as_dear_as_anchor": ("rival",),
    "as_cheap_as_anchor": ("rival",),
    "anchor_again": ("rival",),
    "as_dear_as_neighbour": (),
    "as_cheap_as_neighbour": (),
    "over_budget": ("excess",),
    "not_shortlisted": ("count", "figure"),
    "higher_kl": ("rival",),
    "halved": ("rival", "count"),  # MACs
    "higher_estimate": (),
    "too_little_left": ("limit",),
    "thinned": ("count",),
    "dominated": ("rival",),
    "no_better": ("rival",),
    "random_twin": ("rival",),
    "scratch_twin": ("rival",),
    "higher_loss": ("rival",),
    "long_front": ("count",),
    "too_deep": ("count",),
    "enough_nets": ("count",),
    "low_score": ("limit",),
    "low_overall": ("limit",),
    "no_better_on_mean": ("rival",),
    "on_chord": (),
    "dominated_on_mean": ("rival",),
    "simpler": ("rival",),
}


@dataclass(frozen=True)
class Excess:
    """A term of the budget, as the user wrote it, and the figure that is over it, in base units.

    ``value`` is None where many cases are meant and not one.
    """

    term: str
    figure: str
    value: float | None = None


@dataclass(frozen=True)
class Reason:
    """Why something is out, as a code with its facts (``FACTS``); ``words.sentence`` says it.

    ``rival`` is the name of the point or anchor that is better, ``source`` and ``target`` are kinds of cuts, ``sizes``
    their ``(h, w)`` and ``counts`` their class tokens. Raises ``ValueError`` for an unknown code and a lacking fact.
    """

    code: str
    rival: str | None = None
    figure: str | None = None
    limit: float | None = None
    count: int | None = None
    source: str | None = None
    target: str | None = None
    counts: tuple[int, int] | None = None
    sizes: tuple[tuple[int, int], tuple[int, int]] | None = None
    excess: tuple[Excess, ...] = ()
    text: str | None = None

    def __post_init__(self) -> None:
        """Refuse what nobody could say in words."""
        if self.code not in FACTS:
            raise ValueError(f"no reason has the code {self.code!r}; codes are {', '.join(FACTS)}")
        if lacking := [name for name in FACTS[self.code] if getattr(self, name) in (None, ())]:
            raise ValueError(f"the reason {self.code} lacks {', '.join(lacking)}")

    @classmethod
    def note(cls, text: str) -> Reason:
        """In a person's own words."""
        return cls("note", text=text)

    @property
    def kind(self) -> Reason:
        """The same without what holds of one case alone, so that cases can be counted."""
        return replace(self, sizes=None, excess=tuple(replace(e, value=None) for e in self.excess[:1]))


@dataclass(frozen=True)
class Tally:
    """How many cases there are of a reason."""

    reason: Reason
    count: int


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
    the closed-form stitch, None where it was not computed. ``reason`` says why it was refused. ``cuts`` are the
    indices of the cuts that the route leaves and goes on at, in turns; empty where nobody noted them. ``estimate`` is
    the sum of the KLs that each of its jumps has alone, None where a route is not judged by that.
    """

    name: str
    route: tuple[Piece, ...]
    macs: int
    params: int
    cka: float
    r2: float
    kl: float | None = None
    status: str = "candidate"  # "candidate", "chosen" or "rejected"
    reason: Reason | None = None
    cuts: tuple[int, ...] = ()
    estimate: float | None = None


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
