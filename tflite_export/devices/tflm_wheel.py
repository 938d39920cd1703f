"""Run files in TensorFlow Lite Micro itself, where its wheel is installed, each in a process of its own: it may crash.

Its kernels are the reference ones and its arena is a 64-bit host's; a device's own may differ.
"""

from __future__ import annotations

import importlib.util
import io
import re
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tflite_export.devices import tflm_processes, tflm_worker
from tflite_export.errors import TfliteError
from tflite_export.flatbuffer import Tensor, read
from tflite_export.integers import check_finite

_SECONDS = 600
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
    done = _ending(content, inputs, arena_size, settings)
    if done is None:
        raise TfliteError(f"TensorFlow Lite Micro did not finish within {_SECONDS} s")
    told = done.told
    if done.code < 0:
        why = f"died of {signal.Signals(-done.code).name} on it; {first_line(told)}".rstrip("; ")
        raise TfliteError(f"TensorFlow Lite Micro {why}", log=told)
    if done.code:
        raise TfliteError(f"TensorFlow Lite Micro cannot run it: {first_line(told)}", log=told)
    sizes = {part: int(size) for part, size in re.findall(r"Arena allocation (head|tail) (\d+)", told)}
    if sizes.keys() != {"head", "tail"}:
        raise TfliteError(f"TensorFlow Lite Micro did not say what its arena holds: {first_line(told)!r}", log=told)
    with np.load(io.BytesIO(done.outputs)) as arrays:
        outputs = tuple(arrays[name].reshape(-1, len(inputs), *arrays[name].shape[1:]) for name in arrays.files)
    return Ran(outputs, sizes["head"], sizes["tail"])


def fault(content: bytes, arena_size: int, settings: Sequence[np.ndarray] = ()) -> str:
    """Why TFLM cannot run a file once, on noise, in an arena of that many bytes; empty where it can.

    ``settings`` as in ``run``.
    """
    # Not zeros: on these some networks give all classes one number, on which TFLM's softmax aborts.
    image = noise(read(content).subgraphs[0].inputs[0], 1)
    done = _ending(content, image, arena_size, settings)
    if done is None:
        return f"it does not answer within {_SECONDS} seconds"
    return _why(done)


def _why(done: tflm_processes.Ending) -> str:
    """Why a process failed; empty where it did not."""
    if done.code < 0:
        return f"it ends by {signal.Signals(-done.code).name}"
    return (first_line(done.told) or f"it ends with exit code {done.code}") if done.code else ""


def least(content: bytes, guess: int) -> int:
    """Bytes of the smallest arena, a multiple of 16, in which TFLM makes an interpreter of a file.

    A ``guess`` near it makes the search short. Raises TfliteError where no arena will do.
    """
    late = time.monotonic() + _SECONDS
    high = max(1, -(-guess // _STEP))
    low, width, most = 0, 1, 2 * high + (64 << 20) // _STEP
    while refusal := _refusal(content, high, late):
        low, high, width = high, high + width, 2 * width
        if high >= most:
            told = f"not even in {_STEP * most} bytes; {refusal}"
            raise TfliteError(f"TensorFlow Lite Micro makes no interpreter of it: {told}")
    low = low or high - 1
    while low > 0 and not _refusal(content, low, late):
        low, high, width = low - width, low, 2 * width
    low = max(low, 0)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _refusal(content, middle, late) else (low, middle)
    return _STEP * high


def _refusal(content: bytes, steps: int, late: float) -> str:
    """Why no interpreter is made in an arena of so many steps, which is tried until ``late``; empty where one is."""
    job = tflm_worker.packed(content, _STEP * steps, 0, np.empty(0), ())
    done = tflm_processes.ending(job, max(0.0, late - time.monotonic()))
    if done is None:
        raise TfliteError(f"TensorFlow Lite Micro's least arena was not found within {_SECONDS} s")
    return _why(done)


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


def _ending(
    content: bytes, inputs: np.ndarray, arena_size: int, settings: Sequence[np.ndarray]
) -> tflm_processes.Ending | None:
    """How the process that ran a file ended; None where it took too long."""
    ends = len(read(content).subgraphs[0].outputs)
    return tflm_processes.ending(tflm_worker.packed(content, arena_size, ends, inputs, settings), _SECONDS)
