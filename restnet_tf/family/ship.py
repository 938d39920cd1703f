"""From scored points to what is shipped: make and rate their files, decide over all of them, measure, publish.

A build, a point added later and a precision added later all end here, so that no point stands in a run undecided.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from restnet_tf.cascades.chains import StageCandidate
from restnet_tf.family import (
    anchor_pieces,
    answering,
    cascades,
    compute,
    file_answers,
    linking,
    opening,
    ratings,
    score,
    taught,
)
from restnet_tf.family.anchor_pieces import Members
from restnet_tf.family.answers import SPLITS
from restnet_tf.family.cascades import Rest, Scope
from restnet_tf.family.score import Scorer
from restnet_tf.family.shop import Shop
from restnet_tf.points import front
from restnet_tf.points.points import CASCADE, CONTROL, DISTILLED, SHIPPED, STITCHED, OperatingPoint, Score
from restnet_tf.report import terminal
from restnet_tf.run import plans_file
from tflite_export import inputs

if TYPE_CHECKING:
    from restnet_tf.family.controls import Control
    from restnet_tf.family.family import Family
    from restnet_tf.fitting.results import Fitted
    from restnet_tf.records import Plan


def ship(
    family: Family,
    chosen: Sequence[Plan],
    fitted: Mapping[str, Fitted],
    rivals: Sequence[Control],
    twins: Callable[[Sequence[str]], Iterable[Control]] = lambda names: (),
) -> None:
    """Score, decide, link and measure; the result is ``points.json`` in the run.

    ``twins`` gives what the points of these names have to beat beside; asked of those alone that would ship.
    """
    scorer = Scorer(family)
    members = Members(family, {p.name: p for p in chosen}, fitted, taught.of_run(family))
    scored = score.scored(family, scorer, chosen, fitted, rivals)
    shop = _shop(members, scorer, scored)
    rated = ratings.rated(members, shop, scored)
    leading = [p.name for p in front.decide(rated) if p.kind == STITCHED and p.status == SHIPPED]
    spent = sum(rival.spent for rival in rivals)
    beside = list(twins(leading))
    rated += score.besides(family, scorer, beside)
    spent += sum(twin.spent for twin in beside)
    distilling = sum(rival.spent for rival in rivals if rival.kind == DISTILLED)
    trained = {"training_macs": _training_macs(family, fitted, spent), "distilling_macs": distilling}
    _settled(members, shop, rated, _meta(family) | trained)
    family.run.finish("points")


def settle(
    members: Members,
    scorer: Scorer,
    candidates: Sequence[OperatingPoint],
    meta: Mapping[str, Any],
) -> tuple[OperatingPoint, ...]:
    """Rate what is new, decide over all points and publish.

    Files have those that are shipped, in the precisions that they are shipped in, and those that the user named.
    """
    shop = _shop(members, scorer, candidates)
    return _settled(members, shop, ratings.rated(members, shop, candidates), meta)


def _settled(
    members: Members, shop: Shop, rated: Sequence[OperatingPoint], meta: Mapping[str, Any]
) -> tuple[OperatingPoint, ...]:
    family, settings = members.family, members.family.settings
    earlier = [p for p in rated if p.kind == CASCADE]
    decided = front.decide(p for p in rated if p.kind != CASCADE)
    forms = {p.name: _precisions(family, p) for p in decided if p.kind != CONTROL}
    for p in decided:
        for precision in set(p.ratings) - set(forms.get(p.name, ())):
            shop.answers.forget(p.name, precision)
    files = shop.stocked([p for p in decided if forms.get(p.name)], forms)
    settled = tuple(replace(p, files={name: files[p.name][name] for name in forms.get(p.name, ())}) for p in decided)
    settled += cascades.added(shop, settled, scope(family, _rests(members, settled)), meta, earlier)
    cascades.forget(family.run, rated, settled)
    shop.publish(settled, meta, title(family))
    family.run.note_forms(opening.forms(settings))
    return settled


def _precisions(family: Family, point: OperatingPoint) -> list[str]:
    """The precisions that a point has files in."""
    settings = family.settings
    named = settings.ship_all or point.name in settings.also
    return [name for name in settings.precisions if named or point.ships(name)]


def scope(family: Family, rests: Mapping[str, Mapping[str, Rest]]) -> Scope:
    """What cascades of a family's points may be; ``rests`` as in ``Scope``."""
    splits = {name: getattr(family.data, name).labels for name in SPLITS}
    labels = {name: np.asarray(values) for name, values in splits.items()} if family.data.labelled else None
    settings = family.settings
    return Scope(
        labels, settings.cascade_precisions, settings.cascades, family.budget, rests=rests, many=family.data.kind.many
    )


def _rests(members: Members, listed: Sequence[OperatingPoint]) -> dict[str, dict[str, Rest]]:
    """By anchor, the points that begin with a front of it, and what going on from there takes."""
    rests: dict[str, dict[str, Rest]] = {}
    if members.family.settings.converter != "link":  # files that are converted whole share no front
        return rests
    for name in (p.name for p in listed if p.name in members.plans):
        front_piece = members.plans[name].route[0]
        cut = next(c for c in members.family.cut_lists[front_piece.anchor] if c.name == front_piece.stop)
        rests.setdefault(front_piece.anchor, {})[name] = Rest(cut.macs_after, cut.params_after)
    return rests


def title(family: Family) -> str:
    """Of a picture of the family."""
    return f"{' + '.join(family.anchors[role].name for role in family.by_cost[::-1])} on {family.data.name}"


def preview(family: Family) -> None:
    """Tell of the cascades of the anchors alone, which nothing has to be trained for."""
    sure = [role for role, anchor in family.anchors.items() if not anchor.ends_in_logits]
    if family.settings.cascades < 1 or len(sure) < 2:
        return
    anchors = tuple(p for p in score.anchors(family, Scorer(family)) if p.name in sure)
    logits = score.of_anchors(family)
    candidates = [
        StageCandidate(p.name, p.macs, {name: score.probabilities(v) for name, v in logits[p.name].items()})
        for p in anchors
    ]
    made = cascades.planned(candidates, anchors, scope(family, {}), family.report)
    for line in terminal.cascades((*anchors, *made), family.metric, family.data.kind.one):
        family.report.say(line)


def _shop(members: Members, scorer: Scorer, candidates: Sequence[OperatingPoint]) -> Shop:
    family = members.family
    names = [p.name for p in candidates if p.name in members.names]

    def judge(point: str, precision: str, split: str, outputs: np.ndarray) -> Score:
        return Score.of(scorer.right(outputs, split))

    makers = anchor_pieces.makers(members)
    return Shop(
        family.run,
        makers,
        {name: members.input_shape(name) for name in names},
        lambda split, shape: answering.images(getattr(family.data, split), shape),
        judge,
        family.report,
        most_elastic=family.settings.max_elastic,
        together=file_answers.together(family.run, family.images, family.execute, family.report),
        make=linking.together(members, makers),
    )


def _meta(family: Family) -> dict[str, Any]:
    return {
        "anchors": {role: anchor.name for role, anchor in family.anchors.items()},
        "data": family.data.name,
        "test_sha256": family.data.test_sha256,
        "metric": family.metric,
        "class_names": family.data.class_names or family.anchors[family.largest].class_names,
        **inputs.note(family.data.kind),
        "versions": opening.versions(opening.TOOLS),
        "cascades": asked_for(family),
    }


def asked_for(family: Family) -> dict[str, Any]:
    """The cascades that the settings ask for, as a run keeps it."""
    return cascades.asked_for(family.settings.cascades, family.settings.cascade_precisions)


def _training_macs(family: Family, fitted: Mapping[str, Fitted], rivals: int) -> int:
    """MACs spent on the family: statistics, trials, features, rungs with their validations, and on all rivals."""
    if not fitted:
        return 0
    plans = plans_file.read_plans(family.run.plans_path)
    return compute.prepared_macs(family, plans) + sum(fit.spent for fit in fitted.values()) + rivals
