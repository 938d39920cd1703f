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
from restnet_tf.family.answering import Assembly, FittedVariant, WholeAnchor
from restnet_tf.family.family import Family
from restnet_tf.family.fits import Fit
from restnet_tf.fitting import cache
from restnet_tf.points.points import CONTROL, DISTILLED
from restnet_tf.records import Piece
from restnet_tf.similarity import features
from restnet_tf.stitches import stitch
from restnet_tf.stitches.closed_form import closed
from restnet_tf.work import sources

if TYPE_CHECKING:
    import keras

    from restnet_tf.fitting.cache import Cache
    from restnet_tf.fitting.results import Fitted
    from restnet_tf.records import Anchor, Plan, Stitch
    from restnet_tf.work.sources import AnchorSource

RANDOM_FRONT = "random-front"
UNTAUGHT = "untaught"  # the role of an anchor that has learned nothing
# So many random fronts for a point whose fit takes no more work than this, some ten seconds on two cores: one front
# may be lucky, and of three the middle one decides. Where fits take minutes, two more would triple the time.
_SEEDS, _CHEAP_WORK = 3, 6e11


@dataclass(frozen=True)
class Control:
    """A network that the points between the anchors are held against, as any process can assemble it.

    It may be a point itself, by its ``kind``, with ``unshared`` parameters of its own; ``twin_of`` as in a point.
    ``spent`` are the MACs that its training took.
    """

    name: str
    route: str
    network: Assembly
    macs: int
    params: int
    kind: str = CONTROL
    rung: str = ""
    unshared: int = 0
    twin_of: str = ""
    spent: int = 0

    @property
    def model(self) -> keras.Model:
        """From images to logits."""
        return self.network.model()


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
    taught.keep(family, fitted.stitch.tuned)
    (source,) = taught.of_run(family).values()
    route = f"{small.name} distilled from {family.anchors[family.largest].name}"
    return Control(
        taught.name(family),
        route,
        WholeAnchor(source),
        costs.macs,
        costs.params,
        kind=DISTILLED,
        rung=fitted.rung,
        unshared=costs.params if fitted.stitch.tuned else 0,
        spent=fitted.spent,
    )


def twins(
    family: Family, plans: Sequence[Plan], jobs: Mapping[str, Fit], fitted: Mapping[str, Fitted]
) -> Iterator[Control]:
    """Plans behind fronts that have learned nothing, fitted as their ``jobs`` are, by the rungs that they tried."""
    every = [twin for plan in plans for twin in _twins(family, plan, jobs[plan.name], fitted[plan.name])]
    yield from _behind_random(family, every)


def random_front(family: Family, plan: Plan, rungs: Mapping[str, int], train: Cache, ranked: Cache) -> Control:
    """One such network beside a family trained together; its back is taught by what the caches have."""
    front, back = plan.route
    reads = fits.reads(train, ranked, front, back.anchor, family.largest)
    run, seed = family.run.path, family.settings.seed
    job = Fit(run, RANDOM_FRONT, family.sources[back.anchor], str(back.start), None, reads, rungs, seed)
    return next(_behind_random(family, [_Twin(plan, job)]))


@dataclass(frozen=True)
class _Twin:
    """The route of a plan behind a front drawn by the seed of its ``job``; ``of`` as ``twin_of``."""

    plan: Plan
    job: Fit
    of: str = ""

    @property
    def front(self) -> Piece:
        """What has learned nothing."""
        return self.plan.route[0]

    @property
    def untaught(self) -> tuple[str, int]:
        """Whose front it is, and which random one."""
        return self.front.anchor, self.job.seed

    @property
    def ends(self) -> tuple[str, str, str]:
        """The cut that the random front ends in, and the anchor and the cut behind it."""
        behind = self.plan.route[1]
        return str(self.front.stop), behind.anchor, str(behind.start)


def _twins(family: Family, plan: Plan, job: Fit, fitted: Fitted) -> list[_Twin]:
    rungs, seed = fitted.shares, family.settings.seed
    count = seeds(sum(rungs.values()))
    names = [f"random-{plan.name}", *(f"random-{plan.name}-{number}" for number in range(2, count + 1))]
    return [_Twin(plan, replace(job, name=name, rungs=rungs, seed=seed + i), plan.name) for i, name in enumerate(names)]


def _behind_random(family: Family, every: Sequence[_Twin]) -> Iterator[Control]:
    """The networks of twins, one after the other; from the run or fitted into it."""
    groups: dict[tuple[str, int], list[_Twin]] = {}
    for twin in every:
        groups.setdefault(twin.untaught, []).append(twin)
    jobs = [job for untaught, group in groups.items() for job in _jobs(family, untaught, group)]
    fits.fit(family, jobs)
    for (role, seed), group in groups.items():
        anchors = {**family.sources, UNTAUGHT: replace(family.sources[role], drawn=seed)}
        yield from (_control(family, twin, anchors) for twin in group)


def _control(family: Family, twin: _Twin, anchors: Mapping[str, AnchorSource]) -> Control:
    fitted = family.run.load_fitted(twin.job.name)
    assert fitted is not None  # it has just been fitted
    route = (replace(twin.front, anchor=UNTAUGHT), *twin.plan.route[1:])
    network = FittedVariant(family.run.path, replace(twin.plan, name=twin.job.name, route=route), anchors)
    macs, params = (sum(more) for more in zip(*map(stitch.widening, fitted.stitches), strict=True))
    return Control(
        twin.job.name,
        f"{twin.plan.name} behind a random front",
        network,
        twin.plan.macs + macs,
        twin.plan.params + params,
        rung=fitted.rung,
        unshared=sum(v.size for one in fitted.stitches for v in one.tuned.values()),
        twin_of=twin.of,
        spent=fitted.spent + compute.views(family) * compute.before(family, twin.front),
    )


def _jobs(family: Family, untaught: tuple[str, int], group: Sequence[_Twin]) -> list[Fit]:
    """What fits twins behind the same random front, of those that the run has not fitted."""
    left = [twin for twin in group if not family.run.stitch_path(twin.job.name).exists()]
    if not left:
        return []
    role, seed = untaught
    random = replace(family.sources[role], drawn=seed)
    names = {UNTAUGHT: sorted({str(twin.front.stop) for twin in group})}
    views = caches.of_views(family, f"views-random-{role}-{seed}", {UNTAUGHT: random}, names)
    rank = caches.of_rank(family, f"rank-random-{role}-{seed}", {UNTAUGHT: random}, names)
    starts = _closed_forms(family, role, left, sources.anchor(random))
    return [_job(twin, starts[twin.ends], views, rank) for twin in left]


def _job(twin: _Twin, first: Stitch, views: Cache, rank: Cache) -> Fit:
    """The fit of a twin: that of its point with other features in front, and the stitch that fits them."""
    job = twin.job
    seen, judging = job.reads
    reads = (
        replace(seen, features=views.folder, front=UNTAUGHT),
        replace(judging, features=rank.folder, front=UNTAUGHT),
    )
    if not job.before:
        return replace(job, reads=reads, start=first)
    return replace(job, reads=reads, before=(replace(job.before[0], stitch=first), *job.before[1:]))


def _closed_forms(
    family: Family, role: str, group: Sequence[_Twin], random: Anchor
) -> dict[tuple[str, str, str], Stitch]:
    """The ridge stitches behind a random front by their ends: twins have the same start as the points."""
    starts = {}
    split = family.data.fit.head(compute.STATISTICS_IMAGES)
    for back in sorted({twin.ends[1] for twin in group}):
        every = sorted({twin.ends for twin in group if twin.ends[1] == back})
        places = {"small": family.places[role], "large": family.places[back]}
        at = {side: {cut.name: cut.index for cut in cuts} for side, cuts in places.items()}
        pairs = {ends: ("small", at["small"][ends[0]], at["large"][ends[2]]) for ends in every}
        anchors = {"small": random, "large": family.anchors[back]}
        sums = features.window_sums(anchors, places, {"twins": list(pairs.values())}, split)
        solved = sums.windows["twins"].solve()
        for ends, (side, i, j) in pairs.items():
            starts[ends] = closed(solved[side, i, j], places["small"][i], places["large"][j])
    return starts
