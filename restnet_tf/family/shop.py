"""What makes a run's files, measures them and publishes what speaks of all of them, whatever the method."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from restnet_tf import atomic
from restnet_tf.family import elastic, measure
from restnet_tf.family.answers import Answers, Images, Key, Shape
from restnet_tf.family.measure import Job, Judge
from restnet_tf.points import points
from restnet_tf.points.points import File, OperatingPoint, Rating
from restnet_tf.report import plots
from tflite_export.inputs import noted

if TYPE_CHECKING:
    from restnet_tf.family.linker import Maker
    from restnet_tf.progress import Reporter
    from restnet_tf.run.directory import Run

_REPEATS = 50


@dataclass(frozen=True)
class Shop:
    """What makes and measures files of a run, whatever the method.

    ``shapes`` are the input shapes of points, ``images`` and ``judge`` as in ``measure``. ``held_out`` are answers
    ``(n, classes)`` to the rank split of points that were fitted on it, each image without itself. ``most_elastic`` as
    ``elastic.multiple`` gives it, ``together`` as ``Answers`` takes it. ``make`` makes many files at once,
    where more than one process can.
    """

    run: Run
    makers: Mapping[str, Maker]
    shapes: Mapping[str, Shape]
    images: Images
    judge: Judge
    report: Reporter
    repeats: int = _REPEATS
    held_out: Mapping[str, np.ndarray] = field(default_factory=dict)
    most_elastic: float | None = None
    together: Callable[[str, Sequence[Key]], Iterator[np.ndarray]] | None = None
    make: Callable[[Sequence[Job]], None] | None = None

    @cached_property
    def answers(self) -> Answers:
        """What the files answer."""
        return Answers(self.run.tflite_path, self.shapes, self.images, together=self.together)

    def unseen(self, point: str, answers: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        """What a point answers to images that it was not fitted on, by split."""
        return {**answers, "rank": self.held_out[point]} if point in self.held_out else answers

    def rated(self, due: Mapping[str, Sequence[str]]) -> dict[str, dict[str, Rating]]:
        """What files of points take and how they score on the rank split; ``due`` are the precisions by point."""
        jobs = self._jobs(due)
        if not jobs:
            return {}
        self._write(jobs)
        return measure.rated(self.run, jobs, self.answers, self.judge, self.report)

    def stocked(
        self, stock: Sequence[OperatingPoint], precisions: Mapping[str, Sequence[str]] | None = None
    ) -> dict[str, dict[str, File]]:
        """Files of every point by name, in all precisions or those given for it; what it has already stays."""
        due = {p.name: tuple(self.makers) if precisions is None else precisions[p.name] for p in stock}
        jobs = self._jobs({p.name: [one for one in due[p.name] if one not in p.files] for p in stock})
        if not jobs:
            return {p.name: dict(p.files) for p in stock}
        self._write(jobs)
        fresh = measure.measured(
            self.run, jobs, self.images, self.answers, self.judge, self.report, repeats=self.repeats
        )
        return {p.name: {**p.files, **fresh.get(p.name, {})} for p in stock}

    def _jobs(self, due: Mapping[str, Sequence[str]]) -> list[Job]:
        return [Job(point, one, self.shapes[point]) for point, precisions in due.items() for one in precisions]

    def publish(self, listed: Sequence[OperatingPoint], meta: Mapping[str, Any], title: str) -> None:
        """What speaks of all points: the elastic files, ``points.json`` and the plot."""
        sizes: dict[str, Any] = {}
        for precision, maker in self.makers.items():
            members = [p for p in listed if precision in p.files]
            file = elastic.linked(maker, members, precision, meta, self.most_elastic)
            if file.content is not None:
                atomic.write_bytes(self.run.elastic_path(precision), file.content)
                anchors = elastic.anchor_bytes(members, precision)
                sizes[precision] = {"bytes": len(file.content), "anchors": anchors, "left_out": file.left_out}
        meta = {**meta, "elastic": sizes}
        self.run.write_json(self.run.points_path, points.to_json(listed, meta))
        atomic.write_bytes(self.run.plot_path, plots.operating_points(listed, title, meta["metric"], noted(meta).one))

    def _write(self, jobs: Sequence[Job]) -> None:
        """The ``.tflite`` of each job; one that is there already stays."""
        missing = [job for job in jobs if not self.run.tflite_path(job.point, job.precision).exists()]
        if not missing:
            return
        if self.make is not None:
            self.make(missing)
            return
        self.report.stage(f"making {len(missing)} files")
        for done, job in enumerate(missing, start=1):
            content = self.makers[job.precision].variant(job.point)
            atomic.write_bytes(self.run.tflite_path(job.point, job.precision), content)
            self.report.progress(done, len(missing))
