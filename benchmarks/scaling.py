"""How a build grows faster with processes: ``python -m benchmarks.scaling [--jobs 1,2,4] [--times FILE ...]``.

Builds the same small family with each number of processes, and then replays the tasks of finished runs (their
``times.json``) on 1 to 64 workers: every task takes what it took, waits for the wave before it, and for a scheduler
that hands out one after the other. Prints the page ``docs/results/scaling.md``.
"""

from __future__ import annotations

import argparse
import heapq
import os
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from restnet_tf.progress import Silent
from restnet_tf.work import processes, resources, tasks, times
from restnet_tf.work.tasks import Task
from restnet_tf.work.times import Times

WORKERS = (1, 2, 4, 8, 16, 32, 64)
# A family of so many times the points: these kinds of tasks are as many times as many.
SIZES = (1, 4, 16, 64)
_OF_POINTS = (tasks.FITS, tasks.SCORINGS, tasks.CONVERSIONS, tasks.TRIALS)
_EMPTY_TASKS = 300
# What a scheduler of many machines takes for a task, as Dask says of its own.
_DASK_S = 1e-3


@dataclass(frozen=True)
class Workload:
    """A build as the replay sees it: what it does alone before each wave and behind the last, and the waves' tasks.

    All in seconds of a core that has nothing else to do: processor seconds, so that a busy machine tells the same.
    ``alone`` tasks take all of the cores that the build had, one after the other.
    """

    alone: tuple[float, ...]
    waves: tuple[tuple[float, ...], ...]

    @classmethod
    def of(cls, spent: Times, cores: int) -> Workload:
        """From the times of a call on so many cores."""
        gaps = [*(wave.own_cpu_s for wave in spent.waves), spent.own_cpu_s]
        own = [sum(task.cpu_s / cores for task in wave.tasks if task.alone) for wave in spent.waves]
        shared = tuple(tuple(task.cpu_s for task in wave.tasks if not task.alone) for wave in spent.waves)
        return cls(tuple(gap + more for gap, more in zip(gaps, [*own, 0.0], strict=True)), shared)

    @property
    def serial(self) -> float:
        """What no worker takes off the build."""
        return sum(self.alone)

    @property
    def shared(self) -> float:
        """All that workers can share."""
        return sum(sum(wave) for wave in self.waves)

    @property
    def count(self) -> int:
        """Of tasks."""
        return sum(len(wave) for wave in self.waves)

    @property
    def critical(self) -> float:
        """What the build takes with any number of workers: its own part, and the longest task of every wave."""
        return self.serial + sum(max(wave, default=0.0) for wave in self.waves)


def replayed(work: Workload, workers: int, dispatch_s: float) -> float:
    """Seconds that the workload takes: tasks in their order, each to the first free worker, by one scheduler."""
    now = 0.0
    for alone, wave in zip(work.alone, (*work.waves, ()), strict=True):
        now = _wave(now + alone, wave, workers, dispatch_s)
    return now


def _wave(start: float, wave: Sequence[float], workers: int, dispatch_s: float) -> float:
    """When the last task of a wave is done."""
    free, scheduler, end = [start] * workers, start, start
    for seconds in wave:
        scheduler = max(scheduler, heapq.heappop(free)) + dispatch_s
        heapq.heappush(free, scheduler + seconds)
        end = max(end, scheduler + seconds)
    return end


def grown(spent: Times, factor: int) -> Times:
    """The times of a family of so many times the points."""
    waves = [
        replace(wave, tasks=tuple(t for t in wave.tasks for _ in range(factor if t.kind in _OF_POINTS else 1)))
        for wave in spent.waves
    ]
    return replace(spent, waves=tuple(waves))


def bound(work: Workload, workers: int, dispatch_s: float) -> str:
    """What a build on so many workers waits for most."""
    whole = replayed(work, workers, dispatch_s)
    scheduler = whole - replayed(work, workers, 0.0)
    longest = max(0.0, replayed(work, workers, 0.0) - work.serial - work.shared / workers)
    parts = {
        "its own process, between tasks": work.serial,
        "tasks": work.shared / workers,
        "the last task of each wave": longest,
        "the scheduler": scheduler,
    }
    most = max(parts, key=lambda name: parts[name])
    return f"{most} ({parts[most] / whole:.0%})"


def scheduler_limit(mean_s: float, dispatch_s: float) -> int:
    """How many workers a scheduler can keep at tasks of a mean length."""
    return int(mean_s / dispatch_s)


def _nothing(_: object, progress: tasks.Progress) -> None:
    """A task that is all scheduling."""


def _no_start() -> None:
    """In place of TensorFlow's start."""


def measured_dispatch(jobs: int) -> float:
    """Seconds that the processes here take for a task that does nothing."""
    with processes.executor(jobs, _no_start, keras=False) as execute:
        tasks.finish(execute, [Task("warming up", _nothing, i) for i in range(jobs)], Silent())
        start = time.perf_counter()
        tasks.finish(execute, [Task("nothing", _nothing, i) for i in range(_EMPTY_TASKS)], Silent())
        return (time.perf_counter() - start) / _EMPTY_TASKS


@dataclass(frozen=True)
class TimedBuild:
    """A build with so many processes: seconds by the clock, of its tasks by the clock and of processors."""

    jobs: int
    seconds: float
    task_s: float
    cpu_s: float


def measured(jobs: int, folder: Path, effort: float) -> tuple[TimedBuild, Times]:
    """Build the small family with so many processes."""
    from restnet_tf.commands import api

    start = time.perf_counter()
    done = api.build(jobs=jobs, out=folder / str(jobs), effort=effort, max_points=4, precision="float32,int8")
    seconds = time.perf_counter() - start
    assert done.times is not None
    each = done.times.tasks
    return TimedBuild(jobs, seconds, sum(t.seconds for t in each), sum(t.cpu_s for t in each)), done.times


def page(trials: Sequence[TimedBuild], runs: Sequence[tuple[str, Times]], local_s: float) -> str:
    """The results as Markdown."""
    parts = [
        "# More processes, more machines",
        "`python -m benchmarks.scaling` made this page; how a build is shared out is said in"
        " [Runs](../runs.md#more-than-one-core).",
    ]
    if trials:
        parts += ["## Measured", _machine(), _trials(trials)]
    parts.append("## Replayed")
    parts.append(
        "Every task takes the processor seconds that it took in the run; waves of tasks wait for each other, and so do"
        f" they for what the build does itself. Handing out a task takes {1e3 * local_s:.1f} ms among the processes"
        f" of one machine (measured), and {1e3 * _DASK_S:.0f} ms among many machines (what Dask says of its own)."
    )
    for name, spent in runs:
        parts += [f"### {name}", *_replay(spent)]
    return "\n\n".join(parts) + "\n"


def _machine() -> str:
    busy = os.getloadavg()[0]
    return (
        f"The demo's family of four points, on {resources.cores()} cores; at the end the machine had a load of"
        f" {busy:.1f}, so seconds by the clock are those of a {'busy' if busy > resources.cores() else 'quiet'} one."
    )


def _trials(trials: Sequence[TimedBuild]) -> str:
    first = trials[0]
    rows = [
        (
            str(one.jobs),
            f"{one.seconds:.0f}",
            f"{first.seconds / one.seconds:.2f}",
            f"{one.task_s:.0f}",
            f"{one.cpu_s:.0f}",
        )
        for one in trials
    ]
    return _table(("processes", "seconds", "times as fast", "seconds of tasks", "of processors"), rows)


def _replay(spent: Times) -> list[str]:
    work = Workload.of(spent, resources.cores())
    one = replayed(work, 1, 0.0)
    mean = work.shared / max(1, work.count)
    told = (
        f"{work.count} tasks of {mean:.1f} s on average in {len(work.waves)} waves, {work.shared:.0f} s together;"
        f" {work.serial:.0f} s that the build does itself. With any number of workers it takes {work.critical:.0f} s,"
        f" so it can be {one / work.critical:.1f} times as fast as with one."
    )
    rows = [
        (
            str(workers),
            f"{(seconds := replayed(work, workers, _DASK_S)):,.0f}",
            f"{one / seconds:.2f}",
            f"{work.shared / (seconds * workers):.0%}",
            bound(work, workers, _DASK_S),
        )
        for workers in WORKERS
    ]
    table = _table(("workers", "seconds", "times as fast", "at work", "waits most for"), rows)
    larger = [(factor, Workload.of(grown(spent, factor), resources.cores())) for factor in SIZES]
    sizes = [
        (
            f"{factor}x",
            str(whole.count),
            f"{replayed(whole, 1, 0.0) / replayed(whole, WORKERS[-1], _DASK_S):.1f}",
            bound(whole, WORKERS[-1], _DASK_S),
        )
        for factor, whole in larger
    ]
    limit = f"Families of more points, on {WORKERS[-1]} workers. {_limit(larger, mean)}"
    return [told, table, limit, _table(("points", "tasks", "times as fast", "waits most for"), sizes)]


def _limit(larger: Sequence[tuple[int, Workload]], mean: float) -> str:
    """From which size on the scheduler is what is waited for, and with how many workers it would be."""
    at = [f for f, whole in larger if bound(whole, WORKERS[-1], _DASK_S).startswith("the scheduler")]
    size = f"The scheduler bounds them from {at[0]} times the points on" if at else "The scheduler bounds none of them"
    workers = scheduler_limit(mean, _DASK_S)
    return f"{size}; it keeps {workers:,} workers at tasks of {mean:.1f} s, whatever the size of the family."


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    rule = [" --- " if i == len(head) - 1 else " ---: " for i in range(len(head))]
    lines = [f"| {' | '.join(head)} |", f"|{'|'.join(rule)}|", *(f"| {' | '.join(row)} |" for row in rows)]
    return "\n".join(lines)


def _name(path: Path) -> str:
    """Of a run, by its file of times, or that of a copy."""
    return path.parent.name if path.name == "times.json" else path.stem


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, measure, replay, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", default="1,2", help="numbers of processes to build with; empty: none")
    parser.add_argument("--effort", type=float, default=0.02, help="of the builds")
    parser.add_argument("--times", type=Path, action="append", default=[], help="times.json of a run to replay too")
    args = parser.parse_args(arguments)
    trials, runs = [], []
    with tempfile.TemporaryDirectory() as folder:
        for jobs in (int(word) for word in args.jobs.split(",") if word):
            trial, spent = measured(jobs, Path(folder), args.effort)
            trials.append(trial)
            runs += [("The demo's family of four points", spent)] if len(trials) == 1 else []
    runs += [(_name(path), times.read(path).calls[0]) for path in args.times]
    print(page(trials, runs, measured_dispatch(resources.cores())), end="")


if __name__ == "__main__":
    main()
