"""ReStNet: stitches between two anchors, each fitted on its own (Wang, Lu, Nie et al. 2025), or inside a large one.

R2 (or CKA) proposes cuts, the KL of closed-form stitches chooses, only what a rung of the ladder names is
trained, and what neither anchor nor another point dominates is shipped. Every step keeps its result
in the run directory, and a build that finds it there goes on behind it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any

import numpy as np

from restnet_tf import atomic
from restnet_tf.anchors import demo
from restnet_tf.data.splits import Data
from restnet_tf.family import (
    additions,
    anchor_pieces,
    caches,
    controls,
    fits,
    forecast,
    from_scratch,
    opening,
    ship,
)
from restnet_tf.family.controls import Control
from restnet_tf.family.family import Family
from restnet_tf.family.fits import Fit
from restnet_tf.family.references import References, of_family
from restnet_tf.fitting import cache, ladder, loss, rungs, stints
from restnet_tf.fitting.cache import Cache
from restnet_tf.fitting.results import Fitted
from restnet_tf.fitting.stints import Contest, Entrant
from restnet_tf.methods.restnet import demo_anchors, outlook, plan, routes
from restnet_tf.methods.restnet.options import ROLES, Options
from restnet_tf.methods.restnet.routes import Routes
from restnet_tf.points.points import DISTILLED, OperatingPoint
from restnet_tf.progress import Reporter
from restnet_tf.records import Anchor, Plan, Reason, RestnetError, Stitch
from restnet_tf.report import foretold
from restnet_tf.report import summary as words
from restnet_tf.report.contents import Wording
from restnet_tf.run import plans_file
from restnet_tf.run.directory import Run
from restnet_tf.similarity import rankings
from restnet_tf.words import sentence
from restnet_tf.work import start, tasks
from restnet_tf.work.sources import ModelSource
from restnet_tf.work.tasks import Executor

_NAME = __name__.split(".")[-2]  # its folder's
WORDING = Wording()
_BARE = (
    "no images were given: stitches are in closed form, and scores are agreement with the large anchor, on crops of two"
    " photographs; with images of your own (--data, a folder a class) stitches are trained and scores are accuracy"
)
Build = Family[Options]


def open(options: Options, report: Reporter, execute: Executor = tasks.serially) -> Build:
    """Load the inputs; without anchors the demo's are trained, once a run."""
    start.tensorflow(ours=False)
    if options.without_images:
        return _on_photographs(options, report, execute)
    settings = outlook.settings(options)
    data = opening.images(options, report)
    run = Run(out(options))
    atomic.check_writable(run.path)
    models = _demo(options, data, run, execute, report) if options.demo else _named(options, report)
    return opening.family(options, settings, data, models, run, report, execute=execute)


def _on_photographs(options: Options, report: Reporter, execute: Executor) -> Build:
    """Anchors alone: stitches in closed form, on crops of photographs, which nobody needs to train on."""
    used = outlook.on_photographs(options)
    settings = outlook.settings(options)
    # Before anything else is read: their weights may be nowhere.
    models = _named(used, report)
    data = opening.images(used, report)
    run = Run(out(options))
    atomic.check_writable(run.path)
    return replace(opening.family(used, settings, data, models, run, report, execute=execute), options=options)


def out(options: Options) -> Path:
    """The run directory: the user's, or the one of these inputs."""
    return options.out or (demo.OUT if options.demo else opening.default_out(options.models, options.data))


def identity(family: Build) -> dict[str, Any]:
    """All that decides the result."""
    options = family.options
    settings: dict[str, Any] = {"rank_by": options.rank_by, "fine_tune": options.fine_tune}
    # A run that was begun without it goes on without it.
    settings |= {"jumps": True} if options.jumps else {}
    return opening.identity(family, _NAME, settings)


def check(family: Build) -> None:
    """Refuse (``RestnetError``) anchors, plans and disks that cannot be built with, before any work is done."""
    if not family.options.alone:
        check_costs(family)
    routes.check(family)
    if family.settings.max_points and not family.run.record_path.exists():
        forecast.check_room(family)


def check_costs(family: Build) -> None:
    """Refuse (``RestnetError``) a large anchor that costs no more than the small one."""
    large, small = (family.costs[role].macs / 1e6 for role in ROLES)
    if large <= small:
        names = {role: anchor.name for role, anchor in family.anchors.items()}
        raise RestnetError(
            f"the large anchor {names['large']} costs {large:.1f}M MACs and the small one, {names['small']},"
            f" {small:.1f}M; --large must be the costlier one"
        )


def build(family: Build) -> None:
    """Build a family in its opened run directory; every point and control, measured.

    Raises ``RestnetError`` where the anchors leave nothing to stitch.
    """
    if family.settings.max_points and not family.run.done("plans"):
        forecast.say(outlook.forecast(family, family.options), family.run.path, family.report)
    anchor_pieces.compile_anchors(family, family.settings.precisions)
    ship.preview(family)
    if family.settings.max_points:
        _stitch(family)
    else:
        ship.ship(family, (), {}, ())


def _stitch(family: Build) -> None:
    """Plan, fit and ship the points between the anchors."""
    ways = routes.of(family)
    proposals = plans(family, ways)
    chosen = [p for p in proposals if p.status == "chosen"]
    if not chosen:
        reason, count = Counter(p.reason and p.reason.kind for p in proposals).most_common(1)[0]
        raise RestnetError(
            f"no {ways.noun} is left to stitch: of {len(proposals)}, {count} are out for this:"
            f" {sentence(reason)}; {family.run.plans_path} has every reason"
        )
    train, ranked = _caches(family, chosen)
    jobs = [_job(family, p, ways.starts(p), train, ranked) for p in chosen]
    fitted = _fitted(family, chosen, jobs, train, ranked)
    chosen = [p for p in chosen if p.name in fitted]
    rivals = [controls.pupil(family, fitted.pop(DISTILLED))] if DISTILLED in fitted else []
    by_name = {job.name: job for job in jobs}
    ship.ship(family, chosen, fitted, rivals, lambda names: _twins(family, chosen, names, by_name, fitted))
    ways.draw()


def _twins(
    family: Build, chosen: Sequence[Plan], names: Sequence[str], jobs: Mapping[str, Fit], fitted: Mapping[str, Fitted]
) -> Iterator[Control]:
    """Controls of points that would ship: their routes behind random fronts, and the median one trained from nothing.

    Those that ``auto`` gave weights of their own are trained from nothing too. A network alone has no front but its
    own, and nothing costs less that could stand in for it.
    """
    leading = [p for p in chosen if p.name in names]
    if leading and family.settings.controls and not family.options.alone:
        yield from controls.twins(family, leading, jobs, fitted)
        median = leading[len(leading) // 2]
        unshared = [p for p in leading if outlook.may_unshare(family.options) and fits.unshares(fitted[p.name])]
        for p in dict.fromkeys((median, *unshared)):
            twin = p in unshared
            yield from_scratch.control(family, p, jobs[p.name], fitted[p.name], named=p != median, twin=twin)


def extend(family: Build) -> None:
    """Make the files that the options of a finished run ask for and it lacks."""
    if additions.lacks(family):
        additions.link(family)


def reopen(family: Build) -> Build:
    """The family of a finished run: its anchors are as they were."""
    return family


def references(family: Build) -> References:
    """The points in Keras, and what makes stages of them."""
    return of_family(reopen(family))


def summary(family: Build, meta: Mapping[str, Any], listed: Sequence[OperatingPoint]) -> list[str]:
    """What came of the points between the anchors."""
    if family.options.alone:
        nouns = words.Nouns(("shorter path", "shorter paths"))
        return [*words.family(family.run.path, meta, listed, nouns), *_order(family)]
    bare = [_BARE] if family.options.without_images else []
    return [*words.family(family.run.path, meta, listed), *_order(family), *bare]


def _order(family: Build) -> list[str]:
    """How well each ranking foretold the closed-form loss of the plans between the anchors that were tried."""
    if not family.run.done("plans"):
        return []
    listed = plans_file.read_plans(family.run.plans_path)
    return foretold.sentences(*rankings.foretold(listed, family.settings.seed))


def plans(family: Build, ways: Routes) -> tuple[Plan, ...]:
    """All plans with what became of them, from the run, from the user's file, or made here."""
    run, given = family.run, family.settings.plans
    if run.done("plans"):
        proposals = plans_file.read_plans(run.plans_path)
    else:
        bounds, points = ways.bounds, family.settings.max_points
        candidates = 1 if family.options.without_images else stints.CANDIDATES
        proposals = plan.choose(ways.tried(), bounds, candidates * points) if given is None else given
        plans_file.write_plans(run.plans_path, proposals)
        run.finish("plans")
    count = sum(p.status == "chosen" for p in proposals)
    family.report.say(f"{len(proposals)} {_plural(ways.noun)}, {count} chosen; {run.plans_path} says why")
    return tuple(sorted(proposals, key=lambda p: (p.macs, p.name)))


def _caches(family: Build, chosen: list[Plan]) -> tuple[Cache, Cache]:
    """What the fits read: of the training views, and of the rank split."""
    names: dict[str, list[str]] = {role: [cache.LOGITS, cache.PENULTIMATE] for role in family.anchors}
    if family.settings.controls and not family.options.alone:
        names["small"].append(cache.INPUT)
    for p in chosen:
        front = p.route[0]
        if front.stop not in names[front.anchor]:
            names[front.anchor].append(str(front.stop))
    return (
        caches.of_views(family, "views", family.named, names),
        caches.of_rank(family, "rank", family.named, names),
    )


def _fitted(
    family: Build, chosen: Sequence[Plan], jobs: Sequence[Fit], train: Cache, ranked: Cache
) -> dict[str, Fitted]:
    """The fits by name, from the cheapest on, that of the small anchor first; candidates that were dropped are not."""
    if family.options.without_images:
        return fits.fit(family, [replace(job, rungs={}) for job in jobs])
    places, answers = _places(family, len(jobs)), (ranked.logits("large"), ranked.logits(family.smallest))
    entrants = [
        Entrant(job.name, job.rungs, place, (p.macs, p.params))
        for job, place, p in zip(jobs, places, chosen, strict=True)
    ]
    lessons: list[Fit] = []
    # Of one network alone there is nothing to distil, no rival, and no front but its own.
    if family.settings.controls and not family.options.alone:
        work = controls.median_work(e.share for e in entrants)
        lessons = [controls.lesson(family, work, train, ranked)]
    small_kl = inf if family.options.alone else float(np.mean(loss.kl_divergence(*answers)))
    small = family.costs[family.smallest]
    rivals = [Entrant(lesson.name, lesson.rungs, costs=(small.macs, small.params)) for lesson in lessons]
    contest = Contest([*rivals, *entrants], outlook.climbs(family.options), small_kl, (small.macs, small.params))
    fitted = fits.climb(family, [*lessons, *jobs], contest)
    _drop(family, contest.dropped)
    for name, fit in fitted.items():
        family.report.say(_trail(name, fit))
    return fitted


def _places(family: Build, count: int) -> list[int]:
    """For which point each of so many plans is a candidate: neighbours by cost share one, those of a person do not."""
    points = count if family.settings.plans else min(count, family.settings.max_points)
    return [index * points // count for index in range(count)]


def _drop(family: Build, dropped: Mapping[str, str]) -> None:
    """Note in the plans which of them others went on for, and what training them took."""
    if not dropped:
        return

    def noted(p: Plan) -> Plan:
        if p.name not in dropped:
            return p
        begun = family.run.load_begun(p.name)
        assert begun is not None  # or it could not have been dropped
        reason = Reason("halved", rival=dropped[p.name], count=begun[0].spent)
        return replace(p, status="rejected", reason=reason)

    plans_file.write_plans(family.run.plans_path, map(noted, plans_file.read_plans(family.run.plans_path)))


def _job(family: Build, p: Plan, starts: Sequence[Stitch], train: Cache, ranked: Cache) -> Fit:
    """What fits one point."""
    front, *between, back = p.route
    *before, start = starts
    source, cut = family.sources[back.anchor], str(back.start)
    reads = fits.reads(train, ranked, front, back.anchor, family.largest)
    stretches = tuple(
        fits.Stretch(one, family.sources[piece.anchor], str(piece.start), str(piece.stop))
        for one, piece in zip(before, between, strict=True)
    )
    trained = [fits.stretch(one.anchor, one.start, one.stop) for one in stretches]
    climbs, effort = outlook.climbs(family.options), family.settings.effort
    budgets = rungs.budgets(climbs, effort, ladder.work(*trained, fits.back(source, cut)))
    budgets |= rungs.last_resort(effort) if outlook.may_unshare(family.options) else {}
    return Fit(family.run.path, p.name, source, cut, start, reads, budgets, family.settings.seed, stretches)


def _plural(noun: str) -> str:
    """Of "pair of cuts" the pairs."""
    first, *rest = noun.split(" ")
    return " ".join([f"{first}s", *rest])


def _trail(name: str, fitted: Fitted) -> str:
    """How the KL went down from rung to rung."""
    steps = [(rung, kl) for r in fitted.rungs for rung, kl in (("matched", r.matched), (r.rung, r.kl))]
    trail = ", ".join(f"{rung} {kl:.3f}" for rung, kl in steps if kl is not None)
    return f"{name}: KL {fitted.closed_form_kl:.3f} in closed form, then {trail}; kept: {fitted.rung}"


def _demo(
    options: Options, data: Data, run: Run, execute: Executor, report: Reporter
) -> dict[str, tuple[ModelSource, Anchor]]:
    """The embedded default's anchors, from the run or trained into it."""
    images = opening.images_source(options, data)
    return opening.loaded(demo_anchors.named(run, data.name, images, execute, report))


def _named(options: Options, report: Reporter) -> dict[str, tuple[ModelSource, Anchor]]:
    report.stage("loading the anchors")
    return opening.loaded({role: model(options, role) for role in (ROLES[:1] if options.alone else ROLES)})


def model(options: Options, role: str) -> ModelSource:
    """What names the large or the small anchor."""
    spec = getattr(options, role)
    if spec is None:
        raise RestnetError(f"no {role} anchor was named; give --{role} a name or a file")
    arch, mode, classes = (getattr(options, f"{role}_{what}") for what in ("arch", "preprocess", "classes"))
    return ModelSource(spec, options.weights, options.weights_dir, arch, mode, classes)
