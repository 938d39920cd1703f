"""From a finished run to what one flashes or ships: the files of a target, and why points were refused."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from restnet_tf import atomic
from restnet_tf.anchors import demo
from restnet_tf.cascades import loops
from restnet_tf.data import few
from restnet_tf.points import points
from restnet_tf.points.points import CONTROL, SHIPPED, OperatingPoint
from restnet_tf.progress import Reporter
from restnet_tf.records import RestnetError
from restnet_tf.run.directory import Run
from tflite_export.cascades import GOES_ON
from tflite_export.devices import devices, exports
from tflite_export.devices.exports import Parcel, PointFile, StageLoop, Target
from tflite_export.errors import TfliteError
from tflite_export.inputs import noted
from tflite_export.kernels import Kernels, built
from tflite_export.precision import precision_named

_FEW = 2
# A point, and the reasons for which it is left out.
Refused = tuple[str, tuple[str, ...]]


@dataclass(frozen=True)
class Request:
    """Which points of a run, for what; ``every`` takes all shipped ones or none, without it those that run there."""

    target: str
    point: str | None = None
    every: bool = False
    precision: str | None = None  # None: the first that the target takes and the run has
    together: str | None = None  # how all points are joined in one array, where the target has a way
    kernels: str | None = None  # what firmware is built with; None: whichever takes most
    core: str | None = None


@dataclass(frozen=True)
class Exported:
    """What was written, what was refused (a point and its reasons), and what to do next."""

    written: tuple[Path, ...]
    refused: tuple[Refused, ...]
    remarks: tuple[str, ...]
    advice: str


@dataclass(frozen=True)
class _Parts:
    """Files to hand to a target, cascades whose stages are among them, and cascades that cannot be taken apart."""

    files: tuple[PointFile, ...]
    loops: tuple[StageLoop, ...]
    refused: tuple[Refused, ...]
    alone: frozenset[tuple[str, str]]  # files, by point and precision, that were asked for by themselves


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
    builds = _builds(target, request)
    run = Run(path)
    meta, family = points.read(run.points_path)
    chosen, precision, absent = _chosen(run, family, target, request)
    strict = request.every or request.point is not None
    parts = _parts(run, chosen, family, precision, target, request)
    taken, refused = _sifted(parts.files, parts.refused, target, strict, report)
    left, complete = _whole(parts.loops, taken)
    needed = parts.alone | {stage for loop in complete for stage in loop.files}
    taken = [file for file in taken if (file.name, file.precision) in needed]
    if left and (strict or not taken):
        raise RestnetError(_refusal(target, left))
    if request.together:
        taken, _ = _sifted([_joined(run, target, request.together, taken)], (), target, True, report)
    elastic = run.elastic_path(precision)
    shared = elastic if request.point is None and elastic.exists() else None
    labels = tuple(str(name) for name in meta.get("class_names") or ())
    kind, samples = noted(meta), partial(_samples, run)
    parcel = Parcel(run.path.name, tuple(taken), labels, shared, complete, kind, builds, request.every, samples)
    export = target.export(parcel)
    for name, content in export.files.items():
        atomic.write_bytes(out / name, content)
    written = tuple(out / name for name in export.files)
    return Exported(written, (*refused, *left, *absent), export.remarks, export.advice.format(out=out))


def _samples(run: Run, shape: tuple[int, ...], count: int) -> np.ndarray | None:
    """Some inputs of the run's data as a model takes them; None where these are not at hand."""
    try:
        options = run.options()
    except RestnetError:
        return None
    if options is None:
        return None
    return few.inputs(options.get("data") or demo.DATA, shape, count, seed=options.get("seed") or 0)


def _builds(target: Target, request: Request) -> tuple[Kernels, ...]:
    """What the arenas have to suffice for."""
    if (request.kernels or request.core) and not target.kernels:
        takers = ", ".join(devices.listed("kernels"))
        raise RestnetError(f"--kernels and --core are for {takers}; the arena of {target.rules.title} is its own")
    return built(request.kernels, request.core)


def _parts(
    run: Run,
    chosen: Sequence[OperatingPoint],
    family: Sequence[OperatingPoint],
    precision: str,
    target: Target,
    request: Request,
) -> _Parts:
    """The files of points, by rising mean cost; cascades as their stages where the target takes no IF."""
    together = target.together[request.together] if request.together else None
    apart = [p for p in chosen if p.cascade is not None and (together or not target.rules.subgraphs)]
    files = {(p.name, precision): _file(run, p, precision) for p in chosen if p not in apart}
    alone, done, refused = frozenset(files), [], []
    for point in apart:
        try:
            if together and not together.loops:
                others = " or ".join(f"--together {how}" for how, way in target.together.items() if way.loops)
                raise RestnetError(f"a {request.together} holds no cascades; give {others}, or export it alone")
            _check_precisions(precision, target)
            loop = loops.loop(point, precision, chosen if together else family)
            own = {(f.name, f.precision): f for f in loops.stage_files(loop, family, run.path)}
        except (RestnetError, TfliteError) as error:
            refused.append((point.name, (str(error),)))
        else:
            files |= own
            done.append(loop)
    cost = {p.name: p.mean_macs for p in family}
    stamped = (replace(f, origins=(hashlib.sha256(f.content).hexdigest(),)) for f in files.values())
    ordered = sorted(stamped, key=lambda f: (cost[f.name], f.name, f.precision))
    return _Parts(tuple(ordered), tuple(done), tuple(refused), alone)


def _check_precisions(precision: str, target: Target) -> None:
    for part in precision.split(GOES_ON):
        if part not in target.rules.precisions:
            raise RestnetError(
                f"a stage of {part} does not run there; build with --precision {target.rules.precisions[0]}"
            )


def _file(run: Run, point: OperatingPoint, precision: str) -> PointFile:
    return PointFile(point.name, precision, points.content(run.path, point.files[precision]))


def _whole(every: Sequence[StageLoop], taken: Sequence[PointFile]) -> tuple[tuple[Refused, ...], tuple[StageLoop, ...]]:
    """Cascades of which the target refuses a stage, and those of which it takes all."""
    there = {(file.name, file.precision) for file in taken}
    lacks = {loop: [name for name, precision in loop.files if (name, precision) not in there] for loop in every}
    left = tuple((loop.name, (f"its stage {missing[0]} is refused",)) for loop, missing in lacks.items() if missing)
    return left, tuple(loop for loop, missing in lacks.items() if not missing)


def _chosen(
    run: Run, every: Sequence[OperatingPoint], target: Target, request: Request
) -> tuple[list[OperatingPoint], str, tuple[Refused, ...]]:
    """The points of the request that have a file, the precision of it, and cascades that have none of it."""
    family = sorted((p for p in every if p.kind != CONTROL and p.files), key=lambda p: (p.mean_macs, p.name))
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
    for part in precision.split(GOES_ON):
        precision_named(part)
        if part not in best and (other := next((p for p in best if p in has), None)):
            raise RestnetError(
                f"{part} does not run on {target.rules.title}; {run.path} has {other}: --precision {other}"
            )
    absent = tuple(
        (p.name, (f"it has no file of {precision}; ask for --precision '{next(iter(p.files))}'",))
        for p in chosen
        if p.cascade is not None and precision not in p.files
    )
    named = request.point is not None
    chosen = [p for p in chosen if precision in p.files and (named or p.ships(precision))]
    if not chosen:
        raise RestnetError(f"{run.path} has no files of {precision}, only of {', '.join(sorted(has))}")
    return chosen, precision, absent


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
    joined = target.together[how].join(content, [file.name for file in files], precision)
    return replace(joined, origins=tuple(origin for file in files for origin in file.origins))


def _sifted(
    files: Iterable[PointFile], before: Sequence[Refused], target: Target, strict: bool, report: Reporter
) -> tuple[list[PointFile], tuple[Refused, ...]]:
    """Files that the target takes, as it takes them, and the others' points with their reasons, behind those before.

    Raises ``RestnetError`` with the reasons where none is left, or ``strict`` and one is refused.
    """
    taken, refused = [], list(before)
    for file in files:
        report.stage(f"{file.stem} for {target.rules.title}")
        verdict = exports.judged(file, target)
        if verdict.point is not None:
            taken.append(verdict.point)
        else:
            refused.append((file.name, verdict.reasons))
    if refused and (strict or not taken):
        raise RestnetError(_refusal(target, refused))
    return taken, tuple(refused)


def _refusal(target: Target, refused: Sequence[Refused]) -> str:
    words = "; ".join(f"{name}: {', '.join(reasons)}" for name, reasons in _alike(refused))
    return f"{target.rules.title} does not take {words}"


def _alike(refused: Sequence[Refused]) -> list[Refused]:
    """Points that are refused for the same reasons, of which the first few stand for all, in one entry."""
    names: dict[tuple[str, ...], list[str]] = {}
    for name, reasons in refused:
        more = (f"and {len(reasons) - _FEW} more",) if len(reasons) > _FEW else ()
        names.setdefault((*reasons[:_FEW], *more), []).append(name)
    return [(", ".join(group), reasons) for reasons, group in names.items()]
