"""What is said of a cluster and its faults: which worker, what limit, what to do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from restnet_tf import atomic
from restnet_tf.records import RestnetError

_AGAIN = "run the same command, which goes on where it stopped"


@dataclass(frozen=True)
class Worker:
    """A worker of a cluster as its scheduler tells of it; bytes, and no limit of them where there is none."""

    address: str
    name: str
    instance: str  # another one for each process that it is
    threads: int
    limit: int
    memory: int
    paused: bool
    working: bool  # a task runs in it, as far as is known
    nanny: str  # what would start it anew; empty without

    def __str__(self) -> str:
        """As messages call it."""
        return f"worker {self.address}" if self.name == self.address else f"worker {self.name} ({self.address})"


def spoken_limit(worker: Worker) -> str:
    """How much memory it may take."""
    return f"{atomic.spoken(worker.limit)} of memory" if worker.limit else "no limit of memory"


def first_line(address: str, workers: Sequence[Worker], dashboard: str) -> str:
    """How many workers, their memory, and where to watch them."""
    limits = sorted({worker.limit for worker in workers})
    memory = " to ".join(dict.fromkeys(atomic.spoken(limits[at]) for at in (0, -1))) if limits and limits[0] else ""
    count = f"{len(workers)} worker{'s' * (len(workers) != 1)}"
    each = f" with {memory} of memory each" if memory else ""
    watch = f"dashboard {dashboard}" if dashboard else "no dashboard (its scheduler lacks bokeh)"
    return f"cluster {address}: {count}{each}, {watch}"


def no_dask() -> RestnetError:
    """Neither of its packages is here."""
    return RestnetError("--cluster needs Dask: pip install 'restnet-tf[cluster]'")


def no_scheduler(address: str, why: str) -> RestnetError:
    """Nobody answers."""
    return RestnetError(
        f"no scheduler answers at {address} ({why}); start one there (dask scheduler), or use --cluster local, which"
        " needs none"
    )


def scheduler_gone(address: str) -> RestnetError:
    """It was there."""
    return RestnetError(f"the scheduler at {address} is gone; start it and its workers again and {_AGAIN}")


def no_worker(address: str, seconds: float, aside: Sequence[str]) -> RestnetError:
    """None that can be used: ``aside`` says why others are not."""
    if aside:
        return RestnetError(f"no worker of {address} can be used: {'; '.join(aside)}")
    return RestnetError(
        f"no worker has come to {address} within {seconds:.0f} s; start some (dask worker {address} --nthreads 1) and"
        f" {_AGAIN}"
    )


def waiting(address: str) -> str:
    """No worker is there, for now."""
    return f"no worker at {address}; waiting for one (dask worker {address} --nthreads 1)"


def other_versions(worker: Worker, there: Mapping[str, str], here: Mapping[str, str]) -> str:
    """What differs, or "" where nothing does."""
    differ = [
        f"{name} {there[name]} there, {here[name]} here" if name in there else f"no {name} there, {here[name]} here"
        for name in here
        if there.get(name) != here[name]
    ]
    if not differ:
        return ""
    return f"{worker} is left out: {', '.join(differ)}; install the same there and start it again"


def other_sources(worker: Worker) -> str:
    """Of one version, and not of one state."""
    return (
        f"{worker} is left out: its restnet-tf has the same version but other sources; install the same there and start"
        " it again"
    )


def other_processor(workers: Iterable[Worker]) -> str:
    """Where bytes may differ."""
    names = ", ".join(map(str, workers))
    return f"{names}: another kind of processor than here, which may round sums otherwise"


def many_threads(worker: Worker, address: str) -> str:
    """Its other threads are no use."""
    return (
        f"{worker} has {worker.threads} threads and does one task at a time; to use all of them start"
        f" dask worker {address} --nthreads 1 --nworkers {worker.threads}"
    )


def unseen(worker: Worker, path: object, writes: bool) -> str:
    """A worker lacks what the others share."""
    what = "cannot write to" if writes else "does not see"
    return (
        f"{worker} is left out: it {what} {path}; put the run (--out), models and data on a disk that all machines"
        " share under the same path, or use --ship, which sends them"
    )


def occupied(worker: Worker) -> str:
    """Somebody else's TensorFlow."""
    return f"{worker} is left out: TensorFlow was begun in it for something else, with other threads; start it again"


def lost(worker: Worker, title: str) -> str:
    """It was killed, or its machine went away."""
    return f"{worker} was lost while {title}; that is begun anew"


def lost_often(worker: Worker, title: str, times: int) -> RestnetError:
    """Whatever runs it is lost."""
    return RestnetError(
        f"{times} workers were lost while {title}, the last was {worker} with {spoken_limit(worker)}"
        f" ({atomic.spoken(worker.memory)} when it was last seen); look into its log, give workers more memory, and"
        f" {_AGAIN}"
    )


def over_memory(worker: Worker, title: str, elsewhere: bool) -> str:
    """Dask killed it."""
    then = "that is begun anew on a worker with more" if elsewhere else "that is tried once more"
    return f"{worker} went over its limit, {spoken_limit(worker)}, while {title} and was killed; {then}"


def over_memory_again(worker: Worker, title: str) -> RestnetError:
    """And there is none with more."""
    more = f"{max(1, round(2 * worker.limit / 1e9))}GB"
    return RestnetError(
        f"{title} takes more than {spoken_limit(worker)}, the limit of {worker}, and no worker has more; start workers"
        f" with more (dask worker ... --memory-limit {more}, or --cluster local with fewer --jobs) and {_AGAIN}"
    )


def full_disk(worker: Worker, title: str, folder: str, free: int) -> str:
    """It has no room."""
    return (
        f"{worker} is left out: its disk is full ({atomic.spoken(free)} free at {folder}) while {title}, which another"
        " worker does; free some and start it again"
    )


def paused(worker: Worker) -> str:
    """Dask gives it nothing, by what memory earlier tasks left it with."""
    return f"{worker} holds {_held(worker)} and takes no task; it is started anew"


def paused_for_good(worker: Worker) -> str:
    """Nobody can start it anew."""
    return f"{worker} is left out: it holds {_held(worker)} and takes no task; start it again, with a nanny"


def _held(worker: Worker) -> str:
    """Of its memory, while it is paused for that; what it said last may be from before."""
    held = atomic.spoken(worker.memory) if worker.memory > worker.limit / 2 else "most"
    return f"{held} of its {atomic.spoken(worker.limit)} of memory"


def copied(title: str, worker: Worker, other: Worker, seconds: float) -> str:
    """A straggler."""
    return f"{title} has taken {seconds:.0f} s on {worker}, longer than is usual; {other} does it too"


def too_small(worker: Worker, size: float) -> str:
    """Of workers that a task would not fit."""
    return f"{worker} is left out: a task takes about {atomic.spoken(size)}, and it has {spoken_limit(worker)}"


def foreign(worker: Worker, path: object) -> str:
    """--ship overwrites nothing."""
    return f"{worker} is left out: it has another {path}, which was not sent there; move it away, or give another --out"


def no_room(worker: Worker, size: int) -> str:
    """For what is sent."""
    return (
        f"{worker} is left out: its disk has no room for {atomic.spoken(size)} of files; free some and start it again"
    )


def no_folder(worker: Worker, path: object) -> str:
    """Files lie under the same paths there."""
    return (
        f"{worker} is left out: it may not write {path}, where files lie here; put models, data and --out into a folder"
        " that it may make too, such as /tmp/run"
    )
