"""ReStNet: stitches between two anchors, each fitted on its own (Wang, Lu, Nie et al. 2025).

CKA proposes cuts, the KL of closed-form stitches chooses, only what a rung of the ladder names is
trained, and what neither anchor nor another point dominates is shipped. Every step keeps its result
in the run directory, and a build that finds it there goes on behind it.
"""

from __future__ import annotations

from collections import Counter

from restnet_tf.family import controls, ship
from restnet_tf.family.family import STATISTICS_IMAGES, Family, examples
from restnet_tf.fitting import cache
from restnet_tf.fitting.cache import Cache
from restnet_tf.fitting.ladder import Fitted
from restnet_tf.methods.restnet import plan, trials
from restnet_tf.points import select
from restnet_tf.records import Plan, RestnetError
from restnet_tf.run import plans_file
from restnet_tf.similarity import features
from restnet_tf.similarity.features import Statistics


def build(family: Family) -> None:
    """Build a family in its opened run directory; every point and control, measured.

    Raises ``RestnetError`` where the anchors leave nothing to stitch.
    """
    statistics = similarity(family)
    found = plans(family, statistics)
    chosen = [p for p in found if p.status == "chosen"]
    if not chosen:
        reason, count = Counter(p.reason.split(":")[0] for p in found).most_common(1)[0]
        raise RestnetError(
            f"no pair of cuts is left to stitch: of {len(found)}, {count} are out for this: {reason};"
            f" {family.run.plans_path} has every reason"
        )
    train, ranked = _caches(family, chosen)
    fitted: dict[str, Fitted] = {}
    for p in chosen:  # from the cheapest on
        fitted[p.name] = _fitted(family, p, statistics, train, ranked, family.enough(fitted.values()))
    extras = controls.fit_all(family, chosen, fitted, train, ranked) if family.settings.controls else ()
    ship.ship(family, chosen, fitted, extras)


def check(family: Family) -> None:
    """Refuse (``RestnetError``) anchors and plans that cannot be built from, before any work is done."""
    check_costs(family)
    plan.check(family.settings.plans or (), family.cut_lists)


def check_costs(family: Family) -> None:
    """Refuse (``RestnetError``) a large anchor that costs no more than the small one."""
    large, small = (family.costs[role].macs / 1e6 for role in ("large", "small"))
    if large <= small:
        names = {role: anchor.name for role, anchor in family.anchors.items()}
        raise RestnetError(
            f"the large anchor {names['large']} costs {large:.1f}M MACs and the small one, {names['small']},"
            f" {small:.1f}M; --large must be the costlier one"
        )


def similarity(family: Family) -> Statistics:
    """CKA and closed-form stitches of all pairs of cuts, from the run or computed into it."""
    run = family.run
    if not run.done("similarity"):
        family.report.stage("similarity of all pairs of cuts")
        # Validation judges and test reports, so the closed form may see the fit images alone.
        split = family.data.fit.head(STATISTICS_IMAGES)
        run.save_statistics(features.collect(family.anchors, family.cut_lists, split, family.report.progress))
        run.finish("similarity")
    return run.load_statistics()


def plans(family: Family, statistics: Statistics) -> tuple[Plan, ...]:
    """All plans with what became of them, from the run, from the user's file, or made here."""
    run, settings = family.run, family.settings
    if not run.done("plans"):
        found = settings.plans
        if found is None:
            found = _proposed(family, statistics)
        plans_file.write_plans(run.plans_path, found)
        run.finish("plans")
    found = plans_file.read_plans(run.plans_path)
    count = sum(p.status == "chosen" for p in found)
    family.report.say(f"{len(found)} pairs of cuts, {count} chosen; {run.plans_path} says why")
    return tuple(sorted(found, key=lambda p: (p.macs, p.name)))


def _proposed(family: Family, statistics: Statistics) -> tuple[Plan, ...]:
    settings = family.settings
    family.report.stage("closed-form stitches through the real backs")
    proposed = plan.propose(
        family.cut_lists,
        statistics,
        family.costs,
        order=settings.order,
        rank_by=settings.rank_by,
        points=settings.max_points,
        refuse=lambda macs, params: select.exceeded(settings.budget, macs=macs, params=params),
    )
    candidates = [p for p in proposed if p.status == "candidate"]
    count = family.trial_images(sum(p.macs for p in candidates))
    ranked = trials.closed_form(
        proposed,
        family.anchors,
        family.cut_lists,
        statistics,
        family.data.rank.head(count),
        family.report.progress,
    )
    return plan.choose(ranked, family.costs, settings.max_points)


def _caches(family: Family, chosen: list[Plan]) -> tuple[Cache, Cache]:
    """What the fits read: of the training views, and of the rank split."""
    wanted: dict[str, list[str]] = {role: [cache.LOGITS, cache.PENULTIMATE] for role in family.anchors}
    if family.settings.controls:
        wanted["small"].append(cache.INPUT)
    for p in chosen:
        front = p.route[0]
        if front.stop not in wanted[front.anchor]:
            wanted[front.anchor].append(str(front.stop))
    return (
        family.cached_views("views", family.anchors, wanted),
        family.cached_rank("rank", family.anchors, wanted),
    )


def _fitted(family: Family, p: Plan, statistics: Statistics, train: Cache, ranked: Cache, enough: float) -> Fitted:
    front, back = p.route
    start = features.initial(plan.key(p, family.cut_lists), family.cut_lists, statistics)
    sets = [examples(c, front.anchor, str(front.stop), back.anchor) for c in (train, ranked)]
    model = family.back(back.anchor, str(back.start))
    fitted = family.fit(p.name, family.rungs(model), start, model, *sets, enough=enough)
    steps = [(name, kl) for r in fitted.rungs for name, kl in (("matched", r.matched), (r.rung, r.kl))]
    trail = ", ".join(f"{name} {kl:.3f}" for name, kl in steps if kl is not None)
    family.report.say(f"{p.name}: KL {fitted.closed_form_kl:.3f} in closed form, then {trail}; kept: {fitted.rung}")
    return fitted
