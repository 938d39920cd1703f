// The core's own cycle counter: the PMU of Armv8.1-M (Cortex-M55, M85), the DWT of Cortex-M3, M4, M7 and M33.
//
// 32 bits: a run of more than 4.29 billion cycles counts too few. Cortex-M0 and M23 have neither: then Start says false
// and nothing is counted. QEMU has no cycles; with -icount shift=0 an instruction takes a nanosecond of its clocks, so
// that SysTick counts instructions: INSTRUCTIONS is how many a thousand of its ticks are.

#ifndef RESTNET_TF_CYCLES_H_
#define RESTNET_TF_CYCLES_H_

#include <cstdint>

namespace cycles {

inline volatile uint32_t& At(uintptr_t address) { return *reinterpret_cast<volatile uint32_t*>(address); }

#if defined(INSTRUCTIONS)

extern "C" volatile unsigned systick_wraps;  // counted by the start-up file, every 2^24 ticks

using Count = uint64_t;
constexpr const char* kName = "instructions";
inline void Enable() {
  At(0xE000E014) = 0xFFFFFF;  // SYST_RVR
  At(0xE000E018) = 0;         // SYST_CVR
  At(0xE000E010) = 7;         // SYST_CSR: the core's clock, an interrupt at 0, enable
}
inline Count Now() {
  unsigned wraps;
  uint32_t left;
  do {
    wraps = systick_wraps;
    left = At(0xE000E018);
  } while (wraps != systick_wraps);
  return (static_cast<Count>(wraps) << 24) + (0xFFFFFF - left);
}
inline uint64_t Told(Count ticks) { return ticks * INSTRUCTIONS / 1000; }
// Without -icount the clock is that of the host, by which no loop takes as long as it took before.
inline Count Loop() {
  const Count before = Now();
  for (volatile int i = 0; i < 20000; i = i + 1) {
  }
  return Now() - before;
}
inline bool Start() {
  Enable();
  Loop();
  const Count once = Loop(), twice = Loop();
  return once > 0 && (once > twice ? once - twice : twice - once) <= 1;
}

#else

using Count = uint32_t;
constexpr const char* kName = "cycles";
#if defined(__ARM_ARCH_8_1M_MAIN__)
constexpr bool kCounter = true;
inline void Enable() {
  At(0xE000EDFC) |= 1u << 24;   // DEMCR.TRCENA
  At(0xE0003E04) |= 1u | 4u;    // PMU_CTRL: enable, reset the cycle counter
  At(0xE0003C00) = 1u << 31;    // PMU_CNTENSET: cycle counter
}
inline uint32_t Now() { return At(0xE000307C); }  // PMU_CCNTR
#elif defined(__ARM_ARCH_7M__) || defined(__ARM_ARCH_7EM__) || defined(__ARM_ARCH_8M_MAIN__)
constexpr bool kCounter = true;
inline void Enable() {
  At(0xE000EDFC) |= 1u << 24;  // DEMCR.TRCENA
#if defined(__ARM_ARCH_7EM__)
  At(0xE0001FB0) = 0xC5ACCE55;  // DWT_LAR: Cortex-M7 keeps its DWT locked
#endif
  At(0xE0001004) = 0;   // DWT_CYCCNT
  At(0xE0001000) |= 1;  // DWT_CTRL.CYCCNTENA
}
inline uint32_t Now() { return At(0xE0001004); }
#else
constexpr bool kCounter = false;
inline void Enable() {}
inline uint32_t Now() { return 0; }
#endif

// Starts the counter; whether it really counts.
inline bool Start() {
  if (!kCounter) return false;
  Enable();
  const uint32_t before = Now();
  for (volatile int i = 0; i < 100; i = i + 1) {
  }
  return Now() != before;
}
inline uint32_t Told(Count count) { return count; }

#endif

}  // namespace cycles

#endif  // RESTNET_TF_CYCLES_H_
