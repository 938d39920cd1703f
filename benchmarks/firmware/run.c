/* The smallest firmware around an exported point: it starts, runs and, on an emulator, says what came out.
 *
 * firmware.h, made for each point, says RUN, INPUT, INPUT_SIZE, OUTPUT_SIZE, COUNT and inputs. With -DBARE nothing is
 * printed: what is left is what a firmware of one's own would hold. No libc but string.h.
 */
#include <stdint.h>
#include <string.h>

#include "firmware.h"

extern uint32_t stack_top, data_load, data_start, data_end, bss_start, bss_end;
static int8_t scores[OUTPUT_SIZE];

#ifdef BARE

int main(void)
{
  for (;;) {
    if (RUN(INPUT(), scores) != 0) return 1;
  }
}

static void stop(int code) { (void)code; for (;;) {} }

#else

#define STACK_BYTES 16384
#define PAINT 0xA5u

static volatile uint32_t wraps;

static int semihosting(int operation, const void *argument)
{
  register int r0 __asm("r0") = operation;
  register const void *r1 __asm("r1") = argument;
  __asm volatile("bkpt 0xAB" : "+r"(r0) : "r"(r1) : "memory");
  return r0;
}

static void stop(int code)
{
  const uint32_t how[2] = {0x20026u, (uint32_t)code}; /* the application ended by itself */
  semihosting(0x20, how);
}

static void print(const char *text) { semihosting(0x04, text); }

static void print_number(int32_t value)
{
  char digits[12];
  char *at = digits + 11;
  uint32_t left = value < 0 ? 0u - (uint32_t)value : (uint32_t)value;
  *at = 0;
  do {
    *--at = (char)('0' + left % 10u);
    left /= 10u;
  } while (left);
  if (value < 0) *--at = '-';
  print(at);
}

/* The clock of the core counts down 24 bits; an interrupt counts how often it began again. */
#define SYSTICK ((volatile uint32_t *)0xE000E010u)

static uint32_t ticks(void) { return 0xFFFFFFu - SYSTICK[2]; }

/* How much of the stack below here was written to. */
static uint32_t painted_from(const uint8_t *bottom, uint32_t size)
{
  uint32_t clean = 0;
  while (clean < size && bottom[clean] == PAINT) ++clean;
  return size - clean;
}

int main(void)
{
  for (int number = 0; number < COUNT; ++number) {
    uint8_t *here = (uint8_t *)__builtin_frame_address(0);
    uint8_t *bottom = here - STACK_BYTES;
    for (uint8_t *p = bottom; p < here - 128; ++p) *(volatile uint8_t *)p = PAINT;
    memcpy(INPUT(), inputs[number], INPUT_SIZE);
    wraps = 0;
    SYSTICK[1] = 0xFFFFFFu;
    SYSTICK[2] = 0;
    SYSTICK[0] = 7;
    const int status = RUN(INPUT(), scores);
    const uint32_t took = ticks();
    SYSTICK[0] = 0;
    print("run ");
    print_number((int32_t)took);
    print(" ");
    print_number((int32_t)wraps);
    print(" ");
    print_number((int32_t)painted_from(bottom, STACK_BYTES));
    print(" ");
    print_number(status);
    for (int i = 0; i < OUTPUT_SIZE; ++i) {
      print(" ");
      print_number(scores[i]);
    }
    print("\n");
  }
  return 0;
}

void Tick(void) { ++wraps; }

#endif

void Reset(void)
{
#if defined(__ARM_FP) || defined(__ARM_FEATURE_MVE)
  *(volatile uint32_t *)0xE000ED88u |= 0xFu << 20; /* CPACR: the floating-point unit, and MVE */
  __asm volatile("dsb\n\tisb");
#endif
  memcpy(&data_start, &data_load, (size_t)((char *)&data_end - (char *)&data_start));
  memset(&bss_start, 0, (size_t)((char *)&bss_end - (char *)&bss_start));
  stop(main());
}

void Fault(void) { stop(70); }

__attribute__((section(".vectors"), used)) static const void *const vectors[16] = {
#ifdef BARE
    &stack_top, Reset, Fault, Fault, Fault, Fault, Fault, 0, 0, 0, 0, Fault, Fault, 0, Fault, Fault,
#else
    &stack_top, Reset, Fault, Fault, Fault, Fault, Fault, 0, 0, 0, 0, Fault, Fault, 0, Fault, Tick,
#endif
};
