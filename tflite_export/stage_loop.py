"""C++ that runs a cascade's stages one after the other until one is sure, for devices whose runtime takes no IF.

A header that all cascades share and one for each, alone like those of ``carray``: they need no header of TensorFlow
Lite Micro, since the program hands in what runs a stage. Pure functions: text out, no files.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tflite_export import carray, tail, template
from tflite_export.errors import TfliteError
from tflite_export.flatbuffer import Tensor, read
from tflite_export.inputs import PHOTOS, InputKind
from tflite_export.kernels import EVERY, Kernels

SHARED = "cascade.h"
# By a tensor's type: what C++ calls its numbers.
_NUMBERS = {"FLOAT32": "float", "INT8": "std::int8_t", "UINT8": "std::uint8_t", "INT16": "std::int16_t"}
# By confidence: the function of the shared header.
CONFIDENCES = {"max": "LargestScore", "margin": "Margin", "entropy": "OneLessEntropy"}
_SHARED = """\
// Made by restnet-tf; do not edit. What all cascades have in common.
#ifndef RESTNET_TF_CASCADE_H_
#define RESTNET_TF_CASCADE_H_

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <type_traits>

namespace restnet_tf {

// What the numbers of a stage stand for: value = scale * (number - zero point). Floats are values themselves.
struct StageEnds {
  float input_scale;
  std::int32_t input_zero_point;
  float output_scale;
  std::int32_t output_zero_point;
};

// Halves are rounded away from zero, as TensorFlow Lite's QUANTIZE does.
template <typename Number>
inline Number Quantised(float value, const StageEnds& ends) {
  if constexpr (std::is_floating_point<Number>::value) {
    return value;
  } else {
    const float ratio = value / ends.input_scale;
    const float number = std::trunc(ratio + std::copysign(0.5f, ratio)) + static_cast<float>(ends.input_zero_point);
    const float low = static_cast<float>(std::numeric_limits<Number>::min());
    const float high = static_cast<float>(std::numeric_limits<Number>::max());
    return static_cast<Number>(std::min(std::max(number, low), high));
  }
}

template <typename Number>
inline float Dequantised(Number number, const StageEnds& ends) {
  if constexpr (std::is_floating_point<Number>::value) {
    return number;
  } else {
    return ends.output_scale * static_cast<float>(static_cast<std::int32_t>(number) - ends.output_zero_point);
  }
}

// Confidences of scores, 0 to 1: the largest; the largest less the next, which is 0 where two are the largest; one
// less the entropy over that of an even distribution.
inline float LargestScore(const float* scores, std::size_t classes) {
  return *std::max_element(scores, scores + classes);
}

inline float Margin(const float* scores, std::size_t classes) {
  float first = 0.0f, second = 0.0f;
  for (std::size_t i = 0; i < classes; ++i) {
    second = std::max(second, std::min(first, scores[i]));
    first = std::max(first, scores[i]);
  }
  return first - second;
}

inline float OneLessEntropy(const float* scores, std::size_t classes) {
  float sum = 0.0f;
  for (std::size_t i = 0; i < classes; ++i) sum += scores[i] * std::log(std::max(scores[i], 1e-30f));
  return std::max(0.0f, 1.0f + sum / std::log(static_cast<float>(classes)));
}

// Runs stages until one is sure; the stage that answered, -1 where a stage could not be run.
template <typename Number, typename Runner>
inline int RunStages(Runner& runner, const StageEnds* ends, std::size_t stages, const float* numbers, std::size_t count,
                     float* scores, std::size_t classes, float (*confidence)(const float*, std::size_t),
                     const float* thresholds) {
  for (std::size_t stage = 0; stage < stages; ++stage) {
    Number* const input = static_cast<Number*>(runner.Input(stage));
    if (input == nullptr) return -1;
    for (std::size_t i = 0; i < count; ++i) input[i] = Quantised<Number>(numbers[i], ends[stage]);
    const Number* const output = static_cast<const Number*>(runner.Run(stage));
    if (output == nullptr) return -1;
    for (std::size_t i = 0; i < classes; ++i) scores[i] = Dequantised<Number>(output[i], ends[stage]);
    // A confidence that equals its threshold is sure enough.
    if (stage + 1 == stages || confidence(scores, classes) >= thresholds[stage]) return static_cast<int>(stage);
  }
  return -1;
}

}  // namespace restnet_tf

#endif  // RESTNET_TF_CASCADE_H_
"""
_ONE = """\
// Made by restnet-tf; do not edit.
// {about}
// {rule}
#ifndef {guard}_H_
#define {guard}_H_

{includes}
// The thresholds chosen, one behind each stage but the last. Hand others to {name}_run to turn the dial.
constexpr float {name}_thresholds[] = {{{thresholds}}};
constexpr std::size_t {name}_stages_size = {stages};
constexpr std::size_t {name}_{one}_size = {values};
constexpr std::size_t {name}_classes = {classes};
// Of the stage that takes most, for interpreters that are made one after the other in one arena.
constexpr std::size_t {name}_arena_size = {arena};
constexpr restnet_tf::StageEnds {name}_ends[] = {{
{ends}}};

// The file of a stage, for tflite::GetModel; nullptr beyond the last.
inline const unsigned char* {name}_file(std::size_t stage) {{
  const unsigned char* const files[] = {{{files}}};
  return stage < {name}_stages_size ? files[stage] : nullptr;
}}

// Runs stages on the values of an {one}, {told},
// row by row, until one is sure. It writes {classes} scores and returns the stage that answered, from 0, or -1 where
// one could not be run. Your runner has two functions:
//   {number}* Input(std::size_t stage);       where that stage takes its {one}, nullptr where it cannot be opened
//   const {number}* Run(std::size_t stage);   runs it; its scores, nullptr where it failed
template <typename Runner>
inline int {name}_run(Runner& runner, const float* {numbers}, float* scores,
    const float* thresholds = {name}_thresholds) {{
  return restnet_tf::RunStages<{number}>(runner, {name}_ends, {name}_stages_size, {numbers}, {name}_{one}_size, scores,
      {name}_classes, restnet_tf::{confidence}, thresholds);
}}

#endif  // {guard}_H_
"""


@dataclass(frozen=True)
class StageFile:
    """Where a stage lies in firmware: its file, the stem of the array that holds it, and the bytes before it there."""

    content: bytes
    stem: str
    offset: int = 0


def sources(
    stages: Sequence[StageFile],
    confidence: str,
    thresholds: Sequence[float],
    stem: str,
    about: str,
    kind: InputKind = PHOTOS,
    builds: Sequence[Kernels] = EVERY,
) -> dict[str, str]:
    """File names and texts of a cascade of these stages: ``cascade.h``, and ``STEM.h`` whose names begin ``model_``.

    Raises TfliteError as ``check`` does.
    """
    starts, ends = check([stage.content for stage in stages])
    name = f"model_{carray.identifier(stem)}"
    arrays = [carray.identifier(stage.stem) for stage in stages]
    text = _ONE.format(
        about=about,
        rule=carray.dial_rule(confidence),
        guard=name.upper(),
        includes="".join(f'#include "{file}"\n' for file in dict.fromkeys([SHARED, *(f"{a}.h" for a in arrays)])),
        name=name,
        thresholds=", ".join(map(template.float32, thresholds)),
        stages=len(stages),
        values=math.prod(starts[0].shape),
        classes=ends[0].shape[-1],
        one=kind.one,
        numbers=kind.numbers,
        told=kind.told,
        arena=max(tail.arena(stage.content, builds).size for stage in stages),
        ends="".join(f"    {{{_steps(x)}, {_steps(y)}}},\n" for x, y in zip(starts, ends, strict=True)),
        files=", ".join(
            f"model_{a} + {s.offset}" if s.offset else f"model_{a}" for a, s in zip(arrays, stages, strict=True)
        ),
        number=_NUMBERS[starts[0].type],
        confidence=CONFIDENCES[confidence],
    )
    return {SHARED: _SHARED, f"{name.removeprefix('model_')}.h": text}


def check(files: Sequence[bytes]) -> tuple[list[Tensor], list[Tensor]]:
    """What stages take and what they give.

    Raises TfliteError where they take images of several sizes or give several counts or types of scores.
    """
    graphs = [read(content).subgraphs[0] for content in files]
    starts, ends = [graph.inputs[0] for graph in graphs], [graph.outputs[0] for graph in graphs]
    for what, kinds in (
        ("take images of several sizes", {x.shape for x in starts}),
        ("give several counts of scores", {y.shape for y in ends}),
        ("have several types of numbers", {t.type for t in (*starts, *ends)}),
    ):
        if len(kinds) > 1:
            raise TfliteError(f"its stages {what}, {' and '.join(sorted(map(str, kinds)))}, which one loop cannot feed")
    return starts, ends


def _steps(tensor: Tensor) -> str:
    """Scale and zero point; floats get 1 and 0, so that one formula serves both."""
    scale, zero = (tensor.scales[0], tensor.zero_points[0]) if tensor.scales else (1.0, 0)
    return f"{template.float32(scale)}, {zero}"
