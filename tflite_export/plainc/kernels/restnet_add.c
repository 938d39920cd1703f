/* Sums and differences of two tensors, either of which may be repeated along dimensions. */
#include "restnet_fixed_point.h"
#include "restnet_kernels.h"

#ifdef RESTNET_CMSIS_NN
#include "restnet_cmsis_nn.h"
#endif

int restnet_add(const restnet_add_layer *layer, const int8_t *a, const int8_t *b, int8_t *y)
{
  const restnet_loops *n = &layer->loops;
#ifdef RESTNET_CMSIS_NN
  if (layer->b_multiplier > 0 && n->a_step[3] == 1 && n->b_step[3] == 1 && n->count[0] * n->count[1] * n->count[2] == 1) {
    return restnet_status(arm_elementwise_add_s8(
        a, b, layer->a_offset, layer->a_multiplier, layer->a_shift, layer->b_offset, layer->b_multiplier,
        layer->b_shift, layer->lift, y, layer->out_offset, layer->out_multiplier, layer->out_shift, layer->low,
        layer->high, n->count[3]));
  }
#endif
  for (int i = 0; i < n->count[0]; ++i) {
    for (int j = 0; j < n->count[1]; ++j) {
      for (int k = 0; k < n->count[2]; ++k) {
        const int8_t *p = a + i * n->a_step[0] + j * n->a_step[1] + k * n->a_step[2];
        const int8_t *q = b + i * n->b_step[0] + j * n->b_step[1] + k * n->b_step[2];
        for (int l = 0; l < n->count[3]; ++l, p += n->a_step[3], q += n->b_step[3]) {
          const int32_t first = restnet_lifted(*p + layer->a_offset, layer->lift);
          const int32_t second = restnet_lifted(*q + layer->b_offset, layer->lift);
          const int32_t sum = restnet_scaled(first, layer->a_multiplier, layer->a_shift) +
                              restnet_scaled(second, layer->b_multiplier, layer->b_shift);
          const int32_t value = restnet_scaled(sum, layer->out_multiplier, layer->out_shift) + layer->out_offset;
          *y++ = restnet_clamped(value, layer->low, layer->high);
        }
      }
    }
  }
  return RESTNET_OK;
}
