"""Compile a file for an Ethos-U with Arm's Vela, in a process of its own, and refuse what it leaves on the CPU."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tflite_export.errors import TfliteError

# What ``vela --accelerator-config`` takes.
CONFIGURATIONS = (
    *(f"ethos-u55-{macs}" for macs in (32, 64, 128, 256)),
    *(f"ethos-u65-{macs}" for macs in (256, 512)),
    *(f"ethos-u85-{macs}" for macs in (128, 256, 512, 1024, 2048)),
)
_SECONDS = 1800


@dataclass(frozen=True)
class Compiled:
    """A compiled file, and Vela's summary of what it estimates, as CSV."""

    content: bytes
    operators: int
    summary: str


def check_installed() -> None:
    """Raise TfliteError that says how to install Vela where it is missing."""
    if importlib.util.find_spec("ethosu") is None:
        raise TfliteError("Ethos-U files are compiled by Vela, which is not installed: pip install 'restnet-tf[mcu]'")


def compiled(content: bytes, config: str, name: str) -> Compiled:
    """Compile a file of one point for ``config``, such as ``ethos-u55-128``; ``name`` stands in messages.

    Raises TfliteError where Vela fails, and where it leaves an operator on the CPU: it does so with a mere warning, and
    puts a whole float model there, with exit code 0 and 0 cycles.
    """
    check_installed()
    with tempfile.TemporaryDirectory() as folder:
        path, out = Path(folder) / "model.tflite", Path(folder) / "out"
        path.write_bytes(content)
        command = [sys.executable, "-m", "ethosu.vela", str(path), "--accelerator-config", config]
        try:
            done = subprocess.run(
                [*command, "--output-dir", str(out)], capture_output=True, text=True, timeout=_SECONDS, cwd=folder
            )
        except subprocess.TimeoutExpired:
            raise TfliteError(f"Vela has not compiled {name} within {_SECONDS} seconds") from None
        told = done.stdout + done.stderr
        files = list(out.glob("*_vela.tflite"))
        if done.returncode or len(files) != 1:
            last = next((line for line in reversed(told.splitlines()) if line.strip()), "it printed nothing")
            raise TfliteError(f"Vela cannot compile {name} for {config}: {last.strip()}", log=told)
        _check_placed(told, name, config)
        (summary,) = out.glob("*_summary_*.csv")
        return Compiled(files[0].read_bytes(), _count("NPU", told), summary.read_text())


def _check_placed(told: str, name: str, config: str) -> None:
    left, placed = _count("CPU", told), _count("NPU", told)
    if left or not placed:
        why = "; ".join(dict.fromkeys(_reasons(told))) or "it gives no reason"
        raise TfliteError(
            f"Vela leaves {left} of {left + placed} operators of {name} on the CPU beside the {config}: {why};"
            " change those layers, or choose another target",
            log=told,
        )


def _count(where: str, told: str) -> int:
    found = re.search(rf"^{where} operators = (\d+)", told, re.MULTILINE)
    if not found:
        raise TfliteError(f"Vela does not say how many operators run on the {where}", log=told)
    return int(found[1])


def _reasons(told: str) -> Iterator[str]:
    for kind, why in re.findall(r"operator: (\w+), ofm:.*\nReason: (.*)", told):
        yield f"{kind} ({re.sub(r' [(].*[)]', '', why).strip()})"
