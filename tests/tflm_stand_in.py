"""A stand-in for TensorFlow Lite Micro, whose sources come in no package: its headers and a library, for the compilers.

It knows what a network takes and gives by macros, not by its file, and answers with the input's bytes and its place
among the scores. What it refuses, prints and lacks is what the real one does: an arena that is too small, headers that
are read without ``TF_LITE_STATIC_MEMORY``, a resolver that is full, a release without messages.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np

# The resolver's methods are those of tensorflow/lite/micro/micro_mutable_op_resolver.h.
METHODS = """
Abs Add AddN ArgMax ArgMin AssignVariable AveragePool2D BatchMatMul BatchToSpaceNd BroadcastArgs BroadcastTo
CallOnce Cast Ceil Concatenation Conv2D Cos CumSum DepthToSpace DepthwiseConv2D Dequantize Div DynamicUpdateSlice
Elu EmbeddingLookup Equal EthosU Exp ExpandDims Fill Floor FloorDiv FloorMod FullyConnected Gather GatherNd Greater
GreaterEqual HardSwish If L2Normalization L2Pool2D LeakyRelu Less LessEqual Log LogicalAnd LogicalNot LogicalOr
Logistic LogSoftmax Maximum MaxPool2D Mean Minimum MirrorPad Mul Neg NotEqual Pack Pad PadV2 Prelu Quantize
ReadVariable ReduceAll ReduceMax ReduceMin Relu Relu6 Reshape ResizeBilinear ResizeNearestNeighbor ReverseV2 Round
Rsqrt SelectV2 Shape Sin Slice Softmax SpaceToBatchNd SpaceToDepth Split SplitV Sqrt Square SquaredDifference
Squeeze StridedSlice Sub Sum Svdf Tanh Transpose TransposeConv UnidirectionalSequenceLSTM Unpack VarHandle While
ZerosLike
"""
# Those that take another kernel than their own, of which CMSIS-NN has some for int8 alone.
_WITH_KERNELS = {
    "Add": "ADD",
    "AveragePool2D": "AVERAGE_POOL_2D",
    "BatchMatMul": "BATCH_MATMUL",
    "Conv2D": "CONV_2D",
    "DepthwiseConv2D": "DEPTHWISE_CONV_2D",
    "FullyConnected": "FULLY_CONNECTED",
    "MaxPool2D": "MAX_POOL_2D",
    "Mul": "MUL",
    "Softmax": "SOFTMAX",
}
_RESOLVER = """
#pragma once
#include <cstdio>
#include <cstring>
namespace tflite {
struct TFLMRegistration { const char* name; };
REGISTRATIONS
}
namespace NAMESPACE {
enum TfLiteStatus { kTfLiteOk = 0, kTfLiteError = 1 };
template <unsigned int tOpCount>
class MicroMutableOpResolver {
 public:
METHODS
  unsigned int GetRegistrationLength() { return length_; }
 private:
  TfLiteStatus Put(const char* name) {
    if (length_ >= tOpCount) return kTfLiteError;
    ++length_;
#if !defined(STAND_IN_NEEDS)
    std::puts(name);
#else
    (void)name;
#endif
    return kTfLiteOk;
  }
  unsigned int length_ = 0;
};
}
"""
_SCHEMA = """
#pragma once
#include <cstdint>
#define TFLITE_SCHEMA_VERSION 3
namespace tflite {
struct Model { std::uint32_t version() const { return 3; } };
inline const Model* GetModel(const void* data) { return static_cast<const Model*>(data); }
}
"""
_ALLOCATOR = """
#pragma once
#include <cstddef>
#include <cstdint>
#include <new>
#if !defined(TF_LITE_STATIC_MEMORY)
#error the library was built with TF_LITE_STATIC_MEMORY: its tensors have another size without it
#endif
namespace tflite {
// At the arena's beginning, to keep it simple.
class MicroAllocator {
 public:
  static MicroAllocator* Create(std::uint8_t* arena, std::size_t size) {
    return size < sizeof(MicroAllocator) ? nullptr : new (arena) MicroAllocator(arena, size);
  }
  bool Take(std::size_t bytes) { return bytes <= left_ ? (left_ -= bytes, true) : false; }
  char* Shared() { return reinterpret_cast<char*>(arena_ + sizeof(MicroAllocator)); }
 private:
  MicroAllocator(std::uint8_t* arena, std::size_t size) : arena_(arena), left_(size) {}
  std::uint8_t* arena_;
  std::size_t left_;
};
}
"""
_INTERPRETER = """
#pragma once
#include <cstdarg>
#include "tensorflow/lite/micro/micro_allocator.h"
#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"
#include "tensorflow/lite/schema/schema_generated.h"
#if defined(TF_LITE_STRIP_ERROR_STRINGS)
#define MicroPrintf(...)
#else
void MicroPrintf(const char* format, ...);
#endif
using tflite::kTfLiteOk;
enum TfLiteType { kTfLiteFloat32 = 1, kTfLiteInt32 = 2, kTfLiteUInt8 = 3, kTfLiteInt16 = 7, kTfLiteInt8 = 9 };
struct TfLiteTensor {
  TfLiteType type;
  union { char* raw; float* f; std::int32_t* i32; } data;
  std::size_t bytes;
};
namespace tflite {
class MicroInterpreter {
 public:
  template <class Resolver>
  MicroInterpreter(const Model* model, const Resolver& resolver, std::uint8_t* arena, std::size_t size)
      : MicroInterpreter(model, resolver, MicroAllocator::Create(arena, size)) {}
  template <class Resolver>
  MicroInterpreter(const Model*, const Resolver&, MicroAllocator* allocator) : allocator_(allocator) {}
  TfLiteStatus AllocateTensors() {
    if (allocator_ == nullptr || !allocator_->Take(STAND_IN_NEEDS)) {
      MicroPrintf("Failed to allocate tail memory. Requested: %u", static_cast<unsigned>(STAND_IN_NEEDS));
      return kTfLiteError;
    }
    input_ = {kTfLiteInt8, {allocator_->Shared()}, STAND_IN_INPUT};
    more_ = {STAND_IN_MORE, {reinterpret_cast<char*>(&second_)}, sizeof(second_)};
    output_ = {kTfLiteInt8, {scores_}, STAND_IN_OUTPUT};
    return kTfLiteOk;
  }
  TfLiteStatus Invoke() {
#if defined(__arm__)
    unsigned left = STAND_IN_LOOPS;  // of two instructions each
    __asm volatile("1: subs %0, %0, #1\\n bne 1b" : "+r"(left) : : "cc");
#endif
    const int more = inputs_size() == 1 ? 0 : STAND_IN_MORE == kTfLiteInt32 ? second_ : 1;
    for (unsigned i = 0; i < STAND_IN_OUTPUT; ++i) {
      scores_[i] = static_cast<char>(input_.data.raw[i % STAND_IN_INPUT] + static_cast<int>(i) + more + STAND_IN_WRONG);
    }
    std::memset(input_.data.raw, 0, STAND_IN_INPUT);  // the arena lends its place away
    return STAND_IN_FAILS ? kTfLiteError : kTfLiteOk;
  }
  std::size_t inputs_size() const { return STAND_IN_MORE == kTfLiteInt8 ? 1 : 2; }
  TfLiteTensor* input(std::size_t place) { return place == 0 ? &input_ : &more_; }
  TfLiteTensor* output(std::size_t) { return &output_; }
  std::size_t arena_used_bytes() const { return STAND_IN_NEEDS / 2; }
 private:
  MicroAllocator* allocator_;
  TfLiteTensor input_{}, more_{}, output_{};
  std::int32_t second_ = 0;
  char scores_[STAND_IN_OUTPUT] = {};
};
}
"""
_LIBRARY = """
#include <cstdarg>
#include <cstdio>
static void (*callback)(const char*);
extern "C" void RegisterDebugLogCallback(void (*given)(const char*)) { callback = given; }
#if !defined(RELEASE)
void MicroPrintf(const char* format, ...) {
  char line[128];
  std::va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(line, sizeof(line), format, arguments);
  va_end(arguments);
  if (callback != nullptr) { callback(line); callback("\\r\\n"); }
}
#endif
#if defined(CMSIS)
extern "C" void arm_convolve_wrapper_s8() {}
#endif
"""
# What the stand-in is told of a network: it takes 8 bytes and gives 3.
TAKES, GIVES = 8, 3
LOOPS = 100_000


def headers(folder: Path, namespace: str = "tflite") -> None:
    """Write the headers as they lie in a checkout."""
    registrations, methods = [], []
    for method in METHODS.split():
        kernel = _WITH_KERNELS.get(method)
        if kernel is None:
            methods.append(f'  TfLiteStatus Add{method}() {{ return Put("{method}"); }}')
            continue
        registrations.append(f'inline TFLMRegistration Register_{kernel}() {{ return {{"{method}"}}; }}')
        registrations.append(f'inline TFLMRegistration Register_{kernel}_INT8() {{ return {{"{method} of int8"}}; }}')
        given = f"const tflite::TFLMRegistration& kernel = tflite::Register_{kernel}()"
        methods.append(f"  TfLiteStatus Add{method}({given}) {{ return Put(kernel.name); }}")
    resolver = _RESOLVER.replace("METHODS", "\n".join(methods)).replace("REGISTRATIONS", "\n".join(registrations))
    texts = {
        "micro/micro_mutable_op_resolver.h": resolver.replace("NAMESPACE", namespace),
        "micro/micro_interpreter.h": _INTERPRETER,
        "micro/micro_allocator.h": _ALLOCATOR,
        "schema/schema_generated.h": _SCHEMA,
    }
    for name, text in texts.items():
        path = folder / "tensorflow" / "lite" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def checkout(folder: Path, arch: str, flags: Sequence[str], *, cmsis: bool = False, release: bool = False) -> None:
    """A checkout with its library built for a core, where TFLM's make leaves it."""
    headers(folder)
    kind, kernels = "release" if release else "default", "_cmsis_nn" if cmsis else ""
    target = folder / "gen" / f"cortex_m_generic_{arch}_{kind}{kernels}_gcc" / "lib"
    target.mkdir(parents=True)
    (folder / "library.cc").write_text(_LIBRARY)
    defined = [*(["-DCMSIS"] if cmsis else []), *(["-DRELEASE"] if release else [])]
    command = ["arm-none-eabi-g++", *flags, *defined, "-c", "library.cc", "-o", "library.o"]
    subprocess.run(command, cwd=folder, check=True)
    archive = ["arm-none-eabi-ar", "rcs", str(target / "libtensorflow-microlite.a"), "library.o"]
    subprocess.run(archive, cwd=folder, check=True)


def macros(*, needs: int, second: str = "kTfLiteInt8", wrong: int = 0, fails: bool = False) -> str:
    """What firmware is compiled with beside the headers."""
    values = {
        "NEEDS": needs,
        "INPUT": TAKES,
        "OUTPUT": GIVES,
        "MORE": second,
        "WRONG": wrong,
        "FAILS": int(fails),
        "LOOPS": LOOPS,
    }
    return " ".join(f"-DSTAND_IN_{name}={value}" for name, value in values.items())


def answers(inputs: np.ndarray, more: int = 0) -> np.ndarray:
    """What it gives to int8 inputs ``(n, 8)``."""
    return (inputs[:, :GIVES].astype(int) + np.arange(GIVES) + more).astype(np.int8)
