"""Cycles and arena on a microcontroller: firmware runs there, and what it prints is read here.

The firmware's sources are in ``harness/mcu`` and among what ``tflm`` exports; TensorFlow Lite Micro's own come in no
package, so its library is the user's. QEMU runs it too, and counts instructions, which are no time.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from tflite_export import carray
from tflite_export.devices import captures
from tflite_export.devices.device import Device
from tflite_export.devices.subjects import DeviceError, DeviceOptions, Findings, Subject, tried
from tflite_export.errors import TfliteError

_EMULATED = "qemu-"  # what the Makefile calls a board that nobody has named: an emulator is no device


def measure(subjects: Sequence[Subject], options: DeviceOptions) -> Iterator[Findings]:
    """What the capture ``--log`` says of each file: its least arena, cycles, and latency where a clock is known.

    Of a cascade these are its worst case: the firmware sets thresholds above every confidence. Files of precisions
    that were not captured are left out. A file whose answers were not those of the host is a failure.
    Raises ``TfliteError`` where there is no capture, with how to make it.
    """
    if options.log is None:
        makefile = shlex.quote(str(captures.HARNESS / "mcu" / "Makefile"))
        raise DeviceError(
            "mcu needs --log FILE: run restnet-tf export RUN --target tflm --out DIR, build firmware by"
            f" make -f {makefile} EXPORT=DIR (its first lines say how), run it on the board, put what it prints into a"
            " file, one firmware after the other, and give that"
        )
    runs: dict[str, list[dict[str, Any]]] = {}
    for entry in captures.lines(options.log, "mcu"):
        runs.setdefault(str(entry.get("sha256")), []).append(entry)
    strange = sorted({str(e.get("file")) for e in _flat(runs) if e.get("sha256") not in {s.sha256 for s in subjects}})
    if strange:
        yield Findings(
            warnings=(f"{options.log} has files that are not asked for, or of another build: {', '.join(strange)}",)
        )
    captured = {s.precision for s in subjects if s.sha256 in runs}
    for subject in subjects:
        if captured and subject.precision not in captured:
            continue
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
    if not all(entry.get("checked") for entry in entries):
        raise TfliteError("its answers were not compared with the host's; export it again and build the firmware anew")
    try:
        arena, hertz = float(entries[-1]["arena"]), float(entries[-1]["hz"])
        counter = "instructions" if "instructions" in entries[-1] else "cycles"
        counts = tuple(float(e[counter]) for e in entries)
        tool = _tool(entries[-1])
    except (KeyError, TypeError, ValueError) as error:
        raise TfliteError(f"its lines in the capture are not understood: {type(error).__name__} {error}") from None
    figures, repeats = {"arena": arena}, {}
    if min(counts) >= 0:
        repeats[counter] = counts
        if hertz > 0 and counter == "cycles":
            repeats["latency"] = tuple(1e6 * count / hertz for count in counts)
            tool += f" at {hertz / 1e6:g} MHz"
    figures |= {name: float(np.median(values)) for name, values in repeats.items()}
    kind = "interpreter" if board.startswith(_EMULATED) else "device"
    return Findings(subject.measured(f"mcu:{board}", figures, kind=kind, tool=tool, repeats=repeats))


def _tool(entry: Mapping[str, Any]) -> str:
    """Runtime, version and kernels, and the array where it holds more than this file."""
    alone = carray.identifier(str(entry["file"])) == entry["array"]
    inside = "" if alone else f" in {entry['array']}"
    return f"{entry['tool']} {entry['version']} with {entry['kernels']} kernels{inside} on {entry['core']}"


def _flat(runs: Mapping[str, Sequence[dict[str, Any]]]) -> list[dict[str, Any]]:
    return [entry for entries in runs.values() for entry in entries]


DEVICE = Device("mcu", measure, ("float32", "int8", "mixed", "int16x8"), options=("log",), family=True)
