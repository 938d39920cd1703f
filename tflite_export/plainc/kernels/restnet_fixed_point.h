/* The arithmetic of TensorFlow Lite's reference kernels: a factor is multiplier * 2^(shift - 31). */
#ifndef RESTNET_FIXED_POINT_H_
#define RESTNET_FIXED_POINT_H_

#include <stdint.h>

/* All of it shifts negative numbers to the right; every compiler for Arm keeps their sign. */
typedef char restnet_shifts_keep_the_sign[(-1 >> 1) == -1 ? 1 : -1];

/* x * 2^left without a word of overflow. */
static inline int32_t restnet_lifted(int32_t x, int left) { return (int32_t)((uint32_t)x << left); }

/* x * 2^left, held within 32 bits. */
static inline int32_t restnet_saturated(int32_t x, int left)
{
  const int32_t most = (int32_t)((UINT32_C(1) << (31 - left)) - 1u);
  return x > most ? INT32_MAX : x < -most ? INT32_MIN : restnet_lifted(x, left);
}

/* x / 2^right, halves away from zero; right is 0 to 31. */
static inline int32_t restnet_halved(int32_t x, int right)
{
  const int32_t mask = (int32_t)((UINT32_C(1) << right) - 1u);
  const int32_t rest = x & mask;
  const int32_t half = (mask >> 1) + (x < 0 ? 1 : 0);
  return (x >> right) + (rest > half ? 1 : 0);
}

/* The upper half of 2 * a * b, rounded. */
static inline int32_t restnet_high(int32_t a, int32_t b)
{
  return (int32_t)(((int64_t)a * b + (INT64_C(1) << 30)) >> 31);
}

/* Rounded twice, as all kernels do but one. */
static inline int32_t restnet_scaled(int32_t x, int32_t multiplier, int shift)
{
  if (shift > 0) return restnet_high(restnet_lifted(x, shift), multiplier);
  return restnet_halved(restnet_high(x, multiplier), -shift);
}

/* Rounded once, as LiteRT's fully connected layer does. TensorFlow Lite Micro's rounds twice: they may be a step apart. */
static inline int32_t restnet_scaled_once(int32_t x, int32_t multiplier, int shift)
{
  return (int32_t)(((int64_t)x * multiplier + (INT64_C(1) << (30 - shift))) >> (31 - shift));
}

static inline int8_t restnet_clamped(int32_t x, int32_t low, int32_t high)
{
  return (int8_t)(x < low ? low : x > high ? high : x);
}

#endif /* RESTNET_FIXED_POINT_H_ */
