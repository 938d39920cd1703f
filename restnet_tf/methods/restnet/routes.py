"""Where the routes of a family come from: from one anchor to the other, inside the large one, or both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from restnet_tf.family import compute, footprints, one_pass
from restnet_tf.family.family import Family
from restnet_tf.methods.restnet import heat_map, inside, jumps, plan, trials
from restnet_tf.methods.restnet.options import Options
from restnet_tf.methods.restnet.trials import Trial
from restnet_tf.points import select
from restnet_tf.records import Plan, Stitch
from restnet_tf.similarity import features
from restnet_tf.similarity.features import Statistics
from restnet_tf.similarity.pair_sums import PairKey
from restnet_tf.work.tasks import Task

Build = Family[Options]


@dataclass(frozen=True)
class Routes:
    """Plans with the KL of those that were tried, what they may cost, and the stitches that each starts with.

    ``bounds`` are MACs. ``draw`` makes the picture of what was compared, where there is one.
    """

    noun: str
    tried: Callable[[], tuple[Plan, ...]]
    bounds: tuple[int, int]
    starts: Callable[[Plan], tuple[Stitch, ...]]
    draw: Callable[[], None]


def of(family: Build) -> Routes:
    """The routes that the options ask for."""
    if family.options.alone:
        whole = family.costs[inside.ROLE].macs
        return _inside(family, (int(jumps.LEAST_SHARE * whole), whole))
    between = _between(family)
    return _both(between, _inside(family, between.bounds)) if family.options.jumps else between


def _between(family: Build) -> Routes:
    """Routes from one anchor to the other."""
    statistics = similarity(family)

    def starts(p: Plan) -> tuple[Stitch, ...]:
        return (features.initial(plan.key(p, family.cut_lists), family.cut_lists, statistics),)

    bounds = family.costs["small"].macs, family.costs["large"].macs
    draw = partial(heat_map.draw, family, statistics)
    return Routes("pair of cuts", partial(_tried, family, statistics), bounds, starts, draw)


def _inside(family: Build, bounds: tuple[int, int]) -> Routes:
    """Routes through the large anchor that leave blocks out."""
    solved = inside.solutions(family)
    tried = partial(inside.tried, family, solved, bounds)
    return Routes("path", tried, bounds, lambda p: inside.starts(family, p, solved), lambda: None)


def _both(between: Routes, within: Routes) -> Routes:
    """Both kinds as candidates for the same points."""

    def starts(p: Plan) -> tuple[Stitch, ...]:
        return within.starts(p) if jumps.inside(p) else between.starts(p)

    return Routes("route", lambda: (*between.tried(), *within.tried()), between.bounds, starts, between.draw)


def similarity(family: Build) -> Statistics:
    """CKA of all pairs of cuts and the closed-form stitches that plans need, from the run or computed into it."""
    run = family.run
    if run.done("similarity"):
        return run.load_statistics()
    solved = one_pass.of_pairs(family, partial(_shortlist, family))
    run.save_statistics(solved, {role: [cut.name for cut in cuts] for role, cuts in family.cut_lists.items()})
    run.finish("similarity")
    return solved


def _shortlist(family: Build, statistics: Statistics) -> list[PairKey]:
    """The pairs of cuts whose stitches are tried, or built where the user gave the plans."""
    given = family.settings.plans
    if given is None:
        pairs = [p for p in _proposed(family, statistics) if p.status == "candidate"]
    else:
        pairs = [p for p in given if p.status == "chosen" and not jumps.inside(p)]
    return [plan.key(p, family.cut_lists) for p in pairs]


def _proposed(family: Build, statistics: Statistics) -> tuple[Plan, ...]:
    """Every pair of cuts as a plan."""
    settings = family.settings
    return plan.propose(
        family.cut_lists,
        statistics,
        family.costs,
        order=settings.order,
        rank_by=family.options.rank_by,
        seed=settings.seed,
        points=settings.max_points,
        refuse=lambda macs, params: select.exceeded(settings.budget, macs=macs, params=params),
        within=partial(footprints.within, family),
    )


def _tried(family: Build, statistics: Statistics) -> tuple[Plan, ...]:
    """Every pair of cuts as a plan, those shortlisted with their KL."""
    proposed = _proposed(family, statistics)
    candidates = [p for p in proposed if p.status == "candidate"]
    count = compute.trial_images(family, sum(p.macs for p in candidates))
    named = {role: family.sources[role] for role in family.anchors}
    starts = trials.starts(proposed, family.cut_lists, statistics)
    trial = Trial(named, family.images, count, tuple(candidates), starts)
    task = Task("closed-form stitches through the real backs", trials.tried, trial)
    return trials.with_losses(proposed, next(family.execute([task], family.report)))
