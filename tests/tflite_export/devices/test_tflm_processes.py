"""Files that run in forks of one worker: what a death costs, and that nothing runs on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import needs
import numpy as np
import pytest
from operators import file, operator, tensor, unary

from tflite_export.devices import tflm_processes, tflm_wheel, tflm_worker
from tflite_export.errors import TfliteError

pytestmark = [pytest.mark.slow, needs.MICRO.mark]
ARENA = 1 << 16
SHAPE = (1, 1, 1, 1)
GOOD = file(operator("RELU", [tensor(shape=SHAPE)], tensor(shape=SHAPE, name="y")))
IMAGE = np.ones(SHAPE, np.int8)
CLASSES = (1, 600)
# An int8 softmax over 512 equal classes aborts.
DEADLY = file(operator("SOFTMAX", [tensor(shape=CLASSES)], tensor(shape=CLASSES, name="y"), "SoftmaxOptions", beta=1.0))
ENDLESS = tflm_worker.packed(GOOD, ARENA, 1, np.ones((10_000_000, *SHAPE[1:]), np.int8), ())  # most of a minute


def score(image: np.ndarray = IMAGE) -> int:
    return int(tflm_wheel.run(GOOD, image, ARENA).scores.item())


def stats() -> dict[int, list[str]]:
    """State, parent, group and session of each process, as proc(5) has them behind its name."""
    texts = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            texts[int(path.parent.name)] = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has ended
    return texts


def of_session(session: int) -> set[int]:
    return {pid for pid, (state, _, _, its, *_) in stats().items() if int(its) == session and state not in "ZX"}


def children(parent: int) -> list[int]:
    return [pid for pid, (_, its, *_) in stats().items() if int(its) == parent]


def until(what: Callable[[], bool]) -> bool:
    end = time.monotonic() + 10
    while not what() and time.monotonic() < end:
        time.sleep(0.01)
    return what()


def test_a_death_costs_its_file_alone(capfd: pytest.CaptureFixture[str]):
    before = score()
    (worker,) = tflm_processes._idle()
    with pytest.raises(TfliteError, match="died of SIGABRT on it"):
        tflm_wheel.run(DEADLY, np.zeros(CLASSES, np.int8), ARENA)
    assert "GELU" in tflm_wheel.fault(unary("GELU"), ARENA)
    assert score() == before == 1
    assert tflm_processes._idle() == [worker]
    assert of_session(worker.pid) == {worker.pid}
    assert capfd.readouterr() == ("", "")


def test_a_worker_that_ended_meanwhile_is_no_fault_of_the_next_file():
    score()
    (worker,) = tflm_processes._idle()
    worker.kill()
    assert until(lambda: not of_session(worker.pid))
    assert score() == 1
    assert worker not in tflm_processes._idle()


def test_what_ends_the_worker_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    (tmp_path / "worker.py").write_text("raise ImportError('libstdc++ is too old')")
    monkeypatch.setattr(tflm_worker, "__file__", str(tmp_path / "worker.py"))
    monkeypatch.setattr(tflm_processes, "_idle", list)
    assert tflm_wheel.fault(GOOD, ARENA) == "ImportError: libstdc++ is too old"
    with pytest.raises(TfliteError, match=r"cannot run it: ImportError: libstdc\+\+ is too old"):
        score()


def test_what_takes_too_long_is_ended(monkeypatch: pytest.MonkeyPatch):
    score()
    (worker,) = tflm_processes._idle()
    assert tflm_processes.ending(ENDLESS, 0.2) is None
    assert of_session(worker.pid) == set()
    monkeypatch.setattr(tflm_wheel, "_SECONDS", 0)
    with pytest.raises(TfliteError, match="did not finish within 0 s"):
        score()
    with pytest.raises(TfliteError, match="least arena was not found within 0 s"):
        tflm_wheel.least(GOOD, ARENA)
    assert tflm_wheel.fault(GOOD, ARENA) == "it does not answer within 0 seconds"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_outlives_the_process_that_runs_files(number: signal.Signals, tmp_path: Path):
    job = tmp_path / "job"
    job.write_bytes(ENDLESS)
    script = (
        "import pathlib, signal, sys\n"
        "from tflite_export.devices import tflm_processes\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a shell in the background has it ignored
        "tflm_processes.ending(pathlib.Path(sys.argv[1]).read_bytes(), 600)"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(job)], stderr=subprocess.DEVNULL) as parent:
        assert until(lambda: any(children(worker) for worker in children(parent.pid)))
        (worker,) = children(parent.pid)
        assert len(of_session(worker)) == 2
        os.kill(parent.pid, number)
    assert parent.returncode == -number
    assert until(lambda: not of_session(worker))
