"""Run files by TensorFlow Lite Micro on this host: the arena they take, and whether they answer as in LiteRT.

The tail of the arena is a 64-bit host's: on a 32-bit microcontroller its records are smaller.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from benchmarks import tflm_worker
from benchmarks.records import BenchError
from benchmarks.subjects import Findings, Options, Subject, is_weight_only, opened, smooth_images, tried
from tflite_export import memory
from tflite_export.flatbuffer import Tensor, only
from tflite_export.integers import quantise
from tflite_export.lowering import LOWERED

_DEVICE = "tflm"
_IMAGES = 4
_SPARE = 8 << 20  # bytes beyond the planned head, for the interpreter's own records
_TIMEOUT = 600  # seconds
# Of the whole range of an integer output: the two round differently at FULLY_CONNECTED, which a softmax widens.
_TOLERANCE = 1 / 16
_FLOAT_TOLERANCE = 1e-4  # of the largest output
_TYPES = {"FLOAT32": "f4", "INT8": "i1", "UINT8": "u1", "INT16": "i2"}
_WORKERS = {"micro": "TensorFlow Lite Micro", "reference": "LiteRT with its reference kernels"}
_ALLOCATION = re.compile(r"Arena allocation (total|head|tail) (\d+)")


def measure(subjects: Sequence[Subject], options: Options) -> Iterator[Findings]:
    """The arena's total, head and tail in bytes, and the outputs' difference from LiteRT's reference kernels.

    The images are seeded and random. Raises ``BenchError`` where the wheel is not installed; a file that cannot be
    run, or that answers otherwise than in LiteRT, is a failure of that file.
    """
    if importlib.util.find_spec("tflite_micro") is None:
        raise BenchError("tflm needs tflite-micro, which the extra mcu brings: pip install 'restnet-tf[mcu]'")
    for subject in subjects:
        yield tried(subject, _one)


def _one(subject: Subject) -> Findings:
    if is_weight_only(subject):
        raise BenchError(
            "its weights are int8 or float16 beside float activations, which TensorFlow Lite Micro runs wrongly or not"
            " at all; build with --precision int8, int16x8 or float32"
        )
    planned = memory.plan(memory.ranges(subject.content)).size
    graph = only(opened(subject))
    outputs, expected, arena = _run(subject, _inputs(graph.inputs[0]), planned)
    figures: dict[str, float] = {"arena": arena["total"], "head": arena["head"], "tail": arena["tail"]}
    figures |= _difference(outputs, expected, graph.outputs[0].scales)
    odd = f"{subject.name}: the arena's head is {arena['head']} bytes on tflm, {planned} were planned"
    warnings = () if arena["head"] == planned else (odd,)
    tool = f"tflite-micro {importlib.metadata.version('tflite_micro')}, {_IMAGES} seeded random images"
    return Findings(subject.measured(_DEVICE, figures, kind="interpreter", tool=tool), warnings)


def _inputs(entry: Tensor) -> np.ndarray:
    """Seeded images in the input's own type."""
    if len(entry.shape) != 4 or entry.type not in _TYPES:
        raise BenchError(f"its input is {entry.type} {entry.shape}; an image (1, h, w, c) is needed")
    quantisation = (entry.scales[0], entry.zero_points[0]) if entry.scales else (0.0, 0)
    details = {"name": entry.name, "dtype": _TYPES[entry.type], "quantization": quantisation}
    _, h, w, c = entry.shape
    return quantise(smooth_images((h, w, c), _IMAGES), details)


def _run(subject: Subject, inputs: np.ndarray, planned: int) -> tuple[np.ndarray, np.ndarray, dict[str, int]]:
    """Outputs of TensorFlow Lite Micro and of LiteRT, and bytes of the arena by part."""
    with tempfile.TemporaryDirectory(prefix="restnet-tf-") as scratch:
        folder = Path(scratch)
        model = np.frombuffer(subject.content, np.uint8)
        np.savez(folder / tflm_worker.JOB, model=model, inputs=inputs, arena=planned + _SPARE)
        told = _work("micro", folder)
        _work("reference", folder)
        outputs, expected = (np.load(folder / f"{who}.npy") for who in _WORKERS)
    arena = {part: int(size) for part, size in _ALLOCATION.findall(told)}
    if arena.keys() != {"total", "head", "tail"}:
        raise BenchError(f"TensorFlow Lite Micro did not say what its arena holds: {_first(told)!r}")
    return outputs, expected, arena


def _work(who: str, folder: Path) -> str:
    """What a worker prints; raises ``BenchError`` where it fails, dies or hangs."""
    # -P: the folder of this package would hide the standard library's ``select``.
    command = [sys.executable, "-P", tflm_worker.__file__, who, str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_TIMEOUT)
    except subprocess.TimeoutExpired:
        raise BenchError(f"{_WORKERS[who]} did not finish within {_TIMEOUT} s") from None
    told = done.stderr.decode("utf-8", "replace")
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        raise BenchError(f"{_WORKERS[who]} died of {name} on it; {_first(told)}".rstrip("; "))
    if done.returncode:
        remedy = [f"; build with --lower {name}" for name, operator in LOWERED.items() if f"'{operator}'" in told]
        raise BenchError(f"{_WORKERS[who]} cannot run it: {_first(told)}{''.join(remedy)}")
    return told


def _first(told: str) -> str:
    """The line that says why: the library's own, before Python's traceback."""
    before, traceback, after = told.partition("Traceback")
    lines = [line.strip() for line in before.splitlines() if line.strip()]
    if lines:
        return lines[0]
    return after.strip().splitlines()[-1] if traceback and after.strip() else ""


def _difference(found: np.ndarray, expected: np.ndarray, scales: Sequence[float]) -> dict[str, float]:
    """The largest difference in steps of the output's scale; nothing for floats, which have none.

    Raises ``BenchError`` where it is more than roundings can explain.
    """
    if expected.dtype.kind == "f":
        apart = float(np.abs(found - expected).max() / max(float(np.abs(expected).max()), 1e-30))
        if not apart <= _FLOAT_TOLERANCE:
            raise BenchError(f"its outputs differ by {apart:.1g} of the largest between tflm and LiteRT's reference")
        return {}
    steps = int(np.abs(found.astype(np.int64) - expected.astype(np.int64)).max())
    limits = np.iinfo(expected.dtype)
    if steps > _TOLERANCE * (int(limits.max) - int(limits.min)):
        raise BenchError(
            f"its outputs differ by {steps} steps of {scales[0]:.3g} between tflm and LiteRT's reference"
            " kernels, so the arena's figures would be those of a network that does not work"
        )
    return {"difference": float(steps)}
