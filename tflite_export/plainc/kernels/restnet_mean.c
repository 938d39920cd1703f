/* Means over neighbouring dimensions. */
#include "restnet_fixed_point.h"
#include "restnet_kernels.h"

int restnet_mean(const restnet_mean_layer *layer, const int8_t *x, int8_t *y)
{
  const int count = layer->count, inner = layer->inner;
  for (int i = 0; i < layer->outer; ++i, x += count * inner) {
    for (int j = 0; j < inner; ++j) {
      const int8_t *value = x + j;
      int32_t sum = 0;
      for (int k = 0; k < count; ++k, value += inner) sum += *value + layer->in_offset;
      sum = restnet_scaled(sum, layer->multiplier, layer->shift) + layer->out_offset;
      *y++ = restnet_clamped(sum, -128, 127);
    }
  }
  return RESTNET_OK;
}
