"""The nets of a composition, step by step: found, checked, chosen, fitted; each step is in the run directory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import inf, nan
from typing import TYPE_CHECKING

import numpy as np

from restnet_tf import records
from restnet_tf.family.method import EmptyError
from restnet_tf.fitting.results import CLOSED_FORM, Fitted
from restnet_tf.methods.stitchnet import branches, fewshot, findings, search
from restnet_tf.methods.stitchnet.composition import Composition
from restnet_tf.methods.stitchnet.search import Link, Net, SearchResult
from restnet_tf.points import front
from restnet_tf.records import Layout, Plan, Reason, Stitch
from restnet_tf.run import plans_file
from restnet_tf.words import sentence

if TYPE_CHECKING:
    from collections.abc import Sequence

# By code of the reason for which paths ended: the option that lets them go on.
_OPTIONS = {"low_overall": "--least-overall", "low_score": "--least"}


@dataclass(frozen=True)
class Chosen:
    """Networks that become files, by name, with their plans and stitches; members with a head among them."""

    nets: Mapping[str, Net]
    plans: Mapping[str, Plan]
    fitted: Mapping[str, Fitted]


def search_result(composition: Composition) -> SearchResult:
    """All nets of the search, from the run or search_result into it, start by start."""
    whole = SearchResult()
    run = composition.run
    if missing := [role for role in composition.pool if not run.search_path(role).exists()]:
        branches.searched(composition, missing)
    for role in composition.pool:
        part = findings.read(run.search_path(role), composition.pool)
        whole.nets += part.nets
        whole.refused += part.refused
        whole.ended += part.ended
    return whole


def members(composition: Composition) -> dict[str, Net]:
    """Every pool member as it is, with a head, by role."""
    path = composition.run.search_path("members")
    if not path.exists():
        nets = []
        for role, parts in composition.pool.items():
            end = parts[-1]
            native = composition.activations.native(role, end.stop)
            judged = composition.judged(np.asarray(native).reshape(len(native), -1))
            more = composition.space.head(end)
            cost = (sum(p.macs for p in parts) + more[0], sum(p.params for p in parts) + more[1])
            loss, accuracy, knn, right = judged
            links = tuple(Link(p) for p in parts)
            nets.append(Net(links, 1.0, *cost, loss, accuracy, knn, right))
        findings.write(path, SearchResult(nets))
    nets = findings.read(path, composition.pool).nets
    return {net.name: net for net in nets}


def composed(whole: SearchResult, members: Mapping[str, Net]) -> list[Net]:
    """The nets with a stitch in them."""
    return [net for net in whole.nets if net.name not in members]


def check(composition: Composition, whole: SearchResult, members: Mapping[str, Net]) -> None:
    """Refuse a search that found no net: says which limit to move."""
    if composed(whole, members):
        return
    over = {reason: n for reason, n in whole.ended.items() if reason.code == "over_budget"}
    if over and sum(over.values()) == sum(whole.ended.values()):
        least = min(members.values(), key=lambda net: net.macs)
        raise EmptyError(
            f"no net of this pool is within the budget: the cheapest member, {composition.names[least.name]},"
            f" has {least.macs / 1e6:.4g}M MACs and {least.params:,} parameters, and"
            f" {sentence(max(over, key=over.__getitem__))}"
        )
    reasons = Counter({r: n for r, n in whole.ended.items() if r.code != "enough_nets"})
    if not reasons and whole.ended:
        raise EmptyError(
            f"no net was found: of each start {composition.settings.limits.nets} were enough; raise --nets"
        )
    if not reasons:
        raise EmptyError("no net was found: no cut of these members can be stitched to another; give another --pool")
    first, count = reasons.most_common(1)[0]
    raise EmptyError(
        f"no net was found: of {sum(reasons.values())} paths, {count} ended for {sentence(first)}; lower"
        f" {_OPTIONS.get(first.code, 'the limit')}, raise --top, or give other members"
    )


def chosen(composition: Composition, whole: SearchResult, members: Mapping[str, Net]) -> list[Net]:
    """The nets that become files, cheapest first; every plan is written with what became of it."""
    run = composition.run
    nets = composed(whole, members)
    cheapest_first = _front([*nets, *members.values()])
    best = [net for net in cheapest_first if net.name not in members]
    spread = _spread(best, composition.settings.max_points)
    if not run.done("plans"):
        longer = Reason("long_front", count=composition.settings.max_points)
        reasons: dict[str, Reason | None] = {net.name: longer for net in best}
        reasons |= {net.name: None for net in spread}
        for net in nets:
            if net.name not in reasons:
                rival = next(r for r in reversed(cheapest_first) if r.macs <= net.macs and _key(r) != _key(net))
                reasons[net.name] = Reason("higher_loss", rival=rival.name)
        plans = [_plan(net, reasons[net.name]) for net in nets] + [_plan(net, net.refused) for net in whole.refused]
        plans_file.write_plans(run.plans_path, plans)
        run.finish("plans")
    composition.report.say(
        f"{len(nets)} nets, {len(best)} of them on the front of MACs and log loss, {len(spread)} chosen;"
        f" {run.plans_path} says why"
    )
    return spread


def fitted(composition: Composition, nets: Sequence[Net]) -> Chosen:
    """The stitches and heads of nets, from the run or fitted into it."""
    plans = {net.name: _plan(net, None) for net in nets}
    by_name: dict[str, Fitted] = {}
    for net in nets:
        stitches = composition.run.load_fitted(net.name)
        if stitches is None:
            stitches = _fitted(composition, net)
            composition.run.save_fitted(net.name, stitches)
        by_name[net.name] = stitches
    return Chosen({net.name: net for net in nets}, plans, by_name)


def held_out(composition: Composition, net: Net) -> np.ndarray:
    """What a net answers ``(n, classes)`` to each of the few images where it was fitted without it."""
    _, features = search.refitted(composition.space, net)
    return fewshot.validated(features, composition.labels, composition.folds).probabilities


def correlation(nets: Sequence[Net]) -> dict[str, tuple[float, float]]:
    """Pearson's and Spearman's correlation of the overall score with validation accuracy and log loss."""
    from scipy import stats

    if len(nets) < 3:
        return {}
    overall = [net.overall for net in nets]
    coefficients = {}
    for name in ("accuracy", "loss", "knn"):
        values = [getattr(net, name) for net in nets]
        if np.ptp(overall) > 0 and np.ptp(values) > 0:
            pair = stats.pearsonr(overall, values), stats.spearmanr(overall, values)
            coefficients[name] = float(pair[0].statistic), float(pair[1].statistic)
    return coefficients


def title(composition: Composition, net: Net) -> str:
    """A net's route in words."""
    pieces = search.route([link.fragment for link in net.links])[:-1]
    if len(pieces) == 1:
        return composition.names[pieces[0].anchor]
    worded = [replace(p, stop=None if p is pieces[-1] else p.stop) for p in pieces]
    return records.title(Plan("", tuple(worded), 0, 0, nan, nan), composition.names)


def _fitted(composition: Composition, net: Net) -> Fitted:
    stitches, features = search.refitted(composition.space, net)
    penalty = fewshot.validated(features, composition.labels, composition.folds).penalty
    kernel, bias = fewshot.head(features, composition.labels, penalty)
    end = Layout((1, 1, composition.classes))
    last = Stitch(kernel, bias, net.links[-1].fragment.stop.layout, end, (None, None))
    return Fitted(last, CLOSED_FORM, net.loss, net.loss, (), before=stitches)


def _key(net: Net) -> tuple[float, int, str]:
    return net.loss, net.macs, net.name


def _front(nets: Sequence[Net]) -> list[Net]:
    """Nets that lose less than all that cost no more, cheapest first."""
    best = [n for n in nets if not front.rivals(n, nets, lambda n: n.macs, lambda one, other: _key(one) < _key(other))]
    return sorted(best, key=lambda net: net.macs)


def _spread(nets: list[Net], count: int) -> list[Net]:
    """At most so many of a front, evenly; the one of least loss is among them."""
    if len(nets) <= count:
        return nets
    return [nets[i] for i in sorted({round(x) for x in np.linspace(len(nets) - 1, 0, count)})]


def _plan(net: Net, reason: Reason | None) -> Plan:
    """A net as a plan; its KL is that of its head's answers from the labels, which is the log loss."""
    parts = [link.fragment for link in net.links]
    r2 = [link.r2 for link in net.links if link.r2 is not None]
    loss = None if net.loss == inf else net.loss
    status = "rejected" if reason else "chosen"
    pieces = search.route(parts)
    return Plan(net.name, pieces, net.macs, net.params, net.overall, min(r2, default=nan), loss, status, reason)
