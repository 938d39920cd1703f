"""From options to a finished run directory, by whatever method: the one way that all of them go."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from restnet_tf import methods
from restnet_tf.family import forecast, opening
from restnet_tf.family.family import Family
from restnet_tf.family.method import EmptyError, Method, Work
from restnet_tf.family.options import Options
from restnet_tf.points import points, select
from restnet_tf.points.points import File, OperatingPoint
from restnet_tf.progress import Reporter
from restnet_tf.records import RestnetError
from restnet_tf.report import contents, summary
from restnet_tf.run.directory import Run
from restnet_tf.work import places, sources, tasks, times
from restnet_tf.work.cluster import Workers
from restnet_tf.work.places import Cluster
from restnet_tf.work.processes import Processes
from restnet_tf.work.tasks import Executor
from restnet_tf.work.times import Ledger, Times
from tflite_export.budget import Term
from tflite_export.devices import measurements
from tflite_export.errors import DomainError
from tflite_export.inputs import noted


@dataclass(frozen=True)
class Done:
    """A finished build: its run directory, all points, what their scores count, and a closing word."""

    path: Path
    points: tuple[OperatingPoint, ...]
    metric: str
    summary: str
    shortfall: str = ""  # why nothing meets the budget
    loss: str = "KL"  # what the points' other figure is: to the costliest anchor, or of the labels
    one: str = "image"  # what an input is called
    times: Times | None = None  # where the time went


def as_json(done: Done) -> str:
    """The points of a finished build and their files, costs as in ``select``: counts, bytes, microseconds, shares."""
    content = {
        "run": str(done.path),
        "metric": done.metric,
        "points": [_plain(point) for point in contents.ordered(done.points)],
        "summary": done.summary.splitlines(),
        "shortfall": done.shortfall,
    }
    return json.dumps(content, indent=1)


def _plain(point: OperatingPoint) -> dict[str, Any]:
    return {
        "point": point.name,
        "kind": point.kind,
        "standing": contents.standing(point),
        "route": point.route,
        "reason": contents.why_not(point),
        "score": point.test.value,
        "interval": point.test.interval,
        "macs": point.macs,
        "mean.macs": point.mean_macs,
        "params": point.params,
        "files": {name: _plain_file(point, file) for name, file in point.files.items()},
    }


def _plain_file(point: OperatingPoint, file: File) -> dict[str, Any]:
    scores = {"path": file.path, "score": file.test.value, "interval": file.test.interval}
    dial = {} if file.dial is None else {"thresholds": file.dial.thresholds}
    return {**scores, **{name: figure.of(point, file) for name, figure in select.FIGURES.items()}, **dial}


def build(
    name: str,
    options: Options,
    report: Reporter,
    jobs: int | None = 0,
    cluster: Cluster | None = None,
) -> Done:
    """Load the inputs of a method, then build or finish what it makes of them.

    ``jobs`` are the processes that the work is shared out to (0: all of it is done in this one; None: as many as help
    here), ``cluster`` are the machines that do it instead. Raises the domain error of the stage.
    """
    if options.incomplete:
        raise RestnetError(options.incomplete)
    ledger, keras, method = Ledger(report), methods.METHODS[name].keras, methods.named(name)
    if cluster is not None:
        options = _from_anywhere(method, name, options)
    with places.executor(jobs, cluster, method.out(options), opening.inputs(options), report, keras=keras) as execute:
        return _built(method, name, options, ledger, execute)


def _built(method: Method, name: str, options: Options, ledger: Ledger, execute: Executor) -> Done:
    options = _with_earlier(options, Run(method.out(options)))
    work = method.open(options, ledger, ledger.around(execute))
    # Before the directory is claimed: what is refused here must not bind it to these inputs.
    method.check(work)
    if isinstance(execute, Processes | Workers):
        if isinstance(work, Family):
            execute.leave_room(forecast.memory(work), ledger)
        ledger.workers = execute.jobs
    run, new = work.run, not work.run.path.exists()
    try:
        with run.opened(method.identity(work), opening.kept(name, options)):
            for fit in work.heads:
                run.save_head(fit)
            with times.kept(ledger, run.times_path):
                if run.done("points"):
                    method.extend(work)
                else:
                    method.build(work)
            run.drop_caches()
    except EmptyError:
        if new:  # or it would stay bound to what was refused
            shutil.rmtree(run.path, ignore_errors=True)
        raise
    finally:
        sources.forget()
    meta, listed = points.read(run.points_path)
    budget_lines, shortfall = within(run, work.budget, listed)
    last = [*summary.in_short(listed, meta["metric"]), summary.following(run.path, listed)]
    lines = [*method.summary(work, meta, listed), *budget_lines, *last]
    return Done(
        run.path,
        listed,
        meta["metric"],
        "\n".join(lines),
        shortfall,
        meta.get("loss", "KL"),
        noted(meta).one,
        ledger.times,
    )


def _from_anywhere(method: Method, name: str, options: Options) -> Options:
    """Options whose paths mean the same in whatever folder a worker was started."""
    kept = {option: value for option, value in opening.kept(name, options).items() if option != "method"}
    return options.replaced({**kept, "out": str(method.out(options).absolute())})


@contextmanager
def resumed(path: Path, report: Reporter, execute: Executor = tasks.serially) -> Iterator[tuple[Method, Work]]:
    """The method of a finished run and its inputs, loaded anew; the run is held against other writers.

    Raises ``RestnetError`` where the run is none, not finished, or older than the options that it would have
    to keep, and where an input has changed since.
    """
    name, options = finished_options(path)
    method = methods.named(name)
    work = method.open(options, report, execute)
    try:
        with work.run.opened(method.identity(work)):
            yield method, work
            work.run.drop_caches()
    finally:
        sources.forget()


@contextmanager
def reopened(path: Path, report: Reporter) -> Iterator[Family]:
    """The family of a finished run; raises ``RestnetError`` as ``resumed`` does, and where the run has none."""
    with resumed(path, report) as (method, work):
        yield method.reopen(work)


def finished_options(path: Path) -> tuple[str, Options]:
    """The method and the options of a finished run; raises ``RestnetError`` where it is none, or kept none."""
    run = Run(path)
    if not run.done("points"):
        raise RestnetError(f"{path} is not finished; run its build again, it goes on where it stopped")
    kept = run.options()
    if kept is None:
        raise RestnetError(
            f"{path} was built by a version that did not keep its options; run its build command again,"
            " which adds them and builds nothing anew"
        )
    return recalled(kept, path)


def _with_earlier(options: Options, run: Run) -> Options:
    """Options that ask for the files of a finished run too: it may gain some, and loses none."""
    if not run.record_path.exists() or not run.done("points") or (kept := run.options()) is None:
        return options
    _, earlier = recalled(kept, run.path)
    return widened(options, precision=earlier.precision, also=earlier.also)


def widened(options: Options, *, precision: str = "", also: Sequence[str] = ()) -> Options:
    """Options with more precisions and more points that have files."""
    precisions = dict.fromkeys(name.strip() for part in (precision, options.precision) for name in part.split(","))
    points_too = dict.fromkeys((*also, *options.also))
    return replace(options, precision=",".join(filter(None, precisions)), also=tuple(points_too))


def recalled(kept: Mapping[str, Any], out: Path) -> tuple[str, Options]:
    """The method and the options that a run was built with."""
    name = method_of(out, kept)
    values = {option: value for option, value in kept.items() if option != "method"}
    try:
        return name, methods.options(name)().replaced({**values, "out": str(out)})
    except RestnetError as error:
        raise RestnetError(f"{Run(out).record_path} holds options of another version: {error}") from None


def method_of(path: Path, record: Mapping[str, Any]) -> str:
    """The method of a run, by its options or inputs; raises ``RestnetError`` for one that there is not."""
    name = str(record.get("method", methods.FIRST))
    if name not in methods.METHODS:
        raise RestnetError(f"{path} was built by the method {name!r}, which this version does not have")
    return name


def within(run: Run, terms: Sequence[Term], listed: Sequence[OperatingPoint]) -> tuple[list[str], str]:
    """What to say of a budget, and why nothing meets it.

    No device can measure files before they are there, so terms of devices that have measured none of them wait.
    """
    if not terms:
        return [], ""
    said = measurements.read(run.measurements_path)
    try:
        later = select.waiting(listed, terms, said)
        choice = select.select(listed, [term for term in terms if term.name not in later], said, run.path)
    except DomainError as error:
        return [], str(error)
    rest = "within the rest of the budget" if later else "within the budget"
    lines = [f"{rest}: {choice.point.name} {choice.precision}, {run.path / choice.file.path}"]
    if later:
        command = select.commands(later, run.path)
        lines.append(f"not known yet: {', '.join(later)} of the budget; {command}, then restnet-tf select")
    return lines, ""
