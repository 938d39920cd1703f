"""StitchNet: nets composed of a pool's fragments for one user's few images (Teerapittayanon et al. 2023).

The search finds nets, cross-validation on the few images ranks them, those on the front of MACs and log loss become
files. Nothing is trained by back-propagation. Every step keeps its result in the run directory, and a run that
finds it there goes on behind it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from restnet_tf.family import additions, cascades, forecast, opening
from restnet_tf.family.answers import Shape
from restnet_tf.family.cascades import Scope
from restnet_tf.family.family import Family
from restnet_tf.family.linker import Linker
from restnet_tf.family.references import References, of_family
from restnet_tf.family.shop import Shop
from restnet_tf.fitting.results import CLOSED_FORM
from restnet_tf.methods.stitchnet import branches, findings, looks, nets, outlook, reading
from restnet_tf.methods.stitchnet.composition import Composition
from restnet_tf.methods.stitchnet.fragments import FLOAT
from restnet_tf.methods.stitchnet.nets import Chosen
from restnet_tf.methods.stitchnet.options import Options
from restnet_tf.methods.stitchnet.pieces import PoolPieces
from restnet_tf.methods.stitchnet.search import SearchResult
from restnet_tf.methods.stitchnet.verdicts import Verdicts
from restnet_tf.points import points
from restnet_tf.points.points import ANCHOR, CASCADE, STITCHED, OperatingPoint, Score
from restnet_tf.progress import Reporter
from restnet_tf.records import RestnetError
from restnet_tf.report import summary as words
from restnet_tf.report.contents import COMPOSED
from restnet_tf.schema import SCHEMA
from restnet_tf.work import tasks
from restnet_tf.work.tasks import Executor
from tflite_export import inputs

_NAME = __name__.split(".")[-2]  # its folder's
WORDING = COMPOSED
_REPEATS = 30
_TOOLS = ("restnet-tf", "ai-edge-litert")
_BATCH = 64


def open(options: Options, report: Reporter, execute: Executor = tasks.serially) -> Composition:
    """Read the few images and the pool."""
    return reading.composition(options, report, execute)


def out(options: Options) -> Path:
    """The run directory: the user's, or the one of these images."""
    return reading.out(options)


def identity(composition: Composition) -> dict[str, Any]:
    """All that decides the result."""
    few, options = composition.data, composition.options
    inputs: dict[str, Any] = {
        f"{role} anchor": opening.hashed(entry.member.name, entry.member.sha256)
        for role, entry in composition.members.items()
    }
    inputs |= {"method": _NAME, "data": opening.hashed(few.name, few.sha256), "images": len(few.fit)}
    plain = asdict(composition.settings) | {"budget": options.budget, "classes": options.classes}
    plain |= {"preprocess": options.preprocess} if options.preprocess else {}  # older runs were not told
    del plain["precisions"]
    return inputs | plain | opening.lines_of(_TOOLS)


def check(composition: Composition) -> None:
    """Refuse (the domain error) precisions that a file cannot be had in, and members that know nothing of the images.

    What a pool leaves to compose only the search knows, which refuses it by ``EmptyError``.
    """
    for entry in composition.members.values():
        for precision in composition.settings.precisions:
            entry.check(precision)
    looks.judge(composition)


def build(composition: Composition) -> None:
    """Search, fit, link and measure in the opened run directory."""
    if not composition.run.done("points"):
        forecast.say(outlook.forecast(composition), composition.run.path, composition.report)
    branches.compile(composition)
    with composition.timed("activations"):
        _ = composition.activations
    members = nets.members(composition)
    whole = nets.search_result(composition)
    nets.check(composition, whole, members)
    with composition.timed("files"):
        front = nets.chosen(composition, whole, members)
        chosen = nets.fitted(composition, [*members.values(), *front])
        _ship(composition, chosen, whole, list(members))
    composition.run.finish("points")


def extend(composition: Composition) -> None:
    """Make the files that the options of a finished run ask for and it lacks: what was searched and fitted stays."""
    run, precisions = composition.run, composition.settings.precisions
    meta, listed = points.read(run.points_path)
    additions.check_named(run, listed, composition.options.also)
    asked = cascades.asked_for(composition.options.cascades, opening.cascade_precisions(composition.options))
    lacking = any(precision not in p.files for p in listed if p.kind != CASCADE for precision in precisions)
    if lacking or meta.get("cascades") != asked:
        build(composition)


def reopen(composition: Composition) -> Family:
    """Refused: a pool's nets have no networks in Keras to be held against or trained."""
    raise RestnetError(f"{composition.run.path} was composed of a pool; this takes runs of restnet-tf build")


def references(composition: Composition) -> References:
    """Refused, as ``reopen`` is."""
    return of_family(reopen(composition))


def summary(composition: Composition, meta: Mapping[str, Any], listed: Sequence[OperatingPoint]) -> list[str]:
    """What was composed, beside the pool's members."""
    return words.composed(composition.run.path, meta, listed, composition.seconds)


def _ship(composition: Composition, chosen: Chosen, whole: SearchResult, members: Sequence[str]) -> None:
    """Files of nets and members in every precision, their scores, and what speaks of all of them."""
    precisions = composition.settings.precisions
    pieces = {p: PoolPieces(composition, chosen.plans, chosen.fitted, p) for p in dict.fromkeys((*precisions, FLOAT))}
    linkers = {p: Linker(piece, chosen.plans, chosen.fitted, p) for p, piece in pieces.items()}
    verdicts = Verdicts(composition, chosen, linkers[FLOAT])
    shapes = {name: verdicts.shape(name) for name in chosen.nets}

    def images(split: str, shape: Shape) -> Iterator[np.ndarray]:
        pixels = composition.pixels(shape, "fit" if split == "rank" else split)
        return (pixels[at : at + _BATCH] for at in range(0, len(pixels), _BATCH))

    makers = {p: linkers[p] for p in precisions}
    held_out = {name: nets.held_out(composition, net) for name, net in chosen.nets.items()}
    run, earlier = composition.run, _earlier(composition)
    shop = Shop(run, makers, shapes, images, verdicts, composition.report, _REPEATS, held_out=held_out)
    scored = [_point(composition, chosen, name, members) for name in chosen.nets]
    files = shop.stocked(scored)
    listed = [replace(p, files=files[p.name], test=verdicts.test(p.name)) for p in scored]
    folds = {name: [one.count, one.saved_macs] for name, one in pieces[FLOAT].folds.items() if one.count}
    meta = _meta(composition) | _told(composition, whole, members) | {"folded": folds}
    chains = cascades.added(shop, listed, _scope(composition), meta, earlier)
    cascades.forget(run, earlier, (*listed, *chains))
    shop.publish([*listed, *chains], meta, f"composed of {len(composition.members)} members on {composition.data.name}")


def _scope(composition: Composition) -> Scope:
    """What cascades of nets and members may be: judged in cross-validation, as the nets are."""
    settings, options = composition.settings, composition.options
    labels = {"rank": composition.labels, "test": np.asarray(composition.data.test.labels)}
    return Scope(
        labels, opening.cascade_precisions(options), options.cascades, settings.budget, many=composition.data.kind.many
    )


def _earlier(composition: Composition) -> tuple[OperatingPoint, ...]:
    """What a finished run has already."""
    run = composition.run
    return points.read(run.points_path)[1] if run.done("points") else ()


def _point(composition: Composition, chosen: Chosen, name: str, members: Sequence[str]) -> OperatingPoint:
    """A net as the search judged it, in cross-validation; its test score is that of its file."""
    net = chosen.nets[name]
    right = Score.of(np.array(net.right), net.loss)
    kind = ANCHOR if name in members else STITCHED
    route = nets.title(composition, net)
    return OperatingPoint(name, kind, route, net.macs, net.params, rank=right, test=right, rung=CLOSED_FORM)


def _meta(composition: Composition) -> dict[str, Any]:
    return {
        "anchors": {role: entry.member.name for role, entry in composition.members.items()},
        "data": composition.data.name,
        "test_sha256": composition.data.test_sha256,
        "metric": "accuracy",
        "loss": "log loss",
        "class_names": composition.data.class_names,
        **inputs.note(composition.data.kind),
        "versions": opening.versions(_TOOLS),
        "cascades": cascades.asked_for(composition.options.cascades, opening.cascade_precisions(composition.options)),
        "training_macs": 0,
        "distilling_macs": 0,
        "macs_before": {
            role: {cut.name: cut.macs_before for cut in (*entry.member.cuts, entry.member.features)}
            for role, entry in composition.members.items()
        },
    }


def _told(composition: Composition, whole: SearchResult, members: Sequence[str]) -> dict[str, Any]:
    """What the search came upon."""
    composed = [net for net in whole.nets if net.name not in members]
    return {
        "nets": len(composed),
        "ended": SCHEMA.plain(findings.tallies(whole.ended)),
        "correlation": nets.correlation(composed),
        "new_in_pool": sorted(entry.member.name for entry in composition.members.values() if entry.new),
    }
