"""From a finished run to what one flashes or ships: the files of a target, and why points were refused."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from restnet_tf import atomic
from restnet_tf.points import points
from restnet_tf.points.points import CONTROL, SHIPPED, OperatingPoint
from restnet_tf.progress import Reporter
from restnet_tf.records import RestnetError
from restnet_tf.run.directory import Run
from tflite_export.devices import devices, exports
from tflite_export.devices.exports import Parcel, PointFile, Target
from tflite_export.precision import precision_named

_FEW = 2


@dataclass(frozen=True)
class Request:
    """Which points of a run, for what; ``every`` takes all shipped ones or none, without it those that run there."""

    target: str
    point: str | None = None
    every: bool = False
    precision: str | None = None  # None: the first that the target takes and the run has
    together: str | None = None  # how all points are joined in one array, where the target has a way


@dataclass(frozen=True)
class Exported:
    """What was written, what was refused (a point and its reasons), and what to do next."""

    written: tuple[Path, ...]
    refused: tuple[tuple[str, tuple[str, ...]], ...]
    remarks: tuple[str, ...]
    advice: str


def export(path: Path, request: Request, out: Path, report: Reporter) -> Exported:
    """Write what a target needs of a run into ``out``: whole files or none.

    Raises ``RestnetError`` for a run without such points or files and where no point is left, ``TfliteError`` for an
    unknown target or precision and where the target's compiler is missing.
    """
    target = devices.target(request.target)
    target.check()
    if request.together and request.together not in target.together:
        takers = ", ".join(devices.listed("together"))
        title = target.rules.title
        raise RestnetError(f"--together {request.together} is for {takers}; {title} takes the points' own files")
    run = Run(path)
    meta, family = points.read(run.points_path)
    chosen, precision = _chosen(run, family, target, request)
    files = [PointFile(p.name, precision, points.content(path, p.files[precision])) for p in chosen]
    taken, refused = _sifted(files, target, request.every or request.point is not None, report)
    if request.together:
        taken, _ = _sifted([_joined(run, target, request.together, taken)], target, True, report)
    elastic = run.elastic_path(precision)
    shared = elastic if request.point is None and elastic.exists() else None
    labels = tuple(str(name) for name in meta.get("class_names") or ())
    export = target.export(Parcel(run.path.name, tuple(taken), labels, shared))
    for name, content in export.files.items():
        atomic.write_bytes(out / name, content)
    written = tuple(out / name for name in export.files)
    return Exported(written, refused, export.remarks, export.advice.format(out=out))


def _chosen(
    run: Run, every: Sequence[OperatingPoint], target: Target, request: Request
) -> tuple[list[OperatingPoint], str]:
    """The points of the request that have a file, and the precision of it."""
    family = sorted((p for p in every if p.kind != CONTROL and p.files), key=lambda p: (p.macs, p.name))
    if request.point is not None:
        chosen = [p for p in family if p.name == request.point]
        if not chosen:
            names = ", ".join(p.name for p in family)
            raise RestnetError(f"{run.path} has no files of a point {request.point!r}; it has: {names}")
    else:
        chosen = [p for p in family if p.status == SHIPPED]
    has, best = {precision for p in chosen for precision in p.files}, target.rules.precisions
    precision = request.precision or next((p for p in best if p in has), None)
    if precision is None:
        raise RestnetError(
            f"{run.path} has no files that {target.rules.title} takes, only {', '.join(sorted(has)) or 'none'};"
            f" build it with --precision {best[0]}"
        )
    precision_named(precision)
    chosen = [p for p in chosen if precision in p.files]
    if not chosen:
        raise RestnetError(f"{run.path} has no files of {precision}, only of {', '.join(sorted(has))}")
    return chosen, precision


def _joined(run: Run, target: Target, how: str, files: Sequence[PointFile]) -> PointFile:
    """All points in one array, made of the run's elastic file."""
    precision = files[0].precision
    elastic = run.elastic_path(precision)
    try:
        content = elastic.read_bytes()
    except OSError as error:
        raise RestnetError(
            f"cannot read {elastic}: {error.strerror}; points are joined from the elastic file of a run that was"
            f" built with --precision {precision} and not with --converter tf"
        ) from None
    return target.together[how](content, [file.name for file in files], precision)


def _sifted(
    files: Iterable[PointFile], target: Target, strict: bool, report: Reporter
) -> tuple[list[PointFile], tuple[tuple[str, tuple[str, ...]], ...]]:
    """Files that the target takes, as it takes them, and the others' points with their reasons.

    Raises ``RestnetError`` with the reasons where none is left, or ``strict`` and one is refused.
    """
    taken, refused = [], []
    for file in files:
        report.stage(f"{file.stem} for {target.rules.title}")
        verdict = exports.judged(file, target)
        if verdict.point is not None:
            taken.append(verdict.point)
        else:
            refused.append((file.name, verdict.reasons))
    if refused and (strict or not taken):
        words = "; ".join(f"{name}: {', '.join(reasons)}" for name, reasons in _alike(refused))
        raise RestnetError(f"{target.rules.title} does not take {words}")
    return taken, tuple(refused)


def _alike(refused: Sequence[tuple[str, tuple[str, ...]]]) -> list[tuple[str, tuple[str, ...]]]:
    """Points that are refused for the same reasons, of which the first few stand for all, in one entry."""
    names: dict[tuple[str, ...], list[str]] = {}
    for name, reasons in refused:
        more = (f"and {len(reasons) - _FEW} more",) if len(reasons) > _FEW else ()
        names.setdefault((*reasons[:_FEW], *more), []).append(name)
    return [(", ".join(group), reasons) for reasons, group in names.items()]
