// The model run by TensorFlow Lite Micro: the only file of the harness that includes its headers.
//
// ARENA_BYTES is the arena to give it; the run's "arena head" and a few tens of kilobytes are enough.

#include <cstring>
#include <new>

#include "runner.h"
#include "tensorflow/lite/micro/micro_interpreter.h"
#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"
#include "tensorflow/lite/schema/schema_generated.h"

#ifndef ARENA_BYTES
#define ARENA_BYTES (256 * 1024)
#endif

const char* const kRunnerTool = "TensorFlow Lite Micro";

namespace {

using Operators = tflite::MicroMutableOpResolver<56>;

alignas(16) unsigned char arena[ARENA_BYTES];
tflite::MicroInterpreter* interpreter = nullptr;

// What restnet-tf's files are made of; drop what yours lacks to save flash.
bool AddOperators(Operators* to) {
  const TfLiteStatus added[] = {
      to->AddAdd(), to->AddAveragePool2D(), to->AddBatchMatMul(), to->AddBroadcastTo(), to->AddConcatenation(),
      to->AddConv2D(), to->AddDepthwiseConv2D(), to->AddDequantize(), to->AddExpandDims(), to->AddFullyConnected(),
      to->AddGather(), to->AddHardSwish(), to->AddLeakyRelu(), to->AddLogistic(), to->AddMaxPool2D(),
      to->AddMaximum(), to->AddMean(), to->AddMinimum(), to->AddMul(), to->AddNeg(), to->AddPack(), to->AddPad(),
      to->AddPadV2(), to->AddQuantize(), to->AddRelu(), to->AddRelu6(), to->AddReshape(), to->AddResizeBilinear(),
      to->AddResizeNearestNeighbor(), to->AddRsqrt(), to->AddShape(), to->AddSlice(), to->AddSoftmax(),
      to->AddSplit(), to->AddSquaredDifference(), to->AddStridedSlice(), to->AddSub(), to->AddSum(), to->AddTanh(),
      to->AddTranspose(), to->AddUnpack(),
      // What cascades go on by.
      to->AddCast(), to->AddGreaterEqual(), to->AddIf(), to->AddLess(), to->AddLog(), to->AddReduceMax(),
  };
  for (TfLiteStatus status : added) {
    if (status != kTfLiteOk) return false;
  }
  return true;
}

}  // namespace

const char* RunnerOpen(const unsigned char* data, size_t) {
  const tflite::Model* model = tflite::GetModel(data);
  if (model->version() != TFLITE_SCHEMA_VERSION) return "the file has another schema version";
  // In place: static objects would be destroyed at exit, for which bare start-up files have no support.
  alignas(Operators) static unsigned char operators_at[sizeof(Operators)];
  Operators* operators = new (operators_at) Operators;
  if (!AddOperators(operators)) return "an operator could not be added to the resolver";
  alignas(tflite::MicroInterpreter) static unsigned char interpreter_at[sizeof(tflite::MicroInterpreter)];
  interpreter = new (interpreter_at) tflite::MicroInterpreter(model, *operators, arena, sizeof(arena));
  if (interpreter->AllocateTensors() != kTfLiteOk) {
    return "its tensors could not be allocated: see the line before, or raise ARENA_BYTES";
  }
  return nullptr;
}

// The arena lends the inputs' places to later tensors, so they are written anew each time.
const char* RunnerPrepare() {
  TfLiteTensor* input = interpreter->input(0);
  memset(input->data.raw, 0, input->bytes);
  // Thresholds of a cascade, above every confidence: all stages run, which is its worst case.
  for (size_t number = 1; number < interpreter->inputs_size(); ++number) {
    TfLiteTensor* threshold = interpreter->input(number);
    if (threshold->type != kTfLiteFloat32) return "an input behind the image is no threshold";
    threshold->data.f[0] = 2.0f;
  }
  return nullptr;
}

const char* RunnerInvoke() { return interpreter->Invoke() == kTfLiteOk ? nullptr : "it could not be run"; }

size_t RunnerArena() { return interpreter->arena_used_bytes(); }
