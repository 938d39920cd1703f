"""A connection to a Dask cluster, or to one of this machine that lasts as long as a command."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from restnet_tf import atomic
from restnet_tf.progress import Reporter
from restnet_tf.work import faults, start
from restnet_tf.work.cluster import Workers
from restnet_tf.work.freight import Freight
from restnet_tf.work.processes import Processes
from restnet_tf.work.roster import THERE, Roster

if TYPE_CHECKING:
    from distributed import Client, LocalCluster

LOCAL = "local"
_CLOSE_S = 15.0
# Dask gives up a worker that is not there some seconds after a loss; it may just have been lost for a second time.
# Nobody reads its profiles.
_LOCAL_CONFIG = {"distributed.deploy.lost-worker-timeout": "1d", "distributed.worker.profile.enabled": False}
_SILENT = logging.CRITICAL + 1


@dataclass(frozen=True)
class RunFiles:
    """The folder of a run and what it reads, files or folders; ``ship``: they travel to machines that share no disk."""

    out: Path
    inputs: tuple[Path, ...] = ()
    ship: bool = False


@contextmanager
def executor(
    address: str,
    jobs: int | None,
    files: RunFiles,
    report: Reporter,
    prepare: Callable[[], None] = start.tensorflow,
    *,
    connect_s: float = 15.0,
) -> Iterator[Workers]:
    """Runs tasks on a cluster: ``local`` is one of this machine, of ``jobs`` workers, gone behind it.

    Elsewhere at most ``jobs`` workers are used. Raises ``RestnetError`` where there is no Dask, no scheduler or no
    worker.
    """
    with _quiet(), _client(address, jobs, connect_s) as client:
        roster = Roster(client, client.scheduler.address, jobs or None, files.out, files.inputs, ship=files.ship)
        workers = Workers(
            roster, prepare, Freight(files.out, files.inputs) if files.ship else None, lasting=address != LOCAL
        )
        try:
            report.say(faults.first_line(roster.address, workers.wait(report), roster.dashboard()))
            yield workers
        finally:
            workers.close()


@contextmanager
def _client(address: str, jobs: int | None, connect_s: float) -> Iterator[Client]:
    try:
        from distributed import Client
    except ImportError:
        raise faults.no_dask() from None
    with _local(jobs) if address == LOCAL else nullcontext(address) as place:
        try:
            client = Client(place, timeout=connect_s, set_as_default=False)
        except (OSError, ValueError, TimeoutError) as error:
            raise faults.no_scheduler(address, " ".join(str(error).split())[:200]) from None
        try:
            yield client
        finally:
            with suppress(TimeoutError, OSError):
                client.close(timeout=_CLOSE_S if client.status == THERE else 1)


@contextmanager
def _local(jobs: int | None) -> Iterator[LocalCluster]:
    """A cluster of this machine, which ends with the build."""
    import dask
    from distributed import LocalCluster

    count = jobs or Processes(None).jobs
    free = atomic.free_memory()
    with dask.config.set(_LOCAL_CONFIG):
        cluster = LocalCluster(
            n_workers=count,
            threads_per_worker=1,
            memory_limit=free // count if free else "auto",
            dashboard_address=":0",
            silence_logs=_SILENT,
        )
        try:
            yield cluster
        finally:
            cluster.close(timeout=_CLOSE_S)


@contextmanager
def _quiet() -> Iterator[None]:
    """What Dask logs of every lost worker is said in our words."""
    loggers = [logging.getLogger(name) for name in ("distributed", "tornado", "asyncio")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(_SILENT)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
