"""What every family is held against: the distilled small anchor, and the same routes behind random fronts.

A stitch can learn to score on noise, and a small model can be taught by the large one: only what
beats both is owed to stitching. Both train on the same views; the distilled anchor gets the compute
of the median variant, a random front that of the variant whose twin it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import TYPE_CHECKING

from restnet_tf.family import caches, compute, fits, taught
from restnet_tf.family.family import Family
from restnet_tf.family.fits import Fit
from restnet_tf.fitting import cache
from restnet_tf.graph import cuts
from restnet_tf.points.points import CONTROL, DISTILLED
from restnet_tf.records import Piece
from restnet_tf.similarity import features
from restnet_tf.stitches import stitch, variant

if TYPE_CHECKING:
    import keras

    from restnet_tf.fitting.cache import Cache
    from restnet_tf.fitting.ladder import Fitted
    from restnet_tf.records import Anchor, Plan, Stitch

RANDOM_FRONT = "random-front"
# So many random fronts for a point whose fit takes no more work than this, some ten seconds on two cores: one front
# may be lucky, and of three the middle one decides. Where fits take minutes, two more would triple the time.
_SEEDS, _CHEAP_WORK = 3, 6e11


@dataclass(frozen=True)
class Control:
    """A network that the points between the anchors are held against, as a model from images to logits.

    It may be a point itself, by its ``kind``, with ``unshared`` parameters of its own; ``twin_of`` as in a point.
    ``spent`` are the MACs that its training took.
    """

    name: str
    route: str
    model: keras.Model
    macs: int
    params: int
    kind: str = CONTROL
    rung: str = ""
    unshared: int = 0
    twin_of: str = ""
    spent: int = 0


def seeds(work: int) -> int:
    """How many random fronts a point of so much work is held against."""
    return _SEEDS if work <= _CHEAP_WORK else 1


def median_work(shares: Iterable[int]) -> int:
    """The work of a variant in the middle: what the distilled anchor gets."""
    return int(median(shares))


def distilled(family: Family, work: int, train: Cache, ranked: Cache) -> Control:
    """The small anchor fitted by its ``lesson``."""
    return pupil(family, fits.fit(family, [lesson(family, work, train, ranked)])[DISTILLED])


def lesson(family: Family, work: int, train: Cache, ranked: Cache) -> Fit:
    """What teaches the small anchor the large one's outputs: its norms, then all of it where that gains."""
    role = family.smallest
    reads = fits.reads(train, ranked, Piece(role, None, cache.INPUT), role, family.largest)
    rungs = {"norm": work // 2, "back": work // 2}
    run, seed = family.run.path, family.settings.seed
    return Fit(run, DISTILLED, family.sources[role], cache.INPUT, None, reads, rungs, seed)


def pupil(family: Family, fitted: Fitted) -> Control:
    """The small anchor with what it was taught: a point of the family, and its weights are in the run."""
    role = family.smallest
    small, costs = family.anchors[role], family.costs[role]
    network = taught.keep(family, fitted.stitch.tuned)
    route = f"{small.name} distilled from {family.anchors[family.largest].name}"
    return Control(
        taught.name(family),
        route,
        cuts.between(network.model, network.model.inputs[0], network.logits),
        costs.macs,
        costs.params,
        kind=DISTILLED,
        rung=fitted.rung,
        unshared=costs.params if fitted.stitch.tuned else 0,
        spent=fitted.spent,
    )


def twins(
    family: Family, plans: Sequence[Plan], fitted: Mapping[str, Fitted], train: Cache, ranked: Cache
) -> Iterator[Control]:
    """Each plan of two pieces behind fronts that have learned nothing, fitted by the rungs that it tried itself.

    ``train`` and ``ranked`` hold the penultimate features of the anchors of the backs, and the largest one's logits.
    """
    every = [twin for plan in plans for twin in _twins(family, plan, fitted[plan.name])]
    yield from _behind_random(family, every, train, ranked)


def random_front(family: Family, plan: Plan, rungs: Mapping[str, int], train: Cache, ranked: Cache) -> Control:
    """One such network beside a family whose points are trained together; caches as in ``twins``."""
    twin = _Twin(RANDOM_FRONT, plan, family.settings.seed, rungs)
    return next(_behind_random(family, [twin], train, ranked))


@dataclass(frozen=True)
class _Twin:
    """The route of a plan behind a front drawn by ``seed``; ``rungs`` with the work of each; ``of`` as ``twin_of``."""

    name: str
    plan: Plan
    seed: int
    rungs: Mapping[str, int]
    of: str = ""

    @property
    def ends(self) -> tuple[str, str, int]:
        """The anchors of the front and the back, and which random front it is."""
        front, back = self.plan.route
        return front.anchor, back.anchor, self.seed


def _twins(family: Family, plan: Plan, fitted: Fitted) -> list[_Twin]:
    rungs = fitted.shares
    count = seeds(sum(rungs.values()))
    names = [f"random-{plan.name}", *(f"random-{plan.name}-{number}" for number in range(2, count + 1))]
    return [_Twin(name, plan, family.settings.seed + i, rungs, plan.name) for i, name in enumerate(names)]


def _behind_random(family: Family, every: Sequence[_Twin], train: Cache, ranked: Cache) -> Iterator[Control]:
    """The networks of twins, one after the other; from the run or fitted into it."""
    groups: dict[tuple[str, str, int], list[_Twin]] = {}
    for twin in every:
        groups.setdefault(twin.ends, []).append(twin)
    jobs = [job for group in groups.values() for job in _jobs(family, group, train, ranked)]
    fits.fit(family, jobs)
    for group in groups.values():
        anchors = _untaught(family, group[0])
        yield from (_control(family, twin, anchors) for twin in group)


def _untaught(family: Family, twin: _Twin) -> dict[str, Anchor]:
    """The anchors of a twin by role: its front's has learned nothing."""
    front, back, seed = twin.ends
    return {front: variant.randomised(family.anchors[front], seed), back: family.anchors[back]}


def _control(family: Family, twin: _Twin, anchors: Mapping[str, Anchor]) -> Control:
    fitted = family.run.load_fitted(twin.name)
    assert fitted is not None  # it has just been fitted
    model = variant.assemble(twin.plan, anchors, fitted.stitch, logits=True)
    macs, params = stitch.widening(fitted.stitch)
    route = f"{twin.plan.name} behind a random front"
    return Control(
        twin.name,
        route,
        model,
        twin.plan.macs + macs,
        twin.plan.params + params,
        rung=fitted.rung,
        unshared=sum(v.size for v in fitted.stitch.tuned.values()),
        twin_of=twin.of,
        spent=fitted.spent + compute.views(family) * compute.before(family, twin.plan.route[0]),
    )


def _jobs(family: Family, group: Sequence[_Twin], train: Cache, ranked: Cache) -> list[Fit]:
    """What fits twins behind the same random front, of those that the run has not fitted."""
    left = [twin for twin in group if not family.run.stitch_path(twin.name).exists()]
    if not left:
        return []
    anchors, (role, back, seed) = _untaught(family, group[0]), group[0].ends
    names = {role: sorted({str(twin.plan.route[0].stop) for twin in group})}
    views = caches.of_views(family, f"views-random-{role}-{seed}", anchors, names)
    rank = caches.of_rank(family, f"rank-random-{role}-{seed}", anchors, names)
    starts = _closed_forms(family, left, anchors)
    jobs = []
    for twin in left:
        front, behind = twin.plan.route
        seeing = fits.reads(train, ranked, front, back, family.largest)
        reads = replace(seeing[0], features=views.folder), replace(seeing[1], features=rank.folder)
        source, cut, start = family.sources[back], str(behind.start), starts[twin.name]
        jobs.append(Fit(family.run.path, twin.name, source, cut, start, reads, twin.rungs, seed))
    return jobs


def _closed_forms(family: Family, group: Sequence[_Twin], anchors: Mapping[str, Anchor]) -> dict[str, Stitch]:
    """The ridge stitches by twin, of one pass for all: they have the same start as the variants."""
    role, back, _ = group[0].ends
    ends = {twin.name: (str(twin.plan.route[0].stop), str(twin.plan.route[1].start)) for twin in group}
    fronts, backs = ({pair[end] for pair in ends.values()} for end in (0, 1))
    pieces = {"small": anchors[role], "large": anchors[back]}
    lists = {
        "small": tuple(c for c in family.cut_lists[role] if c.name in fronts),
        "large": tuple(c for c in family.cut_lists[back] if c.name in backs),
    }
    statistics = features.collect(pieces, lists, family.data.fit.head(compute.STATISTICS_IMAGES))
    at = {end: {c.name: i for i, c in enumerate(cut_list)} for end, cut_list in lists.items()}
    return {
        name: features.initial(("small", at["small"][stop], at["large"][start]), lists, statistics)
        for name, (stop, start) in ends.items()
    }
