"""Tasks in processes of this machine, several at once; each has one thread of TensorFlow's.

How many there are changes when a result is there, not the result: every task has one thread, of whichever process, and
what takes the machine for itself runs in the process of the build whatever their number.
"""

from __future__ import annotations

import concurrent.futures as futures
import itertools
import multiprocessing
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from restnet_tf import atomic
from restnet_tf.progress import Reporter
from restnet_tf.records import RestnetError, RestnetWarning
from restnet_tf.work import board, forks, resources, start, tasks
from restnet_tf.work.board import Board
from restnet_tf.work.tasks import Executor, Task

# A process with TensorFlow and two small networks takes so many bytes.
_LEAST_BYTES = 1.5e9
# So often one after the other a process may be killed before anything gets done.
_LOSSES = 3
# So many seconds after each other a person hears who is at what.
_TICK_S = 0.5
# What a process that was killed takes to be gone, with room.
_DYING = 0.2


class Processes:
    """An executor: begins its processes when they are first needed, and keeps them until it is closed.

    ``jobs`` of them; None: one a core, as far as memory reaches. ``prepare`` is what each does first.
    """

    def __init__(self, jobs: int | None, prepare: Callable[[], None] = start.tensorflow) -> None:
        self._prepare = prepare
        self._chosen = jobs is not None
        self.jobs = _fitting(_LEAST_BYTES) if jobs is None else jobs
        self._pool: futures.ProcessPoolExecutor | None = None
        self._board: Board | None = None
        self._others: set[BaseProcess] = set()  # that were there before

    def __call__(self, work: Iterable[Task[Any, Any]], report: Reporter) -> Iterator[Any]:
        """Results in the order of the tasks.

        Raises what a task raises, and ``RestnetError`` where processes are killed again and again.
        """
        for alone, group in itertools.groupby(work, lambda task: task.alone):
            together = list(group)
            yield from tasks.serially(together, report) if alone else self._together(together, report)

    @property
    def told(self) -> str:
        """How the work is shared out, in a line for people."""
        free = atomic.free_memory()
        cores = resources.cores()
        here = f"{cores} core{'s' if cores > 1 else ''}"
        here += "" if free is None else f", {atomic.spoken(free)} of memory free"
        many = f"{self.jobs} processes of one thread each share" if self.jobs > 1 else "one process of one thread does"
        return f"{many} the work ({here}); --jobs N takes N"

    def leave_room(self, bytes_each: float, report: Reporter) -> None:
        """Be fewer where processes of such a size would not fit; where the user said how many, say so."""
        fewer = min(self.jobs, _room(bytes_each))
        if fewer == self.jobs:
            return
        if self._chosen:
            report.say(
                f"{self.jobs} processes of about {atomic.spoken(bytes_each)} each may not fit into the memory that is"
                f" free; --jobs {fewer} takes less"
            )
        else:
            self.close()
            self.jobs = fewer

    def close(self) -> None:
        """End all processes, whatever they do: tasks leave whole files or none."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            # A pool begins its processes one by one, as tasks come. Left to it, one that waits for a lock of another
            # that was killed would never end, and the build that waits for both neither.
            for child in set(multiprocessing.active_children()) - self._others:
                child.kill()
        if self._board is not None:
            self._board.clear()
        self._pool = self._board = None

    def _together(self, work: Sequence[Task[Any, Any]], report: Reporter) -> Iterator[Any]:
        left, waiting = list(range(len(work))), dict[int, Any]()
        given = losses = 0
        while left:
            before = len(left)
            try:
                for number, result in self._round(work, tuple(left), report):
                    left.remove(number)
                    waiting[number] = result
                    while given in waiting:
                        yield waiting.pop(given)
                        given += 1
            except BrokenProcessPool:
                losses = 1 if len(left) < before else losses + 1
                self.close()
                self._tell_loss(" and ".join(_running(work, left, self.jobs)), losses, report)

    def _round(
        self, work: Sequence[Task[Any, Any]], numbers: Sequence[int], report: Reporter
    ) -> Iterator[tuple[int, Any]]:
        """Tasks by their numbers in ``work``, as they are done."""
        titles: set[str] = set()
        self._tell(work, numbers, titles, report)  # before the first process is there, which takes seconds
        left, board = self._begun(work, numbers)
        while left:
            self._tell(work, left.values(), titles, report)
            report.progress(len(work) - len(left), len(work))
            for future in self._first_done(left, work, board, report):
                result, said = future.result()
                for message in said:
                    warnings.warn(message, RestnetWarning, stacklevel=2)
                yield left.pop(future), result

    def _begun(self, work: Sequence[Task[Any, Any]], numbers: Sequence[int]) -> tuple[dict[Future[Any], int], Board]:
        """Tasks, handed to processes."""
        for pause in (_DYING, 0.0):
            pool, board = self._started()
            try:
                return {pool.submit(_done, work[number], number, board.folder): number for number in numbers}, board
            except (EOFError, OSError):  # what processes are forked from was killed, or is about to end
                self.close()
                time.sleep(pause)
        raise BrokenProcessPool

    def _tell(self, work: Sequence[Task[Any, Any]], left: Iterable[int], titles: set[str], report: Reporter) -> None:
        """Titles of what is under way that have not been told."""
        for title in _running(work, left, self.jobs):
            if title not in titles:
                report.stage(title)
            titles.add(title)

    def _first_done(
        self, left: Mapping[Future[Any], int], work: Sequence[Task[Any, Any]], board: Board, report: Reporter
    ) -> set[Future[Any]]:
        """What is done as soon as anything is; until then it is told who is at what."""
        titles = [task.title for task in work]
        while not (done := futures.wait(left, _TICK_S, futures.FIRST_COMPLETED).done):
            workers = sorted(child.pid for child in set(multiprocessing.active_children()) - self._others if child.pid)
            report.crew(board.crew(titles, [*left.values()], workers))
        return done

    def _started(self) -> tuple[futures.ProcessPoolExecutor, Board]:
        if self._pool is None or self._board is None:
            self._others, self._board = set(multiprocessing.active_children()), Board()
            heavy = self._prepare is start.tensorflow
            self._pool = futures.ProcessPoolExecutor(
                self.jobs,
                mp_context=forks.context() if heavy else multiprocessing.get_context("spawn"),
                initializer=_begin,
                initargs=(self._prepare, dict(os.environ)),
            )
        return self._pool, self._board

    def _tell_loss(self, what: str, losses: int, report: Reporter) -> None:
        if losses >= _LOSSES:
            free = atomic.free_memory()
            room = "an unknown amount is" if free is None else f"{atomic.spoken(free)} are"
            less = f"--jobs {self.jobs // 2}" if self.jobs > 1 else "more memory"
            raise RestnetError(
                f"a process was killed {losses} times while {what}: it may lack memory ({room} free);"
                f" run the same command with {less}, it goes on where it stopped"
            )
        report.say(f"a process was killed while {what}; that is begun anew")


@contextmanager
def executor(
    jobs: int | None, prepare: Callable[[], None] = start.tensorflow, *, keras: bool = True
) -> Iterator[Executor]:
    """Runs tasks in so many processes, gone behind it; 0: in this one, one after the other; None: what helps here.

    ``keras``: tasks run networks in Keras, which is as fast in one process where TensorFlow has a GPU.
    """
    if jobs == 0 or (jobs is None and keras and _gpu()):
        yield tasks.serially
        return
    processes = Processes(jobs, prepare)
    try:
        yield processes
    finally:
        processes.close()


def _gpu() -> bool:
    """Whether TensorFlow has one, which processes would have to share."""
    start.tensorflow(ours=False)
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU"))


def _fitting(bytes_each: float) -> int:
    """Processes of such a size: one a core, as far as memory reaches."""
    return min(resources.cores(), _room(bytes_each))


def _room(bytes_each: float) -> int:
    """Processes of such a size that the memory bears, one at least."""
    free = atomic.free_memory()
    return sys.maxsize if free is None else max(1, int(free // bytes_each))


def _running(work: Sequence[Task[Any, Any]], left: Iterable[int], jobs: int) -> list[str]:
    """Titles of what is under way: processes take tasks in their order."""
    return list(dict.fromkeys(work[number].title for number in sorted(left)[:jobs]))


def _begin(prepare: Callable[[], None], environment: dict[str, str]) -> None:
    """What a process does first: take one thread, leave Ctrl-C to the build, and end with it."""
    forks.inherit(environment)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    start.one_thread(prepare)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None  # this is no main process
    connection.wait([parent.sentinel])
    os._exit(1)


def _done(task: Task[Any, Any], number: int, folder: Path) -> tuple[Any, list[str]]:
    """The result of a task, and the warnings for the user; meanwhile the board in a folder says so."""
    with board.at(folder, number), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", RestnetWarning)
        result = task.run(lambda done, total: None)
    return result, [str(one.message) for one in caught if issubclass(one.category, RestnetWarning)]
