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

import numpy as np

from tflite_export.errors import TfliteError
from tflite_export.flatbuffer import Tensor, read
from tflite_export.integers import check_finite

_SECONDS = 600
# Reads a file and inputs; answers with the outputs for each choice, and on descriptor 2 with what the arena holds.
_SCRIPT = """
import io, sys
import numpy as np
from tflite_micro.python.tflite_micro import runtime
arena, *sizes = map(int, sys.argv[1:4])
content, inputs = (sys.stdin.buffer.read(size) for size in sizes)
interpreter = runtime.Interpreter.from_bytes(content, arena_size=arena)
outputs = []
for choice in sys.argv[4:] or [None]:
    for one in np.load(io.BytesIO(inputs)):
        interpreter.set_input(one[None], 0)
        if choice is not None:
            interpreter.set_input(np.array([choice], np.int32), 1)
        interpreter.invoke()
        outputs.append(interpreter.get_output(0)[0].copy())
interpreter.print_allocations()
np.save(sys.stdout.buffer, np.stack(outputs))
"""


@dataclass(frozen=True)
class Ran:
    """Raw scores ``(choices, n, ...)``, one choice where there is none to make; bytes of the arena."""

    scores: np.ndarray
    head: int
    tail: int

    @property
    def arena(self) -> int:
        """All that has to be given to the interpreter."""
        return self.head + self.tail


def installed() -> bool:
    """Whether the wheel is there (extra ``mcu``)."""
    return importlib.util.find_spec("tflite_micro") is not None


def run(content: bytes, inputs: np.ndarray, arena_size: int, choices: Sequence[int] = ()) -> Ran:
    """Run a file on inputs ``(n, ...)`` of its own type, once for each of a router's choices.

    Raises TfliteError for inputs that are not finite, else one that says whether it ``cannot run it``, ``died of`` a
    signal or ``did not finish``; ``log`` is all that it printed.
    """
    check_finite(inputs, "TensorFlow Lite Micro")
    done = _ended(content, inputs, arena_size, choices)
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
    outputs = np.load(io.BytesIO(done.stdout))
    return Ran(outputs.reshape(max(1, len(choices)), len(inputs), *outputs.shape[1:]), sizes["head"], sizes["tail"])


def fault(content: bytes, arena_size: int, choice: int | None = None) -> str:
    """Why TFLM cannot run a file once, on noise, in an arena of that many bytes; empty where it can.

    ``choice`` is a router's second input.
    """
    # Not zeros: on these some networks give all classes one number, on which TFLM's softmax aborts.
    image = noise(read(content).subgraphs[0].inputs[0], 1)
    done = _ended(content, image, arena_size, [] if choice is None else [choice])
    if done is None:
        return f"it does not answer within {_SECONDS} seconds"
    if done.returncode < 0:
        return f"it ends by {signal.Signals(-done.returncode).name}"
    if done.returncode:
        return first_line(done.stderr.decode(errors="replace")) or f"it ends with exit code {done.returncode}"
    return ""


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
    content: bytes, inputs: np.ndarray, arena_size: int, choices: Sequence[int]
) -> subprocess.CompletedProcess[bytes] | None:
    """The process that ran a file; None where it took too long."""
    held = io.BytesIO()
    np.save(held, inputs)
    numbers = [arena_size, len(content), len(held.getvalue()), *choices]
    command = [sys.executable, "-c", _SCRIPT, *map(str, numbers)]
    try:
        return subprocess.run(command, input=content + held.getvalue(), capture_output=True, timeout=_SECONDS)
    except subprocess.TimeoutExpired:
        return None
