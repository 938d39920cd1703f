"""What LiteRT on this host, and the arena planner, say of a run's files; the same for all methods."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from restnet_tf.family.answers import SPLITS, Answers, Images, Shape
from restnet_tf.points import points
from restnet_tf.points.points import File, Rating, Score
from tflite_export.devices import host

if TYPE_CHECKING:
    from restnet_tf.progress import Reporter
    from restnet_tf.run.directory import Run

_THREADS = 1

# The score of a point in a precision, from the outputs of its file on a split.
Judge = Callable[[str, str, str, np.ndarray], Score]


@dataclass(frozen=True)
class Job:
    """A file that is there: of a point in a precision, with the input shape of the point."""

    point: str
    precision: str
    shape: Shape

    @property
    def name(self) -> str:
        """Of the file, in a table of them."""
        return f"{self.point}/{self.precision}"


def rated(
    run: Run, jobs: Sequence[Job], answers: Answers, judge: Judge, report: Reporter
) -> dict[str, dict[str, Rating]]:
    """What every file takes and how it scores on the rank split, which is what decides; by point and precision."""
    answers.gather([(job.point, job.precision) for job in jobs], ["rank"])
    report.stage("scores of all files on the rank split, run by the interpreter")
    ratings: dict[str, dict[str, Rating]] = {}
    for done, job in enumerate(jobs, start=1):
        content = run.tflite_path(job.point, job.precision).read_bytes()
        rank = judge(job.point, job.precision, "rank", answers.on("rank", job.point, job.precision))
        ratings.setdefault(job.point, {})[job.precision] = Rating(len(content), points.arena(content), rank)
        report.progress(done, len(jobs))
    return ratings


def measured(
    run: Run, jobs: Sequence[Job], images: Images, answers: Answers, judge: Judge, report: Reporter, *, repeats: int
) -> dict[str, dict[str, File]]:
    """Every file with its scores, times, size and planned arena; by point and precision."""
    paths = {job: run.tflite_path(job.point, job.precision) for job in jobs}
    contents = {job: path.read_bytes() for job, path in paths.items()}
    report.stage("latency on this host, all files in turns")
    timed = _latencies(contents, images, repeats)
    answers.gather([(job.point, job.precision) for job in jobs], SPLITS)
    report.stage("scores of all files, run by the interpreter")
    files: dict[str, dict[str, File]] = {}
    for done, (job, content) in enumerate(contents.items(), start=1):
        outputs = answers.of(job.point, job.precision)
        scores = {split: judge(job.point, job.precision, split, outputs[split]) for split in SPLITS}
        path = str(paths[job].relative_to(run.path))
        files.setdefault(job.point, {})[job.precision] = points.record(path, content, timed[job.name], **scores)
        report.progress(done, len(contents))
    return files


def _latencies(contents: Mapping[Job, bytes], images: Images, repeats: int) -> Mapping[str, host.Latency]:
    one = {shape: next(images("test", shape))[0] for shape in {job.shape for job in contents}}
    files = {job.name: content for job, content in contents.items()}
    inputs = {job.name: one[job.shape] for job in contents}
    return host.latencies(files, inputs, threads=_THREADS, repeats=repeats)
