"""Tasks on a Dask cluster: whatever a worker, the scheduler or the user does, nothing but what ran is lost."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from stages import Stages

from restnet_tf import atomic
from restnet_tf.progress import Crew, Silent
from restnet_tf.records import RestnetError, RestnetWarning
from restnet_tf.work import cluster, connection, tasks
from restnet_tf.work.cluster import Workers
from restnet_tf.work.connection import RunFiles
from restnet_tf.work.faults import Worker
from restnet_tf.work.roster import Roster
from restnet_tf.work.tasks import Task

dask = pytest.importorskip("dask", reason="no dask")
distributed = pytest.importorskip("distributed", reason="no distributed")
psutil = pytest.importorskip("psutil", reason="no psutil")
pytestmark = pytest.mark.slow
LIMIT = 500e6


def nothing() -> None:
    """In place of TensorFlow's start, which takes seconds."""


def written(given: tuple[Path, float], progress: tasks.Progress) -> int:
    """A stand-in for a fit: takes so many seconds, and leaves a file."""
    path, seconds = given
    (path.parent / f"at-{os.getpid()}").touch()
    time.sleep(seconds)
    atomic.write_bytes(path, path.name.encode())
    (path.parent / f"at-{os.getpid()}").unlink()
    return len(path.name)


def process(_: object, progress: tasks.Progress) -> tuple[int, str]:
    return os.getpid(), os.environ["TF_NUM_INTRAOP_THREADS"]


def refused(_: object, progress: tasks.Progress) -> None:
    raise RestnetError("there is no such image")


def warned(_: object, progress: tasks.Progress) -> None:
    warnings.warn("one image is black", RestnetWarning, stacklevel=2)


def slow_the_first_time(path: Path, progress: tasks.Progress) -> str:
    """Both write over a file; the one that is given up writes other content, for the test to know it by."""
    first = not (path.parent / "begun").exists()
    (path.parent / "begun").touch()
    time.sleep(4 if first else 0)
    atomic.write_bytes(path, b"late" if first else b"soon")
    return "done"


def large(_: object, progress: tasks.Progress) -> None:
    held = [bytearray(os.urandom(1024) * 1024 * 50) for _ in range(12)]
    time.sleep(30)
    del held


def full_on_one(path: Path, progress: tasks.Progress) -> int:
    """One worker's disk is full."""
    if distributed.get_worker().name == 0:
        Path("/dev/full").write_bytes(b"x")
    atomic.write_bytes(path, b"whole")
    return distributed.get_worker().name


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[distributed.LocalCluster]:
    """Two workers, with a limit of memory that Python alone is far from."""
    with (
        dask.config.set({"distributed.deploy.lost-worker-timeout": "1d"}),
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, memory_limit=LIMIT, dashboard_address=":0", silence_logs=100
        ) as place,
    ):
        yield place


@contextlib.contextmanager
def used(
    machines: distributed.LocalCluster, out: Path, report: Silent, patience_s: float = 60.0, **settings: float
) -> Iterator[Workers]:
    """As ``cluster.executor``, with settings of the test's."""
    with distributed.Client(machines, set_as_default=False) as client:
        workers = Workers(
            Roster(client, machines.scheduler_address, None, out), nothing, patience_s=patience_s, **settings
        )
        try:
            workers.wait(report)
            yield workers
        finally:
            workers.close()


class Heard(Stages):
    """Keeps who was at what, too."""

    def __init__(self) -> None:
        super().__init__()
        self.crews: list[Crew] = []

    def crew(self, crew: Crew) -> None:
        self.crews.append(crew)


def test_the_first_line_says_who_works_and_results_come_in_order(machines, tmp_path) -> None:
    report = Heard()
    (tmp_path / "run").mkdir()
    with connection.executor(machines.scheduler_address, None, RunFiles(tmp_path / "run"), report, nothing) as execute:
        assert "2 workers with 0.5 GB of memory each" in report.lines[0]
        assert "dashboard" in report.lines[0]
        work = [Task(f"write {n}", written, (tmp_path / "run" / f"{'x' * n}", 0.2 * (3 - n))) for n in (1, 2, 3)]
        assert list(execute(work, report)) == [1, 2, 3]
        assert report.stages == ["write 1", "write 2", "write 3"]
        full = next(crew for crew in report.crews if len(crew.running) == 2)
        assert (full.total, full.workers) == (3, 2)
        assert [one.title for one in full.running] == ["write 1", "write 2"]
        assert sorted(one.worker.split(" (tcp://")[0] for one in full.running) == ["worker 0", "worker 1"]
        assert all(LIMIT > one.bytes > 1e7 for one in full.running)
        there, here = execute([Task("one", process, 0), Task("two", process, 0, alone=True)], report)
        assert there[0] != os.getpid() == here[0]
        assert there[1] == "1"
        with pytest.raises(RestnetError, match="there is no such image"):
            list(execute([Task("look", refused, 0)], report))
        with pytest.warns(RestnetWarning, match="one image is black"):
            list(execute([Task("look", warned, 0)], report))
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["x", "xx", "xxx"]
    assert [path.name for path in tmp_path.iterdir()] == ["run"]  # and no probe


def test_ten_workers_killed_at_random_lose_nothing_but_what_ran(machines, tmp_path) -> None:
    report, stop, killed, rng = Silent(), threading.Event(), [], random.Random(0)

    def kill() -> None:
        """One in a fit, then the next one when at least one fit more is done."""
        while not stop.wait(rng.uniform(0.0, 0.4)) and len(killed) < 10:
            victims = sorted(tmp_path.glob("at-*"))
            if victims and len(list(tmp_path.glob("*.npz"))) >= len(killed):
                victim = rng.choice(victims)
                victim.unlink(missing_ok=True)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(victim.name.removeprefix("at-")), signal.SIGKILL)
                    killed.append(victim.name)

    killer = threading.Thread(target=kill)
    with used(machines, tmp_path, report) as execute:
        work = [Task(f"fitting {n}", written, (tmp_path / f"{n}.npz", 0.4)) for n in range(100, 130)]
        killer.start()
        results = list(execute(work, report))
        stop.set()
        killer.join()
    assert results == [7] * 30
    assert len(killed) == 10
    lost = [line for line in report.lines if "was lost while fitting 1" in line and "begun anew" in line]
    assert 8 <= len(lost) <= 10  # one may have been about to end
    assert {p.name: p.read_bytes() for p in tmp_path.glob("*.npz")} == {
        f"{n}.npz": f"{n}.npz".encode() for n in range(100, 130)
    }
    assert not list(tmp_path.glob("*.tmp*"))


def test_a_straggler_is_done_by_another_too_and_changes_nothing_when_it_ends(machines, tmp_path) -> None:
    report, path = Silent(), tmp_path / "stitch.npz"
    path.write_bytes(b"begun")
    with used(machines, tmp_path, report, least_slow_s=0.5) as execute:
        work = [Task("fitting A", slow_the_first_time, path), Task("fitting B", written, (tmp_path / "b", 0.1))]
        assert list(execute(work, report)) == ["done", 1]
        assert path.read_bytes() == b"soon"
        assert "fitting A has taken" in report.lines[-1]
        time.sleep(5)  # it has ended by now
        assert list(execute([Task("fitting C", written, (tmp_path / "c", 0.0))] * 3, report)) == [1] * 3
        assert path.read_bytes() == b"soon"
    assert not list(tmp_path.glob("*.tmp*"))


def test_what_takes_too_much_memory_is_said_with_the_limit(machines, tmp_path) -> None:
    report = Silent()
    with (
        used(machines, tmp_path, report) as execute,
        pytest.raises(RestnetError, match=r"fitting A takes more than 0.5 GB of memory, .* --memory-limit 1GB"),
    ):
        list(execute([Task("fitting A", large, 0)], report))
    assert "went over its limit, 0.5 GB of memory, while fitting A and was killed" in report.lines[-1]


def hold(share: float) -> None:
    """Beside all tasks, until the worker is started anew."""
    held.append(b"x" * int(share * LIMIT - psutil.Process().memory_info().rss))


held: list[bytes] = []


def test_workers_that_a_task_does_not_fit_are_left_out_where_others_have_more(machines, tmp_path) -> None:
    """Beside what is a process's own, Dask counts the libraries that it has mapped."""
    report = Silent()
    with used(machines, tmp_path, report) as execute:
        until(lambda: len(execute.wait(report)) == 2)
        both = execute.wait(report)
        large, small = both[0], replace(both[1], limit=int(1.2e9))
        execute.leave_room(1e9, report)
        assert execute._roomy(both, both, report) == both  # no worker has so much
        large = replace(large, limit=int(2e9))
        assert execute._roomy([large, small], [large, small], report) == [large]
    (line,) = report.lines
    assert line.startswith(f"{small} is left out: a task takes about 1.5 GB, and it has 1.2 GB of memory")


class Late(Roster):
    """Is told late, for once, of what has become of its workers."""

    earlier: list[Worker] | None = None

    def present(self) -> list[Worker]:
        there, self.earlier = self.earlier or super().present(), None
        return there


def test_what_waits_at_a_worker_that_was_paused_is_done_by_another(machines, tmp_path, monkeypatch) -> None:
    report = Silent()
    monkeypatch.setattr(cluster, "_PAUSED_S", 0.5)
    with distributed.Client(machines, set_as_default=False) as client:
        roster = Late(client, machines.scheduler_address, None, tmp_path)
        workers = Workers(roster, nothing)
        until(lambda: len(workers.wait(report)) == 2)
        earlier = roster.present()
        client.run(hold, 0.87, workers=[earlier[0].address])
        until(lambda: roster.present()[0].paused)
        roster.earlier = earlier
        work = [Task(f"fitting {n}", written, (tmp_path / f"{n}", 0.2)) for n in range(3)]
        assert list(workers(work, report)) == [1] * 3
        workers.close()
    (line,) = report.lines
    # On a busy machine it is known to be paused before what it holds is.
    held = next(held for held in ("0.4 GB", "most") if held in line)
    assert line == f"{earlier[0]} holds {held} of its 0.5 GB of memory and takes no task; it is started anew"


def test_a_full_disk_leaves_one_worker_out(machines, tmp_path) -> None:
    report = Silent()
    with used(machines, tmp_path, report) as execute:
        work = [Task(f"fitting {n}", full_on_one, tmp_path / f"{n}") for n in range(4)]

        def told() -> bool:  # on a busy machine the other worker may do all four
            assert list(execute(work, report)) == [1] * 4
            return any("disk is full" in line for line in report.lines)

        until(told)
    (line,) = [line for line in report.lines if "disk is full" in line]
    assert line.startswith("worker 0 (tcp://")
    assert "which another worker does" in line


@pytest.fixture
def started() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts ``dask scheduler`` or ``dask worker`` as a user does; killed behind the test, if they still run."""
    every: list[subprocess.Popen[bytes]] = []

    def start(
        *words: str, before: tuple[str, ...] = (), cwd: Path | None = None, **environment: str
    ) -> subprocess.Popen[bytes]:
        command = [*before, sys.executable, "-m", "dask", *words]
        places = {"PYTHONPATH": os.pathsep.join(sys.path)}
        settings = os.environ | places | environment
        every.append(subprocess.Popen(command, cwd=cwd, env=settings, stderr=subprocess.DEVNULL))
        return every[-1]

    yield start
    for one in every:
        one.kill()
        one.wait()


def free_port() -> int:
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        return int(place.getsockname()[1])


def until(what: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not what() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert what()


def test_a_worker_of_another_version_is_named_and_left_out(machines, started, tmp_path) -> None:
    facts = tmp_path / "older" / "restnet_tf-0.0.1.dist-info" / "METADATA"
    facts.parent.mkdir(parents=True)
    facts.write_text("Metadata-Version: 2.1\nName: restnet-tf\nVersion: 0.0.1\n")
    older = os.pathsep.join([str(tmp_path / "older"), *sys.path])
    address = machines.scheduler_address
    # Elsewhere: in a checkout that is installed, the version of this folder would come first.
    started(
        "worker",
        address,
        "--nthreads",
        "1",
        "--name",
        "old",
        "--no-nanny",
        "--no-dashboard",
        cwd=tmp_path,
        PYTHONPATH=older,
    )
    until(lambda: len(machines.scheduler.workers) == 3)
    report = Silent()
    with used(machines, tmp_path, report) as execute:
        work = [Task(f"fitting {n}", written, (tmp_path / f"{n}", 0.0)) for n in range(4)]

        def told() -> bool:  # a busy one may answer for the first time when the work is done
            assert list(execute(work, report)) == [1] * 4
            return any("left out" in line for line in report.lines)

        until(told)
    (line,) = [line for line in report.lines if "left out" in line]
    assert re.search(r"worker old \(tcp://.*\) is left out: restnet-tf 0\.0\.1 there, .* here", line)


def test_the_same_command_goes_on_when_the_scheduler_was_killed(started, tmp_path) -> None:
    port = free_port()
    address = f"tcp://127.0.0.1:{port}"

    def begin() -> list[subprocess.Popen[bytes]]:
        local = ("--local-directory", str(tmp_path / "scratch"))
        return [
            started("scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard"),
            started("worker", address, "--nthreads", "1", "--no-nanny", "--no-dashboard", *local),
        ]

    def build(seconds: float) -> list[int]:
        """Like a run: what is there is not done again."""
        left = [path for path in (tmp_path / name for name in "abc") if not path.exists()]
        with connection.executor(address, None, RunFiles(tmp_path), Silent(), nothing) as execute:
            return list(execute([Task(f"fitting {p.name}", written, (p, seconds)) for p in left], Silent()))

    scheduler, worker = begin()
    killer = threading.Thread(target=lambda: (until((tmp_path / "a").exists), time.sleep(0.2), scheduler.kill()))
    killer.start()
    with pytest.raises(RestnetError, match=rf"the scheduler at {address} is gone; start it .* the same command"):
        build(1.0)
    killer.join()
    assert [name for name in "abc" if (tmp_path / name).exists()] == ["a"]
    scheduler.wait()
    worker.kill()
    begin()
    assert build(0.0) == [1, 1]


INTERRUPTED = """
import sys, time
from pathlib import Path
from restnet_tf.progress import Crew, Silent
from restnet_tf.work import connection
from restnet_tf.work.tasks import Task
def nothing():
    pass
def slow(path, progress):
    path.touch()
    time.sleep(60)
if __name__ == "__main__":
    out = Path(sys.argv[1])
    try:
        with connection.executor("local", 1, connection.RunFiles(out), Silent(), nothing) as execute:
            list(execute([Task("fitting A", slow, out / "begun")], Silent()))
    except KeyboardInterrupt:
        print("stopped", flush=True)
"""


def test_control_c_ends_everything_at_once_and_quietly(tmp_path) -> None:
    script = tmp_path / "build.py"
    script.write_text(INTERRUPTED)
    build = subprocess.Popen(
        [sys.executable, script, tmp_path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )
    until((tmp_path / "begun").exists)
    began = time.monotonic()
    os.killpg(build.pid, signal.SIGINT)  # as a terminal does
    out, error = build.communicate(timeout=50)
    assert (out, error) == (b"stopped\n", b"")
    assert time.monotonic() - began < 40  # the task alone would take longer
    until(lambda: not alive(build.pid), 20)  # what was killed may still be about to end


def alive(group: int) -> list[str]:
    """Processes of a group that have not ended."""
    listed = subprocess.run(["ps", "-eo", "pgid=,stat=,args="], stdout=subprocess.PIPE, text=True, check=True).stdout
    lines = [line for line in listed.splitlines() if line.split()[0] == str(group)]
    return [line for line in lines if not line.split()[1].startswith("Z")]


def test_who_does_not_answer_is_said_with_what_would_help(tmp_path) -> None:
    address = f"tcp://127.0.0.1:{free_port()}"
    with (
        pytest.raises(RestnetError, match=rf"no scheduler answers at {address} .*--cluster local"),
        connection.executor(address, None, RunFiles(tmp_path), Silent(), nothing, connect_s=0.5),
    ):
        pass


def counted(given: tuple[Path, Path], progress: tasks.Progress) -> tuple[int, int, str]:
    """Reads what was sent, and leaves a file; a second one reads what the first left."""
    inputs, run = given
    (run / "stitches").mkdir(parents=True, exist_ok=True)
    earlier = len(list((run / "stitches").glob("*.npz")))
    atomic.write_bytes(run / "stitches" / f"{earlier}.npz", b"x" * 9_000_000)
    return (
        sum(len(path.read_bytes()) for path in sorted(inputs.rglob("*.png"))),
        earlier,
        os.readlink("/proc/self/ns/mnt"),
    )


def elsewhere(folder: Path) -> tuple[str, ...]:
    """What begins a command on a machine that has a folder of its own there; skips where that is not allowed."""
    words = ("unshare", "-rm", "sh", "-c", f'mount -t tmpfs none "{folder}" && exec "$@"', "sh")
    if shutil.which("unshare") is None or subprocess.run([*words, "true"], check=False, capture_output=True).returncode:
        pytest.skip("no mount namespace may be made here")
    return words


def test_files_travel_to_a_machine_that_shares_no_disk(machines, started, tmp_path) -> None:
    shared, run, inputs = tmp_path / "build", tmp_path / "build" / "run", tmp_path / "build" / "photos"
    for number in range(3):
        (inputs / f"{number}").mkdir(parents=True)
        (inputs / f"{number}" / "a.png").write_bytes(bytes([number]) * 5_000_000)
    (run / "anchors").mkdir(parents=True)
    away = elsewhere(shared)
    port = free_port()
    started("scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard")
    address = f"tcp://127.0.0.1:{port}"
    local = ("--nthreads", "1", "--no-nanny", "--no-dashboard", "--local-directory", str(tmp_path / "scratch"))
    started("worker", address, *local, before=away)
    work = [Task("fitting", counted, (inputs, run))]
    with (
        pytest.raises(RestnetError, match=rf"left out: it does not see {inputs}; .* --ship"),
        connection.executor(address, None, RunFiles(run, (inputs,)), Silent(), nothing),
    ):
        pass
    report = Silent()
    with connection.executor(address, None, RunFiles(run, (inputs,), ship=True), report, nothing) as execute:
        first = list(execute(work, report))
        second = list(execute(work, report))
    assert first[0][:2] == (15_000_000, 0)
    assert second[0][:2] == (15_000_000, 1)
    assert first[0][2] != os.readlink("/proc/self/ns/mnt")
    assert [path.stat().st_size for path in sorted((run / "stitches").glob("*"))] == [9_000_000] * 2


class Killer(Stages):
    """Kills, as kill -9 does, a process that has begun a fit."""

    def __init__(self, watched: subprocess.Popen[bytes]) -> None:
        super().__init__()
        self.watched, self.killed = watched, False

    def stage(self, title: str) -> None:
        super().stage(title)
        if title.startswith("fitting") and not self.killed:
            self.killed = True
            processes = psutil.Process(self.watched.pid).children(recursive=True)
            max(processes, key=lambda one: one.memory_info().rss).kill()  # the worker; the others watch over it


def test_a_build_on_machines_of_all_kinds_has_the_bytes_of_one_process(started, tmp_path) -> None:
    """Workers in another directory, one of them on a disk of its own, and one killed in a fit."""
    import networks
    import numpy as np

    from restnet_tf.commands import api

    given = tmp_path / "build"
    given.mkdir()
    for role, anchor in networks.pair(1)[0].items():
        anchor.model.save(given / f"{role}.keras")
    np.savez(given / "data.npz", x=networks.images(90), y=np.arange(90) % networks.CLASSES)
    quick = {"effort": 0.001, "max_points": 1, "precision": "float32", "fine_tune": "back", "anyway": True}
    inputs = {name: str(given / f"{name}.keras") for name in ("large", "small")}
    address, there = f"tcp://127.0.0.1:{free_port()}", tmp_path / "there"
    there.mkdir()
    started("scheduler", "--host", "127.0.0.1", "--port", address.rpartition(":")[2], "--no-dashboard", cwd=there)
    local = ("--nthreads", "1", "--no-dashboard", "--memory-limit", "3GB", "--local-directory", str(there))
    watched = started("worker", address, *local, cwd=there)
    started("worker", address, *local, cwd=there, before=elsewhere(given))
    report = Killer(watched)
    runs = [
        api.build(
            **inputs, **quick, controls=False, data=str(given / "data.npz"), out=given / name, report=report, **where
        ).path
        for name, where in (("cluster", {"cluster": address, "ship": True}), ("here", {"jobs": 1}))
    ]
    assert [line for line in report.lines if "was lost while fitting" in line]
    names = ("stitches/*", "objects/*", "tflite/*", "similarity.npz", "plans.json")
    one, other = (
        {p.relative_to(run): p.read_bytes() for pattern in names for p in sorted(run.glob(pattern))} for run in runs
    )
    assert len(one) == 7
    assert set(one) == set(other)
    assert [str(name) for name in one if one[name] != other[name]] == []
    figures = [
        [(p["name"], p["rank"], p["test"], p["macs"]) for p in json.loads((run / "points.json").read_text())["points"]]
        for run in runs
    ]
    assert figures[0] == figures[1]
