"""What makes a run's files, measures them and publishes what speaks of all of them, whatever the method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from restnet_tf import atomic
from restnet_tf.family import measure
from restnet_tf.family.answers import Answers, Images, Shape
from restnet_tf.family.measure import Job, Judge
from restnet_tf.points import metadata, points
from restnet_tf.points.points import File, OperatingPoint
from restnet_tf.report import plots

if TYPE_CHECKING:
    from restnet_tf.family.linker import Maker
    from restnet_tf.progress import Reporter
    from restnet_tf.run.directory import Run

_REPEATS = 50


@dataclass(frozen=True)
class Shop:
    """What makes and measures files of a run, whatever the method.

    ``shapes`` are the input shapes of points, ``images`` and ``judge`` as in ``measure``. ``precisions`` are those of
    points that are not made in all. ``held_out`` are answers ``(n, classes)`` to the rank split of points that were
    fitted on it, each image without itself.
    """

    run: Run
    makers: Mapping[str, Maker]
    shapes: Mapping[str, Shape]
    images: Images
    judge: Judge
    report: Reporter
    repeats: int = _REPEATS
    precisions: Mapping[str, Sequence[str]] = field(default_factory=dict)
    held_out: Mapping[str, np.ndarray] = field(default_factory=dict)

    @cached_property
    def answers(self) -> Answers:
        """What the files answer."""
        return Answers(self.run.tflite_path, self.shapes, self.images)

    def unseen(self, point: str, answers: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        """What a point answers to images that it was not fitted on, by split."""
        return {**answers, "rank": self.held_out[point]} if point in self.held_out else answers

    def stocked(self, stock: Sequence[OperatingPoint]) -> dict[str, dict[str, File]]:
        """A file of every point in every precision, by name; those that a point has already stay."""
        jobs = [
            Job(p.name, precision, self.shapes[p.name])
            for p in stock
            for precision in self.precisions.get(p.name, tuple(self.makers))
            if precision not in p.files
        ]
        if not jobs:
            return {p.name: dict(p.files) for p in stock}
        self._write(jobs)
        fresh = measure.measured(
            self.run, jobs, self.images, self.answers, self.judge, self.report, repeats=self.repeats
        )
        return {p.name: {**p.files, **fresh.get(p.name, {})} for p in stock}

    def publish(self, listed: Sequence[OperatingPoint], meta: Mapping[str, Any], title: str) -> None:
        """What speaks of all points: the elastic files, ``points.json`` and the plot."""
        for precision, maker in self.makers.items():
            members = [p for p in listed if precision in p.files]
            chains = {p.name: p.cascade for p in members if p.cascade is not None}
            names = [p.name for p in members if p.cascade is None]
            content = maker.elastic(names, metadata.elastic(members, precision, meta), chains)
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
