"""Real loss of closed-form stitches: every candidate runs once over the rank split, untrained."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from restnet_tf.fitting.loss import kl_divergence
from restnet_tf.graph import costs, cuts, finite
from restnet_tf.methods.restnet.plan import key
from restnet_tf.records import Anchor, Cut, Piece, Plan, Stitch
from restnet_tf.similarity.features import Statistics, initial, observer
from restnet_tf.stitches import stitch, variant
from restnet_tf.work import sources
from restnet_tf.work.sources import AnchorSource, DataSource
from restnet_tf.work.tasks import Progress

if TYPE_CHECKING:
    import keras

    from restnet_tf.data.splits import Split

# Backs are called layer by layer, since each is used for few images and compiling takes seconds: what all layers put
# out, with as much again inside them, is held.
_MOST, _LEAST, _ROOM, _BYTES_A_VALUE = 64, 4, 2**32, 8
# Where one piece of a route ends and the next begins, by the names of anchors and cuts.
NamedJump = tuple[str, str | None, str, str | None]


@dataclass(frozen=True)
class Trial:
    """What tries plans out: the closed-form stitches of their jumps, on the first ``count`` rank images."""

    anchors: Mapping[str, AnchorSource]
    images: DataSource
    count: int
    plans: tuple[Plan, ...]
    starts: Mapping[NamedJump, Stitch]


def tried(trial: Trial, progress: Progress) -> dict[str, float]:
    """The mean KL (nats) of each plan of a trial, by name; a task."""
    anchors = {role: sources.anchor(source) for role, source in trial.anchors.items()}
    cut_lists = {role: cuts.find(anchor.model) for role, anchor in anchors.items()}
    split = sources.data(trial.images).rank.head(trial.count)
    return losses(trial.plans, anchors, cut_lists, trial.starts, split, progress)


def named_jumps(plan: Plan) -> list[NamedJump]:
    """Where the pieces of a plan meet, one after another."""
    return [(a.anchor, a.stop, b.anchor, b.start) for a, b in pairwise(plan.route)]


def starts(
    plans: Sequence[Plan], cut_lists: Mapping[str, tuple[Cut, ...]], statistics: Statistics
) -> dict[NamedJump, Stitch]:
    """The closed-form stitches of the candidates, of one jump each."""
    candidates = [p for p in plans if p.status == "candidate"]
    return {named_jumps(p)[0]: initial(key(p, cut_lists), cut_lists, statistics) for p in candidates}


def with_losses(plans: Sequence[Plan], kls: Mapping[str, float]) -> tuple[Plan, ...]:
    """The plans, those that were tried with their KL."""
    return tuple(replace(p, kl=kls[p.name]) if p.name in kls else p for p in plans)


def losses(
    plans: Sequence[Plan],
    anchors: Mapping[str, Anchor],
    cut_lists: Mapping[str, tuple[Cut, ...]],
    starts: Mapping[NamedJump, Stitch],
    split: Split,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, float]:
    """The mean KL (nats) of each plan by name; plans may be tried apart, each gets what it gets beside others.

    ``starts`` are the stitches of all their jumps. Front features stream: a batch is computed once for all plans
    and dropped. Raises ``RestnetError`` where what the anchors put out is not finite.
    """
    behind = _behind(plans, anchors, starts)
    left = {(p.route[0].anchor, p.route[0].stop) for p in plans}
    fronts = {role: [cut for cut in cut_lists[role] if (role, cut.name) in left] for role in anchors}
    observe = {role: observer(anchors[role], fronts[role], [anchors[role].logits]) for role in anchors}
    names = {role: _contents(role, fronts[role]) for role in anchors}
    places = {(role, cut.name): at for role in anchors for at, cut in enumerate(fronts[role])}
    totals = dict.fromkeys(behind, 0.0)
    batch = _batch(anchors)
    streams = [split.batches(anchors[role].input_shape, batch) for role in anchors]
    for done, images in enumerate(zip(*streams, strict=True)):
        features = {role: observe[role](x) for role, x in zip(anchors, images, strict=True)}
        for role in anchors:
            for values, name in zip(features[role], names[role], strict=True):
                finite.check(values, name)
        for p in plans:
            x = features[p.route[0].anchor][places[p.route[0].anchor, str(p.route[0].stop)]]
            for model in behind[p.name]:
                x = model(x, training=False)
            totals[p.name] += float(np.sum(kl_divergence(features["large"][-1], x)))
        progress(min(len(split), (done + 1) * batch), len(split))
    return {name: total / len(split) for name, total in totals.items()}


def _piece(anchor: Anchor, piece: Piece) -> keras.Model:
    """A piece behind a stitch; the last one ends in logits."""
    end = anchor.logits if piece.stop is None else cuts.tensor(anchor.model, piece.stop)
    return variant.piece(anchor, piece.start, end, {})


def _behind(
    plans: Sequence[Plan], anchors: Mapping[str, Anchor], starts: Mapping[NamedJump, Stitch]
) -> dict[str, list[keras.Model]]:
    """What runs behind each plan's front, to its logits: a stitch and a piece in turns.

    Each is made once for all plans: that takes longer than running it.
    """
    jumps = dict.fromkeys(jump for p in plans for jump in named_jumps(p))
    stitches = {jump: stitch.build(starts[jump]) for jump in jumps}
    every = dict.fromkeys(piece for p in plans for piece in p.route[1:])
    pieces = {piece: _piece(anchors[piece.anchor], piece) for piece in every}
    return {
        p.name: [
            model
            for jump, piece in zip(named_jumps(p), p.route[1:], strict=True)
            for model in (stitches[jump], pieces[piece])
        ]
        for p in plans
    }


def _contents(role: str, fronts: Sequence[Cut]) -> list[str]:
    """What an anchor's observer gives, as errors call it."""
    return [*(finite.features(role, cut.name) for cut in fronts), finite.logits(role)]


def _batch(anchors: Mapping[str, Anchor]) -> int:
    values = max(costs.held(costs.nodes(anchor.model)) for anchor in anchors.values())
    return max(_LEAST, min(_MOST, _ROOM // (_BYTES_A_VALUE * values)))
