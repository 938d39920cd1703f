"""Processes of ``tflm_worker`` that wait for files: started for the first one, ended with this process."""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from multiprocessing import connection

from tflite_export.devices import tflm_worker

_Worker = subprocess.Popen[bytes]


@dataclass(frozen=True)
class Ending:
    """How a file's process ended: exit code, negative of a signal; outputs as .npz; all that it printed."""

    code: int
    outputs: bytes
    told: str


def ending(job: bytes, seconds: float) -> Ending | None:
    """How a job's process ended; None where it did not within that time, and is ended.

    Only a worker that has answered is kept for further jobs.
    """
    worker = _waiting() or _started()
    try:
        answer = _answer(worker, job, seconds)
    except (EOFError, BrokenPipeError):  # the worker itself died: of the wheel, as nothing else is in it
        return _end(worker)
    except BaseException:
        _end(worker)
        raise
    if answer is None:
        _end(worker)
    else:
        _idle().append(worker)
    return answer


def _answer(worker: _Worker, job: bytes, seconds: float) -> Ending | None:
    jobs, endings = worker.stdin, worker.stdout
    assert jobs
    assert endings
    tflm_worker.send(jobs, job)
    if not connection.wait([endings.fileno()], seconds):
        return None
    code, outputs, told = (tflm_worker.receive(endings) for _ in range(3))
    return Ending(int(code), outputs, told.decode(errors="replace"))


def _end(worker: _Worker) -> Ending:
    """How a worker ends when its input does."""
    _, told = worker.communicate()
    return Ending(worker.returncode, b"", told.decode(errors="replace"))


def _waiting() -> _Worker | None:
    """A worker that waits and lives."""
    while _idle():
        worker = _idle().pop()
        if worker.poll() is None:
            return worker
        _end(worker)
    return None


@cache
def _idle() -> list[_Worker]:
    """Workers that wait; those of a fork's parent are none of the fork's."""
    idle: list[_Worker] = []
    os.register_at_fork(after_in_child=idle.clear)
    atexit.register(lambda: [_end(worker) for worker in idle])
    return idle


def _started() -> _Worker:
    """A session of its own: Ctrl-C reaches this process alone, which ends the worker."""
    return subprocess.Popen(
        # -P: no module of this folder hides one of the standard library.
        [sys.executable, "-P", tflm_worker.__file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},  # threads do not outlive a fork
        start_new_session=True,
    )
