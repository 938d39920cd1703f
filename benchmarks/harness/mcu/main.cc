// Tries each network of an exported array against the host's answers, finds the least arena in which it can be made, and
// runs it RUNS times; prints a line of JSON a run: restnet-tf bench RUN --device mcu --log reads it.
//
// Lines go to printf, which the board sends to a serial port or a debugger (semihosting).
// Names come from the Makefile: BOARD, CORE, CORE_HZ (0 where nobody said), RUNS, WARMUPS, KERNELS, VERSION.

#include <cstdint>
#include <cstdio>

#include TRIAL
#include "cycles.h"
#include "runner.h"

namespace {

int printed = 0;

void Head(std::size_t entry) {
  const trial::Entry& one = trial::kEntries[entry];
  printf("{\"harness\":\"mcu\",\"board\":\"%s\",\"core\":\"%s\",\"hz\":%lu,\"tool\":\"%s\",\"version\":\"%s\",\"kernels\":\"%s\"",
         BOARD, CORE, static_cast<unsigned long>(CORE_HZ), kRunnerTool, VERSION, KERNELS);
  printf(",\"array\":\"%s\",\"file\":\"%s\",\"sha256\":\"%s\"", ARRAY, one.file, one.sha256);
  ++printed;
}

bool Failed(std::size_t entry, const char* why) {
  Head(entry);
  printf(",\"error\":\"%s\"}\n", why);
  return false;
}

bool Differs(std::size_t entry, std::size_t sample, double difference) {
  Head(entry);
  // Integers, as small C libraries print no floats.
  printf(",\"error\":\"it answers otherwise than on the host: input %u, a score is %ld thousandths of a step away, %ld are allowed\"}\n",
         static_cast<unsigned>(sample), static_cast<long>(difference < 2e6 ? difference * 1000 : 2e9),
         static_cast<long>(trial::kTolerance * 1000));
  return false;
}

// Downwards, in steps that are smaller than what lies between a refusal by TFLM and a crash of a kernel.
std::size_t LeastArena(std::size_t entry, std::size_t bytes) {
  constexpr std::size_t kSteps[] = {64, 16};
  for (const std::size_t step : kSteps) {
    while (bytes >= trial::kEntries[entry].floor + step && RunnerOpen(entry, bytes - step, true) == nullptr) bytes -= step;
  }
  return bytes;
}

bool Measured(std::size_t entry) {
  const std::size_t arena = ARENA_BYTES;
  if (const char* why = RunnerOpen(entry, arena, false)) return Failed(entry, why);
  for (std::size_t sample = 0; sample < trial::kInputs; ++sample) {
    if (const char* why = RunnerPrepare(entry, sample)) return Failed(entry, why);
    if (const char* why = RunnerInvoke()) return Failed(entry, why);
    const double difference = RunnerDifference(entry, sample);
    if (difference < 0) return Failed(entry, "its scores have another size than the file's");
    if (!(difference <= trial::kTolerance)) return Differs(entry, sample, difference);
  }
  const std::size_t least = LeastArena(entry, arena & ~static_cast<std::size_t>(15));
  if (const char* why = RunnerOpen(entry, arena, false)) return Failed(entry, why);
  const bool counted = cycles::Start();
  for (int run = 0; run < WARMUPS + RUNS; ++run) {
    if (const char* why = RunnerPrepare(entry, 0)) return Failed(entry, why);
    const cycles::Count before = cycles::Now();
    const char* why = RunnerInvoke();
    const cycles::Count took = cycles::Now() - before;
    if (why) return Failed(entry, why);
    if (run < WARMUPS) continue;
    Head(entry);
    printf(",\"checked\":%u,\"arena\":%lu,\"run\":%d,\"%s\":", static_cast<unsigned>(trial::kInputs),
           static_cast<unsigned long>(least), run - WARMUPS, cycles::kName);
    if (counted) {
      printf("%lu}\n", static_cast<unsigned long>(cycles::Told(took)));
    } else {
      printf("-1}\n");
    }
  }
  return true;
}

}  // namespace

int main() {
  setvbuf(stdout, nullptr, _IOLBF, 256);  // line by line, so that a capture shows how far a run came
  bool whole = true;
  for (std::size_t entry = 0; entry < trial::kCount; ++entry) whole = Measured(entry) && whole;
  printf("{\"harness\":\"mcu\",\"end\":%d}\n", printed);
  return whole ? 0 : 1;
}
