"""From fitted stitches to files: score every network, decide what is on the front, link, measure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from restnet_tf import atomic, records
from restnet_tf.family.family import Family
from restnet_tf.family.linker import Converter, Linker, Members
from restnet_tf.fitting.ladder import kl_divergence
from restnet_tf.graph import infer
from restnet_tf.points import points
from restnet_tf.points.points import ANCHOR, CONTROL, SHIPPED, STITCHED, File, OperatingPoint, Score
from restnet_tf.report import plots
from restnet_tf.stitches import stitch, variant
from tflite_export.devices import host

if TYPE_CHECKING:
    import keras

    from restnet_tf.data.splits import Split
    from restnet_tf.family.controls import Control
    from restnet_tf.fitting.ladder import Fitted
    from restnet_tf.records import Plan

_THREADS = 1
_REPEATS = 50


def ship(family: Family, chosen: Sequence[Plan], fitted: Mapping[str, Fitted], extras: Sequence[Control]) -> None:
    """Score, decide, link and measure; the result is ``points.json`` in the run."""
    scorer = Scorer(family)
    decided = points.decide(_scored(family, scorer, chosen, fitted, extras))
    shipped = [p for p in decided if p.kind != CONTROL and (p.status == SHIPPED or family.settings.ship_all)]
    members = Members(family, {p.name: p for p in chosen}, fitted)
    made = makers(members)
    measured = files(members, scorer, made, [p.name for p in shipped])
    publish(family, tuple(replace(p, files=measured.get(p.name, {})) for p in decided), made, _meta(family, fitted))
    family.run.finish("points")


def makers(members: Members) -> dict[str, Linker | Converter]:
    """What makes files of the family's points, by precision."""
    maker = Linker if members.family.settings.converter == "link" else Converter
    return {precision: maker(members, precision) for precision in members.family.settings.precisions}


def files(
    members: Members, scorer: Scorer, made: Mapping[str, Linker | Converter], names: Sequence[str]
) -> dict[str, dict[str, File]]:
    """Files of points, written and measured; by point and precision."""
    _written(members.family, names, made)
    return _measured(members, scorer, names)


def publish(
    family: Family, found: Sequence[OperatingPoint], made: Mapping[str, Linker | Converter], meta: Mapping[str, Any]
) -> None:
    """Write what speaks of all points: the elastic files, ``points.json`` and the plot."""
    _write_elastic(family, found, made, meta)
    family.run.write_json(family.run.points_path, points.to_json(found, meta))
    title = f"{' + '.join(family.anchors[role].name for role in family.by_cost[::-1])} on {family.data.name}"
    atomic.write_bytes(family.run.plot_path, plots.operating_points(found, title, metric(family)))


def metric(family: Family) -> str:
    """What the scores count: right answers, or the same answer as the large anchor."""
    return "accuracy" if family.data.labelled else "agreement"


def training_macs(family: Family, fitted: Mapping[str, Fitted]) -> tuple[int, int]:
    """MACs spent on training the family, and what fine-tuning the whole large model alike would cost.

    The first counts the one pass of both anchors over the views; the second passes the large model
    forwards and backwards over as many images as the variants' stitches saw.
    """
    rungs = [r for f in fitted.values() for r in f.rungs]
    views = family.views * sum(c.macs for c in family.costs.values())
    return views + sum(r.macs for r in rungs), 3 * family.costs[family.largest].macs * sum(r.images for r in rungs)


def _meta(family: Family, fitted: Mapping[str, Fitted]) -> dict[str, Any]:
    spent, whole = training_macs(family, fitted)
    return {
        "anchors": {role: anchor.name for role, anchor in family.anchors.items()},
        "data": family.data.name,
        "metric": metric(family),
        "class_names": family.data.class_names or family.anchors[family.largest].class_names,
        "training_macs": spent,
        "whole_large_training_macs": whole,
    }


def stitched(family: Family, scorer: Scorer, p: Plan, fit: Fitted) -> OperatingPoint:
    """A variant with its scores, run in Keras."""
    names = {role: anchor.name for role, anchor in family.anchors.items()}
    model = variant.assemble(p, family.anchors, *fit.stitches, logits=True)
    macs, params = (sum(more) for more in zip(*map(stitch.widening, fit.stitches), strict=True))
    return OperatingPoint(
        name=p.name,
        kind=STITCHED,
        route=records.title(p, names),
        macs=p.macs + macs,
        params=p.params + params,
        rank=scorer(model, "rank"),
        test=scorer(model, "test"),
        rung=fit.rung,
        unshared_params=sum(v.size for made in fit.stitches for v in made.tuned.values()),
    )


def _scored(
    family: Family, scorer: Scorer, chosen: Sequence[Plan], fitted: Mapping[str, Fitted], extras: Sequence[Control]
) -> list[OperatingPoint]:
    """Every network run in Keras over the rank and the test split."""
    family.report.stage("accuracy of all networks on the rank and test split")
    total, found = len(family.anchors) + len(chosen) + len(extras), []

    def add(point: OperatingPoint) -> None:
        found.append(point)
        family.report.progress(len(found), total)

    def known(model: keras.Model, **figures: Any) -> OperatingPoint:
        return OperatingPoint(rank=scorer(model, "rank"), test=scorer(model, "test"), **figures)

    for role, anchor in family.anchors.items():
        cost = family.costs[role]
        model = _to_logits(anchor)
        add(known(model, name=role, kind=ANCHOR, route=anchor.name, macs=cost.macs, params=cost.params))
    for p in chosen:
        add(stitched(family, scorer, p, fitted[p.name]))
    for e in extras:
        figures = {"name": e.name, "route": e.route, "macs": e.macs, "params": e.params}
        add(known(e.model, kind=CONTROL, status=CONTROL, **figures))
    return found


class Scorer:
    """Scores of networks against the labels, or the large anchor's answers where there are none."""

    def __init__(self, family: Family) -> None:
        self._splits = {"rank": family.data.rank, "test": family.data.test}
        teacher = _to_logits(family.anchors[family.largest])
        self._teacher = {name: _logits(teacher, split) for name, split in self._splits.items()}

    def __call__(self, model: keras.Model, name: str) -> Score:
        """Of a network from images to logits, on the split of that name."""
        logits = _logits(model, self._splits[name])
        teacher = self._teacher[name]
        kl = float(np.mean(kl_divergence(teacher, logits)))
        same = float(np.mean(logits.argmax(axis=1) == teacher.argmax(axis=1)))
        return Score.of(self.right(logits, name), kl, same)

    def right(self, outputs: np.ndarray, name: str) -> np.ndarray:
        """Which rows have their highest output where it should be."""
        labels = self._splits[name].labels
        truth = self._teacher[name].argmax(axis=1) if labels is None else labels
        return np.equal(outputs.argmax(axis=1), truth)


def _written(family: Family, names: Sequence[str], made: Mapping[str, Linker | Converter]) -> None:
    """A ``.tflite`` of every point and precision; those that are there already stay."""
    jobs = [(name, precision) for name in names for precision in made]
    family.report.stage(f"{'linking' if family.settings.converter == 'link' else 'converting'} {len(jobs)} files")
    for done, (name, precision) in enumerate(jobs):
        path = family.run.tflite_path(name, precision)
        if not path.exists():
            atomic.write_bytes(path, made[precision].variant(name))
        family.report.progress(done + 1, len(jobs))


def _write_elastic(
    family: Family, found: Sequence[OperatingPoint], made: Mapping[str, Linker | Converter], meta: Mapping[str, Any]
) -> None:
    """One file a precision with all shipped points, which carries what is known of them."""
    for precision, maker in made.items():
        if isinstance(maker, Linker):
            members = [p for p in found if precision in p.files]
            noted = points.to_metadata(members, precision, meta)
            content = maker.elastic([p.name for p in members], noted)
            atomic.write_bytes(family.run.elastic_path(precision), content)


def _measured(members: Members, scorer: Scorer, names: Sequence[str]) -> dict[str, dict[str, File]]:
    """What LiteRT on this host, and the arena planner, say of every file; by point and precision."""
    family, report = members.family, members.family.report
    inputs = {name: members.input_shape(name) for name in names}
    jobs = [(name, precision) for name in names for precision in family.settings.precisions]
    paths = {job: family.run.tflite_path(*job) for job in jobs}
    contents = {job: path.read_bytes() for job, path in paths.items()}
    report.stage("latency on this host, all files in turns")
    one = {shape: next(_images(family.data.test.head(1), shape))[0] for shape in set(inputs.values())}
    images = {"/".join(job): one[inputs[job[0]]] for job in jobs}
    timed = host.latencies({"/".join(job): contents[job] for job in jobs}, images, threads=_THREADS, repeats=_REPEATS)
    report.stage("scores of all files, run by the interpreter")
    found: dict[str, dict[str, File]] = {}
    for done, (name, precision) in enumerate(jobs):
        content, latency = contents[name, precision], timed[f"{name}/{precision}"]
        scores = {}
        for split in ("rank", "test"):
            outputs = host.scores(content, _images(getattr(family.data, split), inputs[name]))
            scores[split] = Score.of(scorer.right(outputs, split))
        path = str(paths[name, precision].relative_to(family.run.path))
        found.setdefault(name, {})[precision] = points.record(path, content, latency, **scores)
        report.progress(done + 1, len(jobs))
    return found


def _to_logits(anchor: Any) -> keras.Model:
    import keras

    return keras.Model(anchor.model.inputs[0], anchor.logits)


def _logits(model: keras.Model, split: Split) -> np.ndarray:
    run = infer.compiled(model)
    return np.concatenate([np.asarray(run(x)) for x in _images(split, model.input_shape[1:])])


def _images(split: Split, shape: tuple[int, int, int]) -> Iterator[np.ndarray]:
    for images in split.batches(shape, infer.batch_size(shape)):
        yield np.asarray(images)
