"""The workers of a cluster that may be used: of the same versions, seeing the same files; and why others may not."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from restnet_tf import atomic
from restnet_tf.progress import Reporter
from restnet_tf.records import RestnetError
from restnet_tf.work import faults, remote
from restnet_tf.work.faults import Worker

if TYPE_CHECKING:
    from distributed import Client

# What the bytes of a result depend on, and what has to be equal for two machines to speak with each other.
PACKAGES = ("restnet-tf", "tensorflow", "keras", "ai-edge-litert", "numpy", "distributed")
_HAS_BOKEH = "__import__('importlib.util').util.find_spec('bokeh') is not None"
THERE = "running"  # a client whose scheduler is
_ALIVE = ("running", "paused")


class Roster:
    """Knows each worker of a cluster; ``most``: so many of them are used.

    ``shared`` is a folder that they have to read and write, and ``inputs`` are files that they have to see; with
    ``ship`` they need not: ``sharing`` says which do (by instance).
    """

    def __init__(
        self,
        client: Client,
        address: str,
        most: int | None,
        shared: Path,
        inputs: Sequence[Path] = (),
        *,
        ship: bool = False,
    ) -> None:
        self.client, self.address, self.sharing = client, address, set[str]()
        self._most, self._shared, self._inputs, self._ship = most, shared, tuple(inputs), ship
        self.instances: set[str] = set()  # that are there by the last look, whether they may be used or not
        self.last: dict[str, Worker] = {}  # each as it was when it was last seen, by instance
        self._greeted: set[str] = set()  # instances
        self._aside: dict[str, str] = {}  # why, by instance
        self._mark = secrets.token_hex(8)
        self._probe: Path | None = None
        self._told_processors = False

    def look(self, report: Reporter) -> dict[str, Worker]:
        """Those that may be used by now, by address; tells of new ones that may not.

        Raises ``RestnetError`` where the scheduler is gone.
        """
        there = self.present()
        self.instances = {worker.instance for worker in there}
        self._greet([worker for worker in there if worker.instance not in self._greeted], report)
        usable = [one for one in there if one.instance in self._greeted and one.instance not in self._aside]
        return {worker.address: worker for worker in usable[: self._most]}

    def leave_out(self, worker: Worker, why: str, report: Reporter) -> None:
        """Give it nothing from now on."""
        self._aside[worker.instance] = why
        report.say(why)

    @property
    def reasons(self) -> list[str]:
        """Why workers that are or were there are left out."""
        return list(dict.fromkeys(self._aside.values()))

    def ask(self, function: Callable[..., Any], *arguments: Any, workers: Sequence[Worker]) -> dict[str, Any]:
        """What a function returns in workers, beside their tasks, by address; an exception where it raised one."""
        if not workers:
            return {}
        addresses = [worker.address for worker in workers]
        try:
            return dict(self.client.run(function, *arguments, workers=addresses, on_error="return"))
        except OSError:
            return {}

    def dashboard(self) -> str:
        """Where it is; "" where there is none."""
        try:
            there = self.client.run_on_scheduler(eval, _HAS_BOKEH)
        except Exception:  # a scheduler may refuse to run what it is sent
            there = True
        return self.client.dashboard_link if there else ""

    def close(self) -> None:
        """Leave no probe behind."""
        if self._probe is not None:
            for path in self._probe.parent.glob(f"{self._probe.name}*"):
                with suppress(OSError):
                    path.unlink()

    def present(self) -> list[Worker]:
        """All that are there, whether they may be used or not."""
        if self.client.status != THERE:
            raise faults.scheduler_gone(self.address)
        try:
            workers = self.client.sync(self.client.scheduler.identity, n_workers=-1)["workers"]
        except OSError:
            raise faults.scheduler_gone(self.address) from None
        there = [_worker(address, info) for address, info in sorted(workers.items()) if info["status"] in _ALIVE]
        self.last |= {worker.instance: worker for worker in there}
        return there

    def _greet(self, new: Sequence[Worker], report: Reporter) -> None:
        """Versions first: what differs in these may not even understand another question."""
        here, there = _versions(), self.ask(eval, remote.VERSIONS, {"names": PACKAGES}, workers=new)
        alike = []
        for worker in new:
            versions = there.get(worker.address)
            if not isinstance(versions, dict):
                continue  # it has gone
            self._greeted.add(worker.instance)
            if why := faults.other_versions(worker, versions, here):
                self.leave_out(worker, why, report)
            else:
                alike.append(worker)
        answers = self.ask(remote.hello, self._written_probe(), self._mark, self._inputs, workers=alike)
        for worker in alike:
            if why := self._strange(worker, answers.get(worker.address), report):
                self.leave_out(worker, why, report)
            elif worker.threads > 1:
                report.say(faults.many_threads(worker, self.address))

    def _strange(self, worker: Worker, answer: Any, report: Reporter) -> str:
        """Why a worker of the same versions may not be used, or ""."""
        if not isinstance(answer, remote.Hello) or answer.sources != remote.source_hash():
            return faults.other_sources(worker)
        here = remote.hello(self._written_probe(), self._mark, self._inputs)
        unseen = [p for p, own, size in zip(self._inputs, here.sizes, answer.sizes, strict=True) if own != size]
        if answer.reads and answer.writes and not unseen:
            self.sharing.add(worker.instance)
        elif not self._ship:
            writes = answer.reads and not unseen
            return faults.unseen(worker, unseen[0] if unseen else self._shared, writes=writes)
        if answer.processor != here.processor and not self._told_processors:
            self._told_processors = True
            report.say(faults.other_processor([worker]))
        return ""

    def _written_probe(self) -> Path:
        """A file in the shared folder, or the nearest that is there, for workers to read and to write beside."""
        if self._probe is None:
            _, there = atomic.room(self._shared.absolute())
            self._probe = there / f".probe-{self._mark}"
            try:
                self._probe.write_text(self._mark, encoding="utf-8")
            except OSError as error:
                raise RestnetError(f"cannot write to {there}: {error.strerror}; give another --out") from None
        return self._probe


def _worker(address: str, info: dict[str, Any]) -> Worker:
    return Worker(
        address=address,
        name=str(info["name"]),
        instance=f"{address} {info['local_directory']}",
        threads=info["nthreads"],
        limit=info["memory_limit"] or 0,
        memory=info["metrics"].get("memory", 0),
        paused=info["status"] == "paused",
        working=info["metrics"].get("task_counts", {}).get("executing", 0) > 0,
        nanny=info["nanny"] or "",
    )


def _versions() -> dict[str, str]:
    """Here, by the words that workers are asked with."""
    return dict(eval(remote.VERSIONS, {"names": PACKAGES}))
