"""Tasks on the workers of a Dask cluster, one at a time each; Dask carries them, what is where is decided here.

The same bytes come of it as of processes of this machine, whatever is lost: a task has one thread, results are given in
the order of the tasks, and files get their names here, when a result is taken. A worker that was given up and writes
later changes nothing.
"""

from __future__ import annotations

import itertools
import math
import queue
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from restnet_tf.progress import Crew, Reporter, Running
from restnet_tf.records import RestnetWarning
from restnet_tf.work import faults, remote, start, tasks
from restnet_tf.work.carrier import Carrier, GoneError
from restnet_tf.work.dispatch import Attempt, Dispatch
from restnet_tf.work.faults import Worker
from restnet_tf.work.freight import Freight
from restnet_tf.work.processes import Processes
from restnet_tf.work.roster import THERE, Roster
from restnet_tf.work.tasks import Executor, Task

if TYPE_CHECKING:
    from distributed import Future

_LOSSES = 6  # of one task, behind which it is the task's fault
_LOOK_S = 0.5
_GRACE_S = 20.0
_RESTART_S = 30.0
_PAUSED_S = 10.0  # behind which a worker tells surely whether it is at a task
_LIBRARIES = 5e8  # bytes of TensorFlow's own files that a worker has mapped: Dask counts them as its memory
_FULL = 0.7  # of its limit a worker had in use when it was last seen: so it went over


@dataclass(frozen=True, eq=False)
class Flight:
    """An attempt under way: of a task of a dispatch."""

    attempt: Attempt
    dispatch: Dispatch
    task: Task[Any, Any]
    worker: Worker
    future: Future


class Workers:
    """An executor: runs tasks on the workers of a roster.

    ``prepare`` is what each worker does first, ``load`` what travels; ``lasting``: workers stay behind the command.
    ``least_slow_s`` is that of ``Dispatch``, and ``patience_s`` is how long it waits for a worker.
    """

    def __init__(
        self,
        roster: Roster,
        prepare: Callable[[], None] = start.tensorflow,
        load: Freight | None = None,
        *,
        lasting: bool = True,
        least_slow_s: float = 60.0,
        patience_s: float = 300.0,
    ) -> None:
        self._roster, self._client, self._prepare = roster, roster.client, prepare
        self._lasting, self._least_slow_s, self._patience_s = lasting, least_slow_s, patience_s
        self._carrier = Carrier(roster, load)
        # What is written in place cannot travel: features are computed here then, by processes of one thread as well.
        self._home = None if load is None else Processes(None, prepare)
        self._count = 0
        self._flights: list[Flight] = []
        self._ended: queue.SimpleQueue[Flight] = queue.SimpleQueue()
        self._over: set[str] = set()  # addresses of workers that Dask killed for their memory
        self._begun = False  # there was a worker
        self._size = 0.0  # bytes that a task takes, as far as is known
        self._client.subscribe_topic("worker-restart-memory", lambda event: self._over.add(event[1]["worker"]))

    def __call__(self, work: Iterable[Task[Any, Any]], report: Reporter) -> Iterator[Any]:
        """Results in the order of the tasks; raises what a task raises, and ``RestnetError`` where no worker can."""
        for execute, group in itertools.groupby(work, self._executor):
            yield from execute(list(group), report)

    def _executor(self, task: Task[Any, Any]) -> Executor:
        if task.alone:
            return tasks.serially
        if self._home is not None and task.kind == tasks.FEATURES:
            return self._home
        return self._together

    @property
    def jobs(self) -> int:
        """How many workers were there when it was last looked."""
        return self._count

    def leave_room(self, bytes_each: float, report: Reporter) -> None:
        """Leave out workers that may not take so much memory, where others may."""
        self._size = bytes_each + _LIBRARIES
        if self._home is not None:
            self._home.leave_room(bytes_each, report)

    def wait(self, report: Reporter) -> list[Worker]:
        """The workers, as soon as there is one; raises ``RestnetError`` where none comes."""
        began, told = time.monotonic(), False
        while not (workers := self._roster.look(report)):
            # One that was lost may be about to come back, though others are of no use.
            patience_s = _GRACE_S * self._begun if self._roster.reasons else self._patience_s
            if time.monotonic() - began > patience_s:
                raise faults.no_worker(self._roster.address, self._patience_s, self._roster.reasons)
            if not told:
                report.say(faults.waiting(self._roster.address))
            told = True
            time.sleep(_LOOK_S)
        self._begun, self._count = True, len(workers)
        return list(workers.values())

    def close(self) -> None:
        """Give up what runs, and leave nothing of this build's in the workers."""
        with suppress(Exception):  # the scheduler may be about to end, and so are its workers then
            if self._lasting and self._client.status == THERE:
                self._free()
        self._flights = []
        self._roster.close()
        if self._home is not None:
            self._home.close()

    def _free(self) -> None:
        """Let workers be as they were: those that are at a task are started anew."""
        for flight in self._flights:
            flight.future.cancel()
        if busy := [flight.worker.address for flight in self._flights if flight.worker.nanny]:
            self._client.restart_workers(busy, timeout=_RESTART_S, raise_for_error=False)
        self._client.run(remote.forget, on_error="ignore")
        self._carrier.clear(self._roster.present())

    def _together(self, work: Iterable[Task[Any, Any]], report: Reporter) -> Iterator[Any]:
        work = list(work)
        dispatch, waiting, given = Dispatch(len(work), self._least_slow_s), dict[int, Any](), 0
        titles: set[str] = set()
        while not dispatch.finished:
            for title in self._begin(dispatch, work, report):
                if title not in titles:
                    report.stage(title)
                titles.add(title)
            report.progress(len(dispatch.done), len(work))
            report.crew(self._crew(dispatch))
            for flight in self._ends():
                if self._taken(flight, waiting, report):
                    report.progress(len(dispatch.done), len(work))
            while given in waiting:
                yield waiting.pop(given)
                given += 1

    def _crew(self, dispatch: Dispatch) -> Crew:
        """Who is at what; memory is that of the last look."""
        now = time.monotonic()
        running = [
            Running(one.task.title, str(seen), now - one.attempt.since, seen.memory)
            for one in self._flights
            if one.dispatch is dispatch
            for seen in [self._roster.last.get(one.worker.instance, one.worker)]
        ]
        slowest = tuple(sorted(running, key=lambda one: -one.seconds))
        return Crew(len(dispatch.done), dispatch.count, self._count, slowest)

    def _begin(self, dispatch: Dispatch, work: Sequence[Task[Any, Any]], report: Reporter) -> list[str]:
        """Give idle workers something to do; the titles of that."""
        workers = {one.address: one for one in self.wait(report)}
        for flight in [one for one in self._flights if one.worker.instance not in self._roster.instances]:
            self._lose(flight, report)
        self._unstick(workers)
        busy = {flight.worker.address for flight in self._flights}
        idle = [worker for worker in workers.values() if worker.address not in busy]
        self._mend([worker for worker in idle if worker.paused], report)
        ready = self._roomy([worker for worker in idle if not worker.paused], list(workers.values()), report)
        limits = {address: one.limit or math.inf for address, one in workers.items()}
        ready = [worker for worker in ready if self._supplied(worker, report)]
        titles = []
        for attempt in dispatch.place([worker.address for worker in ready], time.monotonic(), limits.__getitem__):
            titles.append(work[attempt.number].title)
            self._submit(attempt, dispatch, work[attempt.number], workers[attempt.worker], report)
        return titles

    def _submit(
        self, attempt: Attempt, dispatch: Dispatch, task: Task[Any, Any], worker: Worker, report: Reporter
    ) -> None:
        for one in self._flights:
            if one.dispatch is dispatch and one.attempt.number == attempt.number:
                report.say(faults.copied(task.title, one.worker, worker, attempt.since - one.attempt.since))
        content = remote.packed(remote.done, task, self._prepare)
        future = self._client.submit(
            eval, remote.CALLED, content, workers=[worker.address], allow_other_workers=False, pure=False, retries=0
        )
        flight = Flight(attempt, dispatch, task, worker, future)
        self._flights.append(flight)
        future.add_done_callback(lambda _: self._ended.put(flight))

    def _ends(self) -> Iterator[Flight]:
        """Attempts that came to an end, at least those of by now; waits a moment for the first."""
        with suppress(queue.Empty):
            yield self._ended.get(timeout=_LOOK_S)
            while True:
                yield self._ended.get_nowait()

    def _taken(self, flight: Flight, waiting: dict[int, Any], report: Reporter) -> bool:
        """Take what came of an attempt, where it is the first of its task; whether it is."""
        if flight not in self._flights:
            return False  # lost before
        try:
            outcome: remote.Outcome = self._carrier.result(flight.worker, flight.future)
            first = flight.attempt.number not in flight.dispatch.done
            if isinstance(outcome, remote.Delivery):
                self._carrier.collect(flight.worker, outcome.files, keep=first)
        except GoneError:
            self._lose(flight, report)
            return False
        if not isinstance(outcome, remote.Delivery):
            self._trouble(flight, outcome, report)
            return False
        self._flights.remove(flight)
        flight.dispatch.end(flight.attempt, time.monotonic())
        if first:
            waiting[flight.attempt.number] = outcome.result
            for message in outcome.said:
                warnings.warn(message, RestnetWarning, stacklevel=2)
        return first

    def _supplied(self, worker: Worker, report: Reporter) -> bool:
        """Whether a worker has all files that tasks read, by now."""
        try:
            why = self._carrier.supplied(worker)
        except GoneError:
            return False  # the next look tells
        if why:
            self._roster.leave_out(worker, why, report)
        return not why

    def _lose(self, flight: Flight, report: Reporter) -> None:
        """Its worker is gone: another one is to do it."""
        worker = self._roster.last.get(flight.worker.instance, flight.worker)
        over = worker.address in self._over or (bool(worker.limit) and worker.memory > _FULL * worker.limit)
        self._over.discard(worker.address)
        needed = self._give_up(flight)
        if not needed:
            return
        if over:
            self._more_memory(flight, worker, report)
        elif flight.dispatch.losses[flight.attempt.number] >= _LOSSES:
            raise faults.lost_often(worker, flight.task.title, _LOSSES)
        else:
            report.say(faults.lost(worker, flight.task.title))

    def _give_up(self, flight: Flight) -> bool:
        """Whether its task has to be done again, as there is neither a result nor a copy."""
        self._flights.remove(flight)
        flight.future.cancel()
        flight.dispatch.lose(flight.attempt)
        return flight.attempt.number in flight.dispatch.line

    def _more_memory(self, flight: Flight, worker: Worker, report: Reporter) -> None:
        number, others = flight.attempt.number, self._roster.look(report).values()
        elsewhere = any(not one.limit or one.limit > worker.limit for one in others)
        if elsewhere:
            flight.dispatch.needs[number] = worker.limit
        elif flight.dispatch.losses[number] > 1:
            raise faults.over_memory_again(worker, flight.task.title)
        report.say(faults.over_memory(worker, flight.task.title, elsewhere))

    def _trouble(self, flight: Flight, outcome: remote.Outcome, report: Reporter) -> None:
        """A worker could not do a task that another may."""
        worker, needed = flight.worker, self._give_up(flight)
        if isinstance(outcome, remote.FullDisk):
            why = faults.full_disk(worker, flight.task.title, outcome.folder, outcome.free)
            self._roster.leave_out(worker, why, report)
        elif isinstance(outcome, remote.Occupied):
            self._roster.leave_out(worker, faults.occupied(worker), report)
        elif needed:
            self._more_memory(flight, worker, report)

    def _unstick(self, workers: Mapping[str, Worker]) -> None:
        """Give up what a worker was given as it was about to be paused: there it would wait for ever."""
        for flight in list(self._flights):
            now = workers.get(flight.worker.address)
            waits_s = time.monotonic() - flight.attempt.since
            if now is not None and now.paused and not now.working and waits_s > _PAUSED_S:
                self._give_up(flight)

    def _mend(self, idle: Sequence[Worker], report: Reporter) -> None:
        """Start workers anew that hold so much memory that Dask gives them nothing."""
        for worker in idle:
            if worker.nanny:
                report.say(faults.paused(worker))
                with suppress(KeyError):  # Dask's, of a worker that has gone since it was looked for
                    self._client.restart_workers([worker.address], timeout=_RESTART_S, raise_for_error=False)
            else:
                self._roster.leave_out(worker, faults.paused_for_good(worker), report)

    def _roomy(self, idle: Sequence[Worker], every: Sequence[Worker], report: Reporter) -> list[Worker]:
        """Those that a task fits into, where there are such."""
        small = [worker for worker in every if 0 < worker.limit < self._size]
        if len(small) == len(every):
            return list(idle)
        for worker in small:
            self._roster.leave_out(worker, faults.too_small(worker, self._size), report)
        return [worker for worker in idle if worker not in small]
