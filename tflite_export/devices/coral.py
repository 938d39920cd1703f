"""Latency on a Coral board: a script runs there, and its output is read here."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from tflite_export.devices import captures
from tflite_export.devices.subjects import Findings, Options, Subject, tried
from tflite_export.errors import TfliteError

_COMPILED = "_edgetpu"  # what edgetpu_compiler puts behind a file's name


def measure(subjects: Sequence[Subject], options: Options) -> Iterator[Findings]:
    """Latency of the files in the capture ``--log``; ``TfliteError`` where there is none, with how to make it."""
    if options.log is None:
        script = shlex.quote(str(captures.HARNESS / "coral.py"))
        raise TfliteError(
            f"coral needs --log FILE: copy {script} and the run's tflite/*.int8.tflite (through edgetpu_compiler, for"
            " the accelerator) to the board, run there: python3 coral.py *.tflite > coral.log, and give coral.log here"
        )
    entries = {str(e.get("file")).removesuffix(".tflite"): e for e in captures.lines(options.log, "coral")}
    named = {subject.name for subject in subjects}
    strange = sorted(name for name in entries if name.removesuffix(_COMPILED) not in named)
    if strange:
        yield Findings(warnings=(f"{options.log} has files that are not asked for: {', '.join(strange)}",))
    for subject in subjects:
        # Both may be in one capture; what the accelerator runs is what the board is for.
        entry = entries.get(subject.name + _COMPILED) or entries.get(subject.name)
        if entry is None:
            yield Findings(failures=(f"{subject.name}: not in {options.log}",))
        else:
            yield tried(subject, partial(_one, entry=entry))


def _one(subject: Subject, entry: Mapping[str, Any]) -> Findings:
    if "error" in entry:
        raise TfliteError(f"the board could not run it: {entry['error']}")
    try:
        repeats = tuple(float(took) for took in entry["repeats_us"])
        board, compiled = str(entry["board"]), str(entry["file"]).endswith(f"{_COMPILED}.tflite")
        where = f"Edge TPU, compiled file {entry['sha256'][:12]}" if entry["edgetpu"] else "processor"
        tool = f"tflite_runtime {entry['runtime']} ({where}), {entry['threads']} thread(s), {entry['machine']}"
        same = entry["sha256"] == subject.sha256
    except (KeyError, TypeError, ValueError) as error:
        raise TfliteError(f"its line in the capture is not understood: {type(error).__name__} {error}") from None
    if not repeats or not all(took > 0 for took in repeats):
        raise TfliteError("its line in the capture has no times")
    if not compiled and not same:
        raise TfliteError("the board ran another file of that name; copy the run's files there again")
    figures = {"latency": float(np.median(repeats))}
    kept = {"latency": repeats}
    return Findings(subject.measured(f"coral:{board}", figures, kind="device", tool=tool, repeats=kept))
