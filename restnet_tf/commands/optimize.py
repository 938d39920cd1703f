"""Quantisation-aware training, pruning and clustering of a fitted point, by tensorflow-model-optimization.

tfmot works on tf_keras alone and changes the process it is imported in, so it runs in one of its own
(``restnet_tf.tfmot.worker``): stitch and back are handed over as files, and weights come back. By
default only the stitch changes, so that the anchors' weights stay shared between all points.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from restnet_tf.commands import build
from restnet_tf.family import additions, caches, compute
from restnet_tf.family.family import Family
from restnet_tf.family.score import Scorer
from restnet_tf.fitting import cache
from restnet_tf.fitting.results import Fitted, RungResult
from restnet_tf.graph import costs, cuts
from restnet_tf.points.points import OperatingPoint, Score
from restnet_tf.progress import Reporter
from restnet_tf.records import Plan, RestnetError, Stitch
from restnet_tf.run import plans_file
from restnet_tf.run.directory import Run
from restnet_tf.similarity import features
from restnet_tf.stitches import stitch, variant
from restnet_tf.tfmot import port, worker
from restnet_tf.tfmot.port import Ported
from restnet_tf.words import sentence

if TYPE_CHECKING:
    import keras

    from restnet_tf.fitting.cache import Cache

_NEEDED = ("tensorflow_model_optimization", "tf_keras")
_KERNELS = ("Conv2D", "Dense")  # depthwise kernels hold few weights, and tfmot leaves them alone
# Half of a small back's weights gone, two passes leave it at 71 % of digits, ten bring it back to 94 %.
_EPOCHS = {"stitch": 2, "back": 8}
_CHECK_IMAGES = 16
_CALIBRATION_IMAGES = 128  # as many as the int8 files are calibrated with


@dataclass(frozen=True)
class Treatment:
    """What to do to a point: ``method`` is "qat", "prune" (``amount`` a share) or "cluster" (a number of values).

    ``scope`` is "stitch" or "back": the stitch alone, or the back's convolutions and dense layers with it.
    """

    method: str
    amount: float = 0.0
    scope: str = "stitch"
    epochs: int | None = None  # None: what the scope needs
    seed: int = 0

    @property
    def passes(self) -> int:
        """Passes over the training views."""
        return self.epochs or _EPOCHS[self.scope]

    @property
    def options(self) -> tuple[str, ...]:
        """The options of ``restnet-tf optimize`` that ask for it."""
        amount = () if self.method == "qat" else (f"{self.amount:g}",)
        return (f"--{self.method}", *amount, *(("--scope", self.scope) if self.scope != "stitch" else ()))

    @property
    def suffix(self) -> str:
        """What a result's name has behind the point's, as in ``prune50``."""
        amount = {"qat": "", "prune": f"{100 * self.amount:g}", "cluster": f"{self.amount:g}"}[self.method]
        return f"{self.method}{amount}" + (".back" if self.scope == "back" else "")


@dataclass(frozen=True)
class Outcome:
    """A result's name and file, and the scores in Keras before and after, by split."""

    name: str
    path: Path
    metric: str
    before: dict[str, Score]
    after: dict[str, Score]
    point: OperatingPoint  # as it is decided beside all others
    many: str = "images"  # what inputs are called


def optimize(path: Path, point: str, treatment: Treatment, report: Reporter) -> Outcome:
    """Optimise a fitted point of a finished run into another fitted stitch of it.

    Raises ``RestnetError`` where tfmot is not installed, the run or the point is not there, or the back
    cannot be ported to tf_keras.
    """
    check_installed()
    plan, fitted = _point(Run(path), point)
    with build.reopened(path, report) as family:
        try:
            changed = _optimised(family, plan, fitted, treatment)
        finally:
            family.run.drop_caches()
        return _kept(family, plan, fitted, changed, treatment)


def standing(path: Path, outcome: Outcome) -> str:
    """What became of the result beside all other points of its run, in words."""
    point = outcome.point
    if point.files:
        return f"{point.name} is a point of {path} now, with files in {', '.join(point.files)}"
    command = shlex.join(["restnet-tf", "link", str(path), "--point", point.name])
    return f"{point.name} has no files: {sentence(point.reason)}; {command} would make them all the same"


def check_installed() -> None:
    """Raise ``RestnetError`` where the extra is not installed; imports nothing, since tfmot would change us."""
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise RestnetError(
            f"this needs {' and '.join(missing)}, which the extra tfmot brings: pip install 'restnet-tf[tfmot]'"
        )


def _point(run: Run, name: str) -> tuple[Plan, Fitted]:
    """A fitted point by its name; the error lists those that there are."""
    run.inputs()  # raises where this is no run
    chosen = [p for p in plans_file.read_plans(run.plans_path) if p.status == "chosen"]
    candidates = {p.name: (p, fitted) for p in chosen if (fitted := run.load_fitted(p.name)) is not None}
    if name not in candidates:
        raise RestnetError(f"{run.path} has no fitted point {name}; it has {', '.join(sorted(candidates)) or 'none'}")
    return candidates[name]


def _kept(
    family: Family, plan: Plan, fitted: Fitted, changed: tuple[Stitch, RungResult], treatment: Treatment
) -> Outcome:
    """Score the point before and after, and hand the result over."""
    family.report.stage(f"{family.metric} before and after")
    scorer = Scorer(family)
    before, after = (
        scorer(model)
        for model in (variant.assemble(plan, family.anchors, s, logits=True) for s in (fitted.stitch, changed[0]))
    )
    name = f"{plan.name}.{treatment.suffix}"
    kl = float(after["rank"].kl or 0.0)
    rungs = (*fitted.rungs, replace(changed[1], kl=kl))
    optimised = replace(
        fitted, stitch=changed[0], rung=treatment.suffix, kl=kl, rungs=rungs, settled=True, origin=plan.name
    )
    point = additions.add(family, replace(plan, name=name), optimised, treatment.options)
    return Outcome(name, family.run.stitch_path(name), family.metric, before, after, point, family.data.kind.many)


def _optimised(family: Family, plan: Plan, fitted: Fitted, treatment: Treatment) -> tuple[Stitch, RungResult]:
    """The optimised stitch, and what its training cost (its KL is not known yet)."""
    if len(plan.route) != 2:
        raise RestnetError(f"{plan.name} has {len(fitted.stitches)} stitches; optimize takes points of one alone")
    first, last = plan.route
    if fitted.stitch.target.vector:
        raise RestnetError(f"{plan.name} is an exit; optimize takes stitches between grids alone")
    if fitted.stitch.source.tokens or fitted.stitch.target.tokens:
        raise RestnetError(f"{plan.name} stitches tokens; optimize takes stitches between grids alone")
    if stitch.hidden(fitted.stitch):
        raise RestnetError(f"the stitch of {plan.name} has ReLU features; optimize takes plain 1x1 stitches alone")
    anchor = family.anchors[last.anchor]
    back = variant.with_weights(cuts.back(anchor, str(last.start), anchor.logits), fitted.stitch.tuned)
    tail = _tail(fitted.stitch, back)
    ported = port.describe(tail)
    targets = _targets(ported, treatment)
    x = _at_cut(family, first.anchor, str(first.stop), family.data.rank, _CHECK_IMAGES)
    views = _views(family, first.anchor, str(first.stop))
    passes = f"{treatment.passes} passes over {compute.views(family)} views"
    family.report.stage(f"{plan.name}: {treatment.suffix}, {passes}")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        port.save(ported, folder)
        np.savez(folder / worker.CHECK, x=x, logits=np.asarray(tail(x, training=False)))
        content = asdict(_job(family, plan, treatment, ported, targets, views))
        (folder / worker.JOB).write_text(json.dumps(content), encoding="utf-8")
        result = _work(folder, family.report)
    new, back = _returned(fitted.stitch, back, ported, result)
    _check(_tail(new, back), x, result["logits"])
    images = int(result["images"])
    # Backward costs one more forward for the activations, and one where convolutions are trained.
    macs = costs.macs(costs.nodes(back)) * (3 if treatment.scope == "back" else 2)
    return new, RungResult(treatment.suffix, float("nan"), images, images * macs, images * macs)


def _tail(fitted: Stitch, back: keras.Model) -> keras.Model:
    """Stitch and back as one model, from the front's features to logits."""
    import keras

    x = keras.Input(fitted.source.shape)
    return keras.Model(x, back(stitch.build(fitted)(x)), name="tail")


def _targets(ported: Ported, treatment: Treatment) -> list[int]:
    """The layers to optimise, by number."""
    parts = ("stitch", "back") if treatment.scope == "back" else ("stitch",)
    kernels = [i for i, x in enumerate(ported.layers) if x.part in parts and x.class_name in _KERNELS]
    sizes = {i: ported.weights[f"{i}/kernel"].size for i in kernels}
    if treatment.method != "cluster":
        return kernels
    # A kernel of fewer weights has no more values anyway, and tfmot finds no centroids for it.
    large = [i for i in kernels if sizes[i] > treatment.amount]
    if not large:
        raise RestnetError(
            f"{treatment.amount:g} values are no fewer than the {max(sizes.values())} weights there are; give less"
        )
    return large


def _job(
    family: Family, plan: Plan, treatment: Treatment, ported: Ported, targets: Sequence[int], views: Cache
) -> worker.Optimisation:
    first, last = plan.route
    names = {x.name: i for i, x in enumerate(ported.layers) if x.part == "stitch"}
    ends = [(first.anchor, str(first.stop)), (last.anchor, str(last.start))]
    files = {
        "x": f"{first.anchor}.{first.stop}",
        "teacher": f"{family.largest}.{cache.LOGITS}",
        "labels": "labels",
    }
    low_high = [_range(_at_cut(family, *end, family.data.fit, _CALIBRATION_IMAGES)) for end in ends]
    return worker.Optimisation(
        method=treatment.method,
        amount=treatment.amount,
        targets=tuple(targets),
        resample=next((names[name] for name in ("pool", "resize") if name in names), None),
        stitch=names["project"],
        ends=(low_high[0], low_high[1]),
        epochs=treatment.passes,
        seed=treatment.seed,
        files={name: str(views.path(file).absolute()) for name, file in files.items()},
    )


def _views(family: Family, role: str, cut: str) -> Cache:
    """What the fit learned from: features of the training views at the cut, and the large anchor's logits."""
    names: dict[str, list[str]] = {family.largest: [cache.LOGITS]}
    names.setdefault(role, []).append(cut)
    return caches.of_views(family, f"optimize-{role}-{cut.replace('/', '-')}", family.named, names)


def _at_cut(family: Family, role: str, cut: str, split: Any, count: int) -> np.ndarray:
    """Features ``(n, h, w, c)`` of the first images of a split at a cut of an anchor."""
    anchor = family.anchors[role]
    observe = features.observer(anchor, [c for c in family.cut_lists[role] if c.name == cut])
    batches = split.head(count).batches(anchor.input_shape, _CHECK_IMAGES)
    return np.concatenate([np.asarray(observe(images)[0]) for images in batches])


def _range(x: np.ndarray) -> tuple[float, float]:
    """Least and largest value with zero between, as int8 has to hold it."""
    return min(0.0, float(x.min())), max(0.0, float(x.max()))


def _work(folder: Path, report: Reporter) -> dict[str, np.ndarray]:
    """Run the worker on a folder; what it leaves. However this ends, no process is left behind."""
    command = [sys.executable, "-m", worker.__name__, str(folder)]
    env = os.environ | {"TF_USE_LEGACY_KERAS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    log = folder / "stderr"
    with log.open("w", encoding="utf-8") as errors, subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=errors, encoding="utf-8", errors="replace", env=env
    ) as process:  # fmt: skip
        try:
            refusal = _listen(process, report)
        except BaseException:
            process.kill()
            raise
    if process.returncode == worker.REFUSED:
        raise RestnetError(refusal)
    if process.returncode or not (folder / worker.RESULT).exists():
        text = log.read_text(encoding="utf-8", errors="replace")
        raise RestnetError(f"tensorflow-model-optimization failed: {_last_words(text, process.returncode)}")
    with np.load(folder / worker.RESULT) as result:
        return dict(result)


def _listen(process: subprocess.Popen[str], report: Reporter) -> str:
    """Pass progress on until the worker closes its output; its refusal, if it has one."""
    refusal = ""
    assert process.stdout is not None
    for line in process.stdout:
        word, _, rest = line.strip().partition(" ")
        if word == "step":
            done, total = rest.split()
            report.progress(int(done), int(total))
        elif word == "refused":
            refusal = rest
    return refusal


def _last_words(log: str, code: int) -> str:
    """The line of a process's error output that says most: the last that names an error, or the last at all."""
    if code < 0:
        return f"its process was killed by signal {-code}" + (" (is there memory enough?)" if code == -9 else "")
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"[\w.]*(Error|Exception|Interrupt)\b", line)]
    return (errors or lines or [f"exit code {code}"])[-1]


def _returned(
    old: Stitch, back: keras.Model, ported: Ported, result: dict[str, np.ndarray]
) -> tuple[Stitch, keras.Model]:
    """The stitch with the weights that came back, and the back with its own."""
    kernel, bias, tuned = old.kernel, old.bias, {}
    for key, value in result.items():
        if "/" not in key:
            continue
        index, name = key.split("/")
        layer = ported.layers[int(index)]
        if layer.part == "back":
            tuned[layer.paths[name]] = value
        elif name == "kernel":
            kernel = value[0, 0]
        else:
            bias = value
    return replace(old, kernel=kernel, bias=bias, tuned=old.tuned | tuned), variant.with_weights(back, tuned)


def _check(tail: keras.Model, x: np.ndarray, expected: np.ndarray) -> None:
    """Refuse weights that do not compute in Keras 3 what they did in tf_keras."""
    error = float(np.max(np.abs(np.asarray(tail(x, training=False)) - expected)))
    if not error <= worker.TOLERANCE * max(1.0, float(np.max(np.abs(expected)))):
        raise RestnetError(f"the weights that came back give other outputs than in tf_keras (by {error:.1e})")
