"""How many instructions TensorFlow Lite Micro takes for one image, counted by valgrind on this host.

What is counted is a process that runs one of the files twice less one that runs each of them once: neither the start
of Python nor the reading of files is in it, and a busy machine does not change it. The kernels are the wheel's, in C++
without any processor's own.
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
# What else decides how many instructions a process takes: the hashes of strings, and threads that wait for work.
_STEADY = {"PYTHONHASHSEED": "0", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
_SCRIPT = """
import sys
import numpy as np
from tflite_micro.python.tflite_micro import runtime
arena, files, twice, folder = *map(int, sys.argv[1:4]), sys.argv[4]
for at in range(files):
    with open(f"{folder}/{at}.tflite", "rb") as file:
        interpreter = runtime.Interpreter.from_bytes(file.read(), arena_size=arena)
    with np.load(f"{folder}/{at}.npz") as arrays:
        values = [arrays[name] for name in sorted(arrays.files)]
    for _ in range(2 if at == twice else 1):
        for number, value in enumerate(values):
            interpreter.set_input(value, number)
        interpreter.invoke()
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
        once, *twice = (_count(folder, len(runs), at) for at in range(-1, len(runs)))
    return [count - once for count in twice]


def _count(folder: str, files: int, twice: int) -> int:
    command = [*_COUNTER, sys.executable, "-c", _SCRIPT, str(_ARENA), str(files), str(twice), folder]
    try:
        done = subprocess.run(
            command, capture_output=True, encoding="utf-8", timeout=_SECONDS, env=os.environ | _STEADY, check=False
        )
    except subprocess.TimeoutExpired:
        raise TfliteError(f"valgrind did not finish within {_SECONDS} s; count smaller networks") from None
    count = _COUNT.search(done.stderr)
    if done.returncode or count is None:
        lines = done.stderr.strip().splitlines() or ["it said nothing"]
        raise TfliteError(f"valgrind could not count: {lines[-1]}")
    return int(count[1].replace(",", ""))
