"""How many instructions TensorFlow Lite Micro takes for one image, counted by valgrind on this host.

What is counted is a process that runs a file several times more, less its twin that runs it once: neither the start of
Python nor the reading of the file is in it, and a busy machine does not change it. Both are forks of one process, as
Python takes seconds to start in valgrind. The kernels are the wheel's, in C++ without any processor's own.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tflite_export.devices import tflm_wheel
from tflite_export.errors import TfliteError

_ARENA = 64 << 20  # enough for any run's files
_SECONDS = 1200
_COUNTER = ("valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null")
_COUNT = re.compile(r"I\s+refs:\s+([\d,]+)")
_MORE = 4  # two processes that do the same still differ by thousands of instructions
# What else decides how many instructions a process takes: the hashes of strings, and threads that wait for work.
_STEADY = {"PYTHONHASHSEED": "0", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
_SCRIPT = """
import os
import sys
import numpy as np
from tflite_micro.python.tflite_micro import runtime

def run(at, times):
    with open(f"{folder}/{at}.tflite", "rb") as file:
        interpreter = runtime.Interpreter.from_bytes(file.read(), arena_size=arena)
    with np.load(f"{folder}/{at}.npz") as arrays:
        values = [arrays[name] for name in sorted(arrays.files)]
    for _ in range(times):
        for number, value in enumerate(values):
            interpreter.set_input(value, number)
        interpreter.invoke()

arena, files, more, folder = *map(int, sys.argv[1:4]), sys.argv[4]
for at in range(files):
    for times in (1, 1 + more):
        if not (child := os.fork()):
            run(at, times)
            os._exit(0)
        if os.waitpid(child, 0)[1]:
            sys.exit(f"file {at} does not run")
"""


@dataclass(frozen=True)
class Counting:
    """A file on a raw image ``(h, w, c)`` of the file's own type, at a cascade's ``thresholds``."""

    content: bytes
    image: np.ndarray
    thresholds: Sequence[float] = ()


def missing() -> str:
    """What has to be installed before anything can be counted; empty where all is there."""
    if shutil.which(_COUNTER[0]) is None:
        return "no valgrind here: apt-get install valgrind"
    return "" if tflm_wheel.installed() else "no tflite_micro here: pip install -e '.[mcu]'"


def counted(runs: Sequence[Counting]) -> list[int]:
    """Instructions of each of some runs; raises TfliteError where a file does not run."""
    with tempfile.TemporaryDirectory() as folder:
        for at, run in enumerate(runs):
            (Path(folder) / f"{at}.tflite").write_bytes(run.content)
            settings = [np.array([value], np.float32) for value in run.thresholds]
            np.savez(Path(folder) / f"{at}.npz", *[run.image[None], *settings])
        counts = _counts(folder, len(runs))
    return [(often - once) // _MORE for once, often in zip(counts[::2], counts[1::2], strict=True)]


def _counts(folder: str, files: int) -> list[int]:
    """Of the two processes of each file, in their order."""
    command = [*_COUNTER, sys.executable, "-c", _SCRIPT, str(_ARENA), str(files), str(_MORE), folder]
    try:
        done = subprocess.run(
            command, capture_output=True, encoding="utf-8", timeout=_SECONDS, env=os.environ | _STEADY, check=False
        )
    except subprocess.TimeoutExpired:
        raise TfliteError(f"valgrind did not finish within {_SECONDS} s; count smaller networks") from None
    *counts, _ = [int(count.replace(",", "")) for count in _COUNT.findall(done.stderr)] or [0]  # and its own
    if done.returncode or len(counts) != 2 * files:
        lines = done.stderr.strip().splitlines() or ["it said nothing"]
        raise TfliteError(f"valgrind could not count: {lines[-1]}")
    return counts
