"""The programs of docs/boards.md, built and run against stand-ins for the frameworks' headers and for TFLM."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

import board_stand_ins
import needs
import numpy as np
import paths
import pytest
import tflm_stand_in
from generated_nets import Net

from benchmarks.plain_c import reference
from tflite_export import carray, emit, stage_loop, together
from tflite_export.carray import Several
from tflite_export.flatbuffer import ALIGNMENT, read, write_several
from tflite_export.plainc import source
from tflite_export.plainc.source import CascadeSource, PointSource
from tflite_export.stage_loop import StageFile

PAGE = (paths.ROOT / "docs" / "boards.md").read_text()
# A program says in its first line what its file is called.
PROGRAMS = dict(re.findall(r"^```c(?:pp)?\n(?:/\*|//) ([\w/.]+).*?\n(.*?)^```", PAGE, re.M | re.S))
IN_C = ("restnet/restnet.ino", "main/main.c", "src/main.c")
WITH_TFLM = ("restnet_tflm/restnet_tflm.ino", "main/main.cc", "src/main.cc")
WARNINGS = ("-Wall", "-Wextra", "-Wconversion", "-Werror")
# Messages are left out: the stand-in's library, which prints them, is for Arm.
TFLM = ("-DTF_LITE_STATIC_MEMORY", "-DTF_LITE_STRIP_ERROR_STRINGS", *tflm_stand_in.macros(needs=64).split())
LABELS = ("cat", "dog", "fish")
CASCADE, THRESHOLD = "small-then-large.int8", 0.4
POINTS_MAIN = """
#include <stdio.h>
#include "points.c"
int main(void)
{
  static const int8_t input[MODEL_SMALL_INT8_INPUT_SIZE];
  static int8_t scores[MODEL_SMALL_INT8_OUTPUT_SIZE];
  for (unsigned place = 0; place < 3; ++place) printf("%d ", run_point(place, input, scores));
  printf("%d %d", run_cascade(0.0f, input, scores), run_cascade(1.1f, input, scores));
}
"""
STAGES_MAIN = """
#include <cstdio>
#include "points.h"
int main() {
  Points* const points = Begin();
  if (points == nullptr) return 1;
  for (std::size_t stage : {0, 1}) std::printf("%d ", static_cast<int>(Stages::Place(stage)));
  for (const float pixel : {0.0f, 1.0f}) {
    float pixels[model_small_then_large_int8_image_size], scores[model_small_then_large_int8_classes];
    for (float& one : pixels) one = pixel;
    const int stage = Cascade(points, pixels, scores);
    std::printf("%d %g ", stage, static_cast<double>(scores[0]));
  }
}
"""


def network(seed: int) -> bytes:
    """A classifier of 3 classes of the 8 bytes that the stand-in for TFLM takes, now sure of one and now not."""
    net = Net(np.random.default_rng(seed), "INT8")
    net.x = net.begin(2, 2, 2)
    flat = emit.constant(np.array([1, 8], np.int32), "shape")
    net.add("RESHAPE", [net.x, flat], (1, 8), "ReshapeOptions", newShape=[1, 8])
    values = net.random.integers(-127, 128, (len(LABELS), 8)).astype(np.int8)
    weights = emit.constant(values, "w", np.full(1, 1 / 64), 0)
    bias = emit.constant(np.zeros(len(LABELS), np.int32), "b", np.full(1, 1 / 16384))
    net.add("FULLY_CONNECTED", [net.x, weights, bias], (1, len(LABELS)), "FullyConnectedOptions")
    net.add("SOFTMAX", [net.x], (1, len(LABELS)), "SoftmaxOptions", beta=1.0)
    return net.file(0)


SMALL, LARGE = network(5), network(7)


def in_c() -> Mapping[str, bytes]:
    """What the target c writes of two points and their cascade."""
    stems = ("small.int8", "large.int8")
    points = [PointSource(content, stem, stem) for content, stem in zip((SMALL, LARGE), stems, strict=True)]
    cascade = CascadeSource(CASCADE, "small>large, int8", stems, "max", (THRESHOLD,))
    return source.written(points, [cascade], LABELS, "Two.").files


def classify() -> str:
    """``classify.h`` as the page has it made."""
    (program,) = re.findall(r"```cpp\n(.*?)```", (paths.ROOT / "docs" / "microcontrollers.md").read_text(), re.S)
    return program.partition("int main()")[0]


def with_tflm() -> dict[str, str]:
    """What the target tflm writes of a point, and ``classify.h``."""
    return carray.sources(LARGE, "large.int8") | carray.labels(LABELS) | {"classify.h": classify()}


class Project:
    """A folder with a program, the stand-ins and what was exported; how it is built."""

    def __init__(self, folder: Path, path: str, program: str, *flags: str) -> None:
        self.folder, self.path, self.flags = folder, path, flags
        board_stand_ins.headers(folder)
        # What Arduino makes of a sketch before it is compiled.
        sketch = path.endswith(".ino")
        self.write({f"{path}.cpp": f"#include <Arduino.h>\n{program}"} if sketch else {path: program})

    def write(self, files: Mapping[str, bytes | str]) -> None:
        for name, content in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)

    def compile(self, *command: str) -> None:
        """The program and all sources that were exported, without a warning."""
        units = sorted(p.relative_to(self.folder) for p in self.folder.rglob("*.c*") if p.name != "points.c")
        folders = sorted({f"-I{unit.parent}" for unit in units} | {"-I."})
        line = [*command, *WARNINGS, *self.flags, *folders, *map(str, units)]
        done = subprocess.run(line, cwd=self.folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    def run(self, given: bytes = b"") -> str:
        """What it prints on this host."""
        self.write(dict(caller for start, caller in board_stand_ins.CALLERS.items() if self.path.startswith(start)))
        self.compile("gcc", "-O1", "-o", "program")
        return subprocess.run([self.folder / "program"], input=given, capture_output=True, check=True).stdout.decode()


def project_in_c(folder: Path, path: str) -> Project:
    project = Project(folder, path, PROGRAMS[path])
    model = {"restnet/restnet.ino": "restnet/src/model", "main/main.c": "components/model"}.get(path, "src/model")
    project.write({f"{model}/{name}": content for name, content in in_c().items()})
    return project


def project_with_tflm(folder: Path, path: str) -> Project:
    project = Project(folder, path, PROGRAMS[path], "-fno-exceptions", *TFLM)
    tflm_stand_in.headers(folder)
    renamed = {name.replace(".cc", ".cpp"): text for name, text in with_tflm().items()}  # as a sketch needs them
    project.write(renamed if path.endswith(".ino") else with_tflm())
    return project


def answer(pixels: np.ndarray) -> tuple[str, int]:
    """The class and the stage that LiteRT's kernels lead to."""
    given = (pixels.astype(int) - 128).astype(np.int8).reshape(1, 1, 2, 2, 2)
    (small,), (large,) = (reference(content, given) for content in (SMALL, LARGE))
    stage = 0 if (int(small.max()) + 128) / 256 >= THRESHOLD else 1
    return LABELS[int((small, large)[stage].argmax())], stage


def test_every_program_is_tried() -> None:
    assert {*PROGRAMS} == {*IN_C, *WITH_TFLM, "points.c", "points.h"}


@pytest.mark.slow
@needs.COMPILER.mark
def test_a_sketch_in_c_answers_as_litert(tmp_path: Path) -> None:
    images = np.random.default_rng(3).integers(0, 256, (8, 8)).astype(np.uint8)
    told = project_in_c(tmp_path, IN_C[0]).run(images.tobytes()).split()
    assert told == [answer(image)[0] for image in images]


@pytest.mark.slow
@needs.COMPILER.mark
@pytest.mark.parametrize("path", IN_C[1:])
def test_a_program_in_c_answers_as_litert(path: str, tmp_path: Path) -> None:
    label, stage = answer(np.zeros(8, np.uint8))
    assert project_in_c(tmp_path, path).run() == f"{label}, by stage {stage}\n"


@pytest.mark.slow
@needs.COMPILER.mark
@pytest.mark.parametrize(
    ("path", "given", "told"),
    [
        # The stand-in answers with the input's first bytes and their places.
        (WITH_TFLM[0], bytes([128, 140, 129, 0, 0, 0, 0, 0]), "dog\n"),
        *((path, b"", "fish\n") for path in WITH_TFLM[1:]),
    ],
)
def test_a_program_with_tflm_runs(path: str, given: bytes, told: str, tmp_path: Path) -> None:
    assert project_with_tflm(tmp_path, path).run(given) == told


@pytest.mark.slow
@needs.COMPILER.mark
def test_without_an_interpreter_a_program_says_so(tmp_path: Path) -> None:
    project = project_with_tflm(tmp_path, "main/main.cc")
    project.flags = (*project.flags, "-USTAND_IN_NEEDS", "-DSTAND_IN_NEEDS=1000000")
    assert project.run() == "the interpreter cannot be made: is the arena too small?\n"


@pytest.mark.slow
@needs.ARM.mark
@pytest.mark.parametrize("path", [*IN_C, *WITH_TFLM])
def test_a_program_compiles_for_a_core(path: str, tmp_path: Path) -> None:
    make = project_in_c if path in IN_C else project_with_tflm
    for core in ("cortex-m4", "cortex-m0plus")[: 2 if path in IN_C else 1]:
        make(tmp_path / core, path).compile("arm-none-eabi-gcc", f"-mcpu={core}", "-mthumb", "-fsyntax-only")


@pytest.mark.slow
@needs.COMPILER.mark
def test_points_and_cascades_in_c_are_switched(tmp_path: Path) -> None:
    project = Project(tmp_path, "main.c", POINTS_MAIN)
    project.write({"points.c": PROGRAMS["points.c"], **in_c()})
    assert project.run() == "0 0 -1 0 1"


@pytest.mark.slow
@needs.COMPILER.mark
def test_points_and_cascades_with_tflm_are_switched(tmp_path: Path) -> None:
    names = ("small", "middle", "large")
    content = write_several([read(one) for one in (SMALL, network(6), LARGE)])
    image = Several(names, ALIGNMENT, tuple(content[ALIGNMENT * place :] for place in range(len(names))))
    stages = [StageFile(image.networks[place], "points.int8", ALIGNMENT * place) for place in (0, 2)]
    project = Project(tmp_path, "main.cc", STAGES_MAIN, "-std=c++17", *TFLM)
    tflm_stand_in.headers(tmp_path)
    project.write(carray.sources(content, "points.int8", several=image) | together.sources(image, "points.int8"))
    project.write(
        stage_loop.sources(stages, "max", [THRESHOLD], CASCADE, "of a run") | {"points.h": PROGRAMS["points.h"]}
    )
    # Of a dark image the first stage is unsure; of a bright one it is sure of the first class.
    assert project.run() == f"0 2 1 0 0 {255 / 256:g} "
