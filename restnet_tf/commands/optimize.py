"""Quantisation-aware training, pruning and clustering of a fitted point, by tensorflow-model-optimization.

tfmot works on tf_keras alone and changes the process it is imported in, so it runs in one of its own
(``restnet_tf.tfmot.worker``): stitch and back are handed over as files, and weights come back. By
default the anchors' kernels stay as they are, so that all points share them: only the stitch changes, and behind int8
rounding the norms of the back with it.
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
from dataclasses import asdict, dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from restnet_tf.commands import build
from restnet_tf.family import additions, anchor_pieces, answering, tail
from restnet_tf.family.answers import SPLITS
from restnet_tf.family.family import Family
from restnet_tf.family.score import Scorer
from restnet_tf.family.tail import Rounded, Tail
from restnet_tf.fitting.results import Fitted, RungResult
from restnet_tf.graph import costs
from restnet_tf.points import points
from restnet_tf.points.points import OperatingPoint, Score
from restnet_tf.progress import Reporter
from restnet_tf.records import Plan, RestnetError, Stitch
from restnet_tf.run import plans_file
from restnet_tf.run.directory import Run
from restnet_tf.stitches import stitch, variant
from restnet_tf.tfmot import port, worker
from restnet_tf.tfmot.port import Ported
from restnet_tf.words import sentence
from tflite_export import verify

if TYPE_CHECKING:
    import keras


_NEEDED = ("tensorflow_model_optimization", "tf_keras")
# Depthwise kernels hold few weights, and tfmot leaves them alone; of maps to heads it knows what rounding does alone.
_KERNELS = {"qat": ("Conv2D", "Dense", "EinsumDense")}
_USUAL_KERNELS = ("Conv2D", "Dense")
_FOLDED = ("BatchNormalization",)
_NORMS = (*_FOLDED, "LayerNormalization", "GroupNormalization")
SCOPES = ("stitch", "norm", "back")
_USUAL_SCOPES = {"qat": "norm"}
# Half of a small back's weights gone, two passes leave it at 71 % of digits, ten bring it back to 94 %.
_EPOCHS = {"stitch": 2, "norm": 4, "back": 8}
_CHECK_IMAGES = 16
_INTEGERS = "int8"


@dataclass(frozen=True)
class Treatment:
    """What to do to a point: ``method`` is "qat", "prune" (``amount`` a share) or "cluster" (a number of values).

    ``scope`` is "stitch", "norm" for the stitch and the back's norms, or "back" for the back's convolutions and dense
    layers too; None is what is usual for the method.
    """

    method: str
    amount: float = 0.0
    scope: str | None = None
    epochs: int | None = None  # None: what the scope needs
    seed: int = 0

    @property
    def reach(self) -> str:
        """The scope, by name."""
        return self.scope or _USUAL_SCOPES.get(self.method, SCOPES[0])

    @property
    def precision(self) -> str:
        """The one that it is for; empty where it is for all."""
        return _INTEGERS if self.method == "qat" else ""

    @property
    def passes(self) -> int:
        """Passes over the training views."""
        return self.epochs or _EPOCHS[self.reach]

    @property
    def _unusual(self) -> str:
        return "" if self.reach == _USUAL_SCOPES.get(self.method, SCOPES[0]) else self.reach

    @property
    def options(self) -> tuple[str, ...]:
        """The options of ``restnet-tf optimize`` that ask for it."""
        amount = () if self.method == "qat" else (f"{self.amount:g}",)
        return (f"--{self.method}", *amount, *(("--scope", self._unusual) if self._unusual else ()))

    @property
    def suffix(self) -> str:
        """What a result's name has behind the point's, as in ``prune50``."""
        amount = {"qat": "", "prune": f"{100 * self.amount:g}", "cluster": f"{self.amount:g}"}[self.method]
        return f"{self.method}{amount}" + (f".{self._unusual}" if self._unusual else "")


@dataclass(frozen=True)
class Outcome:
    """A result's name and file, and the scores in Keras before and after, by split."""

    name: str
    path: Path
    metric: str
    before: dict[str, Score]
    after: dict[str, Score]
    point: OperatingPoint  # as it is decided beside all others
    # Of the int8 files, run by the interpreter; and bytes that an update to either takes, by precision.
    integers: tuple[dict[str, Score], dict[str, Score]] | None = None
    sent: dict[str, tuple[dict[str, int], dict[str, int]]] = field(default_factory=dict)
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


def scores(outcome: Outcome) -> list[str]:
    """The scores before and after, in words: of the network in Keras, and of the int8 file with its intervals."""
    many, metric = outcome.many, outcome.metric
    lines = [
        f"{split}: {metric} {100 * before.value:.1f} -> {100 * outcome.after[split].value:.1f} % of {before.n} {many},"
        f" KL to the large anchor {before.kl:.4f} -> {outcome.after[split].kl:.4f}"
        for split, before in outcome.before.items()
    ]
    for split, was in outcome.integers[0].items() if outcome.integers else ():
        assert outcome.integers is not None  # else nothing is gone through
        now = outcome.integers[1][split]
        lines.append(
            f"{split}, int8 file: {metric} {_interval(was)} -> {_interval(now)} %, KL {was.kl:.4f} -> {now.kl:.4f}"
        )
    return lines


def _interval(score: Score) -> str:
    low, high = score.interval
    return f"{100 * score.value:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def sent(outcome: Outcome) -> list[str]:
    """What an update sends before and after, in words."""
    return [
        f"{precision} behind gzip: the file {was['file_packed']:,} -> {now['file_packed']:,} bytes, an update of what"
        f" the anchors lack {was['update_packed']:,} -> {now['update_packed']:,} bytes"
        for precision, (was, now) in outcome.sent.items()
    ]


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
        for model in (
            variant.assemble(plan, family.anchors, *fitted.before, s, logits=True) for s in (fitted.stitch, changed[0])
        )
    )
    name, precisions = f"{plan.name}.{treatment.suffix}", family.settings.precisions
    kl = float(after["rank"].kl or 0.0)
    rungs = (*fitted.rungs, replace(changed[1], kl=kl))
    optimised = replace(
        fitted, stitch=changed[0], rung=treatment.suffix, kl=kl, rungs=rungs, settled=True, origin=plan.name
    )
    point = additions.add(family, replace(plan, name=name), optimised, treatment.options)
    sent = points.read(family.run.points_path)[0].get("sent", {})
    return Outcome(
        name,
        family.run.stitch_path(name),
        family.metric,
        before,
        after,
        point,
        _of_integers(family, scorer, plan.name, name) if _INTEGERS in (treatment.precision, *precisions) else None,
        {p: (sent[plan.name][p], sent[name][p]) for p in sent.get(name, {})},
        family.data.kind.many,
    )


def _of_integers(family: Family, scorer: Scorer, *names: str) -> tuple[dict[str, Score], dict[str, Score]]:
    """Scores of the int8 files of two points, run by the interpreter, by split."""
    family.report.stage(f"{family.metric} of the int8 files before and after, run by the interpreter")
    linker = anchor_pieces.linker(additions.members(family), _INTEGERS)
    before, after = (_file_scores(family, scorer, linker.variant(name), name) for name in names)
    return before, after


def _file_scores(family: Family, scorer: Scorer, content: bytes, name: str) -> dict[str, Score]:
    shape, scores = additions.members(family).input_shape(name), {}
    for split in SPLITS:
        outputs = verify.run(content, answering.images(getattr(family.data, split), shape))
        judged = scorer.judged(outputs.logits, split)
        scores[split] = Score.of(scorer.right(outputs.scores, split), judged.kl, judged.agreement)
    return scores


def _optimised(family: Family, plan: Plan, fitted: Fitted, treatment: Treatment) -> tuple[Stitch, RungResult]:
    """The optimised stitch, and what its training cost (its KL is not known yet)."""
    rounded = Rounded(additions.members(family), plan.name) if treatment.method == "qat" else None
    behind = Tail(family, plan, fitted, rounded)
    whole = tail.network(behind)
    ported = port.describe(whole)
    job = _job(behind, ported, treatment)
    x = behind.lead(behind.head(_CHECK_IMAGES))
    count = treatment.passes
    family.report.stage(f"{plan.name}: {treatment.suffix}, {count} pass{'' if count == 1 else 'es'} over the views")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        port.save(ported, folder)
        np.savez(folder / worker.CHECK, x=x, logits=np.asarray(whole(x, training=False)))
        if rounded is not None:
            _save_rounded(folder, rounded, x, behind.head(_CHECK_IMAGES))
        (folder / worker.JOB).write_text(json.dumps(asdict(job)), encoding="utf-8")
        result = _work(folder, family.report)
    new, back = _returned(behind, ported, result)
    _check(tail.network(behind, new, back), x, result["logits"])
    images = int(result["images"])
    # Backward costs one more forward for the activations, and one where convolutions are trained.
    macs = costs.macs(costs.nodes(whole)) * (3 if treatment.reach == "back" else 2)
    return new, RungResult(treatment.suffix, float("nan"), images, images * macs, images * macs)


def _save_rounded(folder: Path, rounded: Rounded, x: np.ndarray, images: np.ndarray) -> None:
    """What the int8 file holds behind its last joint, for the worker to find its grids by."""
    inside = rounded.behind(images)
    limits = [*((one.low, one.high) for one in inside), rounded.limits]
    values = {str(number): one.values for number, one in enumerate(inside)}
    np.savez(folder / worker.ROUNDED, x=x, grids=np.array(limits, np.float64), **values)  # type: ignore[arg-type]


def _targets(ported: Ported, treatment: Treatment) -> list[int]:
    """The layers whose kernels are to be optimised, by number."""
    parts = ("stitch", "back") if treatment.reach == "back" else ("stitch",)
    classes = _KERNELS.get(treatment.method, _USUAL_KERNELS)
    kernels = [i for i, x in enumerate(ported.layers) if x.part in parts and x.class_name in classes]
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


def _beside(ported: Ported, treatment: Treatment, targets: Sequence[int], *, shares: bool) -> list[int]:
    """What else is trained: all of the stitch, and the back's norms where the scope has them.

    A back that ``shares`` the anchor's integers and ranges stays so: other norms than folded ones would have it
    calibrated anew, to other ranges than those that were trained for (L3-S0 of the digit ViTs: 75.8 -> 54.6 % of 269).
    """
    norms = {"stitch": (), "norm": _FOLDED if shares else _NORMS, "back": _NORMS}[treatment.reach]
    own = [i for i, x in enumerate(ported.layers) if x.paths and (x.part == "stitch" or x.class_name in norms)]
    return [i for i in own if i not in targets]


def _job(behind: Tail, ported: Ported, treatment: Treatment) -> worker.Optimisation:
    targets = _targets(ported, treatment)
    shares = behind.rounded is not None and behind.rounded.shares
    views = behind.views()
    files = {"x": views.x, "teacher": views.teacher, "labels": views.labels}
    if behind.rounded is not None:
        files |= dict(zip(("judge_x", "judge_teacher"), behind.judges(), strict=True))
    return worker.Optimisation(
        method=treatment.method,
        amount=treatment.amount,
        targets=tuple(targets),
        beside=tuple(_beside(ported, treatment, targets, shares=shares)),
        epochs=treatment.passes,
        seed=treatment.seed,
        files={name: str(path.absolute()) for name, path in files.items()},
    )


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
            process.wait()  # after Ctrl-C Popen itself waits for a quarter of a second alone
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


def _returned(behind: Tail, ported: Ported, result: dict[str, np.ndarray]) -> tuple[Stitch, keras.Model]:
    """The stitch with the weights that came back, and the back with its own."""
    joint = stitch.build(behind.stitch)
    own, tuned = {v.path: v for v in joint.weights}, {}
    for key, value in result.items():
        if "/" not in key:
            continue
        index, name = key.split("/")
        layer = ported.layers[int(index)]
        if layer.part == "back":
            tuned[layer.paths[name]] = value
        else:
            own[layer.paths[name]].assign(value)
    new = replace(stitch.trained(behind.stitch, joint), tuned=behind.stitch.tuned | tuned)
    return new, variant.with_weights(behind.back, tuned)


def _check(tail: keras.Model, x: np.ndarray, expected: np.ndarray) -> None:
    """Refuse weights that do not compute in Keras 3 what they did in tf_keras."""
    error = float(np.max(np.abs(np.asarray(tail(x, training=False)) - expected)))
    if not error <= worker.TOLERANCE * max(1.0, float(np.max(np.abs(expected)))):
        raise RestnetError(f"the weights that came back give other outputs than in tf_keras (by {error:.1e})")
