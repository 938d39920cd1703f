"""From what a user asked for, in words, to a finished family in a run directory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from restnet_tf import atomic
from restnet_tf.anchors import applications, training, zoo
from restnet_tf.commands import inputs
from restnet_tf.commands.inputs import ROLES, Asked
from restnet_tf.family import ship
from restnet_tf.family.family import STATISTICS_IMAGES, Family, Settings
from restnet_tf.graph import cuts
from restnet_tf.methods.restnet import method as restnet
from restnet_tf.methods.snnet import method as snnet
from restnet_tf.points import points, select
from restnet_tf.points.points import SHIPPED, STITCHED, OperatingPoint
from restnet_tf.progress import Reporter
from restnet_tf.records import RestnetError
from restnet_tf.report import plots
from restnet_tf.run import plans_file
from restnet_tf.run.directory import Run
from restnet_tf.similarity import features
from tflite_export import budget
from tflite_export.devices import measurements
from tflite_export.errors import DomainError

_METHODS = {"restnet": restnet, "snnet": snnet}


@dataclass(frozen=True)
class Done:
    """A finished build: all points, what their scores count, and a closing word."""

    points: tuple[OperatingPoint, ...]
    metric: str
    summary: str
    shortfall: str = ""  # why nothing meets the budget
    loss: str = "KL"  # what the points' other figure is: to the costliest anchor, or of the labels


def build(asked: Asked, report: Reporter) -> Done:
    """Load the inputs, then build or finish their family; raises the domain error of the stage."""
    settings, method = inputs.settings(asked), _METHODS[asked.method]
    images = inputs.images(asked, report)
    run = Run(asked.out or inputs.default_out(asked))
    _check_writable(run.path)
    loaded = inputs.anchors(asked, images, report, run)
    family = Family(run, loaded.anchors, images, settings, report, loaded.teacher)
    # Before the directory is claimed: what is refused here must not bind it to these inputs.
    method.check(family)
    with run.opened(inputs.identity(asked, settings, loaded, images), inputs.kept(asked)):
        for fitted in loaded.heads:
            run.save_head(fitted)
        found = finish(run, lambda: method.build(family))
        if asked.method == "restnet":
            _draw_similarity(family)
    summary, shortfall = _summary(run, settings)
    return Done(found, ship.metric(family), summary, shortfall)


def finish(run: Run, make: Callable[[], None]) -> tuple[OperatingPoint, ...]:
    """Every point and control of a run, measured; a finished run is read, not made."""
    if not run.done("points"):
        make()
    run.drop_caches()
    return points.read(run.points_path)[1]


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
    if run.inputs().get("method") == "stitchnet":
        raise RestnetError(f"{path} was composed of a pool; verify and optimize take runs of restnet-tf build")
    if kept is None:
        raise RestnetError(
            f"{path} was built by a version that did not keep its options; run its build command again,"
            " which adds them and builds nothing anew"
        )
    asked = inputs.recalled(kept, path)
    settings, images = inputs.settings(asked), inputs.images(asked, report)
    loaded = inputs.anchors(asked, images, report, run)
    with run.opened(inputs.identity(asked, settings, loaded, images)):
        family = Family(run, loaded.anchors, images, settings, report, loaded.teacher)
        yield snnet.finished(family) if asked.method == "snnet" else family


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
    images = inputs.images(Asked(data=source, seed=seed), report)
    spec = applications.parse(arch)
    if spec.base not in applications.constructors():
        raise RestnetError(applications.unknown(spec.base))
    if "classes" not in spec.options and images.class_names:
        arch += f"{',' if spec.options else ':'}classes={len(images.class_names)}"
    anchor = zoo.load(arch, weights="none")
    report.stage(f"training {anchor.name}, {epochs} passes over {len(images.fit)} images")
    training.train(anchor, images, epochs=epochs, rate=rate, seed=seed, progress=report.progress)
    atomic.write_bytes(out, training.as_file(anchor.model))
    right = [training.accuracy(anchor, split) for split in (images.rank, images.test)]
    return Trained(out, right[0], right[1], (len(images.rank), len(images.test)))


def similarity(asked: Asked, out: Path, report: Reporter) -> tuple[Path, Path]:
    """Write the CKA matrix of two anchors as ``out.png`` and ``out.npz``; returns both paths."""
    _check_writable(out.parent)
    images = inputs.images(asked, report)
    anchors = {role: inputs.anchor(asked, role) for role in ROLES}
    found = {role: cuts.find(anchor.model) for role, anchor in anchors.items()}
    report.stage("similarity of all pairs of cuts")
    statistics = features.collect(anchors, found, images.fit.head(STATISTICS_IMAGES), report.progress)
    names = {role: [cut.name for cut in found[role]] for role in ROLES}
    title = f"{anchors['large'].name} against {anchors['small'].name}, {statistics.n} images of {images.name}"
    picture, matrix = out.with_name(f"{out.name}.png"), out.with_name(f"{out.name}.npz")
    atomic.write_bytes(picture, plots.heat_map(statistics.cka, names["large"], names["small"], title))
    arrays = {"cka": statistics.cka, "n": statistics.n, "batch": statistics.batch}
    atomic.write_npz(matrix, arrays | {role: np.array(names[role]) for role in ROLES})
    return picture, matrix


def _check_writable(path: Path) -> None:
    """Refuse an output that cannot be written before the long work, without leaving a trace of the try."""
    there = next(p for p in (path, *path.absolute().parents) if os.path.exists(p))
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        what = "write-protected" if there.is_dir() else "no folder"
        raise RestnetError(f"cannot write to {path}: {there} is {what}; give another --out")


def _draw_similarity(family: Family) -> None:
    path = family.run.similarity_plot_path
    if path.exists():
        return
    chosen = [p for p in plans_file.read_plans(family.run.plans_path) if p.status == "chosen"]
    index = {role: {cut.name: cut.index for cut in found} for role, found in family.cut_lists.items()}
    marks = []
    for p in chosen:
        ends = {p.route[0].anchor: str(p.route[0].stop), p.route[1].anchor: str(p.route[1].start)}
        marker = ">" if p.route[0].anchor == "large" else "<"
        marks.append((index["large"][ends["large"]], index["small"][ends["small"]], marker))
    names = {role: [cut.name for cut in family.cut_lists[role]] for role in ROLES}
    title = (
        f"{family.anchors['large'].name} (rows) against {family.anchors['small'].name} on {family.data.name}\n"
        "chosen stitches: > large front, small back; < small front, large back"
    )
    matrix = family.run.load_statistics().cka
    atomic.write_bytes(path, plots.heat_map(matrix, names["large"], names["small"], title, marks))


def _summary(run: Run, settings: Settings) -> tuple[str, str]:
    meta, found = points.read(run.points_path)
    between = [p for p in found if p.kind == STITCHED and p.status == SHIPPED]
    spent, whole = meta["training_macs"], meta["whole_large_training_macs"]
    elastic = " elastic.*.tflite," if settings.converter == "link" else ""
    similarity = " similarity.png," if run.similarity_plot_path.exists() else ""
    lines = [
        f"{len(between)} operating points between the anchors; files in {run.path}: tflite/,{elastic} points.json,"
        f" points.png,{similarity} plans.json",
        f"their {meta['metric']} lies on average {100 * points.above_chord(found):+.1f} points from the chord between"
        f" the anchors on the test split, {100 * points.above_chord(found, 'rank'):+.1f} on the rank split",
        f"training took {spent / 1e12:.2f}T MACs; fine-tuning the whole large model on as many images would take"
        f" {whole / 1e12:.2f}T, {whole / spent:.1f} times as much",
    ]
    if settings.joint is not None:
        lines.insert(1, snnet.dominated(found))
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
    except DomainError as error:
        return [], str(error)
    rest = "within the rest of the budget" if later else "within the budget"
    lines = [f"{rest}: {choice.point.name} {choice.precision}, {run.path / choice.file.path}"]
    if later:
        command = select.commands(later, run.path)
        lines.append(f"not known yet: {', '.join(later)} of the budget; {command}, then restnet-tf select")
    return lines, ""
