"""Cycles and arena on a microcontroller: firmware runs there, and what it prints is read here.

The firmware's sources are in ``harness/mcu``; TensorFlow Lite Micro's own come in no package, so its library is the
user's. QEMU runs it too but counts no cycles.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from tflite_export.devices import captures
from tflite_export.devices.device import Device
from tflite_export.devices.subjects import DeviceError, DeviceOptions, Findings, Subject, tried
from tflite_export.errors import TfliteError

_EMULATED = "qemu-"  # what the Makefile calls a board that nobody has named: an emulator is no device


def measure(subjects: Sequence[Subject], options: DeviceOptions) -> Iterator[Findings]:
    """What the capture ``--log`` says of each file: arena in bytes, cycles, and latency where the clock is known.

    Of a cascade these are its worst case: the firmware sets thresholds above every confidence.
    Raises ``TfliteError`` where there is no capture, with how to make it.
    """
    if options.log is None:
        makefile = shlex.quote(str(captures.HARNESS / "mcu" / "Makefile"))
        raise DeviceError(
            f"mcu needs --log FILE: build firmware of each file by make -f {makefile} MODEL=FILE.tflite (its first"
            " lines say how), run it on the board, put what it prints into a file, one after the other, and give that"
        )
    runs: dict[str, list[dict[str, Any]]] = {}
    for entry in captures.lines(options.log, "mcu"):
        runs.setdefault(str(entry.get("sha256")), []).append(entry)
    strange = sorted({str(e.get("file")) for e in _flat(runs) if e.get("sha256") not in {s.sha256 for s in subjects}})
    if strange:
        yield Findings(
            warnings=(f"{options.log} has files that are not asked for, or of another build: {', '.join(strange)}",)
        )
    for subject in subjects:
        boards: dict[str, list[dict[str, Any]]] = {}
        for entry in runs.get(subject.sha256, ()):
            boards.setdefault(str(entry.get("board")), []).append(entry)
        if not boards:
            yield Findings(failures=(f"{subject.name}: not in {options.log}",))
        for board, entries in boards.items():
            yield tried(subject, partial(_one, board=board, entries=entries))


def _one(subject: Subject, board: str, entries: Sequence[Mapping[str, Any]]) -> Findings:
    """Figures of one file on one board; no cycles where the core does not count them."""
    wrong = next((e["error"] for e in entries if "error" in e), None)
    if wrong is not None:
        raise TfliteError(f"{board} could not run it: {wrong}")
    try:
        arena, hertz = float(entries[-1]["arena"]), float(entries[-1]["hz"])
        cycles = tuple(float(e["cycles"]) for e in entries)
        tool = f"{entries[-1]['tool']} on {entries[-1]['core']}"
    except (KeyError, TypeError, ValueError) as error:
        raise TfliteError(f"its lines in the capture are not understood: {type(error).__name__} {error}") from None
    figures, repeats = {"arena": arena}, {}
    if min(cycles) >= 0:
        repeats["cycles"] = cycles
        if hertz > 0:
            repeats["latency"] = tuple(1e6 * count / hertz for count in cycles)
            tool += f" at {hertz / 1e6:g} MHz"
    figures |= {name: float(np.median(values)) for name, values in repeats.items()}
    kind = "interpreter" if board.startswith(_EMULATED) else "device"
    return Findings(subject.measured(f"mcu:{board}", figures, kind=kind, tool=tool, repeats=repeats))


def _flat(runs: Mapping[str, Sequence[dict[str, Any]]]) -> list[dict[str, Any]]:
    return [entry for entries in runs.values() for entry in entries]


DEVICE = Device("mcu", measure, ("float32", "int8", "int16x8"), options=("log",), family=True)
