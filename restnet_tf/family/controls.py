"""What every family is held against: the distilled small anchor, and a stitch behind a random front.

A stitch can learn to score on noise, and a small model can be taught by the large one: only what
beats both is owed to stitching. Both train on the same views; the distilled anchor gets the compute
of the median variant, the random front that of the variant it stands in for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from statistics import median
from typing import TYPE_CHECKING

from restnet_tf.family import caches, compute, fits
from restnet_tf.family.family import Family
from restnet_tf.family.fits import Fit, Reading
from restnet_tf.fitting import cache
from restnet_tf.graph import cuts
from restnet_tf.records import Piece
from restnet_tf.similarity import features
from restnet_tf.stitches import variant

if TYPE_CHECKING:
    import keras

    from restnet_tf.fitting.cache import Cache
    from restnet_tf.fitting.ladder import Fitted
    from restnet_tf.records import Anchor, Plan, Stitch

DISTILLED, RANDOM_FRONT = "distilled", "random-front"


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
    effort = int(median(sum(r.work for r in fitted[p.name].rungs) for p in chosen))
    twin = sorted(chosen, key=lambda p: (p.macs, p.name))[len(chosen) // 2]
    stitching = {r.rung: r.work for r in fitted[twin.name].rungs if r.rung == "stitch"}
    return (
        distilled(family, effort, train, ranked),
        random_front(family, twin, stitching, train, ranked),
    )


def distilled(family: Family, work: int, train: Cache, ranked: Cache) -> Control:
    """The small anchor trained on the large one's outputs: its norms, then all of it where that gains."""
    role = family.smallest
    small, costs = family.anchors[role], family.costs[role]
    reads = fits.reads(train, ranked, Piece(role, None, cache.INPUT), role, family.largest)
    rungs = {"norm": work // 2, "back": work // 2}
    fitted = _fitted(family, DISTILLED, role, cache.INPUT, None, reads, rungs)
    logits = cuts.between(small.model, small.model.inputs[0], small.logits)
    route = f"{small.name} distilled from {family.anchors[family.largest].name}"
    return Control(DISTILLED, route, variant.with_weights(logits, fitted.stitch.tuned), costs.macs, costs.params)


def random_front(family: Family, plan: Plan, rungs: Mapping[str, int], train: Cache, ranked: Cache) -> Control:
    """The stitch of a variant of two pieces, fitted behind a front that has learned nothing.

    ``train`` and ``ranked`` hold the penultimate features of the anchor of the back, and the largest one's logits.
    """
    front, back = plan.route
    untaught = variant.randomised(family.anchors[front.anchor], family.settings.seed)
    anchors = {front.anchor: untaught, back.anchor: family.anchors[back.anchor]}
    fitted = family.run.load_fitted(RANDOM_FRONT)
    if fitted is None:
        names = {front.anchor: [str(front.stop)]}
        views = caches.of_views(family, "views-random", anchors, names)
        rank = caches.of_rank(family, "rank-random", anchors, names)
        seeing = fits.reads(train, ranked, front, back.anchor, family.largest)
        reads = replace(seeing[0], features=views.folder), replace(seeing[1], features=rank.folder)
        start = _closed_form(family, plan, anchors)
        fitted = _fitted(family, RANDOM_FRONT, back.anchor, str(back.start), start, reads, rungs)
    model = variant.assemble(plan, anchors, fitted.stitch, logits=True)
    return Control(RANDOM_FRONT, f"{plan.name} behind a random front, stitch only", model, plan.macs, plan.params)


def _fitted(
    family: Family,
    name: str,
    role: str,
    cut: str,
    start: Stitch | None,
    reads: tuple[Reading, Reading],
    rungs: Mapping[str, int],
) -> Fitted:
    run, seed = family.run.path, family.settings.seed
    return fits.fit(family, [Fit(run, name, family.sources[role], cut, start, reads, rungs, seed)])[name]


def _closed_form(family: Family, plan: Plan, anchors: Mapping[str, Anchor]) -> Stitch:
    """The ridge stitch of one pair: the control has the same start as the variants."""
    front, back = plan.route
    ends = {"small": (front.anchor, front.stop), "large": (back.anchor, back.start)}
    pair = {end: tuple(c for c in family.cut_lists[role] if c.name == name) for end, (role, name) in ends.items()}
    pieces = {end: anchors[role] for end, (role, _) in ends.items()}
    statistics = features.collect(pieces, pair, family.data.fit.head(compute.STATISTICS_IMAGES))
    return features.initial(("small", 0, 0), pair, statistics)
