"""C++ that holds an interpreter of every point of an image on one allocator, so that to switch is to call another one.

Beside an image (``flash.py``), whose points else take turns in an arena: there a switch makes an interpreter anew,
which can take half as long as a run of a small network. Here their records lie side by side, and only their tensors
share a place; so inputs are written before each run, and one runs at a time.
"""

from __future__ import annotations

from collections.abc import Sequence

from tflite_export import carray, tail, template
from tflite_export.carray import Several
from tflite_export.kernels import EVERY, Kernels

_TEXT = """\
// Made by restnet-tf; do not edit. {{ about }}
#ifndef {{ name | upper }}_INTERPRETERS_H_
#define {{ name | upper }}_INTERPRETERS_H_

#include <cstddef>
#include <cstdint>
#include <new>

#include "{{ stem }}.h"
#include "{{ stem }}_resolver.h"
#include "tensorflow/lite/micro/micro_allocator.h"
#include "tensorflow/lite/micro/micro_interpreter.h"
#include "tensorflow/lite/schema/schema_generated.h"

// Of all interpreters together; {{ name }}_arena_size is that of the largest alone.
constexpr std::size_t {{ name }}_interpreters_arena_size = {{ arena }};

// Interpreters of all points on one allocator. The inputs of one lie where another has its tensors: write them before
// each run, read the scores behind it, and run one at a time.
//
//   alignas(16) static std::uint8_t arena[{{ name }}_interpreters_arena_size];
//   static {{ name }}_interpreters points;
//   if (!points.Begin(arena, sizeof(arena))) ...  // the arena is too small, or the array is not of this version
//   tflite::MicroInterpreter* one = points.At(0);  // nullptr beyond the last
class {{ name }}_interpreters {
 public:
  bool Begin(std::uint8_t* arena, std::size_t size) {
    if (!{{ name }}_add_operators(resolver_)) return false;
    tflite::MicroAllocator* const allocator = tflite::MicroAllocator::Create(arena, size);
    if (allocator == nullptr) return false;
    for (std::size_t place = 0; place < {{ name }}_points_size; ++place) {
      const tflite::Model* const model = tflite::GetModel({{ name }} + place * {{ name }}_stride);
      if (model->version() != TFLITE_SCHEMA_VERSION) return false;
      made_[place] = new (room_ + place) tflite::MicroInterpreter(model, resolver_, allocator);
      if (made_[place]->AllocateTensors() != kTfLiteOk) return false;
    }
    return true;
  }
  tflite::MicroInterpreter* At(std::size_t place) { return place < {{ name }}_points_size ? made_[place] : nullptr; }

 private:
  struct alignas(tflite::MicroInterpreter) Room {
    unsigned char bytes[sizeof(tflite::MicroInterpreter)];
  };
  tflite::MicroMutableOpResolver<{{ name }}_operators> resolver_;
  Room room_[{{ name }}_points_size];
  tflite::MicroInterpreter* made_[{{ name }}_points_size] = {};
};

#endif
"""


def sources(several: Several, stem: str, *, about: str = "", builds: Sequence[Kernels] = EVERY) -> dict[str, str]:
    """``STEM_interpreters.h`` of an image; the arena suffices for each of ``builds``."""
    name = carray.identifier(stem)
    arena = max(tail.side_by_side(several.networks, kernels).size for kernels in builds)
    text = template.text(_TEXT, name=f"model_{name}", stem=name, about=about, arena=arena)
    return {f"{name}_interpreters.h": text}
