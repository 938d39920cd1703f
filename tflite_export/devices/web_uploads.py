"""What a browser sends of one file, and what that comes to beside the host's own scores."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tflite_export.devices.subjects import Findings, Subject
from tflite_export.devices.web_site import RejectedError
from tflite_export.errors import TfliteError
from tflite_export.schema import Schema

_SCHEMA = Schema()
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,30}")
_ACCELERATORS = ("wasm", "webgpu")
_LONGEST_US = 1e9
_MOST_RUNS = 1_000_000
# Of the largest score: how far a browser's may be from the host's. Other kernels round otherwise, a graphics processor
# counts in half precision; a wrong file is further off.
APART = 0.05


@dataclass(frozen=True)
class Upload:
    """Figures of one file in one browser; ``error`` where it could not run it.

    ``repeats_us`` are microseconds of a run, each the mean of ``runs``; ``clock_us`` is the step of the browser's
    clock, ``scores`` those of the example inputs.
    """

    device: str
    agent: str
    accelerator: str
    threads: int
    clock_us: float
    file: int
    runs: int = 0
    repeats_us: tuple[float, ...] = ()
    scores: tuple[tuple[float, ...], ...] = ()
    error: str = ""

    @property
    def name(self) -> str:
        """What the measurements call the device: what runs on its graphics processor is another one."""
        return f"web:{self.device}" + ("-webgpu" if self.accelerator == "webgpu" else "")


def read(body: bytes, files: int, repeats: int) -> Upload:
    """An upload of so many files at most, with so many repeats; raises ``RejectedError`` for what is none."""
    try:
        upload = _SCHEMA.read(Upload, json.loads(body))
    except (ValueError, RecursionError) as error:
        raise RejectedError(f"this is no upload of the page: {str(error)[:200]}") from None
    wrong = _wrong(upload, files, repeats)
    if wrong:
        raise RejectedError(wrong)
    return upload


def _wrong(upload: Upload, files: int, repeats: int) -> str:
    """What of an upload cannot be; empty where all can."""
    if not _NAME.fullmatch(upload.device):
        return "The name of a device has small letters, digits and hyphens, 31 at most."
    if len(upload.agent) > 400 or not upload.agent.isprintable() or len(upload.error) > 300:
        return "The browser's description is too long, or no text."
    if upload.accelerator not in _ACCELERATORS or not 1 <= upload.threads <= 1024 or not 0 <= upload.file < files:
        return "There is no such file, accelerator or number of threads."
    if not 0 < upload.clock_us < _LONGEST_US:
        return "The clock has no step."
    if upload.error:
        return ""
    times = np.array(upload.repeats_us)
    if len(times) != repeats or not ((times > 0) & (times < _LONGEST_US)).all():
        return f"{repeats} times above 0 belong here."
    return "" if 1 <= upload.runs <= _MOST_RUNS else "A repeat has no runs."


def figures(subject: Subject, upload: Upload, scores: np.ndarray, runtime: str) -> Findings:
    """Latency of a file in a browser whose scores of the examples are the host's ``scores`` ``(n, classes)``.

    Raises ``TfliteError`` where the browser could not run it, and where its scores are others.
    """
    if upload.error:
        raise TfliteError(f"{upload.name} could not run it: {' '.join(upload.error.split())}")
    apart = _apart(upload.scores, scores)
    if not apart <= APART * float(np.abs(scores).max()):
        raise TfliteError(f"{upload.name} answers otherwise than this host, by {apart:.2g} of a score; it is not kept")
    threads = f"{upload.threads} thread{'s' if upload.threads > 1 else ''}"
    # The same for every file of a browser: figures of one tool stand in one column.
    tool = f"{runtime} ({upload.accelerator}, {threads}), {upload.agent}, clock of {upload.clock_us:.3g} us"
    kept = {"latency": upload.repeats_us}
    latency = {"latency": float(np.median(upload.repeats_us))}
    return Findings(subject.measured(upload.name, latency, kind="device", tool=tool, repeats=kept))


def _apart(theirs: Sequence[Sequence[float]], scores: np.ndarray) -> float:
    """The largest difference of any score; endless where there are others of them, or no numbers."""
    if [len(row) for row in theirs] != [scores.shape[1]] * len(scores):
        return float("inf")
    difference = np.abs(np.array(theirs, np.float64) - scores)
    return float(difference.max()) if np.isfinite(difference).all() else float("inf")
