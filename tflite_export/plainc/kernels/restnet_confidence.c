/* How sure a stage of a cascade is of its answer. */
#include "restnet_kernels.h"

float restnet_largest(const int8_t *scores, int classes, float scale, int zero_point)
{
  int largest = scores[0];
  for (int i = 1; i < classes; ++i) largest = scores[i] > largest ? scores[i] : largest;
  return scale * (float)(largest - zero_point);
}

float restnet_margin(const int8_t *scores, int classes, float scale, int zero_point)
{
  int first = zero_point, second = zero_point;
  for (int i = 0; i < classes; ++i) {
    if (scores[i] > first) {
      second = first;
      first = scores[i];
    } else if (scores[i] > second) {
      second = scores[i];
    }
  }
  const float largest = scale * (float)(first - zero_point);
  return largest - scale * (float)(second - zero_point);
}

float restnet_certainty(const int8_t *scores, int classes, const float *terms, float factor)
{
  float sum = 0.0f;
  for (int i = 0; i < classes; ++i) sum += terms[scores[i] + 128];
  const volatile float share = sum * factor; /* rounded before 1 is added, whatever the processor could fuse */
  const float sure = 1.0f + share;
  return sure > 0.0f ? sure : 0.0f;
}
