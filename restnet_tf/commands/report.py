"""From a finished run to its report: gathers what the run's files say; nothing is computed anew, no TensorFlow."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Mapping
from dataclasses import fields, replace
from datetime import UTC, datetime
from math import isfinite
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from restnet_tf import atomic, methods
from restnet_tf.fitting.ladder import CLOSED_FORM, Fitted
from restnet_tf.points import front, points
from restnet_tf.points.points import ANCHOR, SHIPPED, STITCHED, OperatingPoint
from restnet_tf.records import Piece, Plan, RestnetError, Stitch
from restnet_tf.report import sheets, webpage
from restnet_tf.report.tables import COMPOSED, STITCH, Ladder, Method, Pair, Part, Report
from restnet_tf.run import plans_file
from restnet_tf.run.directory import Run
from restnet_tf.stitches import stitch
from restnet_tf.words import sentence
from tflite_export import macs
from tflite_export.devices import measurements
from tflite_export.errors import TfliteError
from tflite_export.link import Object

_MATCHED = "matched"
_TOLD = ("seed", "effort", "order", "rank_by", "fine_tune", "converter", "budget")
_TOLD_JOINTLY = ("seed", "method", "effort", "order", "train", "window", "stride", "sampling", "converter", "budget")
_ROLES = ("large", "small")


def write(path: Path, out: Path | None = None) -> tuple[Path, Path, Path]:
    """Write the page and, beside it, its tables as Markdown and CSV; returns the three paths.

    Raises ``RestnetError`` where the run is none, not finished or damaged, or ``out`` is no name of a page.
    """
    run = Run(path)
    page = out or run.report_path
    if page.suffix.lower() not in (".html", ".htm"):
        raise RestnetError(f"{page}: a report is written as an .html file; give --out a name that ends so")
    found = gather(run)
    files = (page, page.with_suffix(".md"), page.with_suffix(".csv"))
    texts = (webpage.html(found), sheets.markdown(found), sheets.as_csv(found))
    for file, text in zip(files, texts, strict=True):
        atomic.write_bytes(file, text.encode())
    return files


def gather(run: Run) -> Report:
    """What a finished run's files say; raises ``RestnetError`` where they cannot be read."""
    if not run.done("points"):
        raise RestnetError(f"{run.path} is not finished; run its build again, it goes on where it stopped")
    meta, known = points.read(run.points_path)
    try:
        plans = {plan.name: plan for plan in plans_file.read_plans(run.plans_path)}
        names = {p.name for p in known if p.kind == STITCHED}
        fitted = {n: f for n in run.fitted_names() if n in names and (f := run.load_fitted(n))}
        anchors = _anchors(meta, known)
        cka = run.load_similarity() if set(anchors) == set(_ROLES) else np.zeros((0, 0))
        facts = _facts(run, meta, known)
        title, metric = f"{' + '.join(anchors.values())} on {meta['data']}", str(meta["metric"])
    except (OSError, ValueError, KeyError, TypeError, BadZipFile) as error:
        raise RestnetError(f"{run.path} is damaged: {error}; build it again") from None
    cuts = _cut_names(plans, cka.shape) if cka.size else {}
    return Report(
        run=str(run.path),
        title=title,
        metric=metric,
        anchors=anchors,
        facts=facts,
        command=_command(run),
        points=known,
        measurements=measurements.read(run.measurements_path),
        cuts=cuts,
        cka=tuple(tuple(float(v) for v in row) for row in cka),
        pairs=_pairs(plans, cuts) if cka.size else (),
        parts=_parts(run, meta, known, plans, fitted),
        ladders={} if _composed(run) else {name: _ladder(found) for name, found in fitted.items()},
        method=COMPOSED if _composed(run) else Method(),
    )


def _composed(run: Run) -> bool:
    return run.inputs().get("method") == "stitchnet"


def _anchors(meta: Mapping[str, Any], known: tuple[OperatingPoint, ...]) -> dict[str, str]:
    """Names of the anchors by role, the costliest first."""
    costs = {p.name: p.macs for p in known if p.kind == ANCHOR}
    return {role: str(meta["anchors"][role]) for role in sorted(costs, key=lambda role: (-costs[role], role))}


def _facts(run: Run, meta: Mapping[str, Any], known: tuple[OperatingPoint, ...]) -> dict[str, str]:
    """What the head of a report says, in words."""
    given = run.inputs()
    between = [p for p in known if p.kind == STITCHED]
    shipped = [p for p in between if p.status == SHIPPED]
    classes = len(meta.get("class_names") or ())
    lead = {split: f"{100 * front.above_chord(known, split):+.1f} points" for split in ("test", "rank")}
    settings = _TOLD_JOINTLY if given.get("method") == "snnet" else _TOLD
    versions = {name: value for name, value in given.items() if name.endswith(" version")}
    told = (f"{name.replace('_', ' ')} {given[name]}" for name in settings if given.get(name) not in (None, ""))
    return {
        **{f"{role} anchor": _hashed(given.get(f"{role} anchor", name)) for role, name in meta["anchors"].items()},
        "data": f"{_hashed(given.get('data', meta['data']))}, {classes} classes",
        "images": f"{known[0].test.n} to test, {known[0].rank.n} to rank",
        "metric": f"{meta['metric']}; intervals are of 95 %",
        "points between the anchors": f"{len(shipped)} shipped of {len(between)}",
        "from the chord, on average": f"{lead['test']} on the test split, {lead['rank']} on the rank split",
        "precisions": ", ".join(sorted({name for p in known for name in p.files})),
        "settings": ", ".join(told),
        "versions": ", ".join(f"{name.removesuffix(' version')} {value}" for name, value in versions.items()),
        "training": f"{meta['training_macs'] / 1e12:.2f}T MACs; fine-tuning all of the large anchor on as many images:"
        f" {meta['whole_large_training_macs'] / 1e12:.2f}T"
        if meta["training_macs"]
        else "none: closed form alone",
        "finished": datetime.fromtimestamp(run.points_path.stat().st_mtime, UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }


def _hashed(text: str) -> str:
    """A name that a hash follows, as ``run.json`` has it, saying so."""
    name, _, digits = text.rpartition(" ")
    return f"{name}, sha256 {digits}" if name and re.fullmatch("[0-9a-f]{16}", digits) else text


def _command(run: Run) -> str:
    """The build command that the run remembers, without what is its default."""
    asked = dict(run.options() or {})
    method = asked.pop("method", run.inputs().get("method", "restnet"))
    word = "compose" if method == "stitchnet" else "build"
    usual = {field.name: field.default for field in fields(methods.options(method))}
    words = ["restnet-tf", word]
    words += ["--method", method] if method == "snnet" else []
    for name, value in asked.items():
        option = f"--{name.replace('_', '-')}"
        if value is None or value in (usual.get(name), []):
            continue
        if isinstance(value, bool):
            words.append(option if value else f"--no-{option[2:]}")
        else:
            words += [word for one in (value if isinstance(value, list) else [value]) for word in (option, str(one))]
    if run.options() is None:
        return f"restnet-tf {word} (a version built it that kept no options)"
    return shlex.join([*words, "--out", str(run.path)])


def _cut_names(plans: Mapping[str, Plan], shape: tuple[int, ...]) -> dict[str, tuple[str, ...]]:
    """The cuts in the order of the CKA matrix, as most plans call them; one in no plan goes by its number."""
    said = Counter(
        (role, index, cut)
        for plan in plans.values()
        if len(plan.cuts) == len(_ROLES)
        for (role, cut), index in zip(_ends(plan).items(), plan.cuts, strict=True)
    )
    # Of few sayings first, so that what most say overwrites them: a person may have edited a plan.
    found = {(role, index): cut for (role, index, cut), _ in sorted(said.items(), key=lambda kv: (kv[1], kv[0]))}
    sizes = zip(_ROLES, shape, strict=True)
    return {role: tuple(found.get((role, i), f"cut {i} of {role}") for i in range(size)) for role, size in sizes}


def _pairs(plans: Mapping[str, Plan], cuts: Mapping[str, tuple[str, ...]]) -> tuple[Pair, ...]:
    """What became of every pair of cuts that the matrix shows."""
    found = []
    for plan in plans.values():
        ends = _ends(plan)
        if any(ends.get(role) not in cuts[role] for role in _ROLES):
            continue
        large, small = (cuts[role].index(ends[role]) for role in _ROLES)
        cka, r2 = (value if isfinite(value) else None for value in (plan.cka, plan.r2))
        front = plan.route[0].anchor
        found.append(
            Pair(plan.name, front, large, small, plan.macs, cka, r2, plan.kl, plan.status, sentence(plan.reason))
        )
    return tuple(found)


def _ends(plan: Plan) -> dict[str, str]:
    """The two cuts that a plan joins, by anchor, the front's first."""
    front, back = plan.route
    return {front.anchor: str(front.stop), back.anchor: str(back.start)}


def _ladder(found: Fitted) -> Ladder:
    steps = {CLOSED_FORM: found.closed_form_kl}
    for rung in found.rungs:
        steps |= {_MATCHED: rung.matched} if rung.matched is not None else {}
        steps[rung.rung] = rung.kl
    return Ladder(found.rung, steps)


def _parts(
    run: Run,
    meta: Mapping[str, Any],
    known: tuple[OperatingPoint, ...],
    plans: Mapping[str, Plan],
    fitted: Mapping[str, Fitted],
) -> dict[str, tuple[Part, ...]]:
    """The stretches of every anchor and stitched point; MACs where they add up to the point's."""
    anchors = {p.name: p for p in known if p.kind == ANCHOR}
    noted = meta.get("macs_before", {})  # of a pool, whose compiled members lie elsewhere
    counted = {role: (p.macs, noted[role]) if role in noted else _counted(run, p) for role, p in anchors.items()}
    found: dict[str, tuple[Part, ...]] = {role: (Part(role, "whole", p.macs),) for role, p in anchors.items()}
    for p in known:
        plan = plans.get(p.origin or p.name)
        if p.name in fitted and plan is not None:
            found[p.name] = _stretches(p, plan, fitted[p.name], counted)
    return found


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
    point: OperatingPoint, plan: Plan, found: Fitted, counted: Mapping[str, tuple[int, Mapping[str, int]]]
) -> tuple[Part, ...]:
    """Pieces and stitches in turns, from the image to the scores."""
    joints = [_joint(made, found.rung) for made in found.stitches]
    tuned = [0, *(sum(weight.size for weight in made.tuned.values()) for made in found.stitches)]
    pieces = []
    for piece, own in zip(plan.route, tuned, strict=True):
        note = f"{own:,} parameters its own ({found.rung})" if own else "as in the anchor"
        note = note if piece.anchor in counted else ""
        words = [f"{word} {cut}" for word, cut in (("from", piece.start), ("to", piece.stop)) if cut is not None]
        pieces.append(Part(piece.anchor, " ".join(words), _macs_of(piece, counted), note))
    parts = [pieces[0], *(part for pair in zip(joints, pieces[1:], strict=True) for part in pair)]
    costs = [part.macs for part in parts]
    # Pruned, lowered or converted otherwise, a file may hold other operators than the graph.
    if None in costs or sum(c for c in costs if c is not None) != point.macs:
        parts = [part if part.role == STITCH else replace(part, macs=None) for part in parts]
    return tuple(parts)


def _joint(made: Stitch, rung: str) -> Part:
    hidden = stitch.hidden(made)
    shapes = " to ".join("x".join(map(str, layout.shape)) for layout in (made.source, made.target))
    note = rung + (f", {hidden} ReLU features" if hidden else "")
    return Part(STITCH, shapes, stitch.macs(made.source, made.target, hidden), note)


def _macs_of(piece: Piece, counted: Mapping[str, tuple[int, Mapping[str, int]]]) -> int | None:
    """MACs between two cuts of an anchor; None where a cut is not known, 0 behind the last stitch into a head."""
    whole, before = counted.get(piece.anchor, (0, {}))
    start = 0 if piece.start is None else before.get(piece.start)
    stop = whole if piece.stop is None else before.get(piece.stop)
    return None if start is None or stop is None else stop - start
