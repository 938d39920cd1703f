"""Where the routes of a family come from: one search over paths between its anchors, ahead in them and to the classes.

Jumps are tried alone; the best paths of several are found by what these do (``search``), and the few best are tried
as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product

import numpy as np

from restnet_tf.family import compute, footprints, one_pass, score
from restnet_tf.family.family import Family
from restnet_tf.fitting.loss import kl_divergence
from restnet_tf.methods.restnet import heat_map, jumps, plan, search, starts, trials
from restnet_tf.methods.restnet.jumps import Jump, Path
from restnet_tf.methods.restnet.options import ROLES, Options
from restnet_tf.methods.restnet.search import JumpGraph
from restnet_tf.methods.restnet.starts import Starts
from restnet_tf.methods.restnet.trials import NamedJump, Trial
from restnet_tf.points import select
from restnet_tf.records import Plan, Reason, RestnetError, Stitch
from restnet_tf.similarity import rankings
from restnet_tf.similarity.features import Statistics
from restnet_tf.similarity.pair_sums import PairKey, other
from restnet_tf.stitches import stitch
from restnet_tf.work.tasks import TRIALS, Task

# Whose blocks are left out; of the small anchor, every one is needed.
SKIPPED = "large"
# Plans that one task tries: enough that the fronts, which each task computes for itself, cost little beside the backs.
_LOT = 12
# Where sums rank paths worse than this by Spearman's correlation, more are tried, up to so many times as many.
_WELL_RANKED, _MOST_TIMES = 0.5, 4
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
    alone, wide = family.options.alone, family.options.alone or family.options.jumps
    statistics = None if alone else similarity(family)
    between = statistics.solutions if statistics else {}
    first = Starts(family.places, between, starts.inside(family, _needed(family)))
    noun = "path" if alone else "route" if wide else "pair of cuts"
    draw = partial(heat_map.draw, family, statistics) if statistics else lambda: None
    return Routes(noun, partial(_tried, family, statistics, first), bounds(family), first.of, draw)


def bounds(family: Build) -> tuple[int, int]:
    """The MACs that points may cost: of a network alone from half of it on."""
    whole = family.costs[SKIPPED].macs
    return (int(jumps.LEAST_SHARE * whole) if family.options.alone else family.costs["small"].macs), whole


def inside(family: Build) -> tuple[Jump, ...]:
    """Every jump ahead in the large anchor, and from every cut of any anchor to its classes."""
    exits = (jump for role, places in family.places.items() for jump in jumps.exits(role, places))
    return (*jumps.ahead(SKIPPED, family.cut_lists[SKIPPED]), *exits)


def check(family: Build) -> None:
    """Refuse (``RestnetError``) an anchor alone that nothing can be left out of, and given plans that are no routes."""
    cuts = family.cut_lists[SKIPPED]
    if family.options.alone and not jumps.ahead(SKIPPED, cuts):
        raise RestnetError(
            f"nothing can be left out of {family.anchors[SKIPPED].name}: no two of its {len(cuts)} cuts have the same"
            " shape and enough between them; give a small anchor too, --small"
        )
    given = family.settings.plans or ()
    pairs = [p for p in given if jumps.between(p) and not family.options.alone]
    plan.check(pairs, family.cut_lists)
    between = () if family.options.alone else tuple(_between(family))
    jumps.check([p for p in given if p not in pairs], family.places, (*inside(family), *between))


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
        return [plan.key(p, family.cut_lists) for p in _proposed(family, statistics) if p.status == "candidate"]
    return [(front, i, j) for (front, i), (back, j) in _given(family) if front != back]


def _given(family: Build) -> list[Jump]:
    """The jumps of the plans that the user chose."""
    chosen = [p for p in family.settings.plans or () if p.status == "chosen"]
    return list(dict.fromkeys(jump for p in chosen for jump in jumps.path(p, family.places)))


def _needed(family: Build) -> tuple[Jump, ...]:
    """The jumps inside anchors whose stitches are tried, or built where the user gave the plans."""
    if family.settings.plans is not None:
        return tuple(jump for jump in _given(family) if jump[0][0] == jump[1][0])
    return inside(family) if family.options.alone or family.options.jumps else ()


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


def _tried(family: Build, statistics: Statistics | None, first: Starts) -> tuple[Plan, ...]:
    """Every jump alone and the best paths of several; those shortlisted with their KL."""
    pairs = _pairs(family, statistics, first) if statistics else ()
    if not first.inside:
        return pairs
    singles = _singles(family, first)
    several = _several(family, first, _graph(family, first, (*pairs, *singles)))
    return (*pairs, *_shortlisted(family, first, singles, several))


def _pairs(family: Build, statistics: Statistics, first: Starts) -> tuple[Plan, ...]:
    """Every pair of cuts as a plan, those shortlisted by similarity with their KL."""
    proposed = _proposed(family, statistics)
    candidates = [p for p in proposed if p.status == "candidate"]
    return trials.with_losses(proposed, _losses(family, first, candidates, "stitches through the real backs"))


def _singles(family: Build, first: Starts) -> list[Plan]:
    """Every jump inside an anchor alone, with the KL that it has through the real rest of the network."""
    plans = [_planned(family, first, (jump,)) for jump in first.inside]
    kls = _losses(family, first, plans, "jumps alone")
    return [replace(p, kl=kls[p.name], estimate=kls[p.name]) for p in plans]


def _graph(family: Build, first: Starts, tried: Sequence[Plan]) -> JumpGraph:
    """What paths of several jumps are found in: all jumps that were tried alone."""
    kls = {jumps.path(p, family.places)[0]: p.kl for p in tried if p.kl is not None}
    answers = {role: logits["rank"] for role, logits in score.of_anchors(family).items()}
    bases = {role: float(np.mean(kl_divergence(answers[family.largest], one))) for role, one in answers.items()}
    return JumpGraph(family.places, {role: cost.macs for role, cost in family.costs.items()}, bases, kls)


def _several(family: Build, first: Starts, graph: JumpGraph) -> list[Plan]:
    """The best paths of more than one jump by the sum of the damages."""
    least, whole = bounds(family)
    paths = search.paths(graph, least, whole - 1)
    return [replace(_planned(family, first, path), estimate=damage) for path, damage in paths.items()]


def _planned(family: Build, first: Starts, path: Path) -> Plan:
    """A path with what it costs; one to the classes may cost less than the small anchor, to be a first stage."""
    exits = jumps.is_exit(family.places, path[-1])
    small = family.costs["small"].macs if "small" in family.costs and not exits else 0

    def refuse(macs: int, params: int) -> Reason | None:
        if macs <= small:
            return Reason("as_cheap_as_anchor", rival="small")
        if family.options.alone and macs < bounds(family)[0]:
            return Reason("too_little_left", limit=jumps.LEAST_SHARE)
        return select.exceeded(family.budget, macs=macs, params=params)

    return replace(jumps.plan(path, family.places, family.costs, refuse), r2=first.r2(path))


def _shortlisted(family: Build, first: Starts, singles: Sequence[Plan], several: Sequence[Plan]) -> tuple[Plan, ...]:
    """All of these, the best by their estimates with the KL of the whole; where estimates rank badly, more of them."""
    every = footprints.within(family, (*singles, *several))
    kls: dict[str, float] = {}
    times = 1
    while True:
        listed = plan.shortlist(
            every,
            bounds(family),
            family.settings.max_points,
            lambda p: p.estimate or 0.0,
            Reason("higher_estimate"),
            times * plan.TRIALS,
        )
        new = [p for p in listed if p.status == "candidate" and p.kl is None and p.name not in kls]
        kls |= _losses(family, first, new, "paths of several jumps")
        listed = trials.with_losses(listed, kls)
        ranking = rankings.ranking(listed)
        if ranking is None:
            return listed
        on = ranking < _WELL_RANKED and times < _MOST_TIMES and bool(new)
        family.report.say(
            "paths of several jumps: the sum of what each jump does alone ranks those that were tried as their KL does"
            f" with a Spearman correlation of {ranking:+.2f}{'; more are tried' if on else ''}"
        )
        if not on:
            return listed
        times *= 2


def _losses(family: Build, first: Starts, plans: Sequence[Plan], what: str) -> dict[str, float]:
    """The KL of plans in closed form, through the real rest of the network, by name."""
    if not plans:
        return {}
    roles = {family.largest, *(piece.anchor for p in plans for piece in p.route)}
    named = {role: source for role, source in family.sources.items() if role in roles}
    count = compute.trial_images(family, sum(p.macs for p in plans))
    lots = [tuple(plans[at : at + _LOT]) for at in range(0, len(plans), _LOT)]
    each = [Trial(named, family.images, count, lot, _stitches(first, lot)) for lot in lots]
    work = [Task(f"closed form of {what}", trials.tried, trial, kind=TRIALS) for trial in each]
    results = family.execute(work, family.report)
    return {name: kl for kls in results for name, kl in kls.items()}


def _stitches(first: Starts, plans: Sequence[Plan]) -> dict[NamedJump, Stitch]:
    """What joins the pieces of these plans in closed form; plans share jumps."""
    return {jump: start for p in plans for jump, start in zip(trials.named_jumps(p), first.of(p), strict=True)}


def _between(family: Build) -> Iterator[Jump]:
    """Every jump from one anchor to the other that a stitch can make."""
    for source in ROLES:
        for a, b in product(family.cut_lists[source], family.cut_lists[other(source)]):
            if not stitch.compatible(a, b):
                yield (source, a.index), (other(source), b.index)
