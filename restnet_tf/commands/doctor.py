"""What a build with a model would come upon, told in under a minute: nothing is written, nothing is trained."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from restnet_tf import atomic
from restnet_tf.anchors import applications, head
from restnet_tf.commands import inspect_file
from restnet_tf.data.splits import Data
from restnet_tf.family import first_looks, opening
from restnet_tf.family.family import Prospect
from restnet_tf.family.first_looks import Impression, Remedies
from restnet_tf.fitting import ladder
from restnet_tf.graph import costs, cuts, infer
from restnet_tf.methods.cascade import stages
from restnet_tf.methods.cascade.options import Options as StageOptions
from restnet_tf.methods.restnet import method, outlook
from restnet_tf.methods.restnet.options import ROLES, Options
from restnet_tf.progress import Reporter
from restnet_tf.records import Anchor
from restnet_tf.work.sources import ModelSource
from tflite_export import convert
from tflite_export.devices import devices
from tflite_export.devices.rules import refusals
from tflite_export.errors import DomainError

# What mends a model, in the words of this command where it has them.
_OF_MODEL = Remedies(
    lambda _, mode: f"--preprocess={mode}", lambda _, names: f"--large-classes={shlex.quote(names)} (restnet-tf build)"
)
_OF_FILE = Remedies(
    lambda _, mode: f"--preprocess={mode}",
    lambda _, names: f"--classes={shlex.quote(f'ROLE={names}')} (restnet-tf cascade)",
)
_ROLE = "model"
_CALIBRATION = 8  # images
# MACs of a network that is compiled here: larger ones take longer than anybody waits for an answer.
_COMPILED_MACS, _COMPILED_LAYERS = 6e8, 200
GOOD, BAD, NOTE = "ok", "problem", "note"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: ``level`` is one of ``GOOD``, ``BAD`` and ``NOTE``."""

    level: str
    text: str


_UNLABELLED = Finding(NOTE, "the data have no labels: scores would be agreement; class folders give accuracy")


def as_json(findings: Iterable[Finding]) -> str:
    """Findings as JSON, each with its level."""
    return json.dumps([asdict(finding) for finding in findings], indent=1)


def examine(
    model: str,
    report: Reporter,
    *,
    data: str | None = None,
    target: str | None = None,
    small: str | None = None,
    preprocess: str | None = None,
    **options: Any,
) -> Iterator[Finding]:
    """Load, cut, check, compile and size a model, one finding after another; what stops it is its last.

    ``small`` is another one, that a build would stitch it to. ``preprocess`` is what the model expects of images: None
    for raw ones, and of a ``.tflite`` file for what its range says. ``options`` are those of ``ModelSource``: weights,
    weights_dir and arch. Raises the domain error for a target that there is not.
    """
    if target is not None:
        devices.target(target)
    try:
        if inspect_file.is_file(model):
            yield from _file(Path(model), data, preprocess or "", target, report)
        else:
            source = ModelSource(model, **options, preprocess=preprocess or "none")
            yield from _model(source, data, target, small, report)
    except DomainError as error:
        yield Finding(BAD, " ".join(str(error).split()))


def _file(path: Path, data: str | None, preprocess: str, target: str | None, report: Reporter) -> Iterator[Finding]:
    whole = inspect_file.inspect(path)
    yield from (Finding(GOOD, line) for line in inspect_file.lines(whole)[:4])
    if whole.anatomy.cuts:
        yield Finding(GOOD, _counted(len(whole.anatomy.cuts)))
    else:
        yield Finding(NOTE, "no cuts: it can be a stage of a cascade, and no member of a family")
    if data is not None:
        yield from _answers(StageOptions(models=(str(path),), data=data, preprocess=preprocess), report)
    for name, reasons in whole.refused.items():
        if target in (None, name):
            yield _ruled(name, reasons, target is not None)


def _answers(options: StageOptions, report: Reporter) -> Iterator[Finding]:
    """What a file answers to images, as a stage of a cascade."""
    images = opening.images(options, report)
    files = stages.opened(options, images)
    if not images.labelled:
        yield _UNLABELLED
        return
    report.stage(first_looks.STAGE)
    seen = [_seen(replace(one, role=_ROLE), _OF_FILE) for one in stages.looked_at(options, files, images)]
    count = f"its classes are not as many as the {head.data_classes(images)[0]} of {images.name}"
    yield from seen or [Finding(BAD, f"{count}; give {images.kind.many} of its classes, or without labels")]


def _counted(cuts: int) -> str:
    return f"{cuts} cut{'' if cuts == 1 else 's'}"


def _model(
    source: ModelSource, data: str | None, target: str | None, small: str | None, report: Reporter
) -> Iterator[Finding]:
    start = time.perf_counter()
    report.stage("loading the model")
    anchor = source.load()
    sides = "x".join(map(str, anchor.input_shape))
    yield Finding(GOOD, f"loads in {time.perf_counter() - start:.0f} s: {sides} to {anchor.classes or 'no'} classes")
    listed = cuts.find(anchor.model)
    calls = costs.nodes(anchor.model)
    macs, params = costs.macs(calls), costs.params(calls)
    yield Finding(GOOD, f"{_counted(len(listed))}, {macs / 1e6:.1f}M MACs, {params:,} weights")
    yield Finding(GOOD, f"files of about {atomic.spoken(4 * params)} in float32, {atomic.spoken(params)} in int8")
    images = None if data is None else opening.images(Options(data=data), report)
    if images is not None:
        opening.check_input(anchor, images)
        yield from _looked(source, anchor, images, report)
    yield from _compiled(anchor, macs, images, target, report)
    if listed:
        yield from _forecast(source, anchor, data, images, small, report)
    else:
        yield Finding(BAD, "no cuts: nothing can be stitched to it, and no part of it can be left out")


def _looked(source: ModelSource, anchor: Anchor, data: Data, report: Reporter) -> Iterator[Finding]:
    """What it answers to labelled images."""
    if not data.labelled:
        yield _UNLABELLED
        return
    if not head.agrees(anchor, *head.data_classes(data)):
        yield Finding(NOTE, f"its classes are not those of {data.name}: a build fits a new classifier for them")
        return
    report.stage(first_looks.STAGE)
    yield _seen(first_looks.of_anchor(_ROLE, source, anchor, data), _OF_MODEL)


def _seen(one: Impression, remedies: Remedies) -> Finding:
    problem = first_looks.told(one, remedies)
    share = f"{100 * one.look.share:.1f} % of {one.look.images} labelled {one.many} right"
    return Finding(BAD, problem) if problem else Finding(GOOD, share)


def _forecast(
    source: ModelSource, anchor: Anchor, data: str | None, images: Data | None, small: str | None, report: Reporter
) -> Iterator[Finding]:
    """How fast it runs here, which all work of a build is counted in, and what a build takes."""
    seconds = infer.seconds(anchor.model, anchor.input_shape)
    yield Finding(GOOD, f"{1000 * seconds:.1f} ms an input in Keras here")
    if data is None and small is None:
        yield Finding(NOTE, "what a build takes here depends on the images: give --data, or a second model by --small")
        return
    models = [(source.spec, anchor), *([] if small is None else [(small, _second(source, small))])]
    models.sort(key=lambda model: costs.macs(costs.nodes(model[1].model)), reverse=True)
    (large, costliest), *others = models
    options = Options(large=large, small=others[0][0] if others else None, data=data)
    images = opening.images(outlook.on_photographs(options), report) if images is None else images
    anchors = {role: _with_classes(a, images) for role, (_, a) in zip(ROLES, models, strict=False)}
    done = ladder.work(anchor.model) / seconds if costliest is anchor else None
    whole = outlook.forecast(Prospect(anchors, images, outlook.settings(options)), options, done)
    what = "of both" if others else "of it alone, with some of its blocks left out,"
    yield Finding(GOOD, f"a build {what} takes {whole.told(path := method.out(options))}")
    if lacking := whole.lacking(path):
        yield Finding(BAD, lacking)


def _second(source: ModelSource, spec: str) -> Anchor:
    base, arch = applications.divided(spec)
    return ModelSource(base, source.weights, source.weights_dir, arch).load()


def _with_classes(anchor: Anchor, data: Data) -> Anchor:
    """The anchor with the data's classes, as a build would have it; what a new classifier says costs the same."""
    if not data.labelled:
        return head.match_labels([anchor], data, seed=0)[0][0]
    if head.agrees(anchor, *head.data_classes(data)):
        return anchor
    classes, names = head.data_classes(data)
    width = int(anchor.features.shape[-1])
    return head.with_head(anchor, np.zeros((width, classes)), np.zeros(classes), names)


def _compiled(anchor: Anchor, macs: int, data: Data | None, target: str | None, report: Reporter) -> Iterator[Finding]:
    if macs > _COMPILED_MACS or len(anchor.model.layers) > _COMPILED_LAYERS:
        yield Finding(NOTE, "not compiled here: that takes a network of its size a minute or more")
        return
    precision = "float32" if data is None else "int8"
    report.stage(f"compiling to {precision}")
    start = time.perf_counter()
    content = convert.convert(anchor.model, precision, _calibration(anchor, data), **_limits(data))
    seconds = time.perf_counter() - start
    yield Finding(GOOD, f"compiles to {precision} in {seconds:.0f} s: {atomic.spoken(len(content))}")
    if target is not None:
        yield _ruled(target, tuple(map(str, refusals(content, devices.target(target).rules, precision))), True)


def _limits(data: Data | None) -> dict[str, Any]:
    return {} if data is None else {"limits": data.kind.limits}


def _calibration(anchor: Anchor, data: Data | None) -> list[np.ndarray]:
    if data is None:
        return []
    batches = data.fit.head(_CALIBRATION).batches(anchor.input_shape, _CALIBRATION)
    return [np.asarray(batch) for batch in batches]


def _ruled(name: str, reasons: tuple[str, ...], asked: bool) -> Finding:
    if not reasons:
        return Finding(GOOD, f"{name} takes it")
    return Finding(BAD if asked else NOTE, f"{name} would refuse it: {'; '.join(reasons)}")
