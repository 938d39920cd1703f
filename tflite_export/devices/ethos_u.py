"""Compile files for an Ethos-U by Vela: the cycles, SRAM and flash that it estimates."""

from __future__ import annotations

import csv
import importlib.metadata
from collections.abc import Iterator, Mapping, Sequence
from functools import partial

from tflite_export import vela
from tflite_export.devices.subjects import Findings, Options, Subject, is_float, opened, tried
from tflite_export.errors import TfliteError

_KIB = 1024


def measure(device: str, subjects: Sequence[Subject], options: Options) -> Iterator[Findings]:
    """Cycles of one inference, SRAM and flash in bytes (DRAM as ``memory``), as Vela estimates them.

    U65 and U85 keep weights in DRAM, as Vela has them unless configured otherwise. Raises ``TfliteError`` where Vela
    is not installed; a file of which Vela would leave operators on the CPU is a failure of that file, since its
    figures would leave them out.
    """
    try:
        vela.check_installed()
    except TfliteError as error:
        raise TfliteError(str(error)) from None
    for subject in subjects:
        yield tried(subject, partial(_one, device))


def _one(device: str, subject: Subject) -> Findings:
    opened(subject)
    if is_float(subject):
        raise TfliteError(f"it computes in float, of which {device} runs nothing; build with --precision int8")
    figures, setting = parsed(vela.compiled(subject.content, device, subject.name).summary)
    tool = f"vela {importlib.metadata.version('ethos-u-vela')}, {setting}"
    return Findings(subject.measured(device, figures, kind="compiler", tool=tool))


def parsed(summary: str) -> tuple[dict[str, float], str]:
    """Figures of Vela's summary, in cycles and bytes, and the memory that it assumed; raises ``TfliteError``."""
    try:
        row = next(csv.DictReader(summary.splitlines()))
        figures = {
            "cycles": float(row["cycles_total"]),
            "sram": _KIB * float(row["sram_memory_used"]),
            "flash": _KIB * _sum(row, "on_chip_flash_memory_used", "off_chip_flash_memory_used"),
            "memory": _KIB * float(row["dram_memory_used"]),
        }
        setting = f"{row['system_config']}, {row['memory_mode']}"
    except (StopIteration, KeyError, TypeError, ValueError) as error:
        raise TfliteError(f"Vela's summary is not understood: {type(error).__name__} {error}".rstrip()) from None
    if not figures["cycles"] > 0:
        raise TfliteError("Vela estimates 0 cycles: nothing of it would run on the accelerator")
    return {name: value for name, value in figures.items() if value or name in ("cycles", "sram")}, setting


def _sum(row: Mapping[str, str], *columns: str) -> float:
    return sum(float(row[column]) for column in columns)
