"""What every family is held against: the distilled small anchor, and a stitch behind a random front.

A stitch can learn to score on noise, and a small model can be taught by the large one: only what
beats both is owed to stitching. Both train on the same views; the distilled anchor gets the compute
of the median variant, the random front that of the variant it stands in for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from restnet_tf.family.family import STATISTICS_IMAGES, Family, examples
from restnet_tf.fitting import cache
from restnet_tf.fitting.ladder import Examples
from restnet_tf.graph import cuts
from restnet_tf.similarity import features
from restnet_tf.stitches import variant

if TYPE_CHECKING:
    import keras

    from restnet_tf.fitting.cache import Cache
    from restnet_tf.fitting.ladder import Fitted
    from restnet_tf.records import Anchor, Plan, Stitch


@dataclass(frozen=True)
class Control:
    """A network outside the family: what it is, and its model from images to logits."""

    name: str
    route: str
    model: keras.Model
    macs: int
    params: int


def fit_all(
    family: Family, chosen: list[Plan], fitted: Mapping[str, Fitted], train: Cache, ranked: Cache
) -> tuple[Control, ...]:
    """Both controls, from the run or trained into it."""
    compute = int(median(sum(r.work for r in fitted[p.name].rungs) for p in chosen))
    twin = sorted(chosen, key=lambda p: (p.macs, p.name))[len(chosen) // 2]
    stitching = {r.rung: r.work for r in fitted[twin.name].rungs if r.rung == "stitch"}
    return (
        distilled(family, compute, train, ranked),
        random_front(family, twin, stitching, train, ranked),
    )


def distilled(family: Family, compute: int, train: Cache, ranked: Cache) -> Control:
    """The small anchor trained on the large one's outputs: its norms, then all of it where that gains."""
    role = family.smallest
    small, back = family.anchors[role], family.back(role, cache.INPUT)
    sets = [examples(c, role, cache.INPUT, role, family.largest) for c in (train, ranked)]
    fitted = family.fit("distilled", {"norm": compute // 2, "back": compute // 2}, None, back, *sets)
    logits = cuts.between(small.model, small.model.inputs[0], small.logits)
    costs = family.costs[role]
    route = f"{small.name} distilled from {family.anchors[family.largest].name}"
    return Control("distilled", route, variant.with_weights(logits, fitted.stitch.tuned), costs.macs, costs.params)


def random_front(family: Family, plan: Plan, rungs: Mapping[str, int], train: Cache, ranked: Cache) -> Control:
    """The stitch of a variant of two pieces, fitted behind a front that has learned nothing.

    ``train`` and ``ranked`` hold the penultimate features of the anchor of the back, and the largest one's logits.
    """
    front, back = plan.route
    untaught = variant.randomised(family.anchors[front.anchor], family.settings.seed)
    anchors = {front.anchor: untaught, back.anchor: family.anchors[back.anchor]}
    fitted = family.run.load_fitted("random-front")
    if fitted is None:
        cut = str(front.stop)
        views = family.cached_views("views-random", anchors, {front.anchor: [cut]})
        rank_set = family.cached_rank("rank-random", anchors, {front.anchor: [cut]})
        both = (train, views), (ranked, rank_set)
        sets = [_behind(blind, front.anchor, cut, real, back.anchor, family.largest) for real, blind in both]
        model = family.back(back.anchor, str(back.start))
        fitted = family.fit("random-front", rungs, _closed_form(family, plan, anchors), model, *sets)
    model = variant.assemble(plan, anchors, fitted.stitch, logits=True)
    return Control("random-front", f"{plan.name} behind a random front, stitch only", model, plan.macs, plan.params)


def _behind(blind: Cache, role: str, cut: str, real: Cache, back: str, teacher: str) -> Examples:
    """What a stitch behind another front reads: of no more views than its teacher has answered."""
    logits = real.logits(teacher)
    return Examples(blind.features(role, cut)[: len(logits)], logits, real.penultimate(back), real.labels())


def _closed_form(family: Family, plan: Plan, anchors: Mapping[str, Anchor]) -> Stitch:
    """The ridge stitch of one pair: the control has the same start as the variants."""
    front, back = plan.route
    ends = {"small": (front.anchor, front.stop), "large": (back.anchor, back.start)}
    pair = {end: tuple(c for c in family.cut_lists[role] if c.name == name) for end, (role, name) in ends.items()}
    known = {end: anchors[role] for end, (role, _) in ends.items()}
    statistics = features.collect(known, pair, family.data.fit.head(STATISTICS_IMAGES))
    return features.initial(("small", 0, 0), pair, statistics)
