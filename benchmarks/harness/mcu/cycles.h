// The core's own cycle counter: the PMU of Armv8.1-M (Cortex-M55, M85), the DWT of Cortex-M3, M4, M7 and M33.
//
// 32 bits: a run of more than 4.29 billion cycles counts too few. Cortex-M0 and M23 have neither, and QEMU
// has registers that stand still: then CyclesStart says false and nothing is counted.

#ifndef RESTNET_TF_CYCLES_H_
#define RESTNET_TF_CYCLES_H_

#include <cstdint>

namespace cycles {

inline volatile uint32_t& At(uintptr_t address) { return *reinterpret_cast<volatile uint32_t*>(address); }

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

}  // namespace cycles

#endif  // RESTNET_TF_CYCLES_H_
