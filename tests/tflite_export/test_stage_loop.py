"""The C++ that runs stages by turns: compiled, fed with what LiteRT answers for each, beside the cascade's file."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import cascade_files
import needs
import numpy as np
import pytest
from cascade_files import LABELS, PIXELS

from tflite_export import carray, confidence, flash, stage_loop
from tflite_export.devices import firmware, host
from tflite_export.devices.exports import Parcel, PointFile, StageLoop
from tflite_export.devices.tflm import image as flash_image
from tflite_export.errors import TfliteError
from tflite_export.flatbuffer import Model, only, read, write
from tflite_export.integers import quantise

pytestmark = pytest.mark.slow

STRICT = ["-std=c++17", "-Wall", "-Wextra", "-Wconversion", "-Werror"]
# Answers for a stage are read from a file; what the stage was given is handed back, to be compared.
MAIN = """\
#include <cstdio>
#include <vector>
#include "HEADER.h"
using Number = NUMBER;
struct Runner {
  std::vector<Number> taken = std::vector<Number>(NAME_image_size), given = std::vector<Number>(NAME_classes);
  std::FILE* in;
  std::FILE* out;
  std::size_t row = 0;
  Number* Input(std::size_t) { return taken.data(); }
  const Number* Run(std::size_t stage) {
    std::fwrite(taken.data(), sizeof(Number), taken.size(), out);
    const std::size_t at = (row * NAME_stages_size + stage) * given.size() * sizeof(Number);
    std::fseek(in, static_cast<long>(at), SEEK_SET);
    return std::fread(given.data(), sizeof(Number), given.size(), in) == given.size() ? given.data() : nullptr;
  }
};
int main() {
  Runner runner;
  runner.in = std::fopen("answers", "rb");
  runner.out = std::fopen("taken", "wb");
  std::FILE* pixels = std::fopen("pixels", "rb");
  std::vector<float> image(NAME_image_size), scores(NAME_classes);
  for (; std::fread(image.data(), sizeof(float), image.size(), pixels) == image.size(); ++runner.row) {
    std::printf("%d", NAME_run(runner, image.data(), scores.data()DIAL));
    for (float score : scores) std::printf(" %a", static_cast<double>(score));
    std::puts("");
  }
  return std::fclose(runner.out);
}
"""


def loop(name: str, precision: str, measure: str = "max", thresholds: tuple[float, ...] | None = None) -> StageLoop:
    chosen = cascade_files.dial(name, precision) if thresholds is None else thresholds
    return StageLoop(name, precision, tuple(name.split(">")), measure, chosen)


def points(loop: StageLoop) -> tuple[PointFile, ...]:
    return tuple(PointFile(n, loop.precision, cascade_files.stage(n, loop.precision)) for n in loop.stages)


def firmware_of(loop: StageLoop, taken: tuple[PointFile, ...], folder: Path) -> None:
    for name, content in firmware.sources(Parcel("demo", taken, tuple(LABELS), None, (loop,)), "of demo").items():
        (folder / name).write_bytes(content)


def raw(content: bytes) -> tuple[np.ndarray, np.ndarray]:
    """What a file is given and answers for all images, in its own numbers."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    start, end = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    given, answers = quantise(PIXELS, start), []
    for one in given:
        interpreter.set_tensor(start["index"], one[None])
        interpreter.invoke()
        answers.append(interpreter.get_tensor(end["index"])[0])
    return given, np.stack(answers)


def ran(loop: StageLoop, folder: Path, dial: str = "") -> tuple[np.ndarray, np.ndarray]:
    """Stages and scores of all images by the compiled loop, whose stages have taken what their files should."""
    stages = [raw(cascade_files.stage(n, loop.precision)) for n in loop.stages]
    kind = {"int8": "std::int8_t", "int16x8": "std::int16_t", "float32": "float"}[loop.precision]
    stem = carray.identifier(loop.stem)
    text = MAIN.replace("HEADER", stem).replace("NUMBER", kind).replace("NAME", f"model_{stem}").replace("DIAL", dial)
    (folder / "main.cc").write_text(text)
    PIXELS.tofile(folder / "pixels")
    np.stack([answers for _, answers in stages], axis=1).tofile(folder / "answers")
    command = ["g++", *STRICT, "-o", "main", *(path.name for path in folder.glob("*.cc"))]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said = subprocess.run([folder / "main"], cwd=folder, capture_output=True, text=True, check=True).stdout
    rows = [line.split() for line in said.splitlines()]
    places = np.array([int(row[0]) for row in rows])
    taken = np.fromfile(folder / "taken", stages[0][0].dtype).reshape(-1, *PIXELS.shape[1:])
    given = [stages[number][0][image] for image, place in enumerate(places) for number in range(place + 1)]
    np.testing.assert_array_equal(taken, np.stack(given))
    return places, np.array([[float.fromhex(value) for value in row[1:]] for row in rows], np.float32)


@needs.COMPILER.mark
@pytest.mark.parametrize("precision", ["int8", "int16x8", "float32"])
@pytest.mark.parametrize("name", ["small>large", "small>middle>large"])
def test_the_loop_answers_as_the_cascade_s_file(name: str, precision: str, tmp_path: Path) -> None:
    """Thresholds are confidences of images of the test, so that equal ones decide too."""
    chosen = loop(name, precision)
    firmware_of(chosen, points(chosen), tmp_path)
    places, scores = ran(chosen, tmp_path)
    expected, stages = host.answers(cascade_files.cascade(name, precision, chosen.thresholds), [PIXELS])
    np.testing.assert_array_equal(places, stages)
    assert set(places.tolist()) == set(range(len(chosen.stages)))
    np.testing.assert_array_equal(scores, expected)


@needs.COMPILER.mark
@pytest.mark.parametrize("measure", list(confidence.CONFIDENCES))
def test_every_confidence_decides_as_the_file_s(measure: str, tmp_path: Path) -> None:
    threshold = cascade_files.between("small", "int8", measure)
    chosen = loop("small>large", "int8", measure, (threshold,))
    firmware_of(chosen, points(chosen), tmp_path)
    places, _ = ran(chosen, tmp_path)
    content = cascade_files.cascade("small>large", "int8", (threshold,), measure)
    np.testing.assert_array_equal(places, host.stages(content, [PIXELS]))
    assert set(places.tolist()) == {0, 1}


@needs.COMPILER.mark
def test_the_dial_is_turned_by_other_thresholds(tmp_path: Path) -> None:
    chosen = loop("small>large", "int8")
    firmware_of(chosen, points(chosen), tmp_path)
    for value, place in (("0.0f", 0), ("1.5f", 1)):
        text = f", std::vector<float>{{{value}}}.data()"
        assert set(ran(chosen, tmp_path, text)[0].tolist()) == {place}


def elastic(names: tuple[str, ...]) -> bytes:
    models = [read(cascade_files.stage(name, "int8")) for name in names]
    for name, model in zip(names, models, strict=True):
        model.signatures[0].key = name
    return write(Model([only(m) for m in models], [m.signatures[0] for m in models]))


@needs.COMPILER.mark
def test_stages_may_be_entries_of_one_image(tmp_path: Path) -> None:
    chosen = loop("small>large", "int8")
    image = flash_image(elastic(("small", "middle", "large")), ("small", "middle", "large"), "int8")
    firmware_of(chosen, (image,), tmp_path)
    places, scores = ran(chosen, tmp_path)
    expected, stages = host.answers(cascade_files.cascade("small>large", "int8", chosen.thresholds), [PIXELS])
    np.testing.assert_array_equal(places, stages)
    np.testing.assert_array_equal(scores, expected)
    for path in ("main.cc", "main"):
        (tmp_path / path).unlink()
    (tmp_path / "files.cc").write_text(
        '#include <cstdio>\n#include "small_then_large_int8.h"\n'
        "int main(int count, char**) {\n"
        "  if (model_small_then_large_int8_file(2) != nullptr) return 1;\n"
        "  const unsigned char* file = model_small_then_large_int8_file(static_cast<std::size_t>(count - 1));\n"
        "  const unsigned char* end = model_points_int8 + model_points_int8_size;\n"
        "  std::fwrite(file, 1, static_cast<std::size_t>(end - file), stdout);\n}\n"
    )
    subprocess.run(["g++", *STRICT, "-o", "files", "files.cc", "points_int8.cc"], cwd=tmp_path, check=True)
    for arguments, place in (((), 0), (("second",), 2)):
        said = subprocess.run([tmp_path / "files", *arguments], capture_output=True, check=True).stdout
        assert said == flash.entry(image.content, place)


@pytest.mark.parametrize("core", ["cortex-m4", "cortex-m55"])
def test_the_loop_compiles_for_microcontrollers(core: str, tmp_path: Path) -> None:
    needs.programs("arm-none-eabi-g++").or_skip()
    chosen = loop("small>middle>large", "int8")
    firmware_of(chosen, points(chosen), tmp_path)
    (tmp_path / "main.cc").write_text(
        '#include "small_then_middle_then_large_int8.h"\n'
        "struct Runner {\n  std::int8_t* Input(std::size_t) { return nullptr; }\n"
        "  const std::int8_t* Run(std::size_t) { return nullptr; }\n};\n"
        "int main() {\n  Runner runner;\n  const float pixels[192] = {};\n  float scores[3];\n"
        "  return model_small_then_middle_then_large_int8_run(runner, pixels, scores);\n}\n"
    )
    command = ["arm-none-eabi-g++", f"-mcpu={core}", "-mthumb", *STRICT, "-c", "main.cc"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_confidence_has_a_function_and_every_header_says_what_it_means(tmp_path: Path) -> None:
    assert stage_loop.CONFIDENCES.keys() == confidence.CONFIDENCES.keys()
    chosen = loop("small>middle>large", "int8", thresholds=(0.75, 0.5))
    firmware_of(chosen, points(chosen), tmp_path)
    text = (tmp_path / "small_then_middle_then_large_int8.h").read_text()
    assert "// small>middle>large, int8, of demo\n" in text
    assert "confidence (max, 0 to 1) is at or above its threshold" in text
    assert "_thresholds[] = {0.75f, 0.5f};" in text


def refusal(*contents: bytes) -> str:
    with pytest.raises(TfliteError) as error:
        stage_loop.check(contents)
    return str(error.value)


def changed(content: bytes, **shapes: Any) -> bytes:
    """A file whose input or output claims another shape."""
    model = read(content)
    for side, shape in shapes.items():
        getattr(only(model), side)[0].table.shape = np.array(shape, np.int32)
    return write(model)


def test_stages_that_one_loop_cannot_feed_are_refused() -> None:
    whole = cascade_files.stage("small", "int8")
    assert "images of several sizes, (1, 4, 4, 3) and (1, 8, 8, 3)" in refusal(
        whole, changed(whole, inputs=(1, 4, 4, 3))
    )
    assert "several counts of scores, (1, 3) and (1, 4)" in refusal(whole, changed(whole, outputs=(1, 4)))
    assert "types of numbers, FLOAT32 and INT8" in refusal(whole, cascade_files.stage("large", "float32"))
