"""Brings files to workers and what tasks wrote there back; to those that share the build's disk nothing has to go."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from restnet_tf.atomic import Held
from restnet_tf.records import RestnetError
from restnet_tf.work import faults, freight, remote
from restnet_tf.work.faults import Worker
from restnet_tf.work.freight import Freight
from restnet_tf.work.roster import Roster

if TYPE_CHECKING:
    from distributed import Future

_LOOK_S = 0.5
_WAIT_S = 10.0
_SHOWN = 20  # looks, until a file of a worker's has to be there


class GoneError(Exception):
    """A worker went away while it was asked."""


class Carrier:
    """Sends and fetches for one run; ``load`` is None where all share its disk."""

    def __init__(self, roster: Roster, load: Freight | None) -> None:
        self._roster, self._load = roster, load

    def supplied(self, worker: Worker) -> str:
        """Let a worker have what it lacks; "" or why it cannot be used. Raises ``GoneError``."""
        if self._load is None or worker.instance in self._roster.sharing:
            return ""
        due = self._load.due(worker.instance)
        if not due:
            return ""
        try:
            lacking = self.call(worker, freight.lacking, self._load.out, due)
            if lacking.foreign is not None:
                return faults.foreign(worker, lacking.foreign)
            for lot in freight.chunks(lacking.wares):
                self.call(worker, freight.put, lot)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                return faults.no_room(worker, sum(ware.size for ware in due))
            return faults.no_folder(worker, error.filename or self._load.out)
        self._load.arrived(worker.instance, due)
        return ""

    def collect(self, worker: Worker, files: Sequence[Held], *, keep: bool) -> None:
        """Take the files that a task wrote, or have them deleted. Raises ``GoneError``."""
        away = self._load is not None and worker.instance not in self._roster.sharing
        for file in files:
            copy = self._fetched(worker, file) if away and keep else file
            if away:
                self.call(worker, freight.settle, file, keep)
            if keep:
                _release(copy)
            elif not away:
                file.drop()

    def clear(self, workers: Sequence[Worker]) -> None:
        """Delete the run's copies."""
        if self._load is not None:
            away = [worker for worker in workers if worker.instance not in self._roster.sharing]
            self._roster.ask(freight.clear, self._load.out, workers=away)

    def call(self, worker: Worker, function: Callable[..., Any], *arguments: Any) -> Any:
        """What a function returns in a worker that is at no task; raises what it raises."""
        content = remote.packed(function, *arguments)
        future = self._roster.client.submit(
            eval, remote.CALLED, content, workers=[worker.address], allow_other_workers=False, pure=False
        )
        return self.result(worker, future)

    def result(self, worker: Worker, future: Future) -> Any:
        """What came of something that a worker was given; raises what it raised, and ``GoneError``."""
        from distributed.scheduler import KilledWorker

        patience_s = _WAIT_S
        while True:
            try:
                return future.result(timeout=patience_s)
            except KilledWorker:
                raise GoneError from None
            except Exception:
                if future.status == "error":
                    raise
                if future.status in ("cancelled", "lost") or not self._there(worker):
                    raise GoneError from None
            patience_s *= 2  # a large result may take long to come

    def _there(self, worker: Worker) -> bool:
        return any(one.instance == worker.instance for one in self._roster.present())

    def _fetched(self, worker: Worker, file: Held) -> Held:
        """A copy here, under a temporary name."""
        copy = Held.beside(file.path)
        copy.partial.parent.mkdir(parents=True, exist_ok=True)
        try:
            with copy.partial.open("wb") as content:
                while chunk := self.call(worker, freight.chunk_of, file.partial, content.tell()):
                    content.write(chunk)
        except BaseException:
            copy.drop()
            raise
        return copy


def _release(file: Held) -> None:
    """Give a file that a worker wrote its name; it may take a shared disk a moment to show it."""
    for _ in range(_SHOWN):
        try:
            return file.release()
        except FileNotFoundError:
            time.sleep(_LOOK_S)
        except OSError as error:
            raise RestnetError(f"cannot write {file.path}: {error.strerror}") from None
    raise RestnetError(f"a worker wrote {file.path}, which is not to be seen here; is its disk shared? Or use --ship")
