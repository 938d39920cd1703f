"""From what a user asked for, in words, to nets composed of a pool, in a run directory."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from restnet_tf.commands import inputs
from restnet_tf.commands.build import Done, finish
from restnet_tf.data import splits
from restnet_tf.methods.stitchnet import fewshot, linker, method, pool
from restnet_tf.methods.stitchnet.fragments import COUNT
from restnet_tf.methods.stitchnet.method import Composition, Settings
from restnet_tf.methods.stitchnet.search import Limits
from restnet_tf.points import points
from restnet_tf.points.points import ANCHOR, STITCHED, OperatingPoint
from restnet_tf.progress import Reporter
from restnet_tf.records import RestnetError
from restnet_tf.report.tables import COMPOSED
from restnet_tf.run.directory import Run
from tflite_export import budget
from tflite_export import precision as precisions
from tflite_export.devices import devices

_POINTS = 6


@dataclass(frozen=True)
class Asked:
    """The options of ``restnet-tf compose``, as the user gave them."""

    pool: tuple[str, ...]
    data: str
    classes: str = ""
    images: int | None = None
    pool_dir: Path = Path("pool")
    weights: str = "imagenet"
    weights_dir: Path | None = None
    out: Path | None = None
    budget: str = ""
    precision: str = "float32"
    fragments: int = COUNT
    score: str = "cka"
    rank_by: str = "score"
    top: int = 2
    least: float = 0.0
    least_overall: float = 0.5
    depth: int = 16
    nets: int = 20
    max_points: int = _POINTS
    seed: int = 0


def compose(asked: Asked, report: Reporter, prepare: Callable[[], None] = lambda: None) -> Done:
    """Compose nets of a pool for a few images, or finish that; raises the domain error of the stage.

    ``prepare`` runs before TensorFlow is imported: where a member is not in the pool yet.
    """
    settings = _settings(asked)
    report.stage("reading the images")
    whole = splits.load(asked.data, seed=asked.seed)
    few = fewshot.choose(whole, asked.images, _words(asked.classes), asked.seed)
    report.say(
        f"{few.name}: {len(few.fit)} images of {len(set(np.asarray(few.fit.labels).tolist()))} classes to compose and"
        f" validate on, {len(few.test)} test images that only report"
    )
    sources = [pool.Source.of(text, asked.weights, asked.weights_dir) for text in asked.pool]
    entries = pool.opened(asked.pool_dir, sources, report, prepare)
    if len(entries) == 1:
        report.say("one pool member alone: its nets are the member with fragments left out")
    run = Run(asked.out or _default_out(asked))
    composition, new = Composition(run, entries, few, settings, report), not run.path.exists()
    try:
        with run.opened(_identity(asked, composition), inputs.kept(asked)):
            found = finish(run, lambda: _build(composition))
            return Done(found, "accuracy", _summary(composition), loss=COMPOSED.loss)
    except RestnetError:
        if new:  # or it would stay bound to what was refused
            shutil.rmtree(run.path, ignore_errors=True)
        raise


def _build(composition: Composition) -> None:
    run, made = composition.run, composition.members
    with composition.timed("pool"):
        for role in made:
            for precision in dict.fromkeys(("float32", *composition.settings.precisions)):
                composition.object(role, precision)
            made[role].done()
    with composition.timed("activations"):
        _ = composition.activations
    known = method.members(composition)
    whole = method.found(composition)
    method.check(composition, whole, known)
    with composition.timed("files"):
        kept = method.chosen(composition, whole, known)
        chosen = method.fitted(composition, [*known.values(), *kept])
        linked = linker.write(composition, chosen, list(chosen.nets))
    found = linker.measured(composition, chosen, linked, known)
    everything = method.composed(whole, known)
    more = {
        "nets": len(everything),
        "ended": dict(sorted(whole.ended.items())),
        "correlation": method.correlation(everything),
        "folded": {name: [one.folds, one.saved_macs] for name, one in linked.items() if one.folds},
        "new_in_pool": sorted(entry.member.name for entry in made.values() if entry.made),
    }
    linker.publish(composition, chosen, found, more)
    run.finish("points")


def _settings(asked: Asked) -> Settings:
    wanted = tuple(dict.fromkeys(_words(asked.precision)))
    for name in wanted or ("",):
        precisions.precision_named(name)
    if "uint8" in wanted:
        raise RestnetError("files of composed nets take float32 or int8 images")
    terms = budget.parse(asked.budget) if asked.budget else ()
    devices.check(term.device for term in terms if term.device)
    limits = Limits(asked.top, asked.least, asked.least_overall, asked.depth, asked.nets)
    return Settings(asked.fragments, asked.score, asked.rank_by, limits, asked.max_points, wanted, terms, asked.seed)


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _identity(asked: Asked, composition: Composition) -> dict[str, Any]:
    """All that decides the result; the run directory refuses to go on with another."""
    few = composition.data
    found: dict[str, Any] = {
        f"{role} anchor": f"{entry.member.name} {entry.member.sha256[:16]}"
        for role, entry in composition.members.items()
    }
    found |= {"method": "stitchnet", "data": f"{few.name} {few.sha256[:16]}", "images": len(few.fit)}
    plain = asdict(composition.settings) | {"budget": asked.budget, "classes": asked.classes}
    return found | plain | {f"{name} version": version(name) for name in ("restnet-tf", "ai-edge-litert")}


def _default_out(asked: Asked) -> Path:
    return Path("runs") / f"composed-{Path(asked.data).name.split(':')[0].split('.')[0]}"


def _summary(composition: Composition) -> str:
    run = composition.run
    meta, found = points.read(run.points_path)
    made = [p for p in found if p.kind == STITCHED]
    seconds = composition.seconds
    lines = [
        f"{meta['nets']} nets composed of {len(composition.members)} members, {len(made)} of them shipped; files in"
        f" {run.path}: tflite/, elastic.*.tflite, points.json, points.png, plans.json, search/",
        *_compared(found),
        *(f"paths that ended for {reason}: {count}" for reason, count in meta["ended"].items()),
        *_correlated(meta["correlation"], meta["nets"]),
    ]
    folds = meta["folded"]
    if folds:
        saved = ", ".join(f"{n} ({count}, {macs / 1e6:.3g}M MACs)" for n, (count, macs) in folds.items())
        lines.append(f"stitches folded into the next layer in float32, which saves MACs not taken off above: {saved}")
    lines.append(_took(composition, seconds, meta["new_in_pool"]))
    best = max(made, key=lambda p: (-(p.rank.kl or 0.0), p.name), default=None)
    limit = f"{best.macs / 1e6:.4g}M" if best else "100M"
    lines.append(f'next: restnet-tf select {run.path} --budget "macs<={limit}"')
    return "\n".join(lines)


def _compared(found: Sequence[OperatingPoint]) -> list[str]:
    """The best net by validation beside the best member, and the best member within its MACs."""
    made = [p for p in found if p.kind == STITCHED]
    if not made:
        return ["no composed net loses less than a pool member of its cost: the members are what is shipped"]
    members = [p for p in found if p.kind == ANCHOR]
    lines = []
    for name, p in (("least log loss", min(made, key=_loss)), ("fewest MACs", min(made, key=lambda p: p.macs))):
        rivals = [m for m in members if m.macs <= p.macs]
        lines.append(f"of {name}: {_worded(p)}")
        lines.append(
            f"  best member within its MACs: {_worded(min(rivals, key=_loss)) if rivals else 'none is so small'}"
        )
    lines.append(f"best member of all: {_worded(min(members, key=_loss))}")
    return lines


def _loss(point: OperatingPoint) -> tuple[float, int, str]:
    return point.rank.kl or 0.0, point.macs, point.name


def _worded(point: OperatingPoint) -> str:
    low, high = point.test.interval
    return (
        f"{point.name} ({point.route}), {point.macs / 1e6:.4g}M MACs: {100 * point.rank.value:.1f} % in"
        f" cross-validation, {100 * point.test.value:.1f} % [{100 * low:.1f}, {100 * high:.1f}] of {point.test.n} test"
        " images"
    )


def _correlated(found: Mapping[str, Sequence[float]], count: int) -> list[str]:
    words = {
        "accuracy": "validation accuracy",
        "loss": "validation log loss",
        "knn": "the nearest neighbours' accuracy",
    }
    return [
        f"overall score and {words[name]} of {count} nets: Pearson {pearson:+.2f}, Spearman {spearman:+.2f}"
        for name, (pearson, spearman) in found.items()
    ]


def _took(composition: Composition, seconds: Mapping[str, float], new: Sequence[str]) -> str:
    parts = ", ".join(f"{name} {value:.0f}" for name, value in seconds.items())
    personal = sum(value for name, value in seconds.items() if name != "pool")
    pool_words = (
        f"{len(new)} members were new to the pool, which the next user's net does not wait for"
        if new
        else "every member was in the pool already, so this is what a second user waits"
    )
    return f"seconds: {parts}; {personal:.0f} from the images to the files beside the pool's; {pool_words}"
