/* Squares of differences of two tensors, either of which may be repeated along dimensions. */
#include "restnet_fixed_point.h"
#include "restnet_kernels.h"

int restnet_square(const restnet_square_layer *layer, const int8_t *a, const int8_t *b, int8_t *y)
{
  const restnet_loops *n = &layer->loops;
  for (int i = 0; i < n->count[0]; ++i) {
    for (int j = 0; j < n->count[1]; ++j) {
      for (int k = 0; k < n->count[2]; ++k) {
        const int8_t *p = a + i * n->a_step[0] + j * n->a_step[1] + k * n->a_step[2];
        const int8_t *q = b + i * n->b_step[0] + j * n->b_step[1] + k * n->b_step[2];
        for (int l = 0; l < n->count[3]; ++l, p += n->a_step[3], q += n->b_step[3]) {
          const int32_t first = restnet_lifted(*p + layer->a_offset, layer->lift);
          const int32_t second = restnet_lifted(*q + layer->b_offset, layer->lift);
          const int32_t apart = restnet_scaled(first, layer->a_multiplier, layer->a_shift) -
                                restnet_scaled(second, layer->b_multiplier, layer->b_shift);
          const int32_t square = restnet_scaled(apart * apart, layer->out_multiplier, layer->out_shift);
          *y++ = restnet_clamped(square + layer->out_offset, layer->low, layer->high);
        }
      }
    }
  }
  return RESTNET_OK;
}
