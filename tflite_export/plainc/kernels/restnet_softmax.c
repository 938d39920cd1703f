/* Softmax of each row; the result has scale 1/256 and zero point -128. */
#include "restnet_fixed_point.h"
#include "restnet_kernels.h"

#ifdef RESTNET_CMSIS_NN
#include "restnet_cmsis_nn.h"

int restnet_softmax(const restnet_softmax_layer *layer, const int8_t *x, int8_t *y)
{
  arm_softmax_s8(x, layer->rows, layer->depth, layer->multiplier, layer->shift, layer->least, y);
  return RESTNET_OK;
}

#else

/* e^x of a number of 5 integer bits (x / 2^26, at most 0) as one of none (1 is 2^31 - 1). */
static int32_t exponential(int32_t x)
{
  /* e^-(1/4), e^-(1/2), e^-1 and so on, for the bits of x above a quarter */
  static const int32_t powers[7] = {1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242};
  const int32_t quarter = INT32_C(1) << 24;
  const int32_t within = (x & (quarter - 1)) - quarter;
  const int32_t rest = within - x;
  /* Taylor's expansion around -1/8 */
  const int32_t p = restnet_saturated(within, 5) + (INT32_C(1) << 28);
  const int32_t p2 = restnet_high(p, p), p3 = restnet_high(p2, p), p4 = restnet_high(p2, p2);
  const int32_t tail = restnet_halved(restnet_high(restnet_halved(p4, 2) + p3, 715827883) + p2, 1);
  int32_t result = 1895147668 + restnet_high(1895147668, p + tail);
  if (x == 0) return INT32_MAX;
  for (int bit = 0; bit < 7; ++bit) {
    if (rest & (INT32_C(1) << (24 + bit))) result = restnet_high(result, powers[bit]);
  }
  return result;
}

/* 1 / (1 + x) of a number of no integer bits, at least 0, by three steps of Newton's. */
static int32_t reciprocal(int32_t x)
{
  const int32_t half = (int32_t)(((int64_t)x + INT32_MAX + 1) / 2);
  int32_t y = 1515870810 + restnet_high(half, -1010580540);
  for (int i = 0; i < 3; ++i) {
    const int32_t left = (INT32_C(1) << 29) - restnet_high(half, y);
    y += restnet_saturated(restnet_high(y, left), 2);
  }
  return restnet_saturated(y, 1);
}

static int leading_zeros(uint32_t x)
{
  int count = 0;
  for (; !(x >> 31); x <<= 1) ++count;
  return count;
}

int restnet_softmax(const restnet_softmax_layer *layer, const int8_t *x, int8_t *y)
{
  const int depth = layer->depth;
  for (int row = 0; row < layer->rows; ++row, x += depth, y += depth) {
    int32_t largest = x[0];
    for (int i = 1; i < depth; ++i) largest = x[i] > largest ? x[i] : largest;
    int32_t sum = 0; /* 12 integer bits */
    for (int i = 0; i < depth; ++i) {
      const int32_t below = x[i] - largest;
      if (below < layer->least) continue;
      sum += restnet_halved(exponential(restnet_scaled(below, layer->multiplier, layer->shift)), 12);
    }
    const int zeros = leading_zeros((uint32_t)sum);
    const int32_t scale = reciprocal((int32_t)(((uint32_t)sum << zeros) - (UINT32_C(1) << 31)));
    const int right = 12 - zeros + 31 - 8;
    for (int i = 0; i < depth; ++i) {
      const int32_t below = x[i] - largest;
      if (below < layer->least || right > 31) { /* beyond 31 every share is under half a step */
        y[i] = -128;
        continue;
      }
      const int32_t share = restnet_high(scale, exponential(restnet_scaled(below, layer->multiplier, layer->shift)));
      y[i] = restnet_clamped(restnet_halved(share, right) - 128, -128, 127);
    }
  }
  return RESTNET_OK;
}

#endif
