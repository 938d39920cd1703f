"""Tasks in processes: in order, whatever a process meets; and nothing is left behind."""

from __future__ import annotations

import ast
import multiprocessing
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from multiprocessing import synchronize
from pathlib import Path

import paths
import pytest
from stages import Stages

from restnet_tf.progress import Silent
from restnet_tf.records import RestnetError, RestnetWarning
from restnet_tf.work import preload, processes, tasks
from restnet_tf.work.board import Board
from restnet_tf.work.processes import Processes
from restnet_tf.work.tasks import Task
from restnet_tf.work.times import Ledger


def squared(number: int, progress: tasks.Progress) -> int:
    """The later, the sooner done."""
    time.sleep(0.1 * (4 - number))
    return number * number


def process(_: object, progress: tasks.Progress) -> tuple[int, str]:
    return os.getpid(), os.environ["TF_NUM_INTRAOP_THREADS"]


def slow(_: object, progress: tasks.Progress) -> None:
    """Longer than a person waits for a word."""
    time.sleep(3 * processes._TICK_S)


def refused(_: object, progress: tasks.Progress) -> None:
    raise RestnetError("there is no such image")


def warned(_: object, progress: tasks.Progress) -> None:
    warnings.warn("one image is black", RestnetWarning, stacklevel=2)


def stubborn(path: Path, progress: tasks.Progress) -> None:
    """Ends by nothing but SIGKILL."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    path.write_text(str(os.getpid()))
    time.sleep(60)


def refused_beside(paths: tuple[Path, ...], progress: tasks.Progress) -> None:
    while not all(path.exists() and path.read_text() for path in paths):
        time.sleep(0.05)
    raise RestnetError("there is no such image")


def killed(path: Path, progress: tasks.Progress) -> str:
    """Kills its process until there have been as many tries as the file allows."""
    tries = int(path.read_text()) - 1
    path.write_text(str(tries))
    if tries >= 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return "done"


def nothing() -> None:
    """In place of TensorFlow's start, which takes seconds."""


@pytest.fixture(scope="module")
def pair():
    with processes.executor(2, nothing) as execute:
        yield execute


def test_results_come_in_the_order_of_the_tasks_and_every_title_is_told(pair):
    report = Stages()
    assert list(pair([Task(f"square {n}", squared, n) for n in (1, 2, 3)], report)) == [1, 4, 9]
    assert report.stages == ["square 1", "square 2", "square 3"]


def test_work_is_done_elsewhere_by_one_thread_but_what_takes_all_cores(pair):
    there, here = pair([Task("one", process, 0), Task("two", process, 0, alone=True)], Silent())
    assert there[0] != os.getpid() == here[0]
    assert there[1] == "1"


def test_it_is_told_who_is_at_what(pair):
    crews = []

    class Heard(Silent):
        def crew(self, crew):
            crews.append(crew)

    ledger = Ledger(Heard())
    list(ledger.around(pair)([Task(f"nap {n}", slow, n) for n in (1, 2, 3)], ledger))
    assert {(crew.done, crew.total) for crew in crews} <= {(done, 3) for done in range(3)}
    full = next(crew for crew in crews if len(crew.running) == 2)
    assert {one.title for one in full.running} <= {"nap 1", "nap 2", "nap 3"}
    assert {one.worker for one in full.running} == {"process 1", "process 2"}
    assert full.workers == 2
    assert full.running[0].seconds >= full.running[1].seconds >= 0
    assert all(one.bytes > 1e6 for one in full.running)
    assert len({task.worker for task in ledger.times.tasks}) == 2  # timed where they ran


def test_a_killed_process_is_at_nothing_any_more(tmp_path):
    board = Board()
    (board.folder / "1").write_text("0")
    assert [one.title for one in board.crew(["nap"], [0], [1]).running] == ["nap"]
    assert board.crew(["nap"], [0], [2]).running == ()
    board.clear()
    assert not board.folder.exists()
    with processes.board.at(board.folder, 0):
        pass  # nothing is told, and nothing is hindered


def test_errors_and_warnings_arrive(pair):
    with pytest.raises(RestnetError, match="there is no such image"):
        list(pair([Task("look", refused, 0)], Silent()))
    with pytest.warns(RestnetWarning, match="one image is black"):
        list(pair([Task("look", warned, 0)], Silent()))


def test_every_process_ends_with_the_first_error(tmp_path):
    """Those that were begun for later tasks too."""
    paths = tmp_path / "one", tmp_path / "other"
    work = [Task("refused", refused_beside, paths), *(Task("stubborn", stubborn, path) for path in paths)]
    with pytest.raises(RestnetError, match="no such image"), processes.executor(3, nothing) as execute:
        tasks.finish(execute, work, Silent())
    left, deadline = {int(path.read_text()) for path in paths}, time.monotonic() + 10
    while left & {child.pid for child in multiprocessing.active_children()} and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left & {child.pid for child in multiprocessing.active_children()}


def test_what_was_killed_is_begun_anew(pair, tmp_path):
    left, report = tmp_path / "left", Silent()
    left.write_text("1")
    assert list(pair([Task("square", squared, 3), Task("fitting L1-S0", killed, left)], report)) == [9, "done"]
    assert report.lines == [line for line in report.lines if "fitting L1-S0" in line and "is begun anew" in line] != []


def test_what_is_always_killed_is_said_with_what_takes_less(pair, tmp_path):
    left = tmp_path / "left"
    left.write_text("99")
    with pytest.raises(RestnetError, match=r"killed 3 times while fitting L1-S0: .* --jobs 1, it goes on"):
        list(pair([Task("fitting L1-S0", killed, left)], Silent()))


BUILD = """
import os
from restnet_tf.progress import Silent
from restnet_tf.work import processes
from restnet_tf.work.tasks import Task
from restnet_tf.work.times import Ledger
def nothing():
    pass
def process(_, progress):
    return os.getpid()
if __name__ == "__main__":
    with processes.executor(1, nothing) as execute:
        print(next(execute([Task("one", process, 0)], Silent())), flush=True)
        {last}
"""


@pytest.mark.parametrize("last", ["pass", "import signal; os.kill(os.getpid(), signal.SIGKILL)"])
def test_no_process_is_left_by_a_build_that_ends_or_is_killed(tmp_path, last):
    script = tmp_path / "build.py"
    script.write_text(BUILD.format(last=last))
    child = int(subprocess.run([sys.executable, script], stdout=subprocess.PIPE, text=True, check=False).stdout)
    until = time.monotonic() + 60
    while _alive(child) and time.monotonic() < until:
        time.sleep(0.1)
    assert not _alive(child)


FORKED = """
import os, signal, sys, time
from pathlib import Path
from restnet_tf.progress import Silent
from restnet_tf.work import processes
from restnet_tf.work.tasks import Task
HERE = Path(__file__).parent
def seen(_, progress):
    folder = f"/proc/{os.getppid()}"
    there = Path(folder, "status").read_text().split("Threads:")[1].split()[0]
    said = [os.environ.get(name) for name in ("SAID", "GONE", "OMP_NUM_THREADS")]
    return os.getpid(), os.getppid(), there, *said
def killed(_, progress):
    if not (HERE / "tried").exists():
        (HERE / "tried").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return "done"
def orphaned(_, progress):
    if not (HERE / "orphan").exists():
        (HERE / "orphan").write_text(str(os.getpid()))
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(60)
    return "done"
def slow(_, progress):
    print("slow", flush=True)
    time.sleep(60)
def main():
    report = Silent()
    os.environ["GONE"] = "then"
    with processes.executor(2) as execute:
        print([*execute([Task("one", seen, n) for n in range(2)], report)][0])
    os.environ["SAID"] = "now"
    del os.environ["GONE"]
    with processes.executor(2) as execute:
        print(next(execute([Task("one", seen, 0)], report)))
        print(*execute([Task("two", killed, n) for n in range(3)], report), flush=True)
        print(len(report.lines), (HERE / "imported").read_text().count("once"), flush=True)
        {last}
if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        print("interrupted")
"""
ENDS = {
    "ended": "pass",
    "killed": "os.kill(os.getpid(), signal.SIGKILL)",
    "orphaned": "print(next(execute([Task('four', orphaned, 0)], report)), len(report.lines))",
    "interrupted": "[*execute([Task('three', slow, 0)], report)]",
}


@pytest.mark.skipif(sys.platform != "linux", reason="no fork server")
@pytest.mark.parametrize("end", ENDS)
def test_processes_are_forks_of_one_that_has_tensorflow(tmp_path, end):
    """Of one thread, which a fork survives; whatever ends the build ends all of them, and nothing is said of it."""
    (tmp_path / "tensorflow.py").write_text(f"open({str(tmp_path / 'imported')!r}, 'a').write('once ')")
    (tmp_path / "build.py").write_text(FORKED.replace("{last}", ENDS[end]))
    search = {"PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    with subprocess.Popen(
        [sys.executable, tmp_path / "build.py"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **search, "OMP_NUM_THREADS": "7"},
        cwd=paths.ROOT,
        start_new_session=True,
    ) as build:
        lines = [build.stdout.readline() for _ in range(4)]
        if end == "interrupted":
            assert build.stdout.readline() == "slow\n"
            os.killpg(build.pid, signal.SIGINT)
        rest, error = build.communicate(timeout=60)
    first, later = map(ast.literal_eval, lines[:2])
    assert first[1] == later[1] != build.pid  # one process is forked all along
    assert first[2:] == ("1", None, "then", "1")
    assert later[2:] == ("1", "now", None, "1")
    assert lines[2:] == ["done done done\n", "1 1\n"]
    assert rest == {"interrupted": "interrupted\n", "orphaned": "done 2\n"}.get(end, "")
    assert end == "killed" or error == ""  # Python tells of semaphores that a killed process left
    left = [*later[:2], *(int(path.read_text()) for path in tmp_path.glob("orphan"))]
    until = time.monotonic() + 60
    while any(map(_alive, left)) and time.monotonic() < until:
        time.sleep(0.1)
    assert not any(map(_alive, left))


def test_a_fork_that_begins_as_its_build_ends_says_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is given semaphores by their names, which are gone with the build."""

    def said(begin: Callable[[], object]) -> str:
        with pytest.raises(FileNotFoundError) as caught:
            begin()
        preload.tell(caught.type, caught.value, caught.tb)
        return capsys.readouterr().err

    lock = synchronize.Lock.__new__(synchronize.Lock)
    assert said(lambda: lock.__setstate__((0, 1, 1, f"/gone-{os.getpid()}"))) == ""
    assert "FileNotFoundError" in said((tmp_path / "main.py").read_text)


def _alive(number: int) -> bool:
    """Whether a process runs, and is not only waiting to be told of."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(number)], stdout=subprocess.PIPE, text=True, check=False)
    return bool(state.stdout.strip()) and not state.stdout.startswith("Z")


def test_large_tasks_get_fewer_processes_unless_the_user_says_how_many():
    usual, chosen, report = Processes(None), Processes(3), Silent()
    for bytes_each in (1e3, 1e15):
        for one in (usual, chosen):
            one.leave_room(bytes_each, report)
    assert (usual.jobs, chosen.jobs) == (1, 3)
    assert report.lines == [
        "3 processes of about 1000000.0 GB each may not fit into the memory that is free; --jobs 1 takes less"
    ]
    assert usual.told.startswith("one process of one thread does the work")
    assert chosen.told.startswith("3 processes of one thread each share the work")
