// What main.cc needs of whatever runs the model: runner_tflm.cc ships, a test may link another.

#ifndef RESTNET_TF_RUNNER_H_
#define RESTNET_TF_RUNNER_H_

#include <cstddef>

// Names the runtime, with its version where it has one.
extern const char* const kRunnerTool;

// Opens a model; nullptr, or the reason why it cannot be run.
const char* RunnerOpen(const unsigned char* model, size_t size);

// Fills the input and runs once; nullptr, or the reason why it could not.
const char* RunnerPrepare();
const char* RunnerInvoke();

// Bytes of the arena in use; valid once the model is open.
size_t RunnerArena();

#endif  // RESTNET_TF_RUNNER_H_
