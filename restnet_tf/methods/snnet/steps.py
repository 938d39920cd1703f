"""The training of an SN-Net in a run directory: what it reads, what it keeps, and its controls.

``stitches``: the anchors stay exact, and front features are computed once. ``norms``: so they do, and the norms
behind each stitch get scales and shifts for it. ``all``: the anchors are trained as well, from images, as in the
paper. ``separate``: every configuration has stitches of its own, trained with an equal share of the same compute.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from restnet_tf.family import caches, controls
from restnet_tf.family.answering import WholeAnchor
from restnet_tf.family.controls import Control
from restnet_tf.family.family import TEACHER, Family
from restnet_tf.fitting import cache
from restnet_tf.fitting.cache import Cache
from restnet_tf.fitting.results import Fitted
from restnet_tf.methods.snnet import trainings
from restnet_tf.methods.snnet.options import Options
from restnet_tf.methods.snnet.supernet import Configuration
from restnet_tf.methods.snnet.training import Recipe
from restnet_tf.methods.snnet.trainings import Training
from restnet_tf.records import Piece, Plan, Stitch
from restnet_tf.work.tasks import TRAINING, Task

if TYPE_CHECKING:
    from restnet_tf.records import Anchor

Build = Family[Options]
# At --effort 1: what the eight points of a family of two take together, one after the other.
_WORK, _POINTS = 44e12, 8


def train(
    family: Build, configurations: Sequence[Configuration], starts: Mapping[str, Stitch]
) -> tuple[dict[str, Fitted], tuple[Control, ...]]:
    """Stitches of every configuration, and the controls, from the run or trained into it."""
    views, ranked = _caches(family, configurations)
    if not family.run.done("training"):
        train_them = _separately if family.options.train == "separate" else _jointly
        train_them(family, configurations, starts, views, ranked)
        family.run.finish("training")
    fitted = {c.name: stitches for c in configurations if (stitches := family.run.load_fitted(c.name)) is not None}
    return fitted, _controls(family, configurations, views, ranked)


def exact(family: Build) -> bool:
    """Whether the anchors stay what they were."""
    return family.options.train != "all"


def teacher(family: Build) -> str | None:
    """The anchor that the user named as the teacher, by its letter."""
    letter = family.options.teacher
    return letter if letter in family.anchors else None


def _caches(family: Build, configurations: Sequence[Configuration]) -> tuple[Cache, Cache]:
    """What training reads: of views of the fit images, and of the rank split."""
    roles, features = contents(family, [c.plan for c in configurations])
    anchors = {role: family.sources[role] for role in roles}
    return caches.of_views(family, "views", anchors, features), caches.of_rank(family, "rank", anchors, features)


def contents(family: Build, plans: Sequence[Plan]) -> tuple[dict[str, Anchor], dict[str, list[str]]]:
    """The networks that training reads features of, and which of these, by role."""
    anchors = dict(family.anchors)
    features: dict[str, list[str]] = {role: [] for role in anchors}
    for p in plans:
        front = p.route[0]
        _list(features[front.anchor], str(front.stop) if exact(family) else cache.INPUT)
    if not exact(family):
        for role in anchors:
            _list(features[role], cache.INPUT)
    if family.settings.controls:
        for name in (cache.INPUT, cache.LOGITS, cache.PENULTIMATE):
            _list(features[family.smallest], name)
        if (twin := _twin(family, plans)) is not None:
            _list(features[twin.route[-1].anchor], cache.PENULTIMATE)
    for role in (family.largest, *_rivals(family)):
        _list(features[role], cache.LOGITS)
    if family.teacher is not None:
        anchors[TEACHER], features[TEACHER] = family.teacher, [cache.LOGITS]
    elif (letter := teacher(family)) is not None:
        _list(features[letter], cache.LOGITS)
    return anchors, features


def _list(names: list[str], name: str) -> None:
    if name not in names:
        names.append(name)


def whole(family: Build) -> int:
    """The work of all configurations together."""
    return int(family.settings.effort * _WORK)


def of_control(family: Build) -> int:
    """The work of a control: that of a point in a family of two that is built with the same effort."""
    return int(family.settings.effort * _WORK / _POINTS)


def _recipe(family: Build, parts: int = 1) -> Recipe:
    """A recipe for one of equal parts of the whole compute."""
    settings = family.settings
    return Recipe(int(settings.effort * _WORK / parts), family.options.sampling, settings.seed)


def _rivals(family: Build) -> dict[str, int]:
    """The anchors that configurations on the front have to beat, with their MACs."""
    return {role: cost.macs for role, cost in family.costs.items()} if family.options.sampling == "front" else {}


def _jointly(
    family: Build, configurations: Sequence[Configuration], starts: Mapping[str, Stitch], views: Cache, ranked: Cache
) -> None:
    """Train all configurations together, into the run; goes on from the last validation."""
    job = _job(family, configurations, starts, views, ranked)
    state = family.run.cache_path("joint.npz")
    job = replace(job, whole=() if exact(family) else tuple(_whole(family)), state=state)
    task = Task(f"training {len(configurations)} configurations together", trainings.trained, job, True, TRAINING)
    for report in family.execute([task], family.report):
        family.report.say(report.sentence)


def _separately(
    family: Build, configurations: Sequence[Configuration], starts: Mapping[str, Stitch], views: Cache, ranked: Cache
) -> None:
    """Train the stitches of each configuration alone, into the run."""
    left = [c for c in configurations if not family.run.stitch_path(c.name).exists()]
    recipe = _recipe(family, len(configurations))
    tasks = [
        Task(
            f"training {c.name} alone",
            trainings.trained,
            replace(_job(family, [c], starts, views, ranked), recipe=recipe),
            kind=TRAINING,
        )
        for c in left
    ]
    for report in family.execute(tasks, family.report):
        family.report.say(report.sentence)


def _job(
    family: Build, configurations: Sequence[Configuration], starts: Mapping[str, Stitch], views: Cache, ranked: Cache
) -> Training:
    """What trains these configurations, and only the stitches that they run through."""
    used = {name for c in configurations for name in c.windows}
    return Training(
        run=family.run.path,
        trained=family.run.trained_path,
        anchors={role: family.sources[role] for role in family.anchors},
        caches=(views.folder, ranked.folder),
        teacher=TEACHER if family.teacher is not None else teacher(family) or family.largest,
        configurations=tuple(configurations),
        starts={name: start for name, start in starts.items() if name in used},
        recipe=_recipe(family),
        rivals=_rivals(family),
        exact=exact(family),
        tunes_norms=family.options.train == "norms",
        low_rank=family.options.rank,
    )


def _whole(family: Build) -> list[Configuration]:
    """The anchors themselves, which are drawn as well where they are trained."""
    costs = family.costs
    routes = {role: (Piece(role, None, None),) for role in family.by_cost}
    plans = [Plan(role, route, costs[role].macs, costs[role].params, np.nan, np.nan) for role, route in routes.items()]
    return [Configuration(p, ()) for p in plans]


def _twin(family: Build, plans: Sequence[Plan]) -> Plan | None:
    """What the random front stands in for; None where given plans have no route of two pieces.

    Its front has half of its MACs, as nearly as any: behind a front of hardly any, a stitch has nothing to show.
    """
    before = {role: {cut.name: cut.macs_before for cut in cut_list} for role, cut_list in family.cut_lists.items()}

    def uneven(p: Plan) -> float:
        front = p.route[0]
        return abs(before[front.anchor][str(front.stop)] / p.macs - 0.5)

    return min((p for p in plans if len(p.route) == 2), key=lambda p: (uneven(p), p.name), default=None)


def _controls(
    family: Build, configurations: Sequence[Configuration], views: Cache, ranked: Cache
) -> tuple[Control, ...]:
    """A distilled small anchor, a stitch behind a random front and, where training changed them, the old anchors."""
    every: list[Control] = []
    if family.settings.controls:
        compute = of_control(family)
        every.append(controls.distilled(family, compute, views, ranked))
        if (twin := _twin(family, [c.plan for c in configurations])) is not None:
            every.append(controls.random_front(family, twin, {"stitch": compute}, views, ranked))
    if not exact(family):
        for role in family.by_cost:
            name, costs, network = family.anchors[role].name, family.costs[role], WholeAnchor(family.sources[role])
            every.append(Control(f"{role} before", f"{name} before the training", network, costs.macs, costs.params))
    return tuple(every)
