"""SN-Net: all stitches between neighbouring anchors, trained together (Pan, Cai, Zhuang 2023, and v2).

Windows of neighbouring blocks share a stitch, which starts at the ridge solution of all their pairs; each step of
the training draws one configuration. Every configuration is measured after it, and those on the front
are shipped. Every step keeps its result in the run directory, and a build that finds it there goes on behind it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from restnet_tf.family import ship
from restnet_tf.family.family import STATISTICS_IMAGES, Family
from restnet_tf.methods.snnet import routes, steps
from restnet_tf.methods.snnet.routes import Chain
from restnet_tf.methods.snnet.steps import asked
from restnet_tf.methods.snnet.supernet import Configuration
from restnet_tf.methods.snnet.windows import Sliding, Window
from restnet_tf.points import select
from restnet_tf.points.points import ANCHOR, DOMINATED, STITCHED
from restnet_tf.records import Plan, RestnetError, Stitch
from restnet_tf.run import plans_file
from restnet_tf.similarity import features
from restnet_tf.stitches import closed_form, variant
from restnet_tf.stitches.closed_form import Solution

if TYPE_CHECKING:
    from restnet_tf.points.points import OperatingPoint


def finished(family: Family) -> Family:
    """The family with the anchors that its training left: others than it began with where it trained all."""
    weights = steps.anchors_weights(family)
    if not weights:
        return family
    return replace(family, anchors={role: variant.trained(a, weights[role]) for role, a in family.anchors.items()})


def check(family: Family) -> None:
    """Refuse (``RestnetError``) what leaves nothing to stitch, before any work is done."""
    _chosen(_proposed(family))


def build(family: Family) -> None:
    """Build a family in its opened run directory; every point and control, measured."""
    windows = _windows(family)
    starts = _starts(family, windows)
    chosen = _plans(family, windows, starts)
    configurations = _configurations(family, chosen, windows)
    stitches = len({name for c in configurations for name in c.windows})
    family.report.say(f"{len(configurations)} configurations through {stitches} stitches")
    fitted, extras = steps.train(family, configurations, _stitches(family, windows, starts))
    ship.ship(finished(family), chosen, fitted, extras)


def dominated(found: Sequence[OperatingPoint]) -> str:
    """How many configurations are not worth shipping, and what does better."""
    made = [p for p in found if p.kind == STITCHED]
    rivals = [p.reason.split(" ")[0] for p in made if p.status == DOMINATED]
    anchors = {p.name for p in found if p.kind == ANCHOR}
    by_anchors = sum(rival in anchors for rival in rivals)
    return (
        f"of {len(made)} configurations {len(made) - len(rivals)} are on the front; {by_anchors} are dominated by an"
        f" anchor and {len(rivals) - by_anchors} by another configuration"
    )


def _chain(family: Family) -> Chain:
    order = family.by_cost
    return Chain(
        {role: family.cut_lists[role] for role in order},
        {role: family.costs[role] for role in order},
        {role: family.anchors[role].input_shape[0] for role in order},
    )


def _sliding(family: Family) -> Sliding:
    joint = asked(family)
    return Sliding(joint.window, joint.stride, joint.share and joint.train != "separate")


def _windows(family: Family) -> tuple[Window, ...]:
    """All windows that the routes may need."""
    chain, both = _chain(family), asked(family).two_stitch
    ways = []
    for small, large in chain.neighbours:
        if both or family.settings.order != "large-small":
            ways.append((small, large))
        if both or family.settings.order != "small-large":
            ways.append((large, small))
    return tuple(w for way in ways for w in chain.windows(*way, _sliding(family)))


def _proposed(family: Family) -> tuple[Plan, ...]:
    settings = family.settings
    found = routes.propose(
        _chain(family),
        _sliding(family),
        order=settings.order,
        two_stitch=asked(family).two_stitch,
        most=asked(family).most,
        refuse=lambda macs, params: select.exceeded(settings.budget, macs=macs, params=params),
    )
    if settings.plans is None:
        return found
    wanted = {p.name: p for p in settings.plans}
    if unknown := sorted(set(wanted) - {p.name for p in found}):
        raise RestnetError(f"the given plans name {unknown[0]}, which is no route through these anchors and windows")
    return tuple(
        replace(p, status=wanted[p.name].status, reason=wanted[p.name].reason) for p in found if p.name in wanted
    )


def _chosen(found: Sequence[Plan]) -> list[Plan]:
    chosen = sorted((p for p in found if p.status == "chosen"), key=lambda p: (p.macs, p.name))
    if chosen:
        return chosen
    if not found:
        raise RestnetError(
            "nothing can be stitched: neighbouring anchors have no cuts at the same share of their input's size"
        )
    reason, count = Counter(p.reason for p in found).most_common(1)[0]
    raise RestnetError(f"nothing is left to stitch: of {len(found)} routes, {count} are out for this: {reason}")


def _plans(family: Family, windows: Sequence[Window], starts: Mapping[str, Solution]) -> list[Plan]:
    """The configurations, from the cheapest on; all routes with what became of them are in the run."""
    run = family.run
    if not run.done("plans"):
        made = _configurations(family, _proposed(family), windows)
        plans_file.write_plans(run.plans_path, (replace(c.plan, r2=min(starts[n].r2 for n in c.windows)) for c in made))
        run.finish("plans")
    found = plans_file.read_plans(run.plans_path)
    chosen = _chosen(found)
    family.report.say(f"{len(found)} routes, {len(chosen)} chosen; {run.plans_path} says why")
    return chosen


def _configurations(family: Family, plans: Sequence[Plan], windows: Sequence[Window]) -> list[Configuration]:
    """Plans with the windows that their joints go through."""
    of = {(w.front, i, w.back, j): w.name for w in windows for i, j in w.pairs}
    return [Configuration(p, tuple(of[at] for at in routes.joints(p, family.cut_lists))) for p in plans]


def _starts(family: Family, windows: Sequence[Window]) -> dict[str, Solution]:
    """The closed-form solution of every window, from the run or computed into it."""
    known = family.run.load_starts()
    if known is None:
        known = {}
        for small, large in _chain(family).neighbours:
            known |= _solved(family, small, large, windows)
        family.run.save_starts(known)
    return known


def _stitches(family: Family, windows: Sequence[Window], starts: Mapping[str, Solution]) -> dict[str, Stitch]:
    """Every window's stitch at its closed form."""
    chain, found = _chain(family), {}
    for w in windows:
        i, j = w.pairs[0]
        found[w.name] = closed_form.closed(starts[w.name], chain.cut(w.front, i), chain.cut(w.back, j))
    return found


def _solved(family: Family, small: str, large: str, windows: Sequence[Window]) -> dict[str, Solution]:
    """Solutions of the windows between two neighbours."""
    roles = {small: "small", large: "large"}
    groups = {
        w.name: [(roles[w.front], i, j) for i, j in w.pairs] for w in windows if {w.front, w.back} == {small, large}
    }
    names = f"{family.anchors[small].name} and {family.anchors[large].name}"
    family.report.stage(f"closed-form stitches of {len(groups)} windows between {names}")
    ends = {role: family.anchors[letter] for letter, role in roles.items()}
    found = {role: family.cut_lists[letter] for letter, role in roles.items()}
    return features.pooled(ends, found, groups, family.data.fit.head(STATISTICS_IMAGES), family.report.progress)
