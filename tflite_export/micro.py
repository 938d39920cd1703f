"""Try a file in TensorFlow Lite Micro itself, where its wheel is installed, in a process of its own: it may crash."""

from __future__ import annotations

import importlib.util
import signal
import subprocess
import sys

_SECONDS = 600
# Noise as an image: on zeros some networks give all classes one number, on which TFLM's softmax aborts.
_SCRIPT = """
import sys
import numpy as np
from tflite_micro.python.tflite_micro import runtime
made = runtime.Interpreter.from_bytes(sys.stdin.buffer.read(), arena_size=int(sys.argv[1]))
entry = made.get_input_details(0)
kind = np.dtype(entry["dtype"])
noise = np.random.default_rng(0).random(entry["shape"])
low, high = (0, 255) if kind.kind == "f" else (np.iinfo(kind).min, np.iinfo(kind).max)
made.set_input((low + (high - low) * noise).astype(kind), 0)
for choice in sys.argv[2:]:
    made.set_input(np.array([choice], np.int32), 1)
made.invoke()
made.get_output(0)
"""


def installed() -> bool:
    """Whether the wheel is there (extra ``mcu``)."""
    return importlib.util.find_spec("tflite_micro") is not None


def fault(content: bytes, arena_size: int, choice: int | None = None) -> str:
    """Why TFLM cannot run a file once, on noise, in an arena of that many bytes; empty where it can.

    ``choice`` is a router's second input. With the reference kernels of a 64-bit host; a device's own may differ.
    """
    command = [sys.executable, "-c", _SCRIPT, str(arena_size), *([] if choice is None else [str(choice)])]
    try:
        done = subprocess.run(command, input=content, capture_output=True, timeout=_SECONDS)
    except subprocess.TimeoutExpired:
        return f"it does not answer within {_SECONDS} seconds"
    if done.returncode < 0:
        return f"it ends by {signal.Signals(-done.returncode).name}"
    if done.returncode:
        lines = [line.strip() for line in done.stderr.decode(errors="replace").splitlines() if line.strip()]
        return lines[0] if lines else f"it ends with exit code {done.returncode}"
    return ""
