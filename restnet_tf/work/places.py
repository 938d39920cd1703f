"""Where the work of a command is done: in its process, in others of this machine, or on a cluster."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from restnet_tf.progress import Reporter
from restnet_tf.records import RestnetError
from restnet_tf.work import connection, processes, start
from restnet_tf.work.connection import RunFiles
from restnet_tf.work.processes import Processes
from restnet_tf.work.tasks import Executor


@dataclass(frozen=True)
class Cluster:
    """The address of a Dask scheduler, or ``local``; ``ship``: files travel to its machines."""

    address: str
    ship: bool = False

    @classmethod
    def of(cls, address: str | None, *, ship: bool) -> Cluster | None:
        """The one that was named, if any was; raises ``RestnetError`` for files that have nowhere to go."""
        if ship and not address:
            raise RestnetError("--ship sends files to the workers of a cluster; give its address by --cluster too")
        return cls(address, ship) if address else None


@contextmanager
def executor(
    jobs: int | None,
    machines: Cluster | None,
    out: Path,
    inputs: Sequence[Path],
    report: Reporter,
    *,
    keras: bool = True,
) -> Iterator[Executor]:
    """Runs tasks on a cluster (of at most ``jobs`` workers, unless that is 0 or None), else as ``processes`` does.

    ``out`` is the folder that a run is built in, ``inputs`` are files and folders that it reads; the report hears who
    works. Raises ``RestnetError`` where the cluster cannot be used.
    """
    prepare = start.tensorflow if keras else start.quietly
    if machines is None:
        with processes.executor(jobs, prepare, keras=keras) as execute:
            if isinstance(execute, Processes):
                report.say(execute.told)
            yield execute
    else:
        files = RunFiles(out, tuple(inputs), machines.ship)
        with connection.executor(machines.address, jobs, files, report, prepare) as workers:
            yield workers
