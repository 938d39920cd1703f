"""What a finished run gains: points, precisions, files; whatever is added, all points are decided anew."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace

from restnet_tf.family import opening, score, sent, ship, taught
from restnet_tf.family.anchor_pieces import Members
from restnet_tf.family.family import Family
from restnet_tf.family.score import Scorer
from restnet_tf.fitting.results import Fitted
from restnet_tf.points import points
from restnet_tf.points.points import CASCADE, CONTROL, OperatingPoint
from restnet_tf.records import Plan, RestnetError
from restnet_tf.run import plans_file
from restnet_tf.run.directory import Run


def members(family: Family) -> Members:
    """All points that the run has a stitch for; an optimised one has the plan of the point it came from."""
    chosen = {p.name: p for p in plans_file.read_plans(family.run.plans_path) if p.status == "chosen"}
    fitted = {name: saved for name in family.run.fitted_names() if (saved := family.run.load_fitted(name))}
    origins = {name: one.origin or name for name, one in fitted.items()}
    plans = {name: replace(chosen[origin], name=name) for name, origin in origins.items() if origin in chosen}
    return Members(family, plans, fitted, taught.of_run(family))


def add(family: Family, plan: Plan, fitted: Fitted, options: Sequence[str]) -> OperatingPoint:
    """Put another fitted point into the run; what all points are decided to be with it beside them.

    ``options`` are those of ``restnet-tf optimize`` that made it.
    """
    run = family.run
    run.save_fitted(plan.name, fitted)
    for precision in family.settings.precisions:
        run.tflite_path(plan.name, precision).unlink(missing_ok=True)  # of an earlier optimisation alike
    meta, listed = points.read(run.points_path)
    meta["optimised"] = {**meta.get("optimised", {}), plan.name: list(options)}
    meta["sent"] = meta.get("sent", {}) | _sent(family, [fitted.origin, plan.name])
    scorer = Scorer(family)
    point = score.stitched(family, scorer, plan, fitted, next(score.of_variants(family, [plan])))
    settled = ship.settle(members(family), scorer, [*(p for p in listed if p.name != plan.name), point], meta)
    return next(p for p in settled if p.name == plan.name)


def _sent(family: Family, names: Sequence[str]) -> dict[str, dict[str, dict[str, int]]]:
    """What an update to each point sends, by point and precision; nothing of files that share nothing."""
    if family.settings.converter != "link":
        return {}
    every = {p: sent.of_points(members(family), p, names) for p in family.settings.precisions}
    return {name: {precision: asdict(points[name]) for precision, points in every.items()} for name in names}


def link(family: Family) -> tuple[OperatingPoint, ...]:
    """Make the files that the settings ask for and the run lacks, or has in another form; all points.

    Nothing is fitted.
    """
    meta, listed = points.read(family.run.points_path)
    left = [_without(family, p, stale(family)) for p in listed]
    anew = {
        "versions": opening.versions(opening.TOOLS),
        "cascades": ship.asked_for(family),
    }
    return ship.settle(members(family), Scorer(family), left, {**meta, **anew})


def check_named(run: Run, listed: Sequence[OperatingPoint], names: Sequence[str]) -> None:
    """Refuse (``RestnetError``) names of no network of a run."""
    networks = [p.name for p in listed if p.kind != CONTROL]
    for name in names:
        if name not in networks:
            raise RestnetError(f"{run.path} has no point {name}; it has {', '.join(networks)}")


def stale(family: Family) -> list[str]:
    """Precisions whose files were made in another form than the settings ask for."""
    made_by, forms = family.run.forms(), opening.forms(family.settings)
    return [name for name, form in forms.items() if name in made_by and made_by[name] != form]


def lacks(family: Family) -> bool:
    """Whether the settings ask for files that the run has not.

    Raises ``RestnetError`` where they name a point that it has not.
    """
    settings, (meta, listed) = family.settings, points.read(family.run.points_path)
    check_named(family.run, listed, settings.also)
    named = [p for p in listed if p.name in settings.also or (settings.ship_all and p.kind not in (CONTROL, CASCADE))]
    unmade = any(name not in p.files for p in named for name in settings.precisions)
    stocked = [p for p in listed if p.files and p.kind != CASCADE]
    unknown = any(name not in {*p.files, *p.ratings} for p in stocked for name in settings.precisions)
    return bool(stale(family)) or unmade or unknown or meta.get("cascades") != ship.asked_for(family)


def _without(family: Family, point: OperatingPoint, precisions: Sequence[str]) -> OperatingPoint:
    """A point without its files of some precisions, and their ratings: they are made anew."""
    for name in precisions:
        family.run.tflite_path(point.name, name).unlink(missing_ok=True)
    files = {name: file for name, file in point.files.items() if name not in precisions}
    ratings = {name: rating for name, rating in point.ratings.items() if name not in precisions}
    return replace(point, files=files, ratings=ratings)
