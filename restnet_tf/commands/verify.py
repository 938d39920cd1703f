"""The files of a finished run beside what has to answer alike: Keras, TensorFlow, other files, stages by hand."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from restnet_tf.cascades.thresholds import ALWAYS, NEVER, hand
from restnet_tf.commands import build
from restnet_tf.family import linking, opening, stage_runs
from restnet_tf.family.anchor_pieces import Converter, Members
from restnet_tf.family.answers import Answers, Shape
from restnet_tf.family.linking import MembersSource
from restnet_tf.graph import infer
from restnet_tf.points import points
from restnet_tf.points.points import CASCADE, CONTROL, OperatingPoint
from restnet_tf.points.verified import Checks, Verified, VerifiedCascade, VerifiedOriginal
from restnet_tf.progress import Reporter
from restnet_tf.records import RestnetError
from restnet_tf.run.directory import Run
from restnet_tf.work import places
from restnet_tf.work.places import Cluster
from restnet_tf.work.tasks import SCORINGS, Progress, Task
from tflite_export import cascades, verify
from tflite_export.devices import host
from tflite_export.original import Original
from tflite_export.verify import Outputs

if TYPE_CHECKING:
    from restnet_tf.data.splits import Data
    from restnet_tf.family.method import Work
    from restnet_tf.family.references import References

_THREADS = 1
_REPEATS = 200
_BATCH = 64
_FLOAT_ERROR = 1e-5  # of a score: what the order of sums may change
_ENDS_ERROR = 1e-4  # the same where preprocessing was rounded otherwise before


def check_run(
    path: Path,
    precisions: str,
    images: int,
    report: Reporter,
    jobs: int | None = 0,
    cluster: Cluster | None = None,
) -> Checks:
    """Check the files of a finished run in ``precisions`` (names by commas) on so many test images at most.

    ``jobs`` are the processes that the work is shared out to, or ``cluster`` does it, as of ``build``; files are timed
    one after the other.
    Raises ``RestnetError`` where the run cannot be opened again or has no such files.
    """
    names = [name.strip() for name in precisions.split(",") if name.strip()]
    path = path if cluster is None else path.absolute()
    inputs = opening.inputs(build.finished_options(path)[1])
    with (
        places.executor(jobs, cluster, path, inputs, report) as execute,
        build.resumed(path, report, execute) as (method, work),
    ):
        return check(work, method.references(work), names, images)


def check(work: Work, references: References, precisions: Sequence[str], images: int) -> Checks:
    """Run every file of a run beside what it is to answer as, on the same test images.

    Cascades are checked where all their stages are of these precisions. Raises ``RestnetError`` where there is no file
    of a precision.
    """
    bench = _Bench(work, references, images)
    listed = [p for p in points.read(work.run.points_path)[1] if p.kind != CONTROL]
    jobs = [(p, word) for p in listed for word in p.files if word in precisions or _among(word, precisions)]
    if not jobs:
        raise RestnetError(f"{work.run.path} has no files of {', '.join(precisions)} to verify")
    stage = f"{len(jobs)} files beside what they are to answer as, on {bench.n} test {bench.many}"
    whole = [(p.name, word) for p, word in jobs if p.kind != CASCADE and p.name not in references.originals]
    compared = dict(zip(whole, bench.compared(whole, stage), strict=True))
    linking.forget()
    work.report.stage(stage)
    networks: list[Verified] = []
    originals: list[VerifiedOriginal] = []
    chains: list[VerifiedCascade] = []
    for done, (point, precision) in enumerate(jobs, start=1):
        if point.kind == CASCADE:
            chains += bench.cascade(point, precision)
        elif point.name in references.originals:
            originals.append(bench.original(point.name, precision))
        else:
            networks.append(bench.network(point.name, precision, compared[point.name, precision]))
        work.report.progress(done, len(jobs))
    return Checks(tuple(networks), tuple(originals), tuple(chains), bench.n, bench.many)


def as_json(checks: Checks) -> str:
    """What was checked, as JSON: shares from 0 to 1, sizes in bytes; null stands for what is infinite."""
    return json.dumps(_finite(asdict(checks)), indent=1)


def _finite(value: Any) -> Any:
    """JSON knows no infinity, which the SQNR of equal answers is."""
    if isinstance(value, Mapping):
        return {name: _finite(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not isfinite(value) else value


def judge(checks: Checks) -> None:
    """Raise ``RestnetError`` where a float32 file does not answer as it should, or a cascade not as its stages do."""
    _judge_floats(
        {v.point: v.difference for v in checks.networks if v.precision == "float32"},
        _FLOAT_ERROR,
        "TensorFlow's conversion",
    )
    _judge_floats(
        {v.point: v.to_original.difference for v in checks.originals if v.precision == "float32"},
        _ENDS_ERROR,
        "the file that the model came as",
    )
    wrong = [v for v in checks.cascades if not v.equal]
    if wrong:
        first, files = wrong[0], len({(v.point, v.precision) for v in wrong})
        raise RestnetError(
            f"{files} file{'s' if files > 1 else ''} of cascades answer{'' if files > 1 else 's'} otherwise than the"
            f" stages one by one; {first.point} {first.precision} {_fault(first, checks.many)}; build the run again"
        )


@dataclass(frozen=True)
class _Bench:
    """A finished run, what its files are held against, and how many test images at most."""

    work: Work
    references: References
    images: int

    @property
    def n(self) -> int:
        """How many images there are."""
        return len(self.work.data.test.head(self.images))

    @property
    def many(self) -> str:
        """What people call them."""
        return self.work.data.kind.many

    @cached_property
    def answers(self) -> Answers:
        """What the run's own files answer to the test images."""

        def batches(split: str, shape: Shape) -> Iterator[np.ndarray]:
            return iter(self.batches(shape))

        return Answers(self.work.run.tflite_path, self.references.shapes, batches, splits=("test",))

    def batches(self, shape: Shape) -> list[np.ndarray]:
        """The test images ``(b, h, w, c)``."""
        return _batches(self.work.data, self.images, shape)

    def content(self, name: str, precision: str) -> bytes:
        """A file of the run."""
        return _content(self.work.run, name, precision)

    def right(self, scores: Mapping[str, np.ndarray], reference: str) -> dict[str, float]:
        """The share of images that each answers as labelled; without labels, as one of them does."""
        labels = self.work.data.test.head(self.images).labels
        truth = scores[reference].argmax(1) if labels is None else labels
        return {who: float(np.mean(values.argmax(1) == truth)) for who, values in scores.items()}

    def compared(self, files: Sequence[tuple[str, str]], title: str) -> Iterator[Comparison]:
        """Each beside Keras, and beside TensorFlow's own conversion of that."""
        members = self.references.members
        if members is None:
            return iter(())
        family, named = members.family, pickle.dumps(MembersSource.of(members))
        questions = [Beside(named, name, precision, self.images) for name, precision in files]
        work = [Task(title, compared, question, kind=SCORINGS) for question in questions]
        return family.execute(work, family.report)

    def network(self, name: str, precision: str, beside: Comparison) -> Verified:
        """What came of that, with both files timed in turns."""
        files = {"linked": self.content(name, precision), "converted": beside.converted}
        batches = self.batches(self.references.shapes[name])
        timed = host.latencies(files, batches[0][0], threads=_THREADS, repeats=_REPEATS)
        outputs = {"keras": beside.keras, **beside.outputs}
        return Verified(
            point=name,
            precision=precision,
            right=self.right({who: o.scores for who, o in outputs.items()}, "keras"),
            to_keras={who: verify.compare(o, beside.keras) for who, o in beside.outputs.items()},
            difference=verify.compare(outputs["linked"], outputs["converted"]).difference,
            flash_bytes={who: len(content) for who, content in files.items()},
            latency_ratio=float(np.median(np.divide(timed["linked"].repeats_us, timed["converted"].repeats_us))),
        )

    def original(self, name: str, precision: str) -> VerifiedOriginal:
        """Beside the file that the model came as."""
        one: Original = self.references.originals[name]
        batches, linked = self.batches(self.references.shapes[name]), self.content(name, precision)
        scores = {"original": one.scores(batches), "linked": host.scores(linked, batches)}
        outputs = {who: Outputs(values, values) for who, values in scores.items()}
        return VerifiedOriginal(
            point=name,
            precision=precision,
            right=self.right(scores, "original"),
            to_original=verify.compare(outputs["linked"], outputs["original"]),
            flash_bytes={"original": len(one.content), "linked": len(linked)},
        )

    def cascade(self, point: OperatingPoint, precision: str) -> Iterator[VerifiedCascade]:
        """Beside its stages one by one: never going on, at the thresholds that were chosen, and always going on."""
        cascade, dial = point.cascade, point.files[precision].dial
        assert cascade is not None
        assert dial is not None
        precisions = stage_runs.each(precision, len(cascade.stages))
        joined = stage_runs.stages(cascade, precisions, self.references.makers)
        apart = [a["test"] for a in stage_runs.answers(cascade, precisions, joined, self.answers)]
        content = self.content(point.name, precision)
        noted = cascades.thresholds(content)
        batches = self.batches(cascades.image_of(joined).shape[1:])
        count = len(dial.thresholds)
        for thresholds in ((NEVER,) * count, dial.thresholds, (ALWAYS,) * count):
            scores, stage = host.answers(content, batches, thresholds=thresholds)
            expected, place = hand(apart, thresholds, cascade.confidence)
            yield VerifiedCascade(
                point=point.name,
                precision=precision,
                thresholds=thresholds,
                noted=noted,
                expected=dial.thresholds,
                n=len(stage),
                deferral=float(np.mean(place > 0)),
                elsewhere=int(np.sum(stage != place)),
                difference=float(np.abs(scores - expected).max()),
            )


@dataclass(frozen=True)
class Beside:
    """A file of pickled ``MembersSource``, its precision, and how many test images it is looked at on, at most."""

    members: bytes
    point: str
    precision: str
    images: int


@dataclass(frozen=True)
class Comparison:
    """What a network answers in Keras, and by whom its files do; ``converted`` is TensorFlow's own."""

    keras: Outputs
    outputs: Mapping[str, Outputs]
    converted: bytes


def compared(given: Beside, progress: Progress) -> Comparison:
    """Convert a network whole, and run it beside its linked file and Keras; a task."""
    members = linking.members(given.members)
    family, converted = members.family, Converter(members, given.precision).variant(given.point)
    batches = _batches(family.data, given.images, members.input_shape(given.point))
    files = {"linked": _content(family.run, given.point, given.precision), "converted": converted}
    outputs = {who: verify.run(content, batches) for who, content in files.items()}
    return Comparison(_keras(members, given.point, batches), outputs, converted)


def _batches(data: Data, images: int, shape: Shape) -> list[np.ndarray]:
    return [np.asarray(x) for x in data.test.head(images).batches(shape, _BATCH)]


def _content(run: Run, name: str, precision: str) -> bytes:
    path = run.tflite_path(name, precision)
    try:
        return path.read_bytes()
    except OSError as error:
        raise RestnetError(f"cannot read {path}: {error.strerror}; build the run again") from None


def _among(word: str, precisions: Sequence[str]) -> bool:
    """Whether all stages of a file are of some precisions."""
    return set(stage_runs.single([word])) <= set(precisions)


def _keras(members: Members, name: str, batches: Sequence[np.ndarray]) -> Outputs:
    both = [infer.compiled(members.model(name, logits=logits)) for logits in (False, True)]
    return Outputs(*(np.concatenate([np.asarray(run(x)) for x in batches]) for run in both))


def _judge_floats(differences: Mapping[str, float], most: float, other: str) -> None:
    wrong = {point: difference for point, difference in differences.items() if not difference <= most}
    if wrong:
        worst = max(wrong, key=lambda point: wrong[point])
        raise RestnetError(
            f"{len(wrong)} linked float32 files differ from {other} by more than {most:g};"
            f" {worst} by {wrong[worst]:.2g}"
        )


def _fault(wrong: VerifiedCascade, many: str) -> str:
    """What a file that was refused does, for a person."""
    if wrong.noted != wrong.expected:
        return f"says that {list(wrong.noted)} were chosen, and the run {list(wrong.expected)}"
    if wrong.elsewhere:
        return f"has {wrong.elsewhere} of {wrong.n} {many} answered by another stage at {list(wrong.thresholds)}"
    return f"has scores that differ by {wrong.difference:.2g} at {list(wrong.thresholds)}"
