"""Cascades of two or three models as they are: the cheap one first, the next only where it is unsure.

Nothing is trained. The models answer to the rank split, which chooses thresholds, and are joined into one file. After
Wang et al. 2022 (Wisdom of Committees, arXiv 2012.01988), in files that run on microcontrollers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from restnet_tf import atomic
from restnet_tf.anchors import applications
from restnet_tf.cascades import checks
from restnet_tf.data.splits import Split
from restnet_tf.family import additions, anchor_pieces, cascades, file_answers, first_looks, forecast, opening
from restnet_tf.family.anchor_pieces import Members
from restnet_tf.family.answers import SPLITS, Shape
from restnet_tf.family.cascades import Scope
from restnet_tf.family.family import Family
from restnet_tf.family.references import References
from restnet_tf.family.shop import Shop
from restnet_tf.methods.cascade import makers, outlook, stages
from restnet_tf.methods.cascade.options import ROLES, Options
from restnet_tf.methods.cascade.stages import Stages
from restnet_tf.points import points
from restnet_tf.points.points import ANCHOR, OperatingPoint, Score
from restnet_tf.progress import Reporter
from restnet_tf.records import RestnetError
from restnet_tf.report import summary as words
from restnet_tf.report.contents import Wording
from restnet_tf.run.directory import Run
from restnet_tf.work import start, tasks
from restnet_tf.work.sources import ModelSource
from restnet_tf.work.tasks import Executor
from tflite_export import inputs

_NAME = __name__.split(".")[-2]  # its folder's
WORDING = Wording(ran="run by the interpreter", climbs=False)
_BATCH = 64


def open(options: Options, report: Reporter, execute: Executor = tasks.serially) -> Stages:
    """Load the models and the images, which TensorFlow reads too."""
    start.tensorflow(ours=False)
    settings = opening.settings(options, order="both", max_points=0)
    data = opening.images(options, report)
    run = Run(out(options))
    atomic.check_writable(run.path)
    report.stage("loading the models")
    files = stages.opened(options, data)
    named = dict(zip(ROLES, options.models, strict=False))
    modes = dict(zip(ROLES, stages.modes(options), strict=False))
    classes = stages.class_words(options)
    models = {
        role: _model(options, spec, modes[role], classes.get(role, ""))
        for role, spec in named.items()
        if role not in files
    }
    loaded = {role: (source, source.load()) for role, source in models.items()}
    shapes = {role: stage.classifier.image for role, stage in files.items()}
    shapes |= {role: anchor.input_shape for role, (_, anchor) in loaded.items()}
    stages.check_channels({f"{role} {Path(named[role]).stem}": shapes[role] for role in named}, data.kind.many)
    remedies = stages.remedies(options, files)
    if not run.record_path.exists():
        impressions = stages.looked_at(options, files, data)
        first_looks.say(impressions, report)
        first_looks.judge(impressions, remedies, options.anyway, report)
    family = opening.family(options, settings, data, loaded, run, report, remedies, execute) if loaded else None
    return Stages(run, data, options, settings, report, files, family, execute)


def out(options: Options) -> Path:
    """The run directory: the user's, or the one of these inputs."""
    return options.out or opening.default_out(options.models, options.data)


def identity(work: Stages) -> dict[str, Any]:
    """All that decides the result."""
    data, options = work.data, work.options
    inputs = {f"{role} model": opening.hashed(work.names[role], work.hashes[role]) for role in work.roles}
    orders = {role: list(stage.classes) for role, stage in work.files.items() if stage.classes is not None}
    told = {"preprocess": options.preprocess, "logits": options.logits, "classes": orders}
    return inputs | {"method": _NAME, "data": opening.hashed(data.name, data.sha256), "seed": options.seed} | told


def check(work: Stages) -> None:
    """Refuse (the domain error) models that cannot stand for one another, and images too few to choose on."""
    stages.check(work)
    checks.check_count(len(work.data.rank), work.data.kind.many)


def build(work: Stages) -> None:
    """Files of every model, what they answer, the cascades of them, and what speaks of all."""
    if not work.run.done("points"):
        forecast.say(outlook.forecast(work), work.run.path, work.report)
    if work.family is not None:
        anchor_pieces.compile_anchors(work.family, work.settings.precisions)
    shop, meta, earlier = _shop(work), _meta(work), _earlier(work)
    models = _models(work, shop, earlier)
    chains = cascades.added(shop, models, _scope(work), meta, earlier)
    cascades.forget(shop.run, earlier, (*models, *chains))
    shop.publish([*models, *chains], meta, f"cascades of {' and '.join(work.names.values())} on {work.data.name}")
    work.run.note_forms(opening.forms(work.settings))
    work.run.finish("points")


def extend(work: Stages) -> None:
    """Make the files that the options of a finished run ask for and it lacks; nothing is answered anew.

    Raises ``RestnetError`` where its files are to take other images.
    """
    if work.settings.uint8_input:
        raise RestnetError(f"the files of {work.run.path} keep the images that they take; --uint8-input is for builds")
    meta, listed = points.read(work.run.points_path)
    additions.check_named(work.run, listed, work.options.also)
    if meta.get("cascades") != cascades.asked_for(work.settings.cascades, work.settings.cascade_precisions):
        build(work)


def reopen(work: Stages) -> Family:
    """Refused: models as they are have no routes between them to be trained."""
    raise RestnetError(f"{work.run.path} holds models as they are and cascades; this takes runs of restnet-tf build")


def references(work: Stages) -> References:
    """Keras models beside Keras, files beside what they came as, and what makes stages of both."""
    members = None if work.family is None else Members(work.family, {}, {})
    originals = {role: stage.original for role, stage in work.files.items()}
    return References(members, originals, work.shapes, makers.of(work))


def summary(work: Stages, meta: Mapping[str, Any], listed: Sequence[OperatingPoint]) -> list[str]:
    """What the cascades save, and where the files are."""
    return words.cascaded(work.run.path, meta, listed)


def _model(options: Options, spec: str, mode: str, classes: str) -> ModelSource:
    """What names a Keras model: a name, a file, or a weights file with its architecture."""
    base, arch = applications.divided(spec)
    return ModelSource(base, options.weights, options.weights_dir, arch, mode or "none", classes)


def _shop(work: Stages) -> Shop:
    truths: dict[str, np.ndarray] = {}

    def judge(point: str, precision: str, split: str, outputs: np.ndarray) -> Score:
        if split not in truths:
            truths[split] = _truth(work, shop, split)
        return Score.of(np.equal(outputs.argmax(axis=1), truths[split]))

    def images(split: str, shape: Shape) -> Iterator[np.ndarray]:
        part: Split = getattr(work.data, split)
        return (np.asarray(batch) for batch in part.batches(shape, _BATCH))

    together = file_answers.together(
        work.run, opening.images_source(work.options, work.data), work.execute, work.report
    )
    shop = Shop(work.run, makers.of(work), work.shapes, images, judge, work.report, together=together)
    return shop


def _truth(work: Stages, shop: Shop, split: str) -> np.ndarray:
    """The class that each image of a split should be given: its label, or what the largest model says."""
    labels = getattr(work.data, split).labels
    if labels is not None:
        return np.asarray(labels)
    largest = work.roles[-1]
    return shop.answers.of(largest, _deciding(work)[largest])[split].argmax(axis=1)


def _deciding(work: Stages) -> dict[str, str]:
    """By model the precision that decides: its own, or the first that was asked for."""
    scope = _scope(work)
    return dict(zip(work.roles, scope.of(scope.precisions[0], work.roles), strict=True))


def _scope(work: Stages) -> Scope:
    labels = {name: getattr(work.data, name).labels for name in SPLITS} if work.labelled else None
    settings = work.settings
    return Scope(
        labels, settings.cascade_precisions, settings.cascades, work.budget, own=work.own, many=work.data.kind.many
    )


def _models(work: Stages, shop: Shop, earlier: Sequence[OperatingPoint]) -> list[OperatingPoint]:
    """The models with their files, scored by that of the precision that decides."""
    unknown, before = Score.of(np.zeros(0, bool)), {p.name: p for p in earlier}
    bare = [
        before.get(role) or OperatingPoint(role, ANCHOR, work.names[role], *work.costs[role], unknown, unknown)
        for role in work.roles
    ]
    own = {role: (precision,) for role, precision in work.own.items()}
    files = shop.stocked(bare, {role: own.get(role, work.settings.precisions) for role in work.roles})
    deciding = _deciding(work)
    scores = {p.name: files[p.name][deciding[p.name]] for p in bare}
    return [replace(p, files=files[p.name], rank=scores[p.name].rank, test=scores[p.name].test) for p in bare]


def _earlier(work: Stages) -> tuple[OperatingPoint, ...]:
    """What a finished run has already."""
    return points.read(work.run.points_path)[1] if work.run.done("points") else ()


def _meta(work: Stages) -> dict[str, Any]:
    return {
        "anchors": work.names,
        "data": work.data.name,
        "test_sha256": work.data.test_sha256,
        "metric": "accuracy" if work.labelled else "agreement",
        "class_names": work.data.class_names,
        **inputs.note(work.data.kind),
        "training_macs": 0,
        "distilling_macs": 0,
        "versions": opening.versions(opening.TOOLS),
        "cascades": cascades.asked_for(work.settings.cascades, work.settings.cascade_precisions),
    }
