/* The product of two matrices, both of them activations. */
#include "restnet_fixed_point.h"
#include "restnet_kernels.h"

int restnet_matmul(const restnet_matmul_layer *layer, const int8_t *a, const int8_t *b, int8_t *y)
{
  const int rows = layer->rows, depth = layer->depth, columns = layer->columns;
  const int a_row = layer->a_turned ? 1 : depth, a_step = layer->a_turned ? rows : 1;
  const int b_column = layer->b_turned ? depth : 1, b_step = layer->b_turned ? 1 : columns;
  for (int batch = 0; batch < layer->batches; ++batch, a += rows * depth, b += depth * columns) {
    for (int row = 0; row < rows; ++row) {
      for (int column = 0; column < columns; ++column) {
        const int8_t *p = a + row * a_row, *q = b + column * b_column;
        int32_t sum = 0;
        for (int i = 0; i < depth; ++i, p += a_step, q += b_step) sum += (*p + layer->a_offset) * (*q + layer->b_offset);
        sum = restnet_scaled(sum, layer->multiplier, layer->shift) + layer->out_offset;
        *y++ = restnet_clamped(sum, -128, 127);
      }
    }
  }
  return RESTNET_OK;
}
