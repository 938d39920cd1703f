"""The firmware harness, built by the Arm compiler and run in QEMU, and what is read of its lines.

TensorFlow Lite Micro's sources come in no package, so a stand-in takes its place (``tflm_stand_in``): what is tried
here is the harness, its make and the exported headers, not the runtime.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import needs
import numpy as np
import pytest
import tflm_stand_in
from bench_files import files

from tflite_export import carray, tail, trial
from tflite_export.devices import captures, mcu
from tflite_export.devices.subjects import DeviceOptions, Findings, Subject
from tflite_export.errors import TfliteError
from tflite_export.trial import HostAnswers

HARNESS = captures.HARNESS / "mcu"
NEEDS = 1504  # bytes of the arena
FLOOR = 512
FLOATS = {"cortex-m3": "soft"}
ARCHES = {"cortex-m4": "cortex-m4+fp", "cortex-m7": "cortex-m7+fp"}
INPUTS = np.random.default_rng(0).integers(-99, 99, (3, tflm_stand_in.TAKES)).astype(np.int8)
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
        "version": "90b983c2",
        "kernels": "CMSIS-NN",
        "array": "p_int8",
        "file": subject.name,
        "sha256": subject.sha256,
        "checked": 3,
        "arena": 9000,
        "run": 0,
        "cycles": 200_000,
    }
    return json.dumps({key: value for key, value in (content | changes).items() if value is not None})


END = '{"harness":"mcu","end":%d}'


def measured(subject: Subject, path: Path, *lines: str) -> list[Findings]:
    path.write_text("\n".join(lines) + "\n")
    return list(mcu.measure([subject], DeviceOptions(log=path)))


class Firmware:
    """An export of a file and a checkout of the stand-in, and how make is called between them."""

    def __init__(self, folder: Path, subject: Subject, core: str = "cortex-m4", **built: bool) -> None:
        self.folder, self.core = folder, core
        flags = [f"-mcpu={core}", "-mthumb", f"-mfloat-abi={FLOATS.get(core, 'hard')}"]
        (folder / "tflm").mkdir()
        tflm_stand_in.checkout(folder / "tflm", ARCHES.get(core, core), flags, **built)
        (folder / "out").mkdir()
        scores = tflm_stand_in.answers(INPUTS)
        self.write(subject, [HostAnswers(subject.name, subject.sha256, INPUTS, scores, FLOOR)])

    def write(self, subject: Subject, trials: list[HostAnswers]) -> None:
        texts = carray.sources(subject.content, subject.name) | trial.source(subject.name, trials)
        for name, text in texts.items():
            (self.folder / "out" / name).write_text(text)

    def make(self, *words: str, more: str = "", **stand_in: Any) -> subprocess.CompletedProcess[str]:
        macros = tflm_stand_in.macros(**({"needs": NEEDS} | stand_in))
        settings = {"EXPORT": "out", "TFLM": "tflm", "CORE": self.core, "RUNS": "3", "MORE_FLAGS": f"{macros} {more}"}
        command = ["make", "-s", "-f", str(HARNESS / "Makefile"), *(f"{k}={v}" for k, v in settings.items()), *words]
        return subprocess.run(command, cwd=self.folder, capture_output=True, text=True, timeout=300)

    @property
    def built(self) -> float:
        (path,) = (self.folder / "build").glob("*.elf")
        return os.stat(path).st_mtime_ns


@pytest.mark.slow
@needs_arm
@pytest.mark.parametrize(
    "core",
    ["cortex-m4", *(pytest.param(f"cortex-m{n}", marks=pytest.mark.slow) for n in (3, 7, 33, 55))],
)
def test_firmware_runs_in_qemu_and_is_read(tmp_path: Path, subject: Subject, core: str) -> None:
    done = Firmware(tmp_path, subject, core).make("run")
    assert done.returncode == 0, done.stderr
    assert "warning: unused" not in done.stderr
    (found,) = measured(subject, tmp_path / "log", done.stdout)
    said = {m.figure: m for m in found.measurements}
    assert {*said} == {"arena", "instructions"}
    # Exactly what it needs and its allocator, rounded up to 16: neither what it uses at last nor what it is given.
    assert NEEDS <= said["arena"].value < NEEDS + 16
    # An emulator's instructions: the same in every run, but for the ticks in which they are counted.
    assert max(said["instructions"].repeats) - min(said["instructions"].repeats) <= 50
    assert said["instructions"].value == pytest.approx(2 * tflm_stand_in.LOOPS, rel=0.01)
    assert {m.kind for m in said.values()} == {"interpreter"}
    assert said["arena"].device.startswith("mcu:qemu-mps")
    assert said["arena"].tool == f"TensorFlow Lite Micro unknown with reference kernels on {core}"


@pytest.mark.slow
@needs_arm
def test_a_release_library_with_cmsis_nn_is_linked_and_named(tmp_path: Path, subject: Subject) -> None:
    firmware = Firmware(tmp_path, subject, cmsis=True, release=True)
    done = firmware.make("run")
    assert done.returncode == 0, done.stderr
    (found,) = measured(subject, tmp_path / "log", done.stdout)
    assert "with CMSIS-NN kernels" in found.measurements[0].tool
    settings = next((tmp_path / "build").glob("*.settings")).read_text()
    assert {"-DCMSIS_NN", "-DTF_LITE_STRIP_ERROR_STRINGS", "-DTF_LITE_STATIC_MEMORY"} <= set(settings.split())


@pytest.mark.slow
@needs_arm
def test_cmsis_nn_is_taken_where_both_libraries_are_there(tmp_path: Path, subject: Subject) -> None:
    firmware = Firmware(tmp_path, subject)
    tflm_stand_in.checkout(
        tmp_path / "tflm", "cortex-m4+fp", ["-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=hard"], cmsis=True
    )
    assert '"kernels":"CMSIS-NN"' in firmware.make("run").stdout
    reference = "tflm/gen/cortex_m_generic_cortex-m4+fp_default_gcc/lib/libtensorflow-microlite.a"
    assert '"kernels":"reference"' in firmware.make("run", f"TFLM_LIBRARY={reference}").stdout


@pytest.mark.slow
@needs_arm
def test_headers_are_read_as_the_library_was_built(tmp_path: Path, subject: Subject) -> None:
    firmware = Firmware(tmp_path, subject)
    assert "tensors have another size without it" in firmware.make("READ=").stderr
    assert firmware.make().returncode == 0
    settings = (tmp_path / "build" / "p_int8.cortex-m4.settings").read_text()
    # As large as the export states, with the operators of the export alone.
    assert f"-DARENA_BYTES={tail.arena(subject.content).size} " in settings
    assert "AddOperators" in (HARNESS / "runner_tflm.cc").read_text()


@pytest.mark.slow
@needs_arm
def test_firmware_that_answers_otherwise_is_refused(tmp_path: Path, subject: Subject) -> None:
    done = Firmware(tmp_path, subject).make("run", wrong=3)
    assert done.returncode != 0
    (found,) = measured(subject, tmp_path / "log", done.stdout)
    assert found.measurements == ()
    assert (
        "it answers otherwise than on the host: input 0, a score is 3000 thousandths of a step away"
        in found.failures[0]
    )


@pytest.mark.slow
@needs_arm
def test_a_roundings_difference_is_no_other_answer(tmp_path: Path, subject: Subject) -> None:
    assert Firmware(tmp_path, subject).make("run", wrong=1).returncode == 0


@pytest.mark.slow
@needs_arm
def test_firmware_that_fails_says_why(tmp_path: Path, subject: Subject) -> None:
    done = Firmware(tmp_path, subject).make("run", fails=True)
    assert done.returncode != 0
    (found,) = measured(subject, tmp_path / "log", done.stdout)
    assert found.failures == ("p.int8: qemu-mps2-an386 could not run it: it could not be run",)


@pytest.mark.slow
@needs_arm
def test_an_arena_that_is_too_small_is_told_by_the_runtime_and_a_setting_builds_anew(
    tmp_path: Path, subject: Subject
) -> None:
    firmware = Firmware(tmp_path, subject)
    done = firmware.make("run", "ARENA_BYTES=1024")
    assert done.returncode != 0
    assert "Failed to allocate tail memory. Requested: 1504" in done.stdout
    assert "raise ARENA_BYTES where the line before asks for memory" in done.stdout
    first = firmware.built
    again = firmware.make("run")  # of the arena that the header states
    assert again.returncode == 0
    assert '"arena":' in again.stdout
    assert firmware.built > first
    kept = firmware.built
    assert firmware.make("run").returncode == 0
    assert firmware.built == kept
    for setting in ("RUNS=2", "CORE_HZ=1000", "BOARD=qemu-other"):
        before = firmware.built
        assert firmware.make(setting).returncode == 0
        assert firmware.built > before, setting


@pytest.mark.slow
@needs_arm
def test_entries_of_an_image_and_choices_of_a_router_are_measured_one_by_one(tmp_path: Path, subject: Subject) -> None:
    firmware = Firmware(tmp_path, subject)
    other = "ab" * 32
    plain = HostAnswers(subject.name, subject.sha256, INPUTS, tflm_stand_in.answers(INPUTS), FLOOR)
    firmware.write(
        subject, [plain, HostAnswers("q.int8", other, INPUTS, tflm_stand_in.answers(INPUTS), FLOOR, offset=16)]
    )
    lines = [json.loads(line) for line in firmware.make("run").stdout.splitlines()]
    assert [entry.get("file") for entry in lines] == ["p.int8"] * 3 + ["q.int8"] * 3 + [None]
    choices = [
        HostAnswers(name, sha, INPUTS, tflm_stand_in.answers(INPUTS, n), FLOOR, choice=n)
        for n, (name, sha) in enumerate([("p.int8", subject.sha256), ("q.int8", other)])
    ]
    firmware.write(subject, choices)
    done = firmware.make("run", second="kTfLiteInt32")
    assert done.returncode == 0, done.stdout
    assert len(done.stdout.splitlines()) == 7


@pytest.mark.slow
@needs_arm
def test_all_stages_of_a_cascade_run(tmp_path: Path, subject: Subject) -> None:
    """Thresholds above every confidence are written into the inputs behind the image."""
    firmware = Firmware(tmp_path, subject)
    firmware.write(
        subject, [HostAnswers(subject.name, subject.sha256, INPUTS, tflm_stand_in.answers(INPUTS, 1), FLOOR)]
    )
    done = firmware.make("run", second="kTfLiteFloat32")
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
@needs_arm
def test_several_arrays_are_named_and_none_is_told(tmp_path: Path, subject: Subject) -> None:
    firmware = Firmware(tmp_path, subject)
    (tmp_path / "out" / "q_int8_trial.h").write_text("")
    done = firmware.make()
    assert "out has several arrays; give ARRAY=NAME, one of: p_int8 q_int8" in done.stderr
    assert firmware.make("run", "ARRAY=p_int8").returncode == 0
    assert "give EXPORT=FOLDER" in firmware.make("EXPORT=nowhere").stderr


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
    assert {m.tool for m in said.values()} == {
        "TensorFlow Lite Micro 90b983c2 with CMSIS-NN kernels on cortex-m4 at 100 MHz"
    }


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
    with pytest.raises(TfliteError, match=r"needs --log FILE: run .* build firmware by .*mcu/Makefile EXPORT=DIR"):
        list(mcu.measure([subject], DeviceOptions()))


def test_a_capture_of_unchecked_answers_is_refused(tmp_path: Path, subject: Subject) -> None:
    (found,) = measured(subject, tmp_path / "log", line(subject, checked=None), END % 1)
    assert "answers were not compared with the host's; export it again and build the firmware anew" in found.failures[0]


def test_figures_in_an_array_of_several_say_so(tmp_path: Path, subject: Subject) -> None:
    (found,) = measured(subject, tmp_path / "log", line(subject, array="router_int8"), END % 1)
    assert "with CMSIS-NN kernels in router_int8 on cortex-m4" in found.measurements[0].tool


def test_precisions_that_were_not_captured_are_left_out(tmp_path: Path, subject: Subject) -> None:
    other = Subject("large", "float32", b"other")
    path = tmp_path / "log"
    path.write_text(f"{line(subject)}\n{END % 1}\n")
    found = list(mcu.measure([subject, other], DeviceOptions(log=path)))
    assert [f.failures for f in found] == [()]
    same = Subject("large", "int8", b"other")
    assert [bool(f.failures) for f in mcu.measure([subject, same], DeviceOptions(log=path))] == [False, True]
    asked = [f.failures for f in mcu.measure([other], DeviceOptions(log=path)) if f.failures]
    assert "large.float32: not in" in asked[0][0]
