"""Ethos-U: what Arm's Vela takes and makes of a file, as firmware's source, and the cycles and memory it estimates.

Vela runs in a process of its own; what it would leave on the CPU is refused.
"""

from __future__ import annotations

import csv
import importlib.metadata
import importlib.util
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from tflite_export import carray
from tflite_export.devices import firmware
from tflite_export.devices.device import Device
from tflite_export.devices.exports import Export, Parcel, PointFile, Target, loop_remarks
from tflite_export.devices.rules import Rules
from tflite_export.devices.subjects import DeviceOptions, Findings, Subject, is_float, opened, tried
from tflite_export.errors import TfliteError

_SOURCE = "Vela 5.2.0's report of supported operators"
_OPERATORS = """
ABS ADD ARG_MAX AVERAGE_POOL_2D BATCH_MATMUL CONCATENATION CONV_2D DEPTHWISE_CONV_2D ELU EXP EXPAND_DIMS
FULLY_CONNECTED GELU HARD_SWISH LEAKY_RELU LOG LOGISTIC MAXIMUM MAX_POOL_2D MEAN MINIMUM MIRROR_PAD MUL NEG PACK PAD
PADV2 PRELU QUANTIZE REDUCE_MAX REDUCE_MIN RELU RELU6 RELU_0_TO_1 RELU_N1_TO_1 RESHAPE RESIZE_BILINEAR
RESIZE_NEAREST_NEIGHBOR REVERSE_V2 RSQRT SLICE SOFTMAX SPLIT SPLIT_V SQUARED_DIFFERENCE SQUEEZE STRIDED_SLICE SUB
SUM TANH TILE TRANSPOSE TRANSPOSE_CONV UNIDIRECTIONAL_SEQUENCE_LSTM UNPACK
"""
# Of an Ethos-U85 the same and these.
_OPERATORS_85 = """
ASSIGN_VARIABLE CAST DIV EQUAL GATHER GREATER GREATER_EQUAL LESS LESS_EQUAL LOGICAL_AND LOGICAL_NOT LOGICAL_OR
NOT_EQUAL READ_VARIABLE REDUCE_ALL REDUCE_ANY SCATTER_ND SELECT SELECT_V2
"""
# What ``vela --accelerator-config`` takes.
CONFIGURATIONS = (
    *(f"ethos-u55-{macs}" for macs in (32, 64, 128, 256)),
    *(f"ethos-u65-{macs}" for macs in (256, 512)),
    *(f"ethos-u85-{macs}" for macs in (128, 256, 512, 1024, 2048)),
)
# The one that stands for all in lists of devices.
_LISTED = "ethos-u55-128"
_SECONDS = 1800
_KIB = 1024


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
                [*command, "--output-dir", str(out)],
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                timeout=_SECONDS,
                cwd=folder,
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
        return Compiled(files[0].read_bytes(), _count("NPU", told), summary.read_text(encoding="utf-8"))


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
    line = re.search(rf"^{where} operators = (\d+)", told, re.MULTILINE)
    if line is None:
        raise TfliteError(f"Vela does not say how many operators run on the {where}", log=told)
    return int(line[1])


def _reasons(told: str) -> Iterator[str]:
    for kind, why in re.findall(r"operator: (\w+), ofm:.*\nReason: (.*)", told):
        yield f"{kind} ({re.sub(r' [(].*[)]', '', why).strip()})"


def prepared(config: str, point: PointFile) -> PointFile:
    """A point's file as Vela compiles it for ``config``, its weights at 16 bytes; raises as ``compiled`` does."""
    return replace(point, content=carray.aligned(compiled(point.content, config, point.name).content))


def export(config: str, parcel: Parcel) -> Export:
    """Vela's files, the same as C++ source, and for each cascade the loop over its stages."""
    files = {f"{point.stem}_vela.tflite": point.content for point in parcel.points}
    files |= firmware.sources(parcel, f"of {parcel.run}, compiled by Vela for {config}")
    remark = "Vela leaves no operator on the CPU; nothing has run on the device"
    advice = "compile {out}/*.cc into your firmware beside TensorFlow Lite Micro with its Ethos-U kernel"
    return Export(files, (remark, *loop_remarks(parcel, "a header of each")), advice)


def measure(device: str, subjects: Sequence[Subject], options: DeviceOptions) -> Iterator[Findings]:
    """Cycles of one inference, SRAM and flash in bytes (DRAM as ``memory``), as Vela estimates them.

    U65 and U85 keep weights in DRAM, as Vela has them unless configured otherwise. Raises ``TfliteError`` where Vela
    is not installed; a file of which Vela would leave operators on the CPU is a failure of that file, since its
    figures would leave them out.
    """
    check_installed()
    for subject in subjects:
        yield tried(subject, partial(_one, device))


def _one(device: str, subject: Subject) -> Findings:
    opened(subject)
    if is_float(subject):
        raise TfliteError(f"it computes in float, of which {device} runs nothing; build with --precision int8")
    figures, setting = parsed(compiled(subject.content, device, subject.name).summary)
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


def _device(config: str) -> Device:
    operators = _OPERATORS + (_OPERATORS_85 if "u85" in config else "")
    title = f"Ethos-{config.removeprefix('ethos-').upper()}"
    rules = Rules(title, _SOURCE, ("int8", "int16x8"), frozenset(operators.split()))
    target = Target(rules, partial(export, config), partial(prepared, config), check_installed)
    listing = f"{config} and its sisters" if config == _LISTED else ""
    return Device(config, partial(measure, config), ("int8",), listing=listing, target=target, cascades=False)


DEVICES = tuple(map(_device, CONFIGURATIONS))
