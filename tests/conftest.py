"""How the tests run: threads, what is made once for all workers, and what a run says of itself at its end."""

from __future__ import annotations

import gc
import os
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import paths
import pytest
from filelock import FileLock
from hypothesis import HealthCheck, settings

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# The workers have the cores; tests that are about processes say how many.
os.environ.setdefault("RESTNET_TF_JOBS", "0")

# The machine may be busy: an example that takes long is no fault.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> paths.Once:
    """``once(name, fill)``: a folder that ``fill`` filled, in one of the workers, for the tests of all of them.

    It stays where it was filled, so that paths written into it hold; tests read it and change copies.
    """
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def made(name: str, fill: Callable[[Path], None]) -> Path:
        folder, whole = shared / name, shared / f"{name}.whole"
        with FileLock(shared / f"{name}.lock"):
            if not whole.exists():
                shutil.rmtree(folder, ignore_errors=True)  # of a worker that failed to fill it
                folder.mkdir()
                fill(folder)
                whole.touch()
        return folder

    return made


@pytest.fixture(scope="session")
def colours(once: paths.Once) -> Path:
    """A folder with three models that make good cascades, as Keras has them and as ``.tflite``, and ``data.npz``."""

    def fill(folder: Path) -> None:
        import colours  # and Keras

        colours.written(folder)

    return once("colours", fill)


@pytest.fixture(scope="session")
def _standing() -> Iterator[Any]:
    from standing import Standing  # and NumPy

    process = Standing()
    yield process
    process.end()


@pytest.fixture
def one_process(_standing: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What ``optimize`` trains, one process trains for all tests that ask for it."""
    from restnet_tf.commands import optimize

    monkeypatch.setattr(optimize, "_work", _standing.work)


# Files whose tests take longest, the longest first: begun last, one of them would leave the other workers idle.
_LONGEST = (
    "methods/snnet/test_snnet.py",
    "commands/test_build.py",
    "anchors/test_public.py",
    "anchors/test_vit.py",
    "anchors/test_training.py",
    "anchors/test_families.py",
    "commands/test_optimize.py",
    "test_notebooks.py",
    "methods/restnet/test_inside.py",
    "test_start.py",
    "family/test_cascades.py",
    "work/test_cluster.py",
    "anchors/test_head.py",
    "anchors/test_keras2.py",
    "commands/test_link.py",
    "work/test_tasks.py",
    "test_documents.py",
    "work/test_equal_bytes.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first; whole files, since their tests share fixtures."""
    places = {paths.ROOT / "tests" / name: place for place, name in enumerate(_LONGEST)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


_LEFT_OUT = pytest.StashKey[Counter[str]]()


def _share_threads() -> None:
    """Threads of a worker of several: together they have as many as there are cores.

    TensorFlow and OpenMP read it where they are loaded; processes that tests start have it too.
    """
    from restnet_tf.work import resources

    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    threads = max(1, len(os.sched_getaffinity(0)) // workers)
    for name in resources.THREADS:
        os.environ.setdefault(name, str(threads))


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_LEFT_OUT] = Counter()
    # What starts workers hands its environment on: they would keep its own share, all cores.
    if hasattr(config, "workerinput") or not config.getoption("tx", None):
        _share_threads()


def pytest_collectstart() -> None:
    """All that is made by collecting tests stays to the end: nothing of it is garbage."""
    gc.disable()


def pytest_collection_finish() -> None:
    """All modules and tests stay to the end: each full collection would else walk these half a million objects."""
    if "tensorflow" in sys.modules:
        import thrift

        thrift.all_at_once()
    gc.enable()
    gc.freeze()


def pytest_deselected(items: list[pytest.Item]) -> None:
    for item in items:
        item.config.stash[_LEFT_OUT][item.nodeid.partition("::")[0]] += 1


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker tells what it left out to the process that prints."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["left out"] = dict(session.config.stash[_LEFT_OUT])


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """All workers left out the same."""
    if left_out := getattr(node, "workeroutput", {}).get("left out"):
        node.config.stash[_LEFT_OUT] = Counter(left_out)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """What was not run: for want of something, or because nobody asked for it."""
    skipped = Counter(_reason(report) for report in terminalreporter.stats.get("skipped", []))
    for reason, count in skipped.most_common():
        terminalreporter.write_line(f"NOT RUN, {count:3d}: {reason}", yellow=True)
    left_out = config.stash[_LEFT_OUT]
    if left_out:
        files = ", ".join(f"{name.removeprefix('tests/')} {count}" for name, count in sorted(left_out.items()))
        terminalreporter.write_line(f"LEFT OUT, {left_out.total()} (make test runs them): {files}", yellow=True)


def _reason(report: Any) -> str:
    """A skipped test's, without the place in the source where it was skipped."""
    return report.longrepr[2].removeprefix("Skipped: ")
