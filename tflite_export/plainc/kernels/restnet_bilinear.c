/* Bilinear resizing. */
#include "restnet_kernels.h"

int restnet_bilinear(const restnet_bilinear_layer *layer, const int8_t *x, int8_t *y)
{
  const int channels = layer->channels;
  const int16_t *row = layer->row;
  for (int oy = 0; oy < layer->out_h; ++oy, row += 3) {
    const int16_t *column = layer->column;
    for (int ox = 0; ox < layer->out_w; ++ox, column += 3) {
      const int8_t *above_left = x + (row[0] * layer->in_w + column[0]) * channels;
      const int8_t *above_right = x + (row[0] * layer->in_w + column[1]) * channels;
      const int8_t *below_left = x + (row[1] * layer->in_w + column[0]) * channels;
      const int8_t *below_right = x + (row[1] * layer->in_w + column[1]) * channels;
      const int32_t down = row[2], up = 1024 - down, right = column[2], left = 1024 - right;
      for (int c = 0; c < channels; ++c) {
        const int32_t sum = above_left[c] * (up * left) + below_left[c] * (down * left) +
                            above_right[c] * (up * right) + below_right[c] * (down * right);
        *y++ = (int8_t)((sum + (sum > 0 ? 1 << 19 : -(1 << 19))) / (1 << 20));
      }
    }
  }
  return RESTNET_OK;
}
