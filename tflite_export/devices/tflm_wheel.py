"""Run files in TensorFlow Lite Micro itself, where its wheel is installed, in a process of its own: it may crash.

Its kernels are the reference ones and its arena is a 64-bit host's; a device's own may differ.
"""

from __future__ import annotations

import importlib.util
import io
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tflite_export.errors import TfliteError
from tflite_export.flatbuffer import Tensor, read
from tflite_export.integers import check_finite

_SECONDS = 600
# Reads a file, images and settings; answers with all outputs of each setting, and on descriptor 2 with what the arena
# holds.
_SCRIPT = """
import io, sys
import numpy as np
from tflite_micro.python.tflite_micro import runtime
arena, size, ends = map(int, sys.argv[1:4])
interpreter = runtime.Interpreter.from_bytes(sys.stdin.buffer.read(size), arena_size=arena)
with np.load(io.BytesIO(sys.stdin.buffer.read())) as arrays:
    images, settings = arrays["images"], [arrays[name] for name in sorted(arrays.files) if name != "images"]
outputs = []
for values in zip(*settings) if settings else [()]:
    for one in images:
        interpreter.set_input(one[None], 0)
        for number, value in enumerate(values, start=1):
            interpreter.set_input(value, number)
        interpreter.invoke()
        outputs.append([interpreter.get_output(number)[0].copy() for number in range(ends)])
interpreter.print_allocations()
np.savez(sys.stdout.buffer, *map(np.stack, zip(*outputs)))
"""
# Makes interpreters of a file in larger and smaller arenas, each in a process of its own: too small a one may end it.
_LEAST = """
import os, sys
from tflite_micro.python.tflite_micro import runtime
step = int(sys.argv[1])
def made(content, steps):
    if steps < 1:
        return False
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1] == 0
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    try:
        runtime.Interpreter.from_bytes(content, arena_size=step * steps)
    except BaseException:
        os._exit(1)
    os._exit(0)
def least(content, high):
    low, width, most = 0, 1, 2 * high + (64 << 20) // step
    while high < most and not made(content, high):
        low, high, width = high, high + width, 2 * width
    if high >= most:
        sys.exit("not even in %d bytes" % (step * most))
    low = low or high - 1
    while made(content, low):
        low, high, width = low - width, low, 2 * width
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if made(content, middle) else (middle, high)
    return high
for pair in sys.argv[2:]:
    size, guess = map(int, pair.split(":"))
    print(step * least(sys.stdin.buffer.read(size), guess))
"""
_STEP = 16  # bytes: the arena's ends are rounded to it


@dataclass(frozen=True)
class Ran:
    """Each output, raw, as ``(settings, n, ...)``, one setting where there is none to make; bytes of the arena."""

    outputs: tuple[np.ndarray, ...]
    head: int
    tail: int

    @property
    def scores(self) -> np.ndarray:
        """The first output, ``(settings, n, classes)``."""
        return self.outputs[0]


def installed() -> bool:
    """Whether the wheel is there (extra ``mcu``)."""
    return importlib.util.find_spec("tflite_micro") is not None


def run(content: bytes, inputs: np.ndarray, arena_size: int, settings: Sequence[np.ndarray] = ()) -> Ran:
    """Run a file on images ``(n, ...)`` of its own type, once for each setting of its further inputs.

    ``settings`` has an array ``(settings, ...)`` for each input behind the image: a router's choices ``(c, 1)``, the
    thresholds of a cascade.

    Raises TfliteError for inputs that are not finite, else one that says whether it ``cannot run it``, ``died of`` a
    signal or ``did not finish``; ``log`` is all that it printed.
    """
    check_finite(inputs, "TensorFlow Lite Micro")
    done = _ended(content, inputs, arena_size, settings)
    if done is None:
        raise TfliteError(f"TensorFlow Lite Micro did not finish within {_SECONDS} s")
    told = done.stderr.decode(errors="replace")
    if done.returncode < 0:
        why = f"died of {signal.Signals(-done.returncode).name} on it; {first_line(told)}".rstrip("; ")
        raise TfliteError(f"TensorFlow Lite Micro {why}", log=told)
    if done.returncode:
        raise TfliteError(f"TensorFlow Lite Micro cannot run it: {first_line(told)}", log=told)
    sizes = {part: int(size) for part, size in re.findall(r"Arena allocation (head|tail) (\d+)", told)}
    if sizes.keys() != {"head", "tail"}:
        raise TfliteError(f"TensorFlow Lite Micro did not say what its arena holds: {first_line(told)!r}", log=told)
    with np.load(io.BytesIO(done.stdout)) as arrays:
        outputs = tuple(arrays[name].reshape(-1, len(inputs), *arrays[name].shape[1:]) for name in arrays.files)
    return Ran(outputs, sizes["head"], sizes["tail"])


def fault(content: bytes, arena_size: int, settings: Sequence[np.ndarray] = ()) -> str:
    """Why TFLM cannot run a file once, on noise, in an arena of that many bytes; empty where it can.

    ``settings`` as in ``run``.
    """
    # Not zeros: on these some networks give all classes one number, on which TFLM's softmax aborts.
    image = noise(read(content).subgraphs[0].inputs[0], 1)
    done = _ended(content, image, arena_size, settings)
    if done is None:
        return f"it does not answer within {_SECONDS} seconds"
    if done.returncode < 0:
        return f"it ends by {signal.Signals(-done.returncode).name}"
    if done.returncode:
        return first_line(done.stderr.decode(errors="replace")) or f"it ends with exit code {done.returncode}"
    return ""


def least(content: bytes, guess: int) -> int:
    """Bytes of the smallest arena, a multiple of 16, in which TFLM makes an interpreter of a file.

    A ``guess`` near it makes the search short. Raises TfliteError where no arena will do.
    """
    return leasts([(content, guess)])[0]


def leasts(files: Sequence[tuple[bytes, int]]) -> list[int]:
    """The same of several files, each with a guess."""
    pairs = (f"{len(content)}:{max(1, -(-guess // _STEP))}" for content, guess in files)
    command, contents = [sys.executable, "-c", _LEAST, str(_STEP), *pairs], b"".join(content for content, _ in files)
    try:
        done = subprocess.run(command, input=contents, capture_output=True, timeout=_SECONDS)
    except subprocess.TimeoutExpired:
        raise TfliteError(f"TensorFlow Lite Micro's least arena was not found within {_SECONDS} s") from None
    if done.returncode:
        raise TfliteError(f"TensorFlow Lite Micro makes no interpreter of it: {_last(done.stderr)}")
    return [int(line) for line in done.stdout.split()]


def _last(told: bytes) -> str:
    return told.decode(errors="replace").strip().rpartition("\n")[2]


def noise(image: Tensor, count: int) -> np.ndarray:
    """Seeded images ``(count, h, w, c)`` as an input takes them, over all of its values or 0..255."""
    rng = np.random.default_rng(0)
    if image.type == "FLOAT32":
        return rng.uniform(0, 255, (count, *image.shape[1:])).astype(np.float32)
    room = np.iinfo(image.type.lower())
    low = max(int(room.min), 0) if image.type == "INT16" else int(room.min)  # a symmetric type has no use below 0
    return rng.integers(low, int(room.max) + 1, (count, *image.shape[1:])).astype(image.type.lower())


def first_line(told: str) -> str:
    """The line that says why a process failed: its library's own, before Python's traceback; else the last."""
    before, _, after = told.partition("Traceback")
    first, last = ([line.strip() for line in part.splitlines() if line.strip()] for part in (before, after))
    return first[0] if first else last[-1] if last else ""


def _ended(
    content: bytes, inputs: np.ndarray, arena_size: int, settings: Sequence[np.ndarray]
) -> subprocess.CompletedProcess[bytes] | None:
    """The process that ran a file; None where it took too long."""
    held = io.BytesIO()
    arrays: dict[str, Any] = {f"setting_{number}": values for number, values in enumerate(settings)}
    np.savez(held, images=inputs, **arrays)
    numbers = [arena_size, len(content), len(read(content).subgraphs[0].outputs)]
    command = [sys.executable, "-c", _SCRIPT, *map(str, numbers)]
    try:
        return subprocess.run(command, input=content + held.getvalue(), capture_output=True, timeout=_SECONDS)
    except subprocess.TimeoutExpired:
        return None
