"""Where the work of a command is done: in its process, in others of this machine, or on a cluster."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from restnet_tf.progress import Reporter
from restnet_tf.work import cluster, processes, start
from restnet_tf.work.processes import Processes
from restnet_tf.work.tasks import Executor


@dataclass(frozen=True)
class Cluster:
    """The address of a Dask scheduler, or ``local``."""

    address: str


@contextmanager
def executor(
    jobs: int | None, machines: Cluster | None, out: Path, report: Reporter, *, keras: bool = True
) -> Iterator[Executor]:
    """Runs tasks on a cluster (of at most ``jobs`` workers, unless that is 0 or None), else as ``processes`` does.

    ``out`` is the folder that a run is built in; the report hears who works. Raises ``RestnetError`` where the cluster
    cannot be used.
    """
    prepare = start.tensorflow if keras else start.quietly
    if machines is None:
        with processes.executor(jobs, prepare, keras=keras) as execute:
            if isinstance(execute, Processes):
                report.say(execute.told)
            yield execute
    else:
        with cluster.executor(machines.address, jobs, out, report, prepare) as workers:
            yield workers
