"""From a finished run to its report: gathers what the run's files say; nothing is computed anew, no TensorFlow."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from math import isfinite
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from restnet_tf import atomic, methods
from restnet_tf.commands import build as building
from restnet_tf.fitting.results import CLOSED_FORM, Fitted
from restnet_tf.points import front, points
from restnet_tf.points.points import ANCHOR, CASCADE, DISTILLED, SHIPPED, STITCHED, Cascade, OperatingPoint
from restnet_tf.records import Piece, Plan, RestnetError, Stitch
from restnet_tf.report import foretold, losses, rivals, savings, shared, sheets, webpage
from restnet_tf.report.contents import STAGE, STITCH, Candidate, Ladder, Report, RoutePart
from restnet_tf.run import plans_file
from restnet_tf.run.directory import Run
from restnet_tf.similarity import rankings
from restnet_tf.stitches import stitch
from restnet_tf.words import sentence
from tflite_export import macs
from tflite_export.devices import measurements
from tflite_export.errors import TfliteError
from tflite_export.inputs import noted
from tflite_export.link import Object

_MATCHED = "matched"
_ROLES = ("large", "small")
_OF_FILES = ("converter", "budget")  # what decides no point, or not all of it: told as the user gave it
_BARE = "models"  # given as words without an option before them
_VERSION = " version"


def write(path: Path, out: Path | None = None) -> tuple[Path, Path, Path]:
    """Write the page and, beside it, its tables as Markdown and CSV; returns the three paths.

    Raises ``RestnetError`` where the run is none, not finished or damaged, or ``out`` is no name of a page.
    """
    run = Run(path)
    page = out or run.report_path
    if page.suffix.lower() not in (".html", ".htm"):
        raise RestnetError(f"{page}: a report is written as an .html file; give --out a name that ends so")
    report = gather(run)
    files = (page, page.with_suffix(".md"), page.with_suffix(".csv"))
    texts = (webpage.html(report), sheets.markdown(report), sheets.as_csv(report))
    for file, text in zip(files, texts, strict=True):
        atomic.write_bytes(file, text.encode())
    return files


def gather(run: Run) -> Report:
    """What a finished run's files say; raises ``RestnetError`` where they cannot be read."""
    if not run.done("points"):
        raise RestnetError(f"{run.path} is not finished; run its build again, it goes on where it stopped")
    meta, listed = points.read(run.points_path)
    method = building.method_of(run.path, run.inputs())
    wording = replace(methods.named(method).WORDING, one=noted(meta).one)
    try:
        names = {p.name for p in listed if p.kind == STITCHED}
        # A run that joins models as they are stitches nothing, and has neither plans nor similarities.
        stitches = bool(names) or run.plans_path.exists()
        plans = {plan.name: plan for plan in plans_file.read_plans(run.plans_path)} if stitches else {}
        fits = {n: fitted for n in run.fitted_names() if n in names and (fitted := run.load_fitted(n))}
        anchors = _anchors(meta, listed)
        optimised = {name: tuple(options) for name, options in meta.get("optimised", {}).items()}
        cka, cuts = _similarity(run) if stitches and set(anchors) == set(_ROLES) else (np.zeros((0, 0)), {})
        facts = _facts(run, meta, listed, methods.options(method).reported) | _foretold(run, plans)
        title, metric = f"{' + '.join(anchors.values())} on {meta['data']}", str(meta["metric"])
    except (OSError, ValueError, KeyError, TypeError, BadZipFile) as error:
        raise RestnetError(f"{run.path} is damaged: {error}; build it again") from None
    build = _build(run, method)
    return Report(
        run=str(run.path),
        title=title,
        metric=metric,
        anchors=anchors,
        facts=facts,
        command=_told_command(run, build, method),
        build=build,
        points=listed,
        measurements=measurements.read(run.measurements_path),
        cuts=cuts,
        cka=tuple(tuple(float(v) for v in row) for row in cka),
        pairs=_pairs(plans, cuts),
        parts=_parts(run, meta, listed, {n: plans.get(fitted.origin or n) for n, fitted in fits.items()}, fits),
        ladders={name: _ladder(fitted) for name, fitted in fits.items()} if wording.climbs else {},
        optimised=optimised,
        optimisable=frozenset(name for name in fits if name in plans),
        sent=meta.get("sent", {}),
        method=wording,
        examples=_examples(run, listed),
    )


def _examples(run: Run, listed: Sequence[OperatingPoint]) -> dict[str, bytes]:
    """Pictures of images, by the cascade that they go through, of those that the run holds."""
    paths = {p.name: run.examples_path(p.name) for p in savings.shipped(listed)}
    return {name: path.read_bytes() for name, path in paths.items() if path.exists()}


def _similarity(run: Run) -> tuple[np.ndarray, dict[str, tuple[str, ...]]]:
    """The CKA matrix, and the names of its cuts by role; by their numbers where a version wrote it that kept none."""
    cka, names = run.load_similarity(), run.load_cuts()
    numbered = {
        role: tuple(f"cut {i} of {role}" for i in range(size)) for role, size in zip(_ROLES, cka.shape, strict=True)
    }
    return cka, {role: names.get(role, numbered[role]) for role in _ROLES}


def _anchors(meta: Mapping[str, Any], listed: tuple[OperatingPoint, ...]) -> dict[str, str]:
    """Names of the anchors by role, the costliest first."""
    costs = {p.name: p.macs for p in listed if p.kind == ANCHOR}
    return {role: str(meta["anchors"][role]) for role in sorted(costs, key=lambda role: (-costs[role], role))}


def _facts(
    run: Run, meta: Mapping[str, Any], listed: tuple[OperatingPoint, ...], settings: Sequence[str]
) -> dict[str, str]:
    """What the head of a report says, in words."""
    given = run.inputs()
    classes = len(meta.get("class_names") or ())
    kept = run.options() or {}
    values = {**given, **{name: kept[name] for name in _OF_FILES if name in kept}}
    told = (f"{name.replace('_', ' ')} {values[name]}" for name in settings if values.get(name) not in (None, ""))
    return {
        **{f"{role} anchor": _hashed(given.get(f"{role} anchor", name)) for role, name in meta["anchors"].items()},
        "data": f"{_hashed(given.get('data', meta['data']))}, {classes} classes",
        noted(meta).many: f"{listed[0].test.n} to test, {listed[0].rank.n} to rank",
        "metric": f"{meta['metric']}; intervals are of 95 %",
        **_standing(listed, str(meta["metric"])),
        **_lost(listed, str(meta["metric"])),
        **_cascading(listed, str(meta["metric"]), noted(meta).many),
        "precisions": ", ".join(sorted({name for p in listed for name in p.files})),
        **({"elastic files": "; ".join(sizes)} if (sizes := shared.sentences(meta)) else {}),
        "settings": ", ".join(told),
        "versions": ", ".join(f"{name} {value}" for name, value in (meta.get("versions") or _versions(given)).items()),
        "training": f"{meta['training_macs'] / 1e12:.3g}T MACs with statistics, trials, validations and rivals; of"
        f" them distilling the small anchor: {meta.get('distilling_macs', 0) / 1e12:.3g}T"
        if meta["training_macs"]
        else "none: closed form alone"
        if any(p.kind == STITCHED for p in listed)
        else "none",
        "finished": datetime.fromtimestamp(run.points_path.stat().st_mtime, UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }


def _standing(listed: tuple[OperatingPoint, ...], metric: str) -> dict[str, str]:
    """How many points between the anchors are shipped, and where those lie; nothing of a run that made none."""
    between = [p for p in listed if p.kind == STITCHED]
    if not between:
        return {}
    shipped = [p for p in between if p.status == SHIPPED]
    count = {"points between the anchors": f"{len(shipped)} shipped of {len(between)}"}
    if not shipped:
        return count
    below = rivals.beaten(listed, metric) or ["none by more than the standard error of the pair"]
    told = count | {"below a rival on the test split": "; ".join(below)}
    if frugal := rivals.frugal(listed):
        told["shipped for their memory"] = frugal
    return told | ({"from the chord, on average": _chord(listed, STITCHED)} if front.chorded(listed) else {})


def _chord(listed: Sequence[OperatingPoint], kind: str) -> str:
    """How far the shipped points of a kind lie from the chord at their mean costs."""
    lead = {split: f"{100 * front.above_chord(listed, split, kind):+.1f} points" for split in ("test", "rank")}
    return f"{lead['test']} on the test split, {lead['rank']} on the rank split"


def _foretold(run: Run, plans: Mapping[str, Plan]) -> dict[str, str]:
    """How well CKA, R2 and chance foretold what was tried; nothing where too little was."""
    said = foretold.sentences(*rankings.foretold(plans.values(), int(run.inputs().get("seed", 0))))
    return {"rankings": "; ".join(said)} if said else {}


def _lost(listed: tuple[OperatingPoint, ...], metric: str) -> dict[str, str]:
    """What precisions take from points; nothing where none takes much."""
    said = losses.sentences(listed, metric)
    return {"lost by rounding": "; ".join(said)} if said else {}


def _cascading(listed: tuple[OperatingPoint, ...], metric: str, many: str) -> dict[str, str]:
    """How many cascades are shipped, and where those lie; nothing of a run without any."""
    every = [p for p in listed if p.kind == CASCADE]
    if not every:
        return {}
    count = {"cascades": f"{len(savings.shipped(listed))} shipped of {len(every)}"}
    if (notched := savings.notched(listed)) and front.chorded(listed):
        anchors = [p for p in listed if p.kind == ANCHOR]
        count["cascades from the chord, on average"] = _chord([*anchors, *notched], CASCADE)
    said = savings.saved(listed, metric, many)
    return count | ({"compute saved": said[0]} if said else {})


def _versions(given: Mapping[str, Any]) -> dict[str, str]:
    """Versions by package: as a record of them, or each beside the other inputs."""
    beside = {name.removesuffix(_VERSION): value for name, value in given.items() if name.endswith(_VERSION)}
    return given.get("versions", beside)


def _hashed(named: Any) -> str:
    """A name with its hash, in words, where they are a record of both."""
    return f"{named['name']}, sha256 {named['sha256'][:16]}" if isinstance(named, Mapping) else str(named)


def _build(run: Run, method: str) -> tuple[str, ...]:
    """The words of the command that built a run, without what is its default and where to; none where none are kept."""
    if (kept := run.options()) is None:
        return ()
    usual, command = methods.defaults(method), methods.METHODS[method].command
    words = [command, *(("--method", method) if method != methods.of(command)[0] else ()), *kept.get(_BARE, ())]
    for name, value in kept.items():
        option = name.replace("_", "-")
        if name == _BARE or name not in usual or value is None or value in (usual[name], []):
            continue
        if isinstance(value, bool):
            words.append(f"--{option}" if value else f"--no-{option}")
        else:
            values = value if isinstance(value, list) else [value]
            words += [word for one in values for word in (f"--{option}", str(one))]
    return tuple(words)


def _told_command(run: Run, build: tuple[str, ...], method: str) -> str:
    if not build:
        return f"restnet-tf {methods.METHODS[method].command} (a version built it that kept no options)"
    return shlex.join(["restnet-tf", *build, "--out", str(run.path)])


def _pairs(plans: Mapping[str, Plan], cuts: Mapping[str, tuple[str, ...]]) -> tuple[Candidate, ...]:
    """What became of every pair of cuts that the matrix shows; none where it shows none."""
    shown = []
    for plan in plans.values():
        ends = _ends(plan)
        if any(ends.get(role) not in cuts.get(role, ()) for role in _ROLES):
            continue
        large, small = (cuts[role].index(ends[role]) for role in _ROLES)
        cka, r2 = (value if isfinite(value) else None for value in (plan.cka, plan.r2))
        first = plan.route[0].anchor
        shown.append(
            Candidate(plan.name, first, large, small, plan.macs, cka, r2, plan.kl, plan.status, sentence(plan.reason))
        )
    return tuple(shown)


def _ends(plan: Plan) -> dict[str, str]:
    """The two cuts that a plan of two pieces joins, by anchor, the front's first; none of another."""
    if len(plan.route) != len(_ROLES):
        return {}
    front, back = plan.route
    return {front.anchor: str(front.stop), back.anchor: str(back.start)}


def _ladder(fitted: Fitted) -> Ladder:
    steps = {CLOSED_FORM: fitted.closed_form_kl}
    for rung in fitted.rungs:
        steps |= {_MATCHED: rung.matched} if rung.matched is not None else {}
        steps[rung.rung] = rung.kl
    return Ladder(fitted.rung, steps)


def _parts(
    run: Run,
    meta: Mapping[str, Any],
    listed: tuple[OperatingPoint, ...],
    plans: Mapping[str, Plan | None],
    fits: Mapping[str, Fitted],
) -> dict[str, tuple[RoutePart, ...]]:
    """The stretches of every anchor and stitched point; MACs where they add up to the point's."""
    anchors = {p.name: p for p in listed if p.kind == ANCHOR}
    noted = meta.get("macs_before", {})  # of a pool, whose compiled members lie elsewhere
    counted = {role: (p.macs, noted[role]) if role in noted else _counted(run, p) for role, p in anchors.items()}
    whole: dict[str, tuple[RoutePart, ...]] = {role: (RoutePart(role, "whole", p.macs),) for role, p in anchors.items()}
    routes = [(p, plan) for p in listed if (plan := plans.get(p.name)) is not None]
    stages = {p.name: _stages(p.cascade, anchors) for p in listed if p.cascade}
    whole |= {p.name: _taught(p, anchors) for p in listed if p.kind == DISTILLED}
    return whole | {p.name: _stretches(p, plan, fits[p.name], counted) for p, plan in routes} | stages


def _taught(point: OperatingPoint, anchors: Mapping[str, OperatingPoint]) -> tuple[RoutePart, ...]:
    """The cheapest anchor with other weights."""
    small = min(anchors.values(), key=lambda p: (p.macs, p.name))
    own = f"{point.unshared_params:,} parameters its own ({point.rung})"
    return (RoutePart(small.name, "distilled", point.macs, own),)


def _stages(cascade: Cascade, anchors: Mapping[str, OperatingPoint]) -> tuple[RoutePart, ...]:
    """What each stage of a cascade adds where it runs, and how often it does."""
    told = zip(cascade.stages, cascade.macs, cascade.rank_reach, strict=True)
    return tuple(
        RoutePart(
            name if name in anchors else STAGE,
            "whole" if name in anchors else name,
            macs,
            "" if reach == 1 else f"on {100 * reach:.0f} % of the rank split",
            reach,
        )
        for name, macs, reach in told
    )


def _counted(run: Run, anchor: OperatingPoint) -> tuple[int, Mapping[str, int]]:
    """MACs of an anchor, and up to its cuts, counted in the file that it was compiled to; no cuts where none fits."""
    for path in run.object_paths(anchor.name):
        try:
            whole, cuts = macs.before_cuts(Object(path.read_bytes()))
        except (OSError, TfliteError):
            continue
        if whole == anchor.macs:
            return whole, cuts
    return anchor.macs, {}


def _stretches(
    point: OperatingPoint, plan: Plan, fitted: Fitted, counted: Mapping[str, tuple[int, Mapping[str, int]]]
) -> tuple[RoutePart, ...]:
    """Pieces and stitches in turns, from the image to the scores."""
    joints = [_joint(stitched, fitted.rung) for stitched in fitted.stitches]
    tuned = [0, *(sum(weight.size for weight in stitched.tuned.values()) for stitched in fitted.stitches)]
    pieces = []
    for piece, own in zip(plan.route, tuned, strict=True):
        note = f"{own:,} parameters its own ({fitted.rung})" if own else "as in the anchor"
        note = note if piece.anchor in counted else ""
        words = [f"{word} {cut}" for word, cut in (("from", piece.start), ("to", piece.stop)) if cut is not None]
        pieces.append(RoutePart(piece.anchor, " ".join(words), _macs_of(piece, counted), note))
    parts = [pieces[0], *(part for pair in zip(joints, pieces[1:], strict=True) for part in pair)]
    costs = [part.macs for part in parts]
    # Pruned, lowered or converted otherwise, a file may hold other operators than the graph.
    if None in costs or sum(c for c in costs if c is not None) != point.macs:
        parts = [part if part.role == STITCH else replace(part, macs=None) for part in parts]
    return tuple(parts)


def _joint(fitted: Stitch, rung: str) -> RoutePart:
    hidden = stitch.hidden(fitted)
    shapes = " to ".join("x".join(map(str, layout.shape)) for layout in (fitted.source, fitted.target))
    note = rung + (f", {hidden} ReLU features" if hidden else "")
    return RoutePart(STITCH, shapes, stitch.macs(fitted.source, fitted.target, hidden), note)


def _macs_of(piece: Piece, counted: Mapping[str, tuple[int, Mapping[str, int]]]) -> int | None:
    """MACs between two cuts of an anchor; None where a cut is not known, 0 behind the last stitch into a head."""
    whole, before = counted.get(piece.anchor, (0, {}))
    start = 0 if piece.start is None else before.get(piece.start)
    stop = whole if piece.stop is None else before.get(piece.stop)
    return None if start is None or stop is None else stop - start
