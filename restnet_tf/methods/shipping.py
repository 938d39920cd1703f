"""From fitted stitches to files: score every network, decide what is on the front, link, measure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks import host, plots, points
from benchmarks.points import ANCHOR, CONTROL, SHIPPED, STITCHED, File, OperatingPoint, Score
from restnet_tf import plan, runs, variant
from restnet_tf.fit import kl_divergence
from restnet_tf.methods.family import Family
from restnet_tf.methods.linking import Converter, Linker, Members
from tflite_export import memory

if TYPE_CHECKING:
    import keras

    from restnet_tf.data import Split
    from restnet_tf.fit import Fitted
    from restnet_tf.methods.controls import Control
    from restnet_tf.records import Plan

_BATCH = 128
_THREADS = 1
_REPEATS = 50


def ship(family: Family, chosen: Sequence[Plan], fitted: Mapping[str, Fitted], extras: Sequence[Control]) -> None:
    """Score, decide, link and measure; the result is ``points.json`` in the run."""
    run = family.run
    scorer = _Scorer(family)
    scored = _scored(family, scorer, chosen, fitted, extras)
    decided = points.decide(scored)
    shipped = [p for p in decided if p.kind != CONTROL and (p.status == SHIPPED or family.settings.ship_all)]
    inputs = {role: anchor.input_shape for role, anchor in family.anchors.items()}
    inputs |= {p.name: inputs[p.route[0].anchor] for p in chosen}
    maker = Linker if family.settings.converter == "link" else Converter
    members = Members(family, {p.name: p for p in chosen}, fitted)
    makers = {precision: maker(members, precision) for precision in family.settings.precisions}
    _written(family, shipped, makers)
    files = _measured(family, scorer, shipped, inputs)
    found = tuple(replace(p, files=files.get(p.name, {})) for p in decided)
    meta = _meta(family, fitted)
    _write_elastic(family, found, makers, meta)
    run.write_json(run.points_path, points.to_json(found, meta))
    title = f"{family.anchors['large'].name} + {family.anchors['small'].name} on {family.data.name}"
    runs.write_bytes(run.plot_path, plots.operating_points(found, title, metric(family)))
    run.finish("points")


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
    return views + sum(r.macs for r in rungs), 3 * family.costs["large"].macs * sum(r.images for r in rungs)


def _meta(family: Family, fitted: Mapping[str, Fitted]) -> dict[str, Any]:
    spent, whole = training_macs(family, fitted)
    return {
        "large": family.anchors["large"].name,
        "small": family.anchors["small"].name,
        "data": family.data.name,
        "metric": metric(family),
        "class_names": family.data.class_names or family.anchors["large"].class_names,
        "training_macs": spent,
        "whole_large_training_macs": whole,
    }


def _scored(
    family: Family, scorer: _Scorer, chosen: Sequence[Plan], fitted: Mapping[str, Fitted], extras: Sequence[Control]
) -> list[OperatingPoint]:
    """Every network run in Keras over the rank and the test split."""
    family.report.stage("accuracy of all networks on the rank and test split")
    total, found = 2 + len(chosen) + len(extras), []

    def add(model: keras.Model, **known: Any) -> None:
        found.append(OperatingPoint(rank=scorer(model, "rank"), test=scorer(model, "test"), **known))
        family.report.progress(len(found), total)

    names = {role: anchor.name for role, anchor in family.anchors.items()}
    for role, anchor in family.anchors.items():
        cost = family.costs[role]
        whole = _to_logits(anchor)
        add(whole, name=role, kind=ANCHOR, route=anchor.name, macs=cost.macs, params=cost.params)
    for p in chosen:
        fit = fitted[p.name]
        add(
            variant.assemble(p, family.anchors, fit.stitch, logits=True),
            name=p.name,
            kind=STITCHED,
            route=plan.title(p, names),
            macs=p.macs,
            params=p.params,
            rung=fit.rung,
            unshared_params=sum(v.size for v in fit.stitch.tuned.values()),
        )
    for extra in extras:
        add(
            extra.model,
            name=extra.name,
            kind=CONTROL,
            route=extra.route,
            macs=extra.macs,
            params=extra.params,
            status=CONTROL,
        )
    return found


class _Scorer:
    """Scores of networks against the labels, or the large anchor's answers where there are none."""

    def __init__(self, family: Family) -> None:
        self._splits = {"rank": family.data.rank, "test": family.data.test}
        teacher = _to_logits(family.anchors["large"])
        self._teacher = {name: _logits(teacher, split) for name, split in self._splits.items()}

    def __call__(self, model: keras.Model, name: str) -> Score:
        logits = _logits(model, self._splits[name])
        kl = float(np.mean(kl_divergence(self._teacher[name], logits)))
        return Score.of(self.right(logits, name), kl)

    def right(self, outputs: np.ndarray, name: str) -> np.ndarray:
        """Which rows have their highest output where it should be."""
        labels = self._splits[name].labels
        truth = self._teacher[name].argmax(axis=1) if labels is None else labels
        return np.equal(outputs.argmax(axis=1), truth)


def _written(family: Family, shipped: Sequence[OperatingPoint], makers: Mapping[str, Linker | Converter]) -> None:
    """A ``.tflite`` of every shipped point and precision; those that are there already stay."""
    jobs = [(p, precision) for p in shipped for precision in family.settings.precisions]
    family.report.stage(f"{'linking' if family.settings.converter == 'link' else 'converting'} {len(jobs)} files")
    for done, (point, precision) in enumerate(jobs):
        path = family.run.tflite_path(point.name, precision)
        if not path.exists():
            runs.write_bytes(path, makers[precision].variant(point.name))
        family.report.progress(done + 1, len(jobs))


def _write_elastic(
    family: Family, found: Sequence[OperatingPoint], makers: Mapping[str, Linker | Converter], meta: Mapping[str, Any]
) -> None:
    """One file a precision with all shipped points, which carries what is known of them."""
    for precision, maker in makers.items():
        if isinstance(maker, Linker):
            members = [p for p in found if precision in p.files]
            noted = points.to_metadata(members, precision, meta)
            content = maker.elastic([p.name for p in members], noted)
            runs.write_bytes(family.run.elastic_path(precision), content)


def _measured(
    family: Family, scorer: _Scorer, shipped: Sequence[OperatingPoint], inputs: Mapping[str, tuple[int, int, int]]
) -> dict[str, dict[str, File]]:
    """What LiteRT on this host, and the arena planner, say of every file; by point and precision."""
    report = family.report
    jobs = [(p.name, precision) for p in shipped for precision in family.settings.precisions]
    paths = {job: family.run.tflite_path(*job) for job in jobs}
    contents = {job: path.read_bytes() for job, path in paths.items()}
    report.stage("latency on this host, all files in turns")
    one = {shape: next(_images(family.data.test.head(1), shape))[0] for shape in set(inputs.values())}
    images = {"/".join(job): one[inputs[job[0]]] for job in jobs}
    timed = host.latencies({"/".join(job): contents[job] for job in jobs}, images, threads=_THREADS, repeats=_REPEATS)
    report.stage("scores of all files, run by the interpreter")
    files: dict[str, dict[str, File]] = {}
    for done, (name, precision) in enumerate(jobs):
        content, latency = contents[name, precision], timed[f"{name}/{precision}"]
        scores = {}
        for split in ("rank", "test"):
            outputs = host.scores(content, _images(getattr(family.data, split), inputs[name]))
            scores[split] = Score.of(scorer.right(outputs, split))
        files.setdefault(name, {})[precision] = File(
            path=str(paths[name, precision].relative_to(family.run.path)),
            sha256=hashlib.sha256(content).hexdigest(),
            flash_bytes=len(content),
            arena_bytes=memory.plan(memory.ranges(content)).size,
            latency_median_us=latency.median_us,
            latency_p90_us=latency.p90_us,
            latency_repeats_us=latency.repeats_us,
            threads=latency.threads,
            tool=latency.tool,
            **scores,
        )
        report.progress(done + 1, len(jobs))
    return files


def _to_logits(anchor: Any) -> keras.Model:
    import keras

    return keras.Model(anchor.model.inputs[0], anchor.logits)


def _logits(model: keras.Model, split: Split) -> np.ndarray:
    return np.concatenate([np.asarray(model(x, training=False)) for x in _images(split, model.input_shape[1:])])


def _images(split: Split, shape: tuple[int, int, int]) -> Iterator[np.ndarray]:
    for images in split.batches(shape, _BATCH):
        yield np.asarray(images)
