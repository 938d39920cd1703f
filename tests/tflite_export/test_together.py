"""Interpreters of an image side by side: their arena, and the C++ that makes them, compiled against a stand-in."""

from __future__ import annotations

import subprocess
from pathlib import Path

import needs
import pytest
import tflm_stand_in
from generated_nets import convolutions, generated

from tflite_export import carray, tail, together
from tflite_export.carray import Several
from tflite_export.flatbuffer import ALIGNMENT, read, write_several
from tflite_export.kernels import EVERY, Kernels

STRICT = ["-std=c++17", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-DTF_LITE_STATIC_MEMORY", "-I."]
ONE = 1024  # bytes that the stand-in takes for a network
MAIN = """
#include <cstdio>
#include <cstring>
#include "points_int8_interpreters.h"
void MicroPrintf(const char*, ...) {}
alignas(16) static std::uint8_t arena[model_points_int8_interpreters_arena_size];
static model_points_int8_interpreters points;
static void Run(tflite::MicroInterpreter* one, char first) {
  std::memset(one->input(0)->data.raw, first, one->input(0)->bytes);
  if (one->Invoke() != kTfLiteOk) return;
  std::printf("%d ", one->output(0)->data.raw[2]);
}
int main() {
  model_points_int8_interpreters small;
  alignas(16) static std::uint8_t little[1100];
  if (small.Begin(little, sizeof(little))) return 1;  // two do not fit
  if (!points.Begin(arena, sizeof(arena))) return 2;
  if (points.At(model_points_int8_points_size) != nullptr) return 3;
  for (char i = 0; i < 4; ++i) Run(points.At(static_cast<std::size_t>(i) % 2), i);
  // In turns, made anew at each switch.
  tflite::MicroMutableOpResolver<model_points_int8_operators> resolver;
  if (!model_points_int8_add_operators(resolver)) return 4;
  for (char i = 0; i < 4; ++i) {
    const std::size_t place = static_cast<std::size_t>(i) % 2;
    const tflite::Model* model = tflite::GetModel(model_points_int8 + place * model_points_int8_stride);
    tflite::MicroInterpreter one(model, resolver, arena, model_points_int8_arena_size);
    if (one.AllocateTensors() != kTfLiteOk) return 5;
    Run(&one, i);
  }
}
"""


@pytest.fixture(scope="module")
def image() -> Several:
    nets = [convolutions(8, 4, ((8, 1), (4, 2))), convolutions(8, 4, ((16, 1), (8, 2), (8, 1)))]
    content = write_several([read(net) for net in nets])
    return Several(("a", "b"), ALIGNMENT, (content, content[ALIGNMENT:]))


def test_records_lie_side_by_side_and_tensors_share_a_place():
    nets = [generated(seed) for seed in (0, 5, 8)]
    for build in EVERY:
        alone, shared = [tail.one(net, build) for net in nets], tail.side_by_side(nets, build)
        assert tail.side_by_side(nets[:1], build) == alone[0]
        assert max(one.size for one in alone) < shared.size < sum(one.size for one in alone)
        assert shared.tail < sum(one.tail for one in alone)


def test_the_arena_of_three_networks_as_a_core_needs_it():
    """Measured once with the library, compiled for an M4 with reference kernels and run in QEMU."""
    nets = [generated(seed) for seed in (0, 5, 8)]
    assert 25_504 <= tail.side_by_side(nets, Kernels()).size <= 1.05 * 25_504


@needs.COMPILER.mark
def test_both_ways_to_switch_compile_and_give_the_same_scores(image: Several, tmp_path: Path):
    tflm_stand_in.headers(tmp_path)
    texts = carray.sources(image.networks[0], "points.int8", several=image) | together.sources(image, "points.int8")
    for name, text in (texts | {"main.cc": MAIN}).items():
        (tmp_path / name).write_text(text)
    macros = tflm_stand_in.macros(needs=ONE).split()
    command = ["g++", *STRICT, *macros, "main.cc", "points_int8.cc", "-o", "main"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    ran = subprocess.run([tmp_path / "main"], capture_output=True, text=True)
    assert (ran.returncode, ran.stdout.split()) == (0, ["2", "3", "4", "5"] * 2)
    header = texts["points_int8_interpreters.h"]
    stated = max(tail.side_by_side(image.networks, build).size for build in EVERY)
    assert f"model_points_int8_interpreters_arena_size = {stated};" in header
