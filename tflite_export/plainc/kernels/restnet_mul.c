/* Products of two tensors, either of which may be repeated along dimensions. */
#include "restnet_fixed_point.h"
#include "restnet_kernels.h"

#ifdef RESTNET_CMSIS_NN
#include "restnet_cmsis_nn.h"
#endif

int restnet_mul(const restnet_mul_layer *layer, const int8_t *a, const int8_t *b, int8_t *y)
{
  const restnet_loops *n = &layer->loops;
#ifdef RESTNET_CMSIS_NN
  if (n->a_step[3] == 1 && n->b_step[3] == 1 && n->count[0] * n->count[1] * n->count[2] == 1) {
    return restnet_status(arm_elementwise_mul_s8(a, b, layer->a_offset, layer->b_offset, y, layer->out_offset,
                                                 layer->multiplier, layer->shift, layer->low, layer->high,
                                                 n->count[3]));
  }
#endif
  for (int i = 0; i < n->count[0]; ++i) {
    for (int j = 0; j < n->count[1]; ++j) {
      for (int k = 0; k < n->count[2]; ++k) {
        const int8_t *p = a + i * n->a_step[0] + j * n->a_step[1] + k * n->a_step[2];
        const int8_t *q = b + i * n->b_step[0] + j * n->b_step[1] + k * n->b_step[2];
        for (int l = 0; l < n->count[3]; ++l, p += n->a_step[3], q += n->b_step[3]) {
          const int32_t product = (*p + layer->a_offset) * (*q + layer->b_offset);
          const int32_t value = restnet_scaled(product, layer->multiplier, layer->shift) + layer->out_offset;
          *y++ = restnet_clamped(value, layer->low, layer->high);
        }
      }
    }
  }
  return RESTNET_OK;
}
