// Runs one model RUNS times and prints a line of JSON a run: restnet-tf bench RUN --device mcu --log reads it.
//
// Lines go to printf, which the board sends to a serial port or a debugger (semihosting).
// Names come from the Makefile: MODEL_NAME, MODEL_SHA256, BOARD, CORE, CORE_HZ (0 where nobody said), RUNS, WARMUPS.

#include <cstdint>
#include <cstdio>

#include "cycles.h"
#include "runner.h"

extern "C" {
extern const unsigned char model_data[];
extern const uint32_t model_size;
}

namespace {

void Head() {
  printf("{\"harness\":\"mcu\",\"board\":\"%s\",\"core\":\"%s\",\"hz\":%lu,\"tool\":\"%s\",\"file\":\"%s\",\"sha256\":\"%s\"",
         BOARD, CORE, static_cast<unsigned long>(CORE_HZ), kRunnerTool, MODEL_NAME, MODEL_SHA256);
}

int Failed(const char* why, int before) {
  Head();
  printf(",\"error\":\"%s\"}\n{\"harness\":\"mcu\",\"end\":%d}\n", why, before + 1);
  return 1;
}

}  // namespace

int main() {
  setvbuf(stdout, nullptr, _IOLBF, 256);  // line by line, so that a capture shows how far a run came
  if (const char* why = RunnerOpen(model_data, model_size)) return Failed(why, 0);
  const bool counted = cycles::Start();
  for (int run = 0; run < WARMUPS + RUNS; ++run) {
    const int printed = run < WARMUPS ? 0 : run - WARMUPS;
    if (const char* why = RunnerPrepare()) return Failed(why, printed);
    const uint32_t before = cycles::Now();
    const char* why = RunnerInvoke();
    const uint32_t took = cycles::Now() - before;
    if (why) return Failed(why, printed);
    if (run < WARMUPS) continue;
    Head();
    printf(",\"arena\":%lu,\"run\":%d,\"cycles\":", static_cast<unsigned long>(RunnerArena()), printed);
    if (counted) {
      printf("%lu}\n", static_cast<unsigned long>(took));
    } else {
      printf("-1}\n");
    }
  }
  printf("{\"harness\":\"mcu\",\"end\":%d}\n", RUNS);
  return 0;
}
