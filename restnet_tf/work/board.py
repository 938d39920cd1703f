"""What each worker is at, told by files: a process that is killed leaves no lock that others would wait for."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from restnet_tf.progress import Crew, Running
from restnet_tf.work import resources


class Board:
    """A folder with a file a worker: the number of the task that it is at."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="restnet-tf-"))

    def crew(self, titles: Sequence[str], left: Sequence[int], workers: Sequence[int]) -> Crew:
        """What these processes are at of tasks by their numbers, of which some are ``left``."""
        running = [one for number, process in enumerate(workers, start=1) if (one := self._at(titles, number, process))]
        slowest = tuple(sorted(running, key=lambda one: -one.seconds))
        return Crew(len(titles) - len(left), len(titles), len(workers), slowest)

    def _at(self, titles: Sequence[str], number: int, process: int) -> Running | None:
        path = self.folder / str(process)
        try:
            task, since = int(path.read_text(encoding="utf-8")), path.stat().st_mtime
        except (OSError, ValueError):  # it is at none, or about to say at which
            return None
        return Running(titles[task], f"process {number}", max(0.0, time.time() - since), resources.held(process))

    def clear(self) -> None:
        """Delete the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)


@contextmanager
def at(folder: Path, task: int) -> Iterator[None]:
    """Tell that this process is at a task; a folder that is gone, or a full disk, hinders no work."""
    path = folder / str(os.getpid())
    with suppress(OSError):
        path.write_text(str(task), encoding="utf-8")
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink(missing_ok=True)
