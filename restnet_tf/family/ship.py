"""From scored points to what is shipped: decide over all of them, make the files that are missing, measure, publish.

A build, a point added later and a precision added later all end here, so that no point stands in a run undecided.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from restnet_tf import atomic
from restnet_tf.family import anchor_pieces, compute, measure, opening, score
from restnet_tf.family.anchor_pieces import Members
from restnet_tf.family.measure import Images, Job, Judge, Shape
from restnet_tf.family.score import Scorer
from restnet_tf.points import front, points
from restnet_tf.points.points import CONTROL, SHIPPED, File, OperatingPoint, Score
from restnet_tf.report import plots

if TYPE_CHECKING:
    from restnet_tf.family.controls import Control
    from restnet_tf.family.family import Family
    from restnet_tf.family.linker import Maker
    from restnet_tf.fitting.ladder import Fitted
    from restnet_tf.progress import Reporter
    from restnet_tf.records import Plan
    from restnet_tf.run.directory import Run

_REPEATS = 50


@dataclass(frozen=True)
class Shop:
    """What makes and measures files of a run, whatever the method.

    ``shapes`` are the input shapes of points, ``images`` and ``judge`` as in ``measure``.
    """

    run: Run
    makers: Mapping[str, Maker]
    shapes: Mapping[str, Shape]
    images: Images
    judge: Judge
    report: Reporter
    repeats: int = _REPEATS

    def stocked(self, stock: Sequence[OperatingPoint]) -> dict[str, dict[str, File]]:
        """A file of every point in every precision, by name; those that a point has already stay."""
        jobs = [
            Job(p.name, precision, self.shapes[p.name])
            for p in stock
            for precision in self.makers
            if precision not in p.files
        ]
        if not jobs:
            return {p.name: dict(p.files) for p in stock}
        self._write(jobs)
        fresh = measure.measured(self.run, jobs, self.images, self.judge, self.report, repeats=self.repeats)
        return {p.name: {**p.files, **fresh.get(p.name, {})} for p in stock}

    def publish(self, listed: Sequence[OperatingPoint], meta: Mapping[str, Any], title: str) -> None:
        """What speaks of all points: the elastic files, ``points.json`` and the plot."""
        for precision, maker in self.makers.items():
            members = [p for p in listed if precision in p.files]
            content = maker.elastic([p.name for p in members], points.to_metadata(members, precision, meta))
            if content is not None:
                atomic.write_bytes(self.run.elastic_path(precision), content)
        self.run.write_json(self.run.points_path, points.to_json(listed, meta))
        atomic.write_bytes(self.run.plot_path, plots.operating_points(listed, title, meta["metric"]))

    def _write(self, jobs: Sequence[Job]) -> None:
        """The ``.tflite`` of each job; one that is there already stays."""
        self.report.stage(f"making {len(jobs)} files")
        for done, job in enumerate(jobs, start=1):
            path = self.run.tflite_path(job.point, job.precision)
            if not path.exists():
                atomic.write_bytes(path, self.makers[job.precision].variant(job.point))
            self.report.progress(done, len(jobs))


def ship(family: Family, chosen: Sequence[Plan], fitted: Mapping[str, Fitted], rivals: Sequence[Control]) -> None:
    """Score, decide, link and measure; the result is ``points.json`` in the run."""
    scorer = Scorer(family)
    scored = score.scored(family, scorer, chosen, fitted, rivals)
    settle(Members(family, {p.name: p for p in chosen}, fitted), scorer, scored, _meta(family, fitted))
    family.run.finish("points")


def settle(
    members: Members,
    scorer: Scorer,
    candidates: Sequence[OperatingPoint],
    meta: Mapping[str, Any],
) -> tuple[OperatingPoint, ...]:
    """Decide over all points and publish; files have those that are shipped, and those that the user named."""
    family, settings = members.family, members.family.settings
    decided = front.decide(candidates)
    stock = [
        p
        for p in decided
        if p.kind != CONTROL and (p.status == SHIPPED or settings.ship_all or p.name in settings.also)
    ]
    shop = _shop(members, scorer, [p.name for p in stock])
    files = shop.stocked(stock)
    settled = tuple(replace(p, files=files.get(p.name, {})) for p in decided)
    for p in candidates:  # what is beaten by now
        for precision in p.files if p.name not in files else ():
            family.run.tflite_path(p.name, precision).unlink(missing_ok=True)
    shop.publish(settled, meta, title(family))
    family.run.note_forms(opening.forms(settings))
    return settled


def title(family: Family) -> str:
    """Of a picture of the family."""
    return f"{' + '.join(family.anchors[role].name for role in family.by_cost[::-1])} on {family.data.name}"


def _shop(members: Members, scorer: Scorer, names: Sequence[str]) -> Shop:
    family = members.family

    def judge(point: str, precision: str, split: str, outputs: np.ndarray) -> Score:
        return Score.of(scorer.right(outputs, split))

    return Shop(
        family.run,
        anchor_pieces.makers(members),
        {name: members.input_shape(name) for name in names},
        lambda split, shape: score.images(getattr(family.data, split), shape),
        judge,
        family.report,
    )


def _meta(family: Family, fitted: Mapping[str, Fitted]) -> dict[str, Any]:
    spent, whole = training_macs(family, fitted)
    return {
        "anchors": {role: anchor.name for role, anchor in family.anchors.items()},
        "data": family.data.name,
        "metric": family.metric,
        "class_names": family.data.class_names or family.anchors[family.largest].class_names,
        "training_macs": spent,
        "whole_large_training_macs": whole,
        "versions": opening.versions(opening.TOOLS),
    }


def training_macs(family: Family, fitted: Mapping[str, Fitted]) -> tuple[int, int]:
    """MACs spent on training the family, and what fine-tuning the whole large model alike would cost.

    The first counts the one pass of both anchors over the views; the second passes the large model
    forwards and backwards over as many images as the variants' stitches saw.
    """
    rungs = [r for f in fitted.values() for r in f.rungs]
    views = compute.views(family) * sum(c.macs for c in family.costs.values())
    return views + sum(r.macs for r in rungs), 3 * family.costs[family.largest].macs * sum(r.images for r in rungs)
