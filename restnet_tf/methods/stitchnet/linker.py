"""From composed nets to files: link them of the pool's objects, fold, measure, and say what each is worth.

LiteRT alone runs everything; a float32 file has been held against the activations that its stitches were fitted on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from restnet_tf import atomic
from restnet_tf.fitting.ladder import CLOSED_FORM
from restnet_tf.methods.stitchnet import method
from restnet_tf.methods.stitchnet.method import Chosen, Composition
from restnet_tf.methods.stitchnet.search import HEAD
from restnet_tf.points import points
from restnet_tf.points.points import ANCHOR, STITCHED, OperatingPoint, Score
from restnet_tf.records import Stitch
from restnet_tf.report import plots
from restnet_tf.stitches import stitch
from tflite_export import fold, fragment, link
from tflite_export.devices import host
from tflite_export.fragment import Runner
from tflite_export.precision import precision_named

_THREADS = 1
_REPEATS = 30
FLOAT = "float32"


@dataclass(frozen=True)
class Linked:
    """A net's own file, and how many of its stitches are folded; MACs saved by that are not counted in its figures."""

    content: bytes
    folds: int = 0
    saved_macs: int = 0


class Nets:
    """Files of chosen nets and members in one precision."""

    def __init__(self, composition: Composition, chosen: Chosen, precision: str) -> None:
        self._composition, self._chosen, self._precision = composition, chosen, precision
        self._integers = precision_named(precision).calibrated
        self._routes: dict[str, link.Route] = {}

    def variant(self, name: str) -> Linked:
        """One net's own file; in float32 with stitches folded where that is exact and costs no more."""
        made = fold.variant(self.route(name), precision=self._precision)
        return Linked(made.content, made.count, made.macs)

    def elastic(self, names: Sequence[str], metadata: Mapping[str, Any]) -> bytes:
        """One file with a signature for each net; stitches are not folded, so that all weights stay shared."""
        return link.elastic({n: self.route(n) for n in names}, precision=self._precision, metadata=metadata)

    def route(self, name: str) -> link.Route:
        """A net as objects and what joins them."""
        if name not in self._routes:
            self._routes[name] = self._joined(name)
        return self._routes[name]

    def _joined(self, name: str) -> link.Route:
        pieces, made = self._chosen.plans[name].route, self._chosen.fitted[name].stitches
        images = self._composition.images(pieces[0].anchor)
        first = self._composition.object(pieces[0].anchor, self._precision)
        route: link.Route | link.Object = first
        wanted = _floats(self._composition, self._chosen, name) if self._integers else []
        for number, joint in enumerate(made):
            before, behind = pieces[number], pieces[number + 1]
            if self._integers:
                joint = self._refitted(route, str(before.stop), joint, wanted[number], images)
            if behind.anchor == HEAD:
                back = self._head(wanted[-1] if wanted else None)
            else:
                back = self._composition.object(behind.anchor, self._precision)
            route = link.Route(route, str(before.stop), joint, back, behind.start)
        assert isinstance(route, link.Route)  # a head follows every piece
        return route

    def _refitted(
        self, route: link.Route | link.Object, stop: str, joint: Stitch, wanted: np.ndarray, images: np.ndarray
    ) -> Stitch:
        """A stitch fitted to what the integers in front of it put out on the few images."""
        lead = route if isinstance(route, link.Route) else link.Route(route)
        rough = Runner(link.front(lead, stop, precision=self._precision))(images)[0]
        found = rough.reshape(wanted.shape)
        return _unbiased(stitch.refitted(joint, wanted, found), found)

    def _head(self, logits: np.ndarray | None) -> link.Object:
        """The softmax that ends a net; of integers, for the logits that the few images have and half as much more."""
        limits = (0.0, 0.0) if logits is None else (1.5 * float(logits.min()), 1.5 * float(logits.max()))
        return fragment.softmax(self._composition.classes, self._precision, limits)


def _unbiased(joint: Stitch, found: np.ndarray) -> Stitch:
    """A stitch whose bias makes up for what rounding its kernel to int8 does on average.

    A head on features that hardly vary has large weights that cancel out: their rounding alone moved logits by two.
    Source: bias correction, Nagel et al. 2019 (arXiv 1906.04721).
    """
    steps = np.maximum(np.abs(joint.kernel).max(axis=0) / 127, np.finfo(np.float32).tiny)
    lost = joint.kernel - np.rint(joint.kernel / steps) * steps
    mean = stitch.read(joint, found).reshape(-1, len(joint.kernel)).mean(axis=0)
    return replace(joint, bias=(joint.bias + mean @ lost).astype(np.float32))


def _floats(composition: Composition, chosen: Chosen, name: str) -> list[np.ndarray]:
    """What float32 gives in front of every joint on the few images, and then the logits."""
    pieces, made = chosen.plans[name].route, chosen.fitted[name].stitches
    x = composition.images(pieces[0].anchor)
    found = []
    for piece, joint in zip(pieces[:-1], made, strict=True):
        whole = composition.object(piece.anchor, FLOAT)
        x = Runner(fragment.stretch(whole, piece.start, [str(piece.stop)]))(x)[0]
        x = x.reshape(len(x), *joint.source.shape)
        found.append(x)
        x = stitch.applied(joint, x)
    return [*found, x.reshape(len(x), -1)]


def write(composition: Composition, chosen: Chosen, names: Sequence[str]) -> dict[str, Linked]:
    """Files of nets in every precision that was asked for; how the float32 ones were made, by name."""
    run, report = composition.run, composition.report
    wanted = composition.settings.precisions
    jobs = [(precision, name) for precision in wanted for name in names]
    report.stage(f"linking {len(jobs)} files")
    made = {precision: Nets(composition, chosen, precision) for precision in dict.fromkeys((*wanted, FLOAT))}
    linked = {name: made[FLOAT].variant(name) for name in names}
    for done, (precision, name) in enumerate(jobs):
        path = run.tflite_path(name, precision)
        if not path.exists():
            content = linked[name].content if precision == FLOAT else made[precision].variant(name).content
            atomic.write_bytes(path, content)
        report.progress(done + 1, len(jobs))
    return linked


def measured(
    composition: Composition, chosen: Chosen, linked: Mapping[str, Linked], roles: Mapping[str, Any]
) -> tuple[OperatingPoint, ...]:
    """Every chosen net and member with its scores: cross-validated on the few images, and of the test split."""
    report, labels = composition.report, np.asarray(composition.data.test.labels)
    report.stage("scores of all files on the test split, run by the interpreter")
    found: list[OperatingPoint] = []
    jobs = len(linked) * (1 + len(composition.settings.precisions))
    latencies = _latencies(composition, chosen, list(linked))
    for name, net in chosen.nets.items():
        answers = {FLOAT: _answers(composition, chosen, name, linked[name].content)}
        few, test = answers[FLOAT]
        right = np.array(net.right)
        loss = float(-np.mean(np.log(np.maximum(test[np.arange(len(labels)), labels], 1e-12))))
        files = {}
        for precision in composition.settings.precisions:
            content = composition.run.tflite_path(name, precision).read_bytes()
            if precision not in answers:
                answers[precision] = _answers(composition, chosen, name, content)
            ours = answers[precision]
            # Right in cross-validation, and answered as float32 does where the file is of another precision.
            same = precision == FLOAT or ours[0].argmax(axis=1) == few.argmax(axis=1)
            took = latencies[f"{name}/{precision}"]
            path = str(composition.run.tflite_path(name, precision).relative_to(composition.run.path))
            test_score = Score.of(ours[1].argmax(axis=1) == labels)
            files[precision] = points.record(path, content, took, Score.of(right & same), test_score)
            report.progress(len(found) * (1 + len(files)) + len(files), jobs)
        point = OperatingPoint(
            name=name,
            kind=ANCHOR if name in roles else STITCHED,
            route=method.title(composition, net),
            macs=net.macs,
            params=net.params,
            rank=Score.of(right, net.loss),
            test=Score.of(test.argmax(axis=1) == labels, loss),
            rung=CLOSED_FORM,
            files=files,
        )
        found.append(point)
    return tuple(found)


def publish(composition: Composition, chosen: Chosen, found: Sequence[OperatingPoint], more: Mapping[str, Any]) -> None:
    """Write what speaks of all points: the elastic files, ``points.json`` and the plot."""
    run = composition.run
    meta = {
        "anchors": {role: entry.member.name for role, entry in composition.members.items()},
        "data": composition.data.name,
        "metric": "accuracy",
        "class_names": composition.data.class_names,
        "training_macs": 0,
        "whole_large_training_macs": 0,
        "macs_before": {
            role: {cut.name: cut.macs_before for cut in (*entry.member.cuts, entry.member.features)}
            for role, entry in composition.members.items()
        },
        **more,
    }
    for precision in composition.settings.precisions:
        noted = points.to_metadata(found, precision, meta)
        made = Nets(composition, chosen, precision).elastic([p.name for p in found], noted)
        atomic.write_bytes(run.elastic_path(precision), made)
    run.write_json(run.points_path, points.to_json(found, meta))
    title = f"composed of {len(composition.members)} members on {composition.data.name}"
    atomic.write_bytes(run.plot_path, plots.operating_points(found, title, "accuracy"))


def _answers(composition: Composition, chosen: Chosen, name: str, content: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Scores ``(n, classes)`` of a file on the few images and on the test split."""
    front = chosen.plans[name].route[0].anchor
    run = Runner(content)
    alone = composition.settings.precisions == (FLOAT,)  # nothing to hold against it
    few = np.zeros((0, composition.classes)) if alone else run(composition.images(front))[0]
    return few, run(composition.tests(front))[0]


def _latencies(composition: Composition, chosen: Chosen, names: Sequence[str]) -> dict[str, Any]:
    jobs = [(name, precision) for name in names for precision in composition.settings.precisions]
    contents = {"/".join(job): composition.run.tflite_path(*job).read_bytes() for job in jobs}
    images = {"/".join(job): composition.images(chosen.plans[job[0]].route[0].anchor)[0] for job in jobs}
    return host.latencies(contents, images, threads=_THREADS, repeats=_REPEATS)
