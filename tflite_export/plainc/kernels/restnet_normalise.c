/* Each row divided by its length; the result has scale 1/128 and zero point 0. */
#include "restnet_fixed_point.h"
#include "restnet_kernels.h"

/* 1 / sqrt(x) as multiplier * 2^(shift - 31), by five steps of Newton's on a number of 3 integer bits. */
static int32_t inverse_root(int32_t x, int *shift)
{
  if (x <= 1) {
    *shift = 0;
    return INT32_MAX;
  }
  int right = 11, zeros = 0;
  for (; x >= (INT32_C(1) << 29); x /= 4) ++right;
  for (uint32_t bits = (uint32_t)x; !(bits >> 31); bits <<= 1) ++zeros;
  const int pairs = (zeros - 1) / 2 - 1;
  right -= pairs;
  x = restnet_lifted(x, 2 * pairs) >> 1;
  const int32_t half = restnet_halved(x, 1), three_halves = (INT32_C(1) << 28) + (INT32_C(1) << 27);
  int32_t y = INT32_C(1) << 28;
  for (int i = 0; i < 5; ++i) {
    const int32_t cube = restnet_saturated(restnet_high(restnet_high(y, y), y), 6);
    y = restnet_saturated(restnet_high(three_halves, y) - restnet_high(half, cube), 3);
  }
  y = restnet_high(y, 1518500250); /* sqrt(2) / 2 */
  if (right < 0) {
    y = restnet_lifted(y, -right);
    right = 0;
  }
  *shift = -right;
  return y;
}

int restnet_normalise(const restnet_normalise_layer *layer, const int8_t *x, int8_t *y)
{
  for (int row = 0; row < layer->rows; ++row, x += layer->depth, y += layer->depth) {
    int32_t sum = 0;
    for (int i = 0; i < layer->depth; ++i) {
      const int32_t value = x[i] + layer->in_offset;
      sum += value * value;
    }
    int shift;
    const int32_t multiplier = inverse_root(sum, &shift);
    for (int i = 0; i < layer->depth; ++i) {
      y[i] = restnet_clamped(restnet_scaled(x[i] + layer->in_offset, multiplier, shift + 7), -128, 127);
    }
  }
  return RESTNET_OK;
}
