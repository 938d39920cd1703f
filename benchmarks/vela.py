"""Compile files for an Ethos-U by Vela: the cycles, SRAM and flash that it estimates."""

from __future__ import annotations

import csv
import importlib.metadata
import importlib.util
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from benchmarks.records import BenchError
from benchmarks.subjects import Findings, Options, Subject, is_float, opened, tried

# Vela's names, one a size of the accelerator; U65 and U85 keep weights in DRAM unless configured otherwise.
CONFIGURATIONS = (
    *(f"ethos-u55-{macs}" for macs in (32, 64, 128, 256)),
    *(f"ethos-u65-{macs}" for macs in (256, 512)),
    *(f"ethos-u85-{macs}" for macs in (128, 256, 512, 1024, 2048)),
)
_KIB = 1024
_TIMEOUT = 600  # seconds
_ON_CPU = re.compile(r"CPU operators = (\d+)")
_REFUSED = re.compile(r"operator: (\w+)")


def measure(device: str, subjects: Sequence[Subject], options: Options) -> Iterator[Findings]:
    """Cycles of one inference, SRAM and flash in bytes (DRAM as ``memory``), as Vela estimates them.

    Raises ``BenchError`` where Vela is not installed; a file of which Vela would leave operators on the CPU is a
    failure of that file, since its figures would leave them out.
    """
    if importlib.util.find_spec("ethosu") is None:
        raise BenchError(f"{device} needs ethos-u-vela, which the extra mcu brings: pip install 'restnet-tf[mcu]'")
    for subject in subjects:
        yield tried(subject, partial(_one, device))


def _one(device: str, subject: Subject) -> Findings:
    opened(subject)
    if is_float(subject):
        raise BenchError(f"it computes in float, of which {device} runs nothing; build with --precision int8")
    told, summary = _compiled(device, subject)
    on_cpu = _ON_CPU.search(told)
    if on_cpu is None or int(on_cpu[1]):
        left = ", ".join(sorted(set(_REFUSED.findall(told)))) or "operators it does not name"
        raise BenchError(f"Vela leaves {on_cpu[1] if on_cpu else 'unknown'} operators on the CPU ({left})")
    figures, setting = parsed(summary)
    tool = f"vela {importlib.metadata.version('ethos-u-vela')}, {setting}"
    return Findings(subject.measured(device, figures, kind="compiler", tool=tool))


def _compiled(device: str, subject: Subject) -> tuple[str, str]:
    """What Vela prints and its summary."""
    with tempfile.TemporaryDirectory(prefix="restnet-tf-") as scratch:
        folder = Path(scratch)
        (folder / "model.tflite").write_bytes(subject.content)
        program = "import sys; from ethosu.vela.vela import main; sys.exit(main())"
        options = ["model.tflite", "--accelerator-config", device, "--output-dir", "."]
        try:
            done = subprocess.run(
                [sys.executable, "-c", program, *options], cwd=folder, capture_output=True, text=True, timeout=_TIMEOUT
            )
        except subprocess.TimeoutExpired:
            raise BenchError(f"Vela did not finish within {_TIMEOUT} s") from None
        if done.returncode:
            lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
            raise BenchError(f"Vela cannot compile it: {lines[-1] if lines else f'exit code {done.returncode}'}")
        found = sorted(folder.glob("*_summary_*.csv"))
        return done.stdout + done.stderr, found[0].read_text() if found else ""


def parsed(summary: str) -> tuple[dict[str, float], str]:
    """Figures of Vela's summary, in cycles and bytes, and the memory that it assumed; raises ``BenchError``."""
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
        raise BenchError(f"Vela's summary is not understood: {type(error).__name__} {error}".rstrip()) from None
    if not figures["cycles"] > 0:
        raise BenchError("Vela estimates 0 cycles: nothing of it would run on the accelerator")
    return {name: value for name, value in figures.items() if value or name in ("cycles", "sram")}, setting


def _sum(row: Mapping[str, str], *columns: str) -> float:
    return sum(float(row[column]) for column in columns)
