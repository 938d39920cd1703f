"""Routes inside the large anchor, which leave blocks of it out: all points of a family of one network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from restnet_tf.family import compute, footprints, one_pass
from restnet_tf.family.family import Family
from restnet_tf.methods.restnet import jumps, plan, trials
from restnet_tf.methods.restnet.jumps import Jump
from restnet_tf.methods.restnet.options import Options
from restnet_tf.methods.restnet.trials import Trial
from restnet_tf.points import select
from restnet_tf.records import Plan, Reason, RestnetError, Stitch
from restnet_tf.stitches.closed_form import closed
from restnet_tf.stitches.step import Solution
from restnet_tf.work.tasks import Task

ROLE = "large"
_LEAST_RANKED = 3
Build = Family[Options]


def solutions(family: Build) -> dict[Jump, Solution]:
    """The closed-form stitch of every jump, from the run or computed into it."""
    known = family.run.load_starts()
    if known is None:
        known = {}
        if possible := jumps.possible(family.cut_lists[ROLE]):
            known = {f"{i}.{j}": one for (i, j), one in one_pass.of_jumps(family, ROLE, possible).items()}
        family.run.save_starts(known)
    return {(int(i), int(j)): one for (i, _, j), one in ((stem.partition("."), s) for stem, s in known.items())}


def check(family: Build) -> None:
    """Refuse (``RestnetError``) an anchor that nothing can be left out of, and given plans that are no paths in it."""
    cuts = family.cut_lists[ROLE]
    if not jumps.possible(cuts):
        raise RestnetError(
            f"nothing can be left out of {family.anchors[ROLE].name}: no two of its {len(cuts)} cuts have the same"
            " shape and enough between them; give a small anchor too, --small"
        )
    jumps.check(family.settings.plans or (), ROLE, cuts)


def starts(family: Build, p: Plan, solved: Mapping[Jump, Solution]) -> tuple[Stitch, ...]:
    """The closed-form stitches of a path, one a jump."""
    cuts = family.cut_lists[ROLE]
    return tuple(closed(solved[i, j], cuts[i], cuts[j]) for i, j in jumps.path(p, cuts))


def tried(family: Build, solved: Mapping[Jump, Solution], bounds: tuple[int, int]) -> tuple[Plan, ...]:
    """Every jump alone and the best paths of several, with estimates; those shortlisted with their KL.

    ``bounds`` are the MACs that points may cost. Says how well the estimates rank.
    """
    singles = _singles(family, solved)
    listed = plan.shortlist(
        footprints.within(family, (*singles, *_several(family, solved, singles))),
        bounds,
        family.settings.max_points,
        lambda p: p.estimate or 0.0,
        Reason("higher_estimate"),
    )
    several = [p for p in listed if p.status == "candidate" and p.kl is None]
    kls = _tried(family, several, solved, "paths of several jumps")
    after = trials.with_losses(listed, kls)
    _tell_ranking(family, [p for p in after if p.name in kls])
    return after


def _singles(family: Build, solved: Mapping[Jump, Solution]) -> list[Plan]:
    """Every jump alone, with the KL that it has through the real rest of the network."""
    plans = [_planned(family, (jump,), solved) for jump in solved]
    kls = _tried(family, plans, solved, "jumps alone")
    return [replace(p, kl=kls[p.name], estimate=kls[p.name]) for p in plans]


def _several(family: Build, solved: Mapping[Jump, Solution], singles: Sequence[Plan]) -> list[Plan]:
    """The best paths of more than one jump by the sum of the damages."""
    damages = {jump: float(p.estimate or 0.0) for jump, p in zip(solved, singles, strict=True)}
    paths = jumps.paths(family.cut_lists[ROLE], damages, family.costs[ROLE].macs)
    several = {path: damage for path, damage in paths.items() if len(path) > 1}
    return [replace(_planned(family, path, solved), estimate=damage) for path, damage in several.items()]


def _planned(family: Build, path: jumps.Path, solved: Mapping[Jump, Solution]) -> Plan:
    small = family.costs["small"].macs if "small" in family.costs else 0

    def refuse(macs: int, params: int) -> Reason | None:
        if macs <= small:
            return Reason("as_cheap_as_anchor", rival="small")
        return select.exceeded(family.budget, macs=macs, params=params)

    made = jumps.plan(ROLE, family.cut_lists[ROLE], path, family.costs[ROLE], refuse)
    return replace(made, r2=min(solved[jump].r2 for jump in path))


def _tried(family: Build, plans: Sequence[Plan], solved: Mapping[Jump, Solution], what: str) -> dict[str, float]:
    """The KL of plans in closed form, through the real rest of the network, by name."""
    if not plans:
        return {}
    count = compute.trial_images(family, sum(p.macs for p in plans))
    stitches = {p.name: starts(family, p, solved) for p in plans}
    trial = Trial({ROLE: family.sources[ROLE]}, family.images, count, tuple(plans), stitches)
    return next(family.execute([Task(f"closed form of {what}", trials.tried, trial)], family.report))


def _tell_ranking(family: Build, several: Sequence[Plan]) -> None:
    """Say how well the sum of the damages ranks paths."""
    from scipy import stats

    if len(several) < _LEAST_RANKED:
        return
    spearman = stats.spearmanr([p.estimate for p in several], [p.kl for p in several]).statistic
    family.report.say(
        f"{len(several)} paths of several jumps were tried: the sum of what each jump does alone ranks them as their KL"
        f" does with a Spearman correlation of {spearman:+.2f}"
    )
