"""The training of an SN-Net in a run directory: what it reads, what it keeps, and its controls.

``stitches``: the anchors stay exact, and front features are computed once. ``norms``: so they do, and the norms
behind each stitch get scales and shifts for it. ``all``: the anchors are trained as well, from images, as in the
paper. ``separate``: every configuration has stitches of its own, trained with an equal share of the same compute.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from restnet_tf import atomic
from restnet_tf.family import caches, controls
from restnet_tf.family.controls import Control
from restnet_tf.family.family import TEACHER, Family
from restnet_tf.fitting import cache
from restnet_tf.fitting.cache import Cache
from restnet_tf.fitting.ladder import Fitted, RungResult
from restnet_tf.graph import cuts
from restnet_tf.methods.snnet import training
from restnet_tf.methods.snnet.options import Options
from restnet_tf.methods.snnet.supernet import Configuration, Stretches, Supernet
from restnet_tf.methods.snnet.training import Recipe, Rows, State, TrainingResult
from restnet_tf.records import Piece, Plan, Stitch
from restnet_tf.stitches import variant

if TYPE_CHECKING:
    from pathlib import Path

Build = Family[Options]
# At --effort 1: what the eight points of a family of two take together, one after the other.
_WORK, _POINTS = 44e12, 8


def train(
    family: Build, configurations: Sequence[Configuration], starts: Mapping[str, Stitch]
) -> tuple[dict[str, Fitted], tuple[Control, ...]]:
    """Stitches of every configuration, and the controls, from the run or trained into it."""
    views, ranked = _caches(family, configurations)
    if not family.run.done("training"):
        sets = _rows(family, views), _rows(family, ranked)
        if family.options.train == "separate":
            _separately(family, configurations, starts, *sets)
        else:
            _jointly(family, configurations, starts, *sets)
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
    anchors = dict(family.anchors)
    features: dict[str, list[str]] = {role: [] for role in anchors}
    for c in configurations:
        front = c.plan.route[0]
        _list(features[front.anchor], str(front.stop) if exact(family) else cache.INPUT)
    if not exact(family):
        for role in anchors:
            _list(features[role], cache.INPUT)
    if family.settings.controls:
        for name in (cache.INPUT, cache.LOGITS, cache.PENULTIMATE):
            _list(features[family.smallest], name)
        if (twin := _twin(family, configurations)) is not None:
            _list(features[twin.route[-1].anchor], cache.PENULTIMATE)
    for role in (family.largest, *_rivals(family)):
        _list(features[role], cache.LOGITS)
    if family.teacher is not None:
        anchors[TEACHER], features[TEACHER] = family.teacher, [cache.LOGITS]
    elif (letter := teacher(family)) is not None:
        _list(features[letter], cache.LOGITS)
    return caches.of_views(family, "views", anchors, features), caches.of_rank(family, "rank", anchors, features)


def _list(names: list[str], name: str) -> None:
    if name not in names:
        names.append(name)


def _rows(family: Build, cached: Cache) -> Rows:
    role = TEACHER if family.teacher is not None else teacher(family) or family.largest
    return Rows(cached, role, exact(family))


def _recipe(family: Build, parts: int = 1) -> Recipe:
    """A recipe for one of equal parts of the whole compute."""
    settings = family.settings
    return Recipe(int(settings.effort * _WORK / parts), family.options.sampling, settings.seed)


def _rivals(family: Build) -> dict[str, int]:
    """The anchors that configurations on the front have to beat, with their MACs."""
    return {role: cost.macs for role, cost in family.costs.items()} if family.options.sampling == "front" else {}


def _supernet(
    family: Build, stretches: Stretches, starts: Mapping[str, Stitch], members: Sequence[Configuration]
) -> Supernet:
    """The configurations as one network; of all the stitches those that they run through."""
    behind = {name: p.anchor for c in members for name, p in zip(c.windows, c.plan.route[1:], strict=True)}
    used = {name: start for name, start in starts.items() if name in behind}
    tuned = behind if family.options.train == "norms" else {}
    return Supernet(stretches, used, low_rank=family.options.rank, seed=family.settings.seed, tuned=tuned)


def _jointly(
    family: Build, configurations: Sequence[Configuration], starts: Mapping[str, Stitch], views: Rows, ranked: Rows
) -> None:
    """Train all configurations together, into the run; goes on from the last validation."""
    untouched = exact(family)
    family.report.stage(f"training {len(configurations)} configurations together")
    anchors = dict(family.anchors) if untouched else {role: variant.copied(a) for role, a in family.anchors.items()}
    members = list(configurations) if untouched else [*configurations, *_whole(family)]
    net = _supernet(family, Stretches(anchors, family.cut_lists, exact=untouched), starts, configurations)
    path = family.run.cache_path("joint.npz")
    result = training.train(
        net,
        members,
        views,
        ranked,
        _recipe(family),
        rivals=_rivals(family),
        state=_state(path),
        keep=lambda state: atomic.write_npz(path, state),
        progress=family.report.progress,
    )
    if result.weights:
        arrays = {f"{role}:{at}": value for role, of in result.weights.items() for at, value in of.items()}
        atomic.write_npz(family.run.trained_path, arrays)
    _tell(family, result, configurations)
    for c in configurations:
        family.run.save_fitted(c.name, _fitted(c, result, len(configurations)))


def _separately(
    family: Build, configurations: Sequence[Configuration], starts: Mapping[str, Stitch], views: Rows, ranked: Rows
) -> None:
    """Train the stitches of each configuration alone, into the run."""
    stretches = Stretches(family.anchors, family.cut_lists, exact=True)
    for c in configurations:
        if family.run.load_fitted(c.name) is not None:
            continue
        family.report.stage(f"training {c.name} alone")
        net = _supernet(family, stretches, starts, [c])
        recipe = _recipe(family, len(configurations))
        result = training.train(net, [c], views, ranked, recipe, progress=family.report.progress)
        family.run.save_fitted(c.name, _fitted(c, result, 1))
        _tell(family, result, [c])


def _state(path: Path) -> State | None:
    if not path.exists():
        return None
    with np.load(path) as arrays:
        return dict(arrays)


def _whole(family: Build) -> list[Configuration]:
    """The anchors themselves, which are drawn as well where they are trained."""
    costs = family.costs
    routes = {role: (Piece(role, None, None),) for role in family.by_cost}
    plans = [Plan(role, route, costs[role].macs, costs[role].params, np.nan, np.nan) for role, route in routes.items()]
    return [Configuration(p, ()) for p in plans]


def _fitted(configuration: Configuration, result: TrainingResult, count: int) -> Fitted:
    """A configuration's stitches; what anchors' own steps took is shared out evenly."""
    name = configuration.name
    spent = result.spent[name]
    rest = [own for other, own in result.spent.items() if not result.stitches[other]]
    more = [sum(getattr(r, figure) for r in rest) // count for figure in ("images", "macs", "work")]
    images, macs, work = (own + extra for own, extra in zip((spent.images, spent.macs, spent.work), more, strict=True))
    *before, last = result.stitches[name]
    rung = RungResult(spent.rung, spent.kl, images, macs, work)
    return Fitted(last, rung.rung, rung.kl, result.before[name], (rung,), tuple(before))


def _tell(family: Build, result: TrainingResult, configurations: Sequence[Configuration]) -> None:
    kls = [(result.before[c.name], result.spent[c.name].kl) for c in configurations]
    before, after = (float(np.mean(side)) for side in zip(*kls, strict=True))
    steps = f"{result.steps} steps of {result.batch} images"
    family.report.say(f"mean KL of {len(kls)} configurations {before:.3f} in closed form, {after:.3f} after {steps}")


def _twin(family: Build, configurations: Sequence[Configuration]) -> Plan | None:
    """What the random front stands in for; None where given plans have no route of two pieces.

    Its front has half of its MACs, as nearly as any: behind a front of hardly any, a stitch has nothing to show.
    """
    before = {role: {cut.name: cut.macs_before for cut in cut_list} for role, cut_list in family.cut_lists.items()}

    def uneven(p: Plan) -> float:
        front = p.route[0]
        return abs(before[front.anchor][str(front.stop)] / p.macs - 0.5)

    plans = [c.plan for c in configurations if len(c.windows) == 1]
    return min(plans, key=lambda p: (uneven(p), p.name), default=None)


def _controls(
    family: Build, configurations: Sequence[Configuration], views: Cache, ranked: Cache
) -> tuple[Control, ...]:
    """A distilled small anchor, a stitch behind a random front and, where training changed them, the old anchors.

    The first two have the compute of a point in a family of two that is built with the same effort.
    """
    every: list[Control] = []
    if family.settings.controls:
        compute = int(family.settings.effort * _WORK / _POINTS)
        every.append(controls.distilled(family, compute, views, ranked))
        if (twin := _twin(family, configurations)) is not None:
            every.append(controls.random_front(family, twin, {"stitch": compute}, views, ranked))
    if not exact(family):
        for role in family.by_cost:
            anchor, costs = family.anchors[role], family.costs[role]
            logits = cuts.between(anchor.model, anchor.model.inputs[0], anchor.logits)
            every.append(
                Control(f"{role} before", f"{anchor.name} before the training", logits, costs.macs, costs.params)
            )
    return tuple(every)
