"""What is done to a finished run: points added to it, its files held against TensorFlow's own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from restnet_tf.commands import build
from restnet_tf.family import additions
from restnet_tf.family.anchor_pieces import Converter, Members
from restnet_tf.family.family import Family
from restnet_tf.graph import infer
from restnet_tf.points import points
from restnet_tf.points.points import CONTROL, Verified
from restnet_tf.progress import Reporter
from restnet_tf.records import RestnetError
from tflite_export import verify
from tflite_export.devices import host
from tflite_export.verify import Outputs

_THREADS = 1
_REPEATS = 200
_FLOAT_ERROR = 1e-5  # of a score: what the order of sums may change


def check(family: Family, precisions: Sequence[str], images: int) -> tuple[Verified, ...]:
    """Run every file beside Keras and beside TensorFlow's own conversion, on the same test images.

    Raises ``RestnetError`` where the run has no files of a precision.
    """
    _, listed = points.read(family.run.points_path)
    everyone = additions.members(family)
    networks = [p for p in listed if p.kind != CONTROL]
    jobs = [(p.name, precision) for p in networks for precision in precisions if precision in p.files]
    if not jobs:
        raise RestnetError(f"{family.run.path} has no files of {', '.join(precisions)} to verify")
    split, verified = family.data.test.head(images), []
    family.report.stage(f"{len(jobs)} files beside Keras and TensorFlow's conversions, on {len(split)} test images")
    for done, (name, precision) in enumerate(jobs):
        shape = everyone.input_shape(name)
        batches = [np.asarray(x) for x in split.batches(shape, 64)]
        linked = family.run.tflite_path(name, precision).read_bytes()
        converted = Converter(everyone, precision).variant(name)
        reference = _keras(everyone, name, batches)
        outputs = {"linked": verify.run(linked, batches), "converted": verify.run(converted, batches)}
        timed = host.latencies(
            {"linked": linked, "converted": converted}, batches[0][0], threads=_THREADS, repeats=_REPEATS
        )
        truth = reference.scores.argmax(1) if split.labels is None else split.labels
        verified.append(
            Verified(
                point=name,
                precision=precision,
                right={
                    who: float(np.mean(o.scores.argmax(1) == truth))
                    for who, o in ({"keras": reference} | outputs).items()
                },
                to_keras={who: verify.compare(o, reference) for who, o in outputs.items()},
                difference=verify.compare(outputs["linked"], outputs["converted"]).difference,
                flash_bytes={"linked": len(linked), "converted": len(converted)},
                latency_ratio=float(np.median(np.divide(timed["linked"].repeats_us, timed["converted"].repeats_us))),
            )
        )
        family.report.progress(done + 1, len(jobs))
    return tuple(verified)


def check_run(path: Path, precisions: str, images: int, report: Reporter) -> tuple[Verified, ...]:
    """Check the files of a finished run in ``precisions`` (names by commas) on so many test images at most.

    Raises ``RestnetError`` where the run cannot be opened again or has no such files.
    """
    names = [name.strip() for name in precisions.split(",") if name.strip()]
    with build.reopened(path, report) as family:
        return check(family, names, images)


def judge(verified: Sequence[Verified]) -> None:
    """Raise ``RestnetError`` where a float32 file does not answer as TensorFlow's own conversion does."""
    wrong = [v for v in verified if v.precision == "float32" and not v.difference <= _FLOAT_ERROR]
    if wrong:
        worst = max(wrong, key=lambda v: v.difference)
        raise RestnetError(
            f"{len(wrong)} linked float32 files differ from TensorFlow's conversion by more than {_FLOAT_ERROR:g};"
            f" {worst.point} by {worst.difference:.2g}"
        )


def _keras(everyone: Members, name: str, batches: Sequence[np.ndarray]) -> Outputs:
    both = [infer.compiled(everyone.model(name, logits=logits)) for logits in (False, True)]
    return Outputs(*(np.concatenate([np.asarray(run(x)) for x in batches]) for run in both))
