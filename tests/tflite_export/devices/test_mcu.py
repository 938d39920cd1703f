"""The firmware harness, built by the Arm compiler and run in QEMU. TensorFlow Lite Micro's sources come in no package,
so another file stands in for the one that runs the model: it adds up the model's bytes.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import needs
import pytest
from bench_files import files

from tflite_export.devices import captures, mcu
from tflite_export.devices.subjects import DeviceOptions, Findings, Subject
from tflite_export.errors import TfliteError

HARNESS = captures.HARNESS / "mcu"
STAND_IN = """
#include "runner.h"
const char* const kRunnerTool = "stand-in";
static const unsigned char* at;
static size_t bytes;
static volatile unsigned sum;
const char* RunnerOpen(const unsigned char* model, size_t size) {
  at = model;
  bytes = size;
  return reinterpret_cast<size_t>(model) % 16 ? "the model is not aligned" : nullptr;
}
const char* RunnerPrepare() { sum = 0; return nullptr; }
const char* RunnerInvoke() {
  for (size_t i = 0; i < bytes; ++i) sum = sum + at[i];
  return FAILS ? "it could not be run" : nullptr;
}
// For the test to see that all of the model is there, as it is.
size_t RunnerArena() { return sum; }
"""
needs_arm = needs.ARM.mark


@pytest.fixture(scope="module")
def subject() -> Subject:
    return files(["int8"])["int8"]


def line(subject: Subject, **changes: Any) -> str:
    """A line as a board prints it; typed, for boards that count cycles."""
    content = {
        "harness": "mcu",
        "board": "nucleo",
        "core": "cortex-m4",
        "hz": 100_000_000,
        "tool": "TensorFlow Lite Micro",
        "file": subject.name,
        "sha256": subject.sha256,
        "arena": 9000,
        "run": 0,
        "cycles": 200_000,
    }
    return json.dumps({key: value for key, value in (content | changes).items() if value is not None})


END = '{"harness":"mcu","end":%d}'


def measured(subject: Subject, path: Path, *lines: str) -> list[Findings]:
    path.write_text("\n".join(lines) + "\n")
    return list(mcu.measure([subject], DeviceOptions(log=path)))


def firmware(folder: Path, subject: Subject, core: str, fails: int = 0) -> subprocess.CompletedProcess[str]:
    (folder / "p.int8.tflite").write_bytes(subject.content)
    (folder / "stand_in.cc").write_text(STAND_IN.replace("FAILS", str(fails)))
    settings = {"MODEL": "p.int8.tflite", "CORE": core, "RUNNER": "stand_in.cc", "RUNS": "3"}
    command = ["make", "-s", "-f", str(HARNESS / "Makefile"), *(f"{k}={v}" for k, v in settings.items()), "run"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)


@needs_arm
@pytest.mark.parametrize("core", ["cortex-m3", "cortex-m4", "cortex-m7", "cortex-m55"])
def test_firmware_runs_in_qemu_and_is_read(tmp_path: Path, subject: Subject, core: str) -> None:
    done = firmware(tmp_path, subject, core)
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr
    assert done.stdout.count('"cycles":-1') == 3  # QEMU's counters stand still
    (found,) = measured(subject, tmp_path / "log", done.stdout)
    (m,) = found.measurements
    assert m.device.startswith("mcu:qemu-mps")
    assert (m.figure, m.kind, m.tool) == ("arena", "interpreter", f"stand-in on {core}")
    assert m.value == sum(subject.content)


@needs_arm
def test_firmware_that_fails_says_why(tmp_path: Path, subject: Subject) -> None:
    done = firmware(tmp_path, subject, "cortex-m4", fails=1)
    assert done.returncode != 0
    (found,) = measured(subject, tmp_path / "log", done.stdout)
    assert found.failures == ("p.int8: qemu-mps2-an386 could not run it: it could not be run",)


@needs_arm
@pytest.mark.parametrize("core", ["cortex-m0", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33", "cortex-m55"])
def test_the_counters_compile_for_every_core(tmp_path: Path, core: str) -> None:
    (tmp_path / "a.cc").write_text('#include "cycles.h"\nint main() { return cycles::Start() + cycles::Now(); }\n')
    options = ["-std=c++17", "-Wall", "-Wextra", "-Werror", "-O2", "-mthumb", f"-mcpu={core}", f"-I{HARNESS}"]
    subprocess.run(["arm-none-eabi-g++", *options, "-c", "a.cc", "-o", "a.o"], cwd=tmp_path, check=True)


def test_cycles_and_latency_of_a_board_that_counts(tmp_path: Path, subject: Subject) -> None:
    counts = (200_000, 202_000, 201_000)
    lines = [line(subject, run=i, cycles=c) for i, c in enumerate(counts)]
    (found,) = measured(subject, tmp_path / "log", "boot", *lines, END % 3)
    said = {m.figure: m for m in found.measurements}
    assert {name: m.value for name, m in said.items()} == {"arena": 9000, "cycles": 201_000, "latency": 2010}
    assert said["cycles"].repeats == counts
    assert {(m.device, m.kind) for m in said.values()} == {("mcu:nucleo", "device")}
    assert {m.tool for m in said.values()} == {"TensorFlow Lite Micro on cortex-m4 at 100 MHz"}


def test_without_a_clock_there_is_no_latency(tmp_path: Path, subject: Subject) -> None:
    (found,) = measured(subject, tmp_path / "log", line(subject, hz=0), END % 1)
    assert {m.figure for m in found.measurements} == {"arena", "cycles"}


def test_two_boards_in_one_capture(tmp_path: Path, subject: Subject) -> None:
    found = measured(subject, tmp_path / "log", line(subject), END % 1, line(subject, board="disco"), END % 1)
    assert [f.measurements[0].device for f in found] == ["mcu:nucleo", "mcu:disco"]


def test_files_of_another_build_are_told(tmp_path: Path, subject: Subject) -> None:
    warned, failed = measured(subject, tmp_path / "log", line(subject, sha256="ab" * 32), END % 1)
    assert "not asked for, or of another build: p.int8" in warned.warnings[0]
    assert "p.int8: not in" in failed.failures[0]


def test_lines_that_are_not_understood(tmp_path: Path, subject: Subject) -> None:
    (found,) = measured(subject, tmp_path / "log", line(subject, arena=None), END % 1)
    assert "not understood: KeyError 'arena'" in found.failures[0]
    with pytest.raises(TfliteError, match="line 1: cut off or damaged"):
        measured(subject, tmp_path / "log", line(subject)[:80])


def test_without_a_capture_it_says_how_to_make_one(subject: Subject) -> None:
    with pytest.raises(TfliteError, match=r"needs --log FILE: build firmware .*mcu/Makefile MODEL="):
        list(mcu.measure([subject], DeviceOptions()))
