"""Flash, RAM and instructions of points as C without an interpreter, beside TensorFlow Lite Micro's.

``python -m benchmarks.plain_c RUN`` exports every int8 point of a run alone, or each file given, builds the smallest
firmware around it with the Arm compiler and runs it in QEMU, which counts instructions (no cycles). Outputs are held
against LiteRT's reference kernels. TensorFlow Lite Micro's arena beside it is the one that its export states;
its own program, stack and input are not in it, ours are but for the stack.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path

import numpy as np

from tflite_export import anatomy
from tflite_export.devices import captures
from tflite_export.errors import TfliteError
from tflite_export.flatbuffer import read
from tflite_export.plainc import source
from tflite_export.plainc.source import PointSource

_FIRMWARE = Path(__file__).parent / "firmware" / "run.c"
_LINKER = captures.HARNESS / "mcu" / "qemu.ld"
_WARNINGS = ("-Wall", "-Wextra", "-Wconversion", "-Werror")
_NAME = "model_point"
_SECONDS = 600


@dataclass(frozen=True)
class Core:
    """A core, QEMU's machine that runs its code, where that has memory, and instructions a tick of its clock."""

    name: str
    machine: str
    code: tuple[str, str]
    data: tuple[str, str]
    instructions: float
    floats: str = "soft"


_LOW = ("0x00000000", "4M"), ("0x20000000", "4M")
# A Cortex-M3 runs what is compiled for the M0+; QEMU has no board of that with enough memory.
CORES = {
    core.name: core
    for core in (
        Core("cortex-m0plus", "mps2-an385", *_LOW, 40),
        Core("cortex-m4", "mps2-an386", *_LOW, 40, "hard"),
        Core("cortex-m7", "mps2-an500", *_LOW, 40, "hard"),
        Core("cortex-m55", "mps3-an547", ("0x10000000", "512K"), ("0x31000000", "2M"), 31.25, "hard"),
    )
}


@dataclass(frozen=True)
class FirmwareSize:
    """Bytes of a firmware that does nothing else, of its constants alone, of the stack; instructions a run."""

    flash: int
    ram: int
    constants: int
    stack: int
    instructions: int


@dataclass(frozen=True)
class Build:
    """How firmware is built: the core, how the compiler optimises, what else it is given (CMSIS-NN's)."""

    core: Core
    optimise: str = "-O2"
    options: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()


def firmware_size(content: bytes, inputs: np.ndarray, build: Build) -> tuple[FirmwareSize, np.ndarray]:
    """What a file takes as C on a core, and its raw outputs ``(n, values)`` of raw inputs.

    Raises TfliteError where it cannot be exported, built or run.
    """
    written = source.written([PointSource(content, "point", "point")], (), (), "One point.")
    with tempfile.TemporaryDirectory(prefix="restnet-tf-") as scratch:
        folder = Path(scratch)
        for name, text in written.files.items():
            (folder / name).write_bytes(text)
        (folder / "firmware.h").write_text(_header(content, inputs), encoding="utf-8")
        bare = _linked(folder, build, "bare.elf", "-DBARE")
        sizes = _said(["arm-none-eabi-size", str(bare)]).splitlines()[1].split()
        code, data, bss = map(int, sizes[:3])
        runs = _runs(_emulated(_linked(folder, build, "run.elf"), build.core))
    if any(run[3] for run in runs):
        raise TfliteError(f"a kernel answered {runs[0][3]}, see restnet_kernels.h")
    counts = [(run[0] + run[1] * 2**24) * build.core.instructions for run in runs]
    taken = FirmwareSize(
        code + data, data + bss, written.constants, max(run[2] for run in runs), int(np.median(counts))
    )
    return taken, np.array([run[4:] for run in runs], np.int8)


def _header(content: bytes, inputs: np.ndarray) -> str:
    rows = ",\n".join(f"{{{', '.join(map(str, one.reshape(-1).view(np.int8)))}}}" for one in inputs)
    graph, macro = read(content).subgraphs[0], _NAME.upper()
    return (
        f'#include "{source.HEADER}"\n#define RUN {_NAME}_run\n#define INPUT {_NAME}_input\n'
        f"#define COUNT {len(inputs)}\n"
        f"#define INPUT_SIZE {macro}_INPUT_SIZE\n#define OUTPUT_SIZE {prod(graph.outputs[0].shape)}\n"
        f"#ifndef BARE\nstatic const int8_t inputs[COUNT][INPUT_SIZE] = {{\n{rows}}};\n#endif\n"
    )


def _linked(folder: Path, build: Build, name: str, *options: str) -> Path:
    core = build.core
    sources = [*sorted(map(str, folder.glob("*.c"))), str(_FIRMWARE), *build.sources]
    places = [f"-Wl,--defsym=CODE={core.code[0]},--defsym=CODE_SIZE={core.code[1]}"]
    places += [f"-Wl,--defsym=DATA={core.data[0]},--defsym=DATA_SIZE={core.data[1]}"]
    flags = [f"-mcpu={core.name}", "-mthumb", f"-mfloat-abi={core.floats}", "-std=c99", build.optimise, "-I."]
    kept = ["-ffunction-sections", "-fdata-sections", "-Wl,--gc-sections", "-nostartfiles", "--specs=nano.specs"]
    warnings = () if build.sources else _WARNINGS
    given = [*flags, *warnings, *build.options, *options, *sources, *kept]
    _said(["arm-none-eabi-gcc", *given, "-T", str(_LINKER), *places, "-o", name], folder)
    return folder / name


def _emulated(firmware: Path, core: Core) -> str:
    quiet = ["-nographic", "-monitor", "none", "-serial", "none", "-icount", "shift=0"]
    hosted = ["-semihosting-config", "enable=on,target=native"]
    return _said(["qemu-system-arm", "-M", core.machine, *quiet, *hosted, "-kernel", str(firmware)])


def _runs(told: str) -> list[list[int]]:
    """By run: ticks, how often their counter began again, bytes of stack, status, scores."""
    runs = [[int(word) for word in line.split()[1:]] for line in told.splitlines() if line.startswith("run ")]
    if not runs:
        raise TfliteError(f"the firmware printed no run: {told[:200]!r}")
    return runs


def _said(command: Sequence[str], folder: Path | None = None) -> str:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, encoding="utf-8", timeout=_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise TfliteError(
            f"{command[0]} did not run: {error}; apt-get install gcc-arm-none-eabi qemu-system-arm"
        ) from None
    if done.returncode:
        raise TfliteError(f"{command[0]} ended with {done.returncode}: {(done.stderr or done.stdout)[:400]}")
    return done.stdout + done.stderr


def reference(content: bytes, inputs: np.ndarray) -> np.ndarray:
    """Raw outputs ``(n, values)`` of LiteRT's reference kernels."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(model_content=content, experimental_op_resolver_type=OpResolverType.BUILTIN_REF)
    interpreter.allocate_tensors()
    entry, end = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    outputs = []
    for one in inputs:
        interpreter.set_tensor(entry, one)
        interpreter.invoke()
        outputs.append(interpreter.get_tensor(end).reshape(-1).copy())
    return np.stack(outputs)


def files(path: Path) -> Iterator[tuple[str, bytes]]:
    """Name and content of a file with its batch closed, or of every int8 point of a run that is one network."""
    every = sorted((path / "tflite").glob("*.int8.tflite")) if path.is_dir() else [path]
    if not every:
        raise TfliteError(f"{path} has no tflite/*.int8.tflite; build it with --precision int8")
    for one in every:
        content = one.read_bytes()
        if len(read(content).subgraphs) == 1:
            yield one.name.removesuffix(".tflite"), anatomy.of(content, one.name).content


def stated(content: bytes) -> int:
    """Bytes of the arena that the export for TensorFlow Lite Micro states."""
    arena = anatomy.of(content, "it").arena
    if arena is None:
        raise TfliteError("TensorFlow Lite Micro's arena cannot be planned")
    return arena.size


def row(name: str, content: bytes, build: Build, images: int) -> str:
    """One line of the table; raises TfliteError where outputs differ, unless CMSIS-NN's kernels made them."""
    entry = read(content).subgraphs[0].inputs[0]
    inputs = (
        np.random.default_rng(0).integers(-128, 128, (images, *entry.shape)).astype(np.int8).view(entry.type.lower())
    )
    taken, outputs = firmware_size(content, inputs, build)
    apart = int(np.abs(outputs.astype(int) - reference(content, inputs)).max())
    if apart and not build.sources:
        raise TfliteError(f"{name}: outputs are {apart} steps from LiteRT's reference kernels")
    arena = stated(content)
    return (
        f"| {name} | {taken.flash:,} | {taken.constants:,} | {taken.ram:,} | {taken.stack:,} | {arena:,}"
        f" | {taken.ram / arena:.2f} | {taken.instructions / 1e6:.2f}M | {apart} |"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("path", nargs="+", type=Path, help="a run, or .tflite files of int8")
    parser.add_argument("--core", choices=CORES, default="cortex-m4")
    parser.add_argument("--optimise", default="-O2")
    parser.add_argument("--images", type=int, default=2, help="seeded random inputs that are run")
    parser.add_argument("--cmsis-nn", type=Path, help="a folder of CMSIS-NN's sources, to call its kernels")
    options = parser.parse_args(arguments)
    build = Build(CORES[options.core], options.optimise)
    if options.cmsis_nn is not None:
        build = _calling(build, options.cmsis_nn)
    print(
        f"{options.core} {options.optimise}, {'CMSIS-NN' if options.cmsis_nn else 'plain C'};"
        " bytes, and instructions a run"
    )
    print(
        "| point | flash | of it constants | RAM | stack | TFLM's stated arena | RAM / arena | instructions | apart |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for path in options.path:
        for name, content in files(path):
            print(row(name, content, build, options.images), flush=True)


def _calling(build: Build, folder: Path) -> Build:
    """A build with CMSIS-NN's int8 kernels and headers."""
    every = sorted(map(str, (folder / "Source").resolve().rglob("*.c")))
    chosen = tuple(name for name in every if not re.search(r"flt|_f16|_f32", Path(name).name))
    include = str((folder / "Include").resolve())
    return replace(build, options=("-DRESTNET_CMSIS_NN", "-isystem", include, "-std=c11"), sources=chosen)


if __name__ == "__main__":
    try:
        main()
    except TfliteError as fault:
        sys.exit(f"error: {fault}")
