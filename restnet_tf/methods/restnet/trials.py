"""Real loss of closed-form stitches: every candidate runs once over the rank split, untrained."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from restnet_tf.fitting.ladder import kl_divergence
from restnet_tf.graph import costs, cuts
from restnet_tf.methods.restnet.plan import key
from restnet_tf.records import Anchor, Cut, Plan
from restnet_tf.similarity.features import Statistics, initial, observer, other
from restnet_tf.stitches import stitch

if TYPE_CHECKING:
    from restnet_tf.data.splits import Split

# Backs are called layer by layer, since each is used for few images and compiling takes seconds: what all layers put
# out, with as much again inside them, is held.
_MOST, _LEAST, _ROOM, _BYTES_A_VALUE = 64, 4, 2**32, 8


def closed_form(
    plans: Sequence[Plan],
    anchors: Mapping[str, Anchor],
    cut_lists: Mapping[str, tuple[Cut, ...]],
    statistics: Statistics,
    split: Split,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[Plan, ...]:
    """The plans, candidates with their mean KL (nats) to the large anchor over ``split``.

    Front features stream: a batch is computed once for all plans and dropped.
    """
    pairs = {p.name: key(p, cut_lists) for p in plans if p.status == "candidate"}
    stitches = {name: stitch.build(initial(pair, cut_lists, statistics)) for name, pair in pairs.items()}
    backs = _Backs(anchors, cut_lists)
    sources = {role: sorted({i for source, i, _ in pairs.values() if source == role}) for role in anchors}
    observe = {
        role: observer(anchors[role], [cut_lists[role][i] for i in sources[role]], [anchors[role].logits])
        for role in anchors
    }
    totals = dict.fromkeys(pairs, 0.0)
    held = max(costs.held(costs.nodes(anchor.model)) for anchor in anchors.values())
    batch = max(_LEAST, min(_MOST, _ROOM // (_BYTES_A_VALUE * held)))
    streams = [split.batches(anchors[role].input_shape, batch) for role in anchors]
    for done, images in enumerate(zip(*streams, strict=True)):
        seen = {role: observe[role](x) for role, x in zip(anchors, images, strict=True)}
        teacher = seen["large"][-1]
        for name, (source, i, j) in pairs.items():
            stitched = stitches[name](seen[source][sources[source].index(i)])
            logits = backs(other(source), j)(stitched, training=False)
            totals[name] += float(np.sum(kl_divergence(teacher, logits)))
        progress(min(len(split), (done + 1) * batch), len(split))
    return tuple(replace(p, kl=totals[p.name] / len(split)) if p.name in pairs else p for p in plans)


class _Backs:
    """Backs from cut to logits, each made once."""

    def __init__(self, anchors: Mapping[str, Anchor], cut_lists: Mapping[str, tuple[Cut, ...]]) -> None:
        self._anchors, self._cuts = anchors, cut_lists
        self._made: dict[tuple[str, int], Any] = {}

    def __call__(self, role: str, index: int) -> Any:
        if (role, index) not in self._made:
            anchor = self._anchors[role]
            self._made[role, index] = cuts.back(anchor, self._cuts[role][index].name, anchor.logits)
        return self._made[role, index]
