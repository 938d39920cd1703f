/* Copies a block: transposing, slicing and joining, and what lies inside of padding. */
#include <string.h>

#include "restnet_kernels.h"

int restnet_copy(const restnet_copy_layer *layer, const int8_t *x, int8_t *y)
{
  const int32_t *n = layer->count;
  const int32_t *from = layer->in_step, *to = layer->out_step;
  x += layer->in_first;
  y += layer->out_first;
  for (int i = 0; i < n[0]; ++i) {
    for (int j = 0; j < n[1]; ++j) {
      for (int k = 0; k < n[2]; ++k) {
        for (int l = 0; l < n[3]; ++l) {
          const int8_t *p = x + i * from[0] + j * from[1] + k * from[2] + l * from[3];
          int8_t *q = y + i * to[0] + j * to[1] + k * to[2] + l * to[3];
          if (from[4] == 1 && to[4] == 1) {
            memcpy(q, p, (size_t)n[4]);
          } else {
            for (int m = 0; m < n[4]; ++m, p += from[4], q += to[4]) *q = *p;
          }
        }
      }
    }
  }
  return RESTNET_OK;
}
