"""What a finished run gains: points, precisions, files; whatever is added, all points are decided anew."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from restnet_tf.family import score, ship
from restnet_tf.family.anchor_pieces import Members
from restnet_tf.family.family import Family
from restnet_tf.family.score import Scorer
from restnet_tf.fitting.ladder import Fitted
from restnet_tf.points import points
from restnet_tf.points.points import CONTROL, OperatingPoint
from restnet_tf.records import Plan, RestnetError
from restnet_tf.run import plans_file
from tflite_export.precision import precision_named


def members(family: Family) -> Members:
    """All points that the run has a stitch for; an optimised one has the plan of the point it came from."""
    chosen = {p.name: p for p in plans_file.read_plans(family.run.plans_path) if p.status == "chosen"}
    fitted = {name: saved for name in family.run.fitted_names() if (saved := family.run.load_fitted(name))}
    origins = {name: one.origin or name for name, one in fitted.items()}
    plans = {name: replace(chosen[origin], name=name) for name, origin in origins.items() if origin in chosen}
    return Members(family, plans, fitted)


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
    scorer = Scorer(family)
    point = score.stitched(family, scorer, plan, fitted, next(score.of_variants(family, [plan])))
    settled = ship.settle(members(family), scorer, [*(p for p in listed if p.name != plan.name), point], meta)
    return next(p for p in settled if p.name == plan.name)


def link(family: Family, names: Sequence[str]) -> tuple[OperatingPoint, ...]:
    """Make the files that the settings ask for and the run lacks; points of these names have them whatever they score.

    Raises ``RestnetError`` for a name that is no point of the run.
    """
    meta, listed = points.read(family.run.points_path)
    networks = [p.name for p in listed if p.kind != CONTROL]
    for name in names:
        if name not in networks:
            raise RestnetError(f"{family.run.path} has no point {name}; it has {', '.join(networks)}")
    kept = {p.name for p in listed if p.files} | set(names)
    return ship.settle(members(family), Scorer(family), listed, meta, also=sorted(kept))


def without(family: Family, precisions: Sequence[str]) -> None:
    """Forget files whose form is to be another: they are made anew."""
    meta, listed = points.read(family.run.points_path)
    left = [replace(p, files={n: f for n, f in p.files.items() if n not in precisions}) for p in listed]
    for p in listed:
        for precision in precisions:
            family.run.tflite_path(p.name, precision).unlink(missing_ok=True)
    family.run.write_json(family.run.points_path, points.to_json(left, meta))


def taking_bytes(precisions: Sequence[str]) -> list[str]:
    """Those precisions whose files may take images as bytes."""
    return [name for name in precisions if "uint8" in precision_named(name).ends]
