"""A pool member's fragments: the stretches between its chosen cuts, the last ending at its features.

What a search needs to know of a pretrained network are plain records, so that it can be kept: a second
search over the same pool loads no network in Keras.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from restnet_tf.graph import costs, cuts
from restnet_tf.records import Anchor, Cut, RestnetError

if TYPE_CHECKING:
    import keras

# The cut where a head begins: the penultimate features as a grid of one place.
FEATURES = "features"
# What a search runs.
FLOAT = "float32"


@dataclass(frozen=True)
class Member:
    """A pretrained network of a pool, without its classifier.

    ``cuts`` lie between the image ``(h, w, c)`` and ``features``, a cut of one place ``(1, 1, d)``.
    """

    name: str
    sha256: str
    input_shape: tuple[int, ...]
    cuts: tuple[Cut, ...]
    features: Cut


@dataclass(frozen=True)
class Fragment:
    """A stretch of a member from a cut (None: the image) to a cut; ``last`` ends at the features.

    ``index`` counts the member's fragments from 0. Costs are of one image.
    """

    member: str
    index: int
    start: Cut | None
    stop: Cut
    macs: int
    params: int
    last: bool

    @property
    def key(self) -> tuple[str, int]:
        """What a route may hold once."""
        return self.member, self.index


def trunk(anchor: Anchor) -> keras.Model:
    """An anchor from the image to its penultimate features as a grid ``(n, 1, 1, d)``; shares its weights."""
    import keras

    # Pooled features may hang off the path to the anchor's own output.
    taken = {layer.name for layer in keras.Model(anchor.model.inputs[0], anchor.features).layers}
    grid = keras.layers.Reshape((1, 1, anchor.features.shape[-1]), name=_free(FEATURES, taken))(anchor.features)
    return keras.Model(anchor.model.inputs[0], grid, name=anchor.model.name)


def member(anchor: Anchor) -> Member:
    """What a search needs to know of an anchor; raises ``RestnetError`` where it cannot be cut."""
    whole = trunk(anchor)
    try:
        boundaries = cuts.find(whole)
    except RestnetError as error:
        raise RestnetError(f"{error}; leave {anchor.name} out of the pool") from None
    calls = costs.nodes(whole)
    shape = (1, 1, int(anchor.features.shape[-1]))
    end = Cut(FEATURES, len(boundaries), "grid", shape, (None, None), costs.macs(calls), 0, costs.params(calls), 0)
    stitched = tuple(cut for cut in boundaries if cut.kind != "vector" and cut.name != whole.layers[-1].name)
    if not stitched:
        raise RestnetError(f"{anchor.name} has vector cuts alone, which are not stitched; leave it out of the pool")
    return Member(anchor.name, anchor.sha256, anchor.input_shape, stitched, end)


def tensors(whole: keras.Model, member: Member) -> dict[str, Any]:
    """The symbolic tensors of a member's cuts in its trunk, by name."""
    return {cut.name: cuts.tensor(whole, cut.name) for cut in member.cuts}


def split(role: str, member: Member, count: int) -> tuple[Fragment, ...]:
    """A member in at most ``count`` fragments of about as many MACs each; raises ``RestnetError`` for under two."""
    if count < 2:
        raise RestnetError(f"{count} fragments a pool member leave nothing to stitch; give at least 2")
    ends: list[Cut | None] = [None, *evenly(member.cuts, member.features.macs_before, count - 1), member.features]
    return tuple(_fragment(role, index, ends[index : index + 2], member) for index in range(len(ends) - 1))


def evenly(stitched: Sequence[Cut], macs: int, count: int) -> list[Cut]:
    """At most ``count`` cuts that divide so many MACs most evenly, in their order."""
    targets = [macs * (step + 1) / (count + 1) for step in range(count)]
    nearest = {min(stitched, key=lambda c: (abs(c.macs_before - at), c.index)).index for at in targets}
    return [cut for cut in stitched if cut.index in nearest]


def _fragment(role: str, index: int, ends: Sequence[Cut | None], member: Member) -> Fragment:
    start, stop = ends
    assert stop is not None  # the image alone has no cut, and nothing ends there
    before = (start.macs_before, start.params_before) if start else (0, 0)
    last = stop is member.features
    return Fragment(role, index, start, stop, stop.macs_before - before[0], stop.params_before - before[1], last)


def _free(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_grid"
    return name
