"""The program of docs/microcontrollers.md, compiled against a stand-in for TensorFlow Lite Micro; and what it names."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import needs
import paths
import pytest
import tflm_stand_in
from generated_nets import generated

from tflite_export import carray
from tflite_export.devices.captures import HARNESS

PAGE = (paths.ROOT / "docs" / "microcontrollers.md").read_text()
STRICT = ["-std=c++17", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-fno-exceptions", "-fno-rtti", "-c", "-I."]


@pytest.mark.slow
@pytest.mark.parametrize(
    "compiler", ["g++", "arm-none-eabi-g++ -mcpu=cortex-m4 -mthumb", "arm-none-eabi-g++ -mcpu=cortex-m55"]
)
@pytest.mark.parametrize("flags", [(), ("-DCMSIS_NN", "-DTF_LITE_STRIP_ERROR_STRINGS")])
def test_the_program_of_the_page_compiles(compiler: str, flags: tuple[str, ...], tmp_path: Path) -> None:
    needs.programs(compiler.split()[0]).or_skip()
    (program,) = re.findall(r"```cpp\n(.*?)```", PAGE, re.S)
    tflm_stand_in.headers(tmp_path)
    texts = carray.sources(generated(8), "large.int8") | carray.labels(["a", "b", "c"]) | {"main.cc": program}
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    macros = tflm_stand_in.macros(needs=64).split()
    command = [*compiler.split(), *STRICT, "-DTF_LITE_STATIC_MEMORY", *macros, *flags]
    done = subprocess.run([*command, "main.cc", "large_int8.cc"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_page_names_the_cores_of_the_harness() -> None:
    makefile = (HARNESS / "mcu" / "Makefile").read_text()
    cores = re.findall(r"^(cortex-m\d+) := \S+ \S+ \S+ \S+ \S+ \S+ (\S+) \d+$", makefile, re.M)
    assert cores == re.findall(r"\| `(cortex-m\d+)` \| `(\S+)` \|", PAGE)


def test_the_makefile_says_what_tflm_s_own_make_wants() -> None:
    told = re.findall(r"^#.*$", (HARNESS / "mcu" / "Makefile").read_text(), re.M)
    for word in (
        "TARGET_TOOLCHAIN_ROOT",
        "TARGET_ARCH",
        "OPTIMIZED_KERNEL_DIR=cmsis_nn",
        "BUILD_TYPE=release",
        "pillow",
    ):
        assert any(word in line for line in told), word
        assert word in PAGE
    for flag in ("TF_LITE_STATIC_MEMORY", "TF_LITE_STRIP_ERROR_STRINGS", "CMSIS_NN"):
        assert f"`-D{flag}`" in PAGE
