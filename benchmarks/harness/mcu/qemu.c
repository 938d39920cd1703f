// Start-up for the MPS2 and MPS3 boards of QEMU, with semihosting for output and exit. A real board brings its own.

extern unsigned stack_top, data_load, data_start, data_end, bss_start, bss_end;
extern int main(void);
extern void initialise_monitor_handles(void);
extern void __libc_init_array(void);
extern void exit(int);
extern void _exit(int);

void _init(void) {}
void _fini(void) {}

void Reset(void) {
#if defined(__ARM_FP)
  *(volatile unsigned*)0xE000ED88 |= 0xFu << 20;  // CPACR: the floating-point unit, and MVE
  __asm volatile("dsb\n\tisb");
#endif
  unsigned* from = &data_load;
  for (unsigned* to = &data_start; to < &data_end;) *to++ = *from++;
  for (unsigned* to = &bss_start; to < &bss_end;) *to++ = 0;
  initialise_monitor_handles();
  __libc_init_array();
  exit(main());
}

void Fault(void) { _exit(70); }

volatile unsigned systick_wraps;
void Tick(void) { ++systick_wraps; }

__attribute__((section(".vectors"), used)) static const void* const vectors[16] = {
    &stack_top, Reset, Fault, Fault, Fault, Fault, Fault, Fault, 0, 0, 0, Fault, Fault, 0, Fault, Tick,
};
