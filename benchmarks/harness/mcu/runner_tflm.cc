// Networks run by TensorFlow Lite Micro: the only file of the harness that includes its headers.
//
// TRIAL is the exported header that says what to run (restnet-tf export --target tflm writes it).

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <new>

#include TRIAL
#include "runner.h"
#include "tensorflow/lite/micro/micro_interpreter.h"
#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"
#include "tensorflow/lite/schema/schema_generated.h"

// Of TFLM's target cortex_m_generic, whose DebugLog prints through it alone.
#if defined(RESTNET_TF_DEBUG_CALLBACK)
extern "C" void RegisterDebugLogCallback(void (*callback)(const char* text));
#endif

const char* const kRunnerTool = "TensorFlow Lite Micro";

namespace {

using Operators = tflite::MicroMutableOpResolver<trial::kOperators>;

alignas(16) unsigned char arena[ARENA_BYTES];
// In place: static objects would be destroyed at exit, for which bare start-up files have no support.
alignas(Operators) unsigned char operators_at[sizeof(Operators)];
alignas(tflite::MicroInterpreter) unsigned char interpreter_at[sizeof(tflite::MicroInterpreter)];
Operators* operators = nullptr;
tflite::MicroInterpreter* interpreter = nullptr;
#if defined(RESTNET_TF_DEBUG_CALLBACK)
bool quiet = false;

void Log(const char* text) {
  if (!quiet) printf("%s", text);
}
#endif

bool Begin() {
  if (operators != nullptr) return true;
#if defined(RESTNET_TF_DEBUG_CALLBACK)
  RegisterDebugLogCallback(Log);
#endif
  operators = new (operators_at) Operators;
  return trial::AddOperators(*operators);
}

// By memcpy: the trial's bytes are aligned, but they are no numbers of this type.
template <class Number>
double Largest(const TfLiteTensor& output, const unsigned char* expected) {
  double largest = 0;
  for (std::size_t at = 0; at < output.bytes; at += sizeof(Number)) {
    Number one, other;
    memcpy(&one, output.data.raw + at, sizeof(Number));
    memcpy(&other, expected + at, sizeof(Number));
    const double difference = std::fabs(static_cast<double>(one) - static_cast<double>(other));
    // Whatever is no number is as far away as can be.
    if (!(difference <= largest)) largest = difference == difference ? difference : HUGE_VAL;
  }
  return largest;
}

}  // namespace

const char* RunnerOpen(std::size_t entry, std::size_t bytes, bool quietly) {
#if defined(RESTNET_TF_DEBUG_CALLBACK)
  quiet = quietly;
#else
  (void)quietly;
#endif
  if (bytes > sizeof(arena)) return "the arena is larger than ARENA_BYTES";
  if (!Begin()) return "an operator could not be added to the resolver";
  const tflite::Model* model = tflite::GetModel(trial::kArray + trial::kEntries[entry].offset);
  if (model->version() != TFLITE_SCHEMA_VERSION) return "the file has another schema version";
  if (interpreter != nullptr) interpreter->~MicroInterpreter();
  interpreter = new (interpreter_at) tflite::MicroInterpreter(model, *operators, arena, bytes);
  if (interpreter->AllocateTensors() == kTfLiteOk) return nullptr;
  return "its tensors could not be allocated; raise ARENA_BYTES where the line before asks for memory";
}

// The arena lends the inputs' places to later tensors, so they are written anew each time.
const char* RunnerPrepare(std::size_t entry, std::size_t sample) {
  const trial::Entry& one = trial::kEntries[entry];
  TfLiteTensor* input = interpreter->input(0);
  if (input->bytes != one.input_bytes) return "its input has another size than the file's";
  memcpy(input->data.raw, one.inputs + sample * one.input_bytes, one.input_bytes);
  for (std::size_t number = 1; number < interpreter->inputs_size(); ++number) {
    TfLiteTensor* more = interpreter->input(number);
    if (more->type == kTfLiteInt32 && one.choice >= 0) {
      more->data.i32[0] = one.choice;
    } else if (more->type == kTfLiteFloat32) {
      more->data.f[0] = 2.0f;  // a threshold above every confidence: all stages run, the worst case of a cascade
    } else {
      return "an input behind the first is neither a threshold nor a choice";
    }
  }
  return nullptr;
}

const char* RunnerInvoke() { return interpreter->Invoke() == kTfLiteOk ? nullptr : "it could not be run"; }

double RunnerDifference(std::size_t entry, std::size_t sample) {
  const trial::Entry& one = trial::kEntries[entry];
  const TfLiteTensor& output = *interpreter->output(0);
  if (output.bytes != one.score_bytes) return -1;
  const unsigned char* expected = one.scores + sample * one.score_bytes;
  switch (output.type) {
    case kTfLiteInt8: return Largest<std::int8_t>(output, expected);
    case kTfLiteUInt8: return Largest<std::uint8_t>(output, expected);
    case kTfLiteInt16: return Largest<std::int16_t>(output, expected);
    case kTfLiteFloat32: return Largest<float>(output, expected);
    default: return -1;
  }
}
