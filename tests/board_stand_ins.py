"""Stand-ins for the headers of Arduino, FreeRTOS and Zephyr: what the programs of docs/boards.md use of them, no more.

They run on this host: bytes come from standard input, text goes to standard output, and a wait ends the program.
"""

from __future__ import annotations

from pathlib import Path

_ARDUINO = """
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
struct Stream {
  void begin(unsigned long) {}
  size_t readBytes(uint8_t* bytes, size_t size) {
    const size_t taken = fread(bytes, 1, size, stdin);
    if (taken < size) exit(0);
    return taken;
  }
  void println(const char* text) { puts(text); }
};
extern Stream Serial;
inline void delay(unsigned long) { exit(0); }
void setup();
void loop();
"""
_ARDUINO_MAIN = """
#include <Arduino.h>
Stream Serial;
int main() {
  setup();
  for (;;) loop();
}
"""
_FREERTOS = """
#pragma once
#include <stdint.h>
typedef uint32_t TickType_t;
#define pdMS_TO_TICKS(ms) ((TickType_t)(ms))
"""
_TASK = """
#pragma once
#include <stdlib.h>
#include "FreeRTOS.h"
static inline void vTaskDelay(TickType_t ticks) { exit(ticks == 0); }
"""
_APP_MAIN = """
void app_main(void);
int main(void) { app_main(); }
"""
_KERNEL = """
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
static inline int32_t k_msleep(int32_t ms) { exit(ms == 0); }
"""
_PRINTK = """
#pragma once
#include <stdio.h>
#define printk printf
"""
HEADERS = {
    "Arduino.h": _ARDUINO,
    "Chirale_TensorFlowLite.h": "#pragma once\n#include <Arduino.h>\n",
    "freertos/FreeRTOS.h": _FREERTOS,
    "freertos/task.h": _TASK,
    "zephyr/kernel.h": _KERNEL,
    "zephyr/sys/printk.h": _PRINTK,
}
# By the beginning of a program's path: what calls it.
CALLERS = {"restnet": ("caller.cc", _ARDUINO_MAIN), "main/": ("caller.c", _APP_MAIN)}


def headers(folder: Path) -> None:
    """Write them as a compiler finds them under ``-I folder``."""
    for name, text in HEADERS.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
