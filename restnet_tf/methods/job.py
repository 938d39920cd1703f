"""From what a user asked for, in words, to a finished family in a run directory."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import devices, measurements, plots, points, select
from benchmarks.points import SHIPPED, STITCHED, OperatingPoint
from restnet_tf import applications, cuts, data, demo, features, head, runs, training, zoo
from restnet_tf.head import HeadFit
from restnet_tf.methods import restnet, shipping
from restnet_tf.methods.family import STATISTICS_IMAGES, Family, Settings
from restnet_tf.progress import Reporter
from restnet_tf.records import Anchor, Data, RestnetError
from restnet_tf.runs import Run
from tflite_export import budget, lowering
from tflite_export import precision as precisions

_ROLES = ("large", "small")
_POINTS = 8
_PATHS = ("large", "small", "data", "weights", "weights_dir", "plans")  # options that may name a file or folder
_WORDS = ("digits", "imagenet", "none")  # meant so, even where a file has that name


@dataclass(frozen=True)
class Asked:
    """The options of a command, as the user gave them."""

    large: str | None = None
    small: str | None = None
    data: str | None = None
    weights: str = "imagenet"
    weights_dir: Path | None = None
    large_arch: str | None = None
    small_arch: str | None = None
    large_preprocess: str = "none"
    small_preprocess: str = "none"
    out: Path | None = None
    budget: str = ""
    precision: str = "float32,int8"
    max_points: int | None = None  # None: six for the demo, or eight
    order: str = "both"
    rank_by: str = "cka"
    fine_tune: str = "auto"
    effort: float | None = None  # None: enough for the demo, or 1
    plans: Path | None = None
    ship_all: bool = False
    converter: str = "link"
    recalibrate: bool = False
    uint8_input: bool = False
    lower: str = ""
    controls: bool = True
    seed: int = 0


@dataclass(frozen=True)
class Done:
    """A finished build: all points, what their scores count, and a closing word."""

    points: tuple[OperatingPoint, ...]
    metric: str
    summary: str
    shortfall: str = ""  # why nothing meets the budget


def build(asked: Asked, report: Reporter) -> Done:
    """Load the inputs, then build or finish their family; raises the domain error of the stage."""
    settings = _settings(asked)
    images = _data(asked, report)
    run = Run(asked.out or _default_out(asked))
    _check_writable(run.path)
    anchors, heads = _anchors(asked, images, report, run)
    family = Family(run, anchors, images, settings, report)
    # Before the directory is claimed: what is refused here must not bind it to these inputs.
    restnet.check(family)
    with run.opened(_identity(asked, settings, anchors, images), _kept(asked)):
        for fitted in heads:
            run.save_head(fitted)
        found = restnet.build(family)
        _draw_similarity(family)
    summary, shortfall = _summary(run, settings)
    return Done(found, shipping.metric(family), summary, shortfall)


@contextmanager
def reopened(path: Path, report: Reporter) -> Iterator[Family]:
    """The family of a finished run, its inputs loaded anew; the run is held against other writers.

    Raises ``RestnetError`` where the run is none, not finished, or older than the options that it would have
    to keep, and where an input has changed since.
    """
    run = Run(path)
    kept = run.asked()
    if not run.done("points"):
        raise RestnetError(f"{path} is not finished; run its build again, it goes on where it stopped")
    if kept is None:
        raise RestnetError(
            f"{path} was built by a version that did not keep its options; run its build command again,"
            " which adds them and builds nothing anew"
        )
    asked = _asked(kept, path)
    settings, images = _settings(asked), _data(asked, report)
    anchors, _ = _anchors(asked, images, report, run)
    with run.opened(_identity(asked, settings, anchors, images)):
        yield Family(run, anchors, images, settings, report)


def _kept(asked: Asked) -> dict[str, Any]:
    """The options as ``run.json`` keeps them: paths absolute, and none to the run itself, which may move."""
    return {name: _absolute(name, value) for name, value in asdict(asked).items() if name != "out"}


def _absolute(option: str, value: Any) -> Any:
    """A value that names a file or folder that is there, as it can be found from anywhere; else as it is."""
    if option not in _PATHS or not value or value in _WORDS:
        return value
    text = str(value)
    base = applications.parse(text).base if option in _ROLES else text
    path = Path(base).expanduser()
    # A folder that happens to be called like an architecture does not hide it.
    there = path.exists() if option in ("data", "weights_dir") else path.is_file()
    return f"{path.absolute()}{text.removeprefix(base)}" if there else text


def _asked(kept: Mapping[str, Any], out: Path) -> Asked:
    """What ``_kept`` kept."""
    paths = {name: Path(kept[name]) for name in ("weights_dir", "plans") if kept.get(name)}
    try:
        return Asked(**{**kept, **paths, "out": out})
    except TypeError as error:
        raise RestnetError(f"{out / 'run.json'} holds options of another version: {error}") from None


@dataclass(frozen=True)
class Trained:
    """A trained anchor: its file, its share of right answers on the rank and test split, and their sizes."""

    path: Path
    rank: float
    test: float
    images: tuple[int, int]


def train(arch: str, source: str, out: Path, *, epochs: int, rate: float, seed: int, report: Reporter) -> Trained:
    """Train a named architecture from nothing on labelled images and write it as a ``.keras`` file."""
    if out.suffix != ".keras":
        raise RestnetError(f"{out}: a trained anchor is written as a .keras file; give --out a name that ends so")
    _check_writable(out.parent)
    images = _data(Asked(data=source, seed=seed), report)
    spec = applications.parse(arch)
    if spec.base not in applications.constructors():
        raise RestnetError(applications.unknown(spec.base))
    if "classes" not in spec.options and images.class_names:
        arch += f"{',' if spec.options else ':'}classes={len(images.class_names)}"
    anchor = zoo.load(arch, weights="none")
    report.stage(f"training {anchor.name}, {epochs} passes over {len(images.fit)} images")
    training.train(anchor, images, epochs=epochs, rate=rate, seed=seed, progress=report.progress)
    runs.write_bytes(out, training.as_file(anchor.model))
    right = [training.accuracy(anchor, split) for split in (images.rank, images.test)]
    return Trained(out, right[0], right[1], (len(images.rank), len(images.test)))


def similarity(asked: Asked, out: Path, report: Reporter) -> tuple[Path, Path]:
    """Write the CKA matrix of two anchors as ``out.png`` and ``out.npz``; returns both paths."""
    _check_writable(out.parent)
    images = _data(asked, report)
    anchors = {role: _load(asked, role) for role in _ROLES}
    found = {role: cuts.find(anchor.model) for role, anchor in anchors.items()}
    report.stage("similarity of all pairs of cuts")
    statistics = features.collect(anchors, found, images.fit.head(STATISTICS_IMAGES), report.progress)
    names = {role: [cut.name for cut in found[role]] for role in _ROLES}
    title = f"{anchors['large'].name} against {anchors['small'].name}, {statistics.n} images of {images.name}"
    picture, matrix = out.with_name(f"{out.name}.png"), out.with_name(f"{out.name}.npz")
    runs.write_bytes(picture, plots.heat_map(statistics.cka, names["large"], names["small"], title))
    arrays = {"cka": statistics.cka, "n": statistics.n, "batch": statistics.batch}
    runs.write_npz(matrix, arrays | {role: np.array(names[role]) for role in _ROLES})
    return picture, matrix


def _settings(asked: Asked) -> Settings:
    wanted = tuple(p.strip() for p in asked.precision.split(",") if p.strip())
    for name in wanted or ("",):
        precisions.precision_named(name)
    lower = tuple(sorted({name for part in asked.lower.split(",") if (name := part.strip().lower())}))
    lowering.check(lower)
    terms = budget.parse(asked.budget) if asked.budget else ()
    devices.check(term.device for term in terms if term.device)
    return Settings(
        order=asked.order,
        rank_by=asked.rank_by,
        max_points=asked.max_points or (demo.POINTS if _is_demo(asked) else _POINTS),
        precisions=tuple(dict.fromkeys(wanted)),
        fine_tune=asked.fine_tune,
        effort=asked.effort or (demo.EFFORT if _is_demo(asked) else 1.0),
        seed=asked.seed,
        ship_all=asked.ship_all,
        converter=asked.converter,
        recalibrate=asked.recalibrate,
        uint8_input=asked.uint8_input,
        lower=lower,
        controls=asked.controls,
        budget=terms,
        plans=runs.read_plans(asked.plans) if asked.plans else None,
    )


def _check_writable(path: Path) -> None:
    """Refuse an output that cannot be written before the long work, without leaving a trace of the try."""
    there = next(p for p in (path, *path.absolute().parents) if os.path.exists(p))
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        what = "write-protected" if there.is_dir() else "no folder"
        raise RestnetError(f"cannot write to {path}: {there} is {what}; give another --out")


def _data(asked: Asked, report: Reporter) -> Data:
    report.stage("reading the images")
    images = data.load(asked.data or demo.DATA, seed=asked.seed)
    report.say(
        f"{images.name}: {len(images.fit)} images to fit, {len(images.rank)} to rank, {len(images.test)} to test"
    )
    for path in images.skipped:
        report.say(f"skipped, not readable: {path}")
    return images


def _anchors(asked: Asked, images: Data, report: Reporter, run: Run) -> tuple[dict[str, Anchor], tuple[HeadFit, ...]]:
    """Both anchors in the data's label space, and the classifiers that brought them there."""
    if _is_demo(asked):

        def tell(what: str, done: int, total: int) -> None:
            if done == 1:
                report.stage(what)
            report.progress(done, total)

        files = demo.anchor_files(run.anchors_path, images, asked.seed, tell)
        loaded = {role: zoo.load(str(files[role])) for role in _ROLES}
    else:
        report.stage("loading the anchors")
        loaded = {role: _load(asked, role) for role in _ROLES}
    large, small, heads = head.match_labels(loaded["large"], loaded["small"], images, asked.seed, run.load_head)
    for fitted in heads:
        report.say(
            f"{fitted.anchor}: a new head for {fitted.classes} classes, fitted on {fitted.images} images, has"
            f" {100 * fitted.rank_accuracy:.1f} % of {fitted.rank_images} rank images right"
        )
    return {"large": large, "small": small}, heads


def _is_demo(asked: Asked) -> bool:
    return asked.large is None and asked.small is None


def _load(asked: Asked, role: str) -> Anchor:
    spec = getattr(asked, role)
    if spec is None:
        raise RestnetError(f"no {role} anchor was named; give --{role} a name or a file")
    return zoo.load(
        spec,
        weights=asked.weights,
        weights_dir=asked.weights_dir,
        arch=getattr(asked, f"{role}_arch"),
        preprocess=getattr(asked, f"{role}_preprocess"),
    )


def _identity(asked: Asked, settings: Settings, anchors: Mapping[str, Anchor], images: Data) -> dict[str, Any]:
    """All that decides a build's result; the run directory refuses to go on with another."""
    found: dict[str, Any] = {
        "large anchor": f"{anchors['large'].name} {anchors['large'].sha256[:16]}",
        "small anchor": f"{anchors['small'].name} {anchors['small'].sha256[:16]}",
        "data": f"{images.name} {images.sha256[:16]}",
    }
    plain = asdict(settings) | {"budget": asked.budget}
    plain["plans"] = hashlib.sha256(asked.plans.read_bytes()).hexdigest()[:16] if asked.plans else None
    packages = ("restnet-tf", "tensorflow", "keras", "ai-edge-litert")
    return found | plain | {f"{name} version": version(name) for name in packages}


def _default_out(asked: Asked) -> Path:
    if _is_demo(asked):
        return Path("runs") / "demo"
    named = (asked.large or "", asked.small or "", asked.data or demo.DATA)
    words = (Path(part).name.split(":")[0].split(".")[0] for part in named)
    return Path("runs") / "-".join(words)


def _draw_similarity(family: Family) -> None:
    path = family.run.similarity_plot_path
    if path.exists():
        return
    chosen = [p for p in runs.read_plans(family.run.plans_path) if p.status == "chosen"]
    index = {role: {cut.name: cut.index for cut in found} for role, found in family.cut_lists.items()}
    marks = []
    for p in chosen:
        ends = {p.route[0].anchor: str(p.route[0].stop), p.route[1].anchor: str(p.route[1].start)}
        marker = ">" if p.route[0].anchor == "large" else "<"
        marks.append((index["large"][ends["large"]], index["small"][ends["small"]], marker))
    names = {role: [cut.name for cut in family.cut_lists[role]] for role in _ROLES}
    title = (
        f"{family.anchors['large'].name} (rows) against {family.anchors['small'].name} on {family.data.name}\n"
        "chosen stitches: > large front, small back; < small front, large back"
    )
    matrix = family.run.load_statistics().cka
    runs.write_bytes(path, plots.heat_map(matrix, names["large"], names["small"], title, marks))


def _summary(run: Run, settings: Settings) -> tuple[str, str]:
    meta, found = points.read(run.points_path)
    between = [p for p in found if p.kind == STITCHED and p.status == SHIPPED]
    spent, whole = meta["training_macs"], meta["whole_large_training_macs"]
    lines = [
        f"{len(between)} operating points between the anchors; files in {run.path}: tflite/,"
        f"{' elastic.*.tflite,' if settings.converter == 'link' else ''} points.json, points.png, similarity.png,"
        " plans.json",
        f"their {meta['metric']} lies on average {100 * points.above_chord(found):+.1f} points from the chord between"
        f" the anchors on the test split, {100 * points.above_chord(found, 'rank'):+.1f} on the rank split",
        f"training took {spent / 1e12:.2f}T MACs; fine-tuning the whole large model on as many images would take"
        f" {whole / 1e12:.2f}T, {whole / spent:.1f} times as much",
    ]
    within, shortfall = _within(run, settings.budget, found)
    lines += within
    middle = sorted(p.macs for p in found if p.kind == STITCHED)
    limit = f"macs<={middle[len(middle) // 2] / 1e6:.4g}M" if middle else "macs<=10M"
    lines.append(f'next: restnet-tf select {run.path} --budget "{limit}"')
    return "\n".join(lines), shortfall


def _within(run: Run, terms: tuple[budget.Term, ...], found: Sequence[OperatingPoint]) -> tuple[list[str], str]:
    """What to say of a budget, and why nothing meets it.

    No device can measure files before they are there, so terms of devices that have measured none of them wait.
    """
    if not terms:
        return [], ""
    said = measurements.read(run.measurements_path)
    try:
        later = select.waiting(found, terms, said)
        choice = select.select(found, [term for term in terms if term.name not in later], said, run.path)
    except select.BenchError as error:
        return [], str(error)
    rest = "within the rest of the budget" if later else "within the budget"
    lines = [f"{rest}: {choice.point.name} {choice.precision}, {run.path / choice.file.path}"]
    if later:
        command = select.commands(later, run.path)
        lines.append(f"not known yet: {', '.join(later)} of the budget; {command}, then restnet-tf select")
    return lines, ""
