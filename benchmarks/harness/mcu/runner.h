// What main.cc needs of whatever runs the networks: runner_tflm.cc ships, a test may link another.

#ifndef RESTNET_TF_RUNNER_H_
#define RESTNET_TF_RUNNER_H_

#include <cstddef>

// Names the runtime.
extern const char* const kRunnerTool;

// Makes an interpreter of network `entry` of the exported array in so many bytes of the arena; nullptr, or the reason
// why there is none. Quietly: what the runtime prints about it is kept back.
const char* RunnerOpen(std::size_t entry, std::size_t bytes, bool quietly);

// Fills the inputs with sample `sample` of the trial, and runs once; nullptr, or the reason why it could not.
const char* RunnerPrepare(std::size_t entry, std::size_t sample);
const char* RunnerInvoke();

// The largest difference of a score from that of the host, in its own steps or floats; below 0 where sizes differ.
double RunnerDifference(std::size_t entry, std::size_t sample);

#endif  // RESTNET_TF_RUNNER_H_
