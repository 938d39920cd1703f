"""The target c: real anchors, Arm's compiler for every core, firmware in QEMU, and the arena as a measurement."""

from __future__ import annotations

import subprocess
from pathlib import Path

import cascade_files
import needs
import numpy as np
import paths
import plain_c
import pytest
import single_layers as one
from bench_files import files
from plain_c import Library

from benchmarks import plain_c as firmware
from tflite_export import anatomy, carray
from tflite_export.devices import c
from tflite_export.devices.subjects import DeviceOptions, Subject
from tflite_export.flatbuffer import read
from tflite_export.plainc import source
from tflite_export.plainc.source import PointSource

pytestmark = pytest.mark.slow

STAND_IN = Path(__file__).parents[2] / "cmsis_nn"
CORES = ("cortex-m0plus", "cortex-m4", "cortex-m7", "cortex-m55")
ANCHORS = ("kws_dscnn_int8", "mlperf_resnet8_int8", "mlperf_resnet_large_int8")
_WARNINGS = ("-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Werror")


def network() -> bytes:
    return cascade_files.stage("large", "int8")


@needs.COMPILER.mark
@needs.ANCHORS.mark
@pytest.mark.parametrize("name", ANCHORS)
def test_a_real_anchor_answers_as_in_litert(name: str, tmp_path: Path) -> None:
    content = anatomy.of((paths.SHARED / "anchors" / f"{name}.tflite").read_bytes(), name).content
    written = source.written([PointSource(content, name, name)], (), (), "An anchor.")
    inputs = plain_c.noise(content, 2)
    expected = firmware.reference(content, inputs)
    library = Library(written.files, tmp_path, "-O2")
    for inside in (False, True):
        np.testing.assert_array_equal(library.run(name, inputs, expected.shape[1], inside=inside), expected)


@needs.COMPILER.mark
def test_the_first_program_of_the_documentation_runs(tmp_path: Path) -> None:
    points = [PointSource(cascade_files.stage("small", "int8"), "small.int8", "small, int8")]
    for name, content in source.written(points, (), cascade_files.LABELS, "One.").files.items():
        (tmp_path / name).write_bytes(content)
    _, program, *_ = (paths.ROOT / "docs" / "c.md").read_text().split("```")
    (tmp_path / "main.c").write_text(program.removeprefix("c\n"))
    units = sorted(path.name for path in tmp_path.glob("*.c"))
    subprocess.run(["gcc", *_WARNINGS, *units, "-o", "program"], cwd=tmp_path, check=True)
    told = subprocess.run([tmp_path / "program"], capture_output=True, text=True, check=True).stdout
    assert told.strip() in cascade_files.LABELS


@needs.ARM.mark
@pytest.mark.parametrize("core", CORES)
def test_all_of_it_compiles_for_a_core_without_a_warning(core: str, tmp_path: Path) -> None:
    """With CMSIS-NN too, against its signatures."""
    written = source.written([PointSource(network(), "p", "p"), PointSource(_others(), "q", "q")], (), ["a"], "Two.")
    for name, content in written.files.items():
        (tmp_path / name).write_bytes(content)
    for kernel in source.KERNELS.glob("*.c"):
        (tmp_path / kernel.name).write_bytes(kernel.read_bytes())
    units = sorted(path.name for path in tmp_path.glob("*.c"))
    for way in ((), ("-DRESTNET_CMSIS_NN", f"-isystem{STAND_IN}")):
        command = ["arm-none-eabi-gcc", f"-mcpu={core}", "-mthumb", *_WARNINGS, *way, "-fsyntax-only", *units]
        subprocess.run(command, cwd=tmp_path, check=True)


def _others() -> bytes:
    return one.convolution((1, 6, 6, 4), (3, 3), 0, multiplier=1)


@needs.ARM.mark
@pytest.mark.parametrize("core", ["cortex-m0plus", "cortex-m4", "cortex-m55"])
def test_firmware_answers_as_litert_and_counts_instructions(core: str) -> None:
    inputs = plain_c.noise(network(), 2)
    taken, outputs = firmware.firmware_size(network(), inputs, firmware.Build(firmware.CORES[core]))
    np.testing.assert_array_equal(outputs, firmware.reference(network(), inputs))
    written = source.written([PointSource(network(), "p", "p")], (), (), "One.")
    assert taken.constants == written.constants
    assert taken.constants < taken.flash < taken.constants + 16_000
    assert written.arena <= taken.ram <= written.arena + 64  # scores beside it
    assert 0 < taken.stack < 1024
    assert taken.instructions > anatomy.macs.of_graph(read(network()).subgraphs[0])


@needs.ARM.mark
def test_the_table_has_a_line_for_each_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "tflite").mkdir()
    (tmp_path / "tflite" / "large.int8.tflite").write_bytes(network())
    (tmp_path / "tflite" / "both.int8.tflite").write_bytes(cascade_files.cascade("small>large", "int8", (0.5,)))
    firmware.main([str(tmp_path), "--images", "1"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("|")[1].strip() for line in lines[3:]] == ["large.int8"]
    assert lines[3].endswith("| 0 |")


def test_the_arena_is_a_figure_for_budgets() -> None:
    (subject,) = files(["int8"]).values()
    (told,) = c.measure([subject], DeviceOptions())
    (figure,) = told.measurements
    written = source.written([PointSource(subject.content, "p", "p")], (), (), "One.")
    assert (figure.device, figure.figure, figure.value, figure.kind) == ("c", "arena", written.arena, "plan")


def test_a_file_without_a_kernel_is_a_failure_of_that_file() -> None:
    (told,) = c.measure([Subject("large", "float32", cascade_files.stage("large", "float32"))], DeviceOptions())
    assert told.failures == ("large.float32: the input is FLOAT32; build with --precision int8",)
    assert carray.identifier("large.float32") == "large_float32"
