"""Where the time of a build goes: every task with what it took, and what this process did between them.

What keeps them is an executor around another one, so that tasks are timed where they run, by whatever runs them.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from restnet_tf import atomic
from restnet_tf.progress import Crew, Reporter
from restnet_tf.records import RestnetError
from restnet_tf.schema import SCHEMA
from restnet_tf.work import resources
from restnet_tf.work.tasks import Executor, Progress, Task


@dataclass(frozen=True)
class TaskTime:
    """A task that was done: seconds by the clock and of processors, and the most bytes its process has held."""

    title: str
    kind: str
    worker: str
    seconds: float
    cpu_s: float
    peak_bytes: int
    alone: bool = False


@dataclass(frozen=True)
class Wave:
    """Tasks that did not wait for each other, in seconds from the beginning.

    ``own_cpu_s`` are the processor seconds of the command's own process since the wave before.
    """

    start_s: float
    stop_s: float
    tasks: tuple[TaskTime, ...]
    own_cpu_s: float = 0.0


@dataclass(frozen=True)
class StageTime:
    """When a stage began, in seconds from the beginning."""

    title: str
    start_s: float


@dataclass(frozen=True)
class Times:
    """One call of a command: how many workers shared the work, how long it took, and what it was made of.

    ``own_cpu_s`` as of a wave, behind the last.
    """

    workers: int
    seconds: float
    waves: tuple[Wave, ...]
    stages: tuple[StageTime, ...]
    own_cpu_s: float = 0.0

    @property
    def tasks(self) -> tuple[TaskTime, ...]:
        """Of all waves."""
        return tuple(task for wave in self.waves for task in wave.tasks)


@dataclass(frozen=True)
class TimesFile:
    """``times.json``: every call that worked on a run, the first one first."""

    calls: tuple[Times, ...]


def read(path: Path) -> TimesFile:
    """What a run keeps; raises ``OSError`` or ``ValueError`` where it cannot be read."""
    return SCHEMA.load(TimesFile, path)


@contextmanager
def kept(ledger: Ledger, path: Path) -> Iterator[None]:
    """Add the times of what is done here to a file, whether it ends well or not, unless nothing was done."""
    try:
        yield
    finally:
        if ledger.waves:
            _add(path, ledger.times)


def _add(path: Path, times: Times) -> None:
    """No result hangs on this file: one that cannot be read is begun anew, one that cannot be written is left."""
    earlier: tuple[Times, ...] = ()
    with suppress(OSError, ValueError):
        earlier = read(path).calls
    with suppress(RestnetError):
        atomic.write_bytes(path, SCHEMA.text(TimesFile((*earlier, times))))


@dataclass(frozen=True)
class Portion:
    """What was spent on one kind of work."""

    kind: str
    tasks: int
    seconds: float


def by_kind(times: Times) -> tuple[Portion, ...]:
    """Tasks by kind, the costliest first."""
    kinds = dict.fromkeys(task.kind for task in times.tasks)
    shares = [
        Portion(kind, len(each), sum(task.seconds for task in each))
        for kind in kinds
        if (each := [task for task in times.tasks if task.kind == kind])
    ]
    return tuple(sorted(shares, key=lambda one: (-one.seconds, one.kind)))


def between(times: Times) -> tuple[Portion, ...]:
    """What the command did itself while no task ran, by the stage that was told before it, the costliest first."""
    gaps = [(0.0, 0.0), *sorted((w.start_s, w.stop_s) for w in times.waves), (times.seconds, times.seconds)]
    spent: dict[str, float] = {}
    for (_, stop), (start, _) in pairwise(gaps):
        for title, seconds in _stages(times, stop, start):
            spent[title] = spent.get(title, 0.0) + seconds
    shares = [Portion(title, 0, seconds) for title, seconds in spent.items()]
    return tuple(sorted(shares, key=lambda one: (-one.seconds, one.kind)))


def _stages(times: Times, start: float, stop: float) -> Iterator[tuple[str, float]]:
    """A stretch of time by the stages in it."""
    marks = [StageTime("", 0.0), *times.stages, StageTime("", max(stop, times.seconds))]
    for stage, following in pairwise(marks):
        seconds = min(stop, following.start_s) - max(start, stage.start_s)
        if seconds > 0:
            yield stage.title, seconds


@dataclass(frozen=True)
class _Measured:
    """The result of a task with what it took."""

    result: Any
    took: TaskTime


def _measured(task: Task[Any, Any], progress: Progress) -> _Measured:
    start, cpu = time.perf_counter(), time.process_time()
    result = task.run(progress)
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    worker = f"{platform.node()}:{os.getpid()}"
    took = TaskTime(task.title, task.kind, worker, _brief(seconds), _brief(cpu), resources.peak(), task.alone)
    return _Measured(result, took)


@dataclass
class Ledger:
    """Keeps the times of a command from now on; ``reporter`` hears all that is reported to it."""

    reporter: Reporter
    waves: list[Wave] = field(default_factory=list)
    stages: list[StageTime] = field(default_factory=list)
    began: float = field(default_factory=time.perf_counter)
    workers: int = 1
    marked_cpu: float = field(default_factory=time.process_time)

    def around(self, execute: Executor) -> Executor:
        """An executor of whose tasks the times are kept."""

        def run(work: Iterable[Task[Any, Any]], report: Reporter) -> Iterator[Any]:
            start, stop, took, own = self._now(), self._now(), list[TaskTime](), self._own_cpu()
            timed = (Task(one.title, _measured, one, one.alone, one.kind) for one in work)
            try:
                for measured in execute(timed, report):
                    stop = self._now()
                    took.append(measured.took)
                    yield measured.result
            finally:
                if took:
                    self.waves.append(Wave(start, stop, tuple(took), own))
                self.marked_cpu = time.process_time()

        return run

    @property
    def times(self) -> Times:
        """All until now."""
        return Times(self.workers, self._now(), tuple(self.waves), tuple(self.stages), self._own_cpu())

    def stage(self, title: str) -> None:
        """Note when it began."""
        self.stages.append(StageTime(title, self._now()))
        self.reporter.stage(title)

    def progress(self, done: int, total: int) -> None:
        """Hand it on."""
        self.reporter.progress(done, total)

    def crew(self, crew: Crew) -> None:
        """Hand it on."""
        self.reporter.crew(crew)

    def say(self, line: str) -> None:
        """Hand it on."""
        self.reporter.say(line)

    def _own_cpu(self) -> float:
        """Processor seconds since the last wave."""
        return _brief(time.process_time() - self.marked_cpu)

    def _now(self) -> float:
        return _brief(time.perf_counter() - self.began)


def _brief(seconds: float) -> float:
    return round(seconds, 3)
