"""The one pass over the images as tasks: each sums up a shard of them, and the sums of all are solved here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import TYPE_CHECKING

from restnet_tf.family import compute
from restnet_tf.graph import cuts
from restnet_tf.similarity import features
from restnet_tf.similarity.features import Statistics, Sums, WindowSums
from restnet_tf.similarity.pair_sums import PairKey
from restnet_tf.work import sources
from restnet_tf.work.sources import AnchorSource, DataSource
from restnet_tf.work.tasks import STATISTICS, Progress, Task

if TYPE_CHECKING:
    from restnet_tf.data.splits import Split
    from restnet_tf.family.family import Family
    from restnet_tf.records import Anchor, Cut
    from restnet_tf.stitches.step import Solution

# So many images a task. Sums are added in the order of the shards: the same bytes come of any number of workers.
SHARD_IMAGES = 256


@dataclass(frozen=True)
class Shard:
    """A stretch of the fit images, and the anchors that are to see it: by the roles "large" and "small".

    ``batch`` is that of the whole; ``groups`` are pairs of cuts that share a stitch, by name (None: no two do).
    """

    anchors: Mapping[str, AnchorSource]
    images: DataSource
    start: int
    stop: int
    batch: int
    groups: Mapping[str, Sequence[PairKey]] | None = None


def of_pairs(family: Family, shortlist: Callable[[Statistics], Iterable[PairKey]]) -> Statistics:
    """CKA and R2 of all pairs of cuts of two anchors, and the closed-form stitches of those on the ``shortlist``."""
    named = {role: family.sources[role] for role in family.anchors}
    split = _split(family)
    batch = min(features.batch_size(family.anchors.values(), family.cut_lists.values()), len(split))
    tasks = [
        Task("similarity of all pairs of cuts", pair_sums, shard, kind=STATISTICS)
        for shard in _shards(Shard(named, family.images, 0, len(split), batch))
    ]
    return features.shortlisted(reduce(add, family.execute(tasks, family.report)), shortlist)


def of_windows(
    family: Family, roles: Mapping[str, str], groups: Mapping[str, Sequence[PairKey]]
) -> dict[str, Solution]:
    """The closed-form stitch of each window between two anchors; ``roles`` says which are "large" and "small"."""
    anchors = {role: family.anchors[name] for role, name in roles.items()}
    cut_lists = {role: family.cut_lists[name] for role, name in roles.items()}
    named = {role: family.sources[name] for role, name in roles.items()}
    split = _split(family)
    batch = features.window_batch(anchors, cut_lists, groups)
    title = f"closed-form stitches of {len(groups)} windows between {anchors['small'].name} and {anchors['large'].name}"
    tasks = [
        Task(title, window_sums, shard, kind=STATISTICS)
        for shard in _shards(Shard(named, family.images, 0, len(split), batch, groups))
    ]
    return features.solve_windows(reduce(add, family.execute(tasks, family.report)))


def of_jumps(family: Family, role: str, jumps: Sequence[tuple[int, int]]) -> dict[tuple[int, int], Solution]:
    """The closed-form stitch of each jump from a cut of an anchor to another place in it, by index."""
    sides = ("large", "small")  # of a pair: here both are the same anchor
    anchors, cut_lists = dict.fromkeys(sides, family.anchors[role]), dict.fromkeys(sides, family.places[role])
    groups = {"jumps": [(sides[0], i, j) for i, j in jumps]}
    split = _split(family)
    batch = features.window_batch(anchors, cut_lists, groups)
    named = dict.fromkeys(sides, family.sources[role])
    title = f"closed-form stitches of {len(jumps)} jumps inside {family.anchors[role].name}"
    tasks = [
        Task(title, window_sums, shard, kind=STATISTICS)
        for shard in _shards(Shard(named, family.images, 0, len(split), batch, groups))
    ]
    solved = reduce(add, family.execute(tasks, family.report)).windows["jumps"].solve()
    return {(i, j): solution for (_, i, j), solution in solved.items()}


def pair_sums(shard: Shard, progress: Progress) -> Sums:
    """The sums of one shard for every pair of cuts."""
    anchors, cut_lists, split = _opened(shard)
    return features.sums(anchors, cut_lists, split, progress, batch=shard.batch)


def window_sums(shard: Shard, progress: Progress) -> WindowSums:
    """The sums of one shard for every group of pairs."""
    anchors, _, split = _opened(shard)
    places = {role: cuts.places(anchor) for role, anchor in anchors.items()}
    return features.window_sums(anchors, places, shard.groups or {}, split, progress)


def _split(family: Family) -> Split:
    """Validation judges and test reports, so the closed form may see the fit images alone."""
    return family.data.fit.head(compute.STATISTICS_IMAGES)


def _shards(whole: Shard) -> list[Shard]:
    """The shards of all images, each of whole batches but for the last."""
    step = max(1, SHARD_IMAGES // max(1, whole.batch)) * max(1, whole.batch)
    stops = [*range(step, whole.stop, step), whole.stop]
    # What is left behind the last whole batch goes with the shard before it.
    if len(stops) > 1 and whole.groups is None and stops[-1] - stops[-2] < whole.batch:
        del stops[-2]
    return [
        Shard(whole.anchors, whole.images, start, stop, whole.batch, whole.groups)
        for start, stop in zip([0, *stops[:-1]], stops, strict=True)
    ]


def _opened(shard: Shard) -> tuple[dict[str, Anchor], dict[str, tuple[Cut, ...]], Split]:
    anchors = {role: sources.anchor(source) for role, source in shard.anchors.items()}
    cut_lists = {role: cuts.find(anchor.model) for role, anchor in anchors.items()}
    return anchors, cut_lists, features.shard(sources.data(shard.images).fit, shard.start, shard.stop)
