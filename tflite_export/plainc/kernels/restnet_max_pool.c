/* The largest number of each window. */
#include "restnet_fixed_point.h"
#include "restnet_kernels.h"
#include "restnet_window.h"

#ifdef RESTNET_CMSIS_NN
#include "restnet_cmsis_nn.h"

int restnet_max_pool(const restnet_max_pool_layer *layer, const int8_t *x, int8_t *y)
{
  const restnet_window *w = &layer->window;
  const cmsis_nn_pool_params params = {{w->stride_w, w->stride_h}, {w->pad_w, w->pad_h}, {layer->low, layer->high}};
  const cmsis_nn_dims in = {1, w->in_h, w->in_w, w->in_c}, out = {1, w->out_h, w->out_w, w->out_c};
  const cmsis_nn_dims filter = {1, w->kernel_h, w->kernel_w, 1};
  const cmsis_nn_context context = restnet_scratch(0);
  return restnet_status(arm_max_pool_s8(&context, &params, &in, x, &filter, &out, y));
}

#else

int restnet_max_pool(const restnet_max_pool_layer *layer, const int8_t *x, int8_t *y)
{
  const restnet_window *w = &layer->window;
  for (int row_number = 0; row_number < w->out_h; ++row_number) {
    const int oy = restnet_turn(row_number, w->out_h, w->reversed);
    const int top = oy * w->stride_h - w->pad_h;
    const int ky_from = restnet_tap_from(top, 1), ky_to = restnet_tap_to(top, 1, w->kernel_h, w->in_h);
    for (int column_number = 0; column_number < w->out_w; ++column_number) {
      const int ox = restnet_turn(column_number, w->out_w, w->reversed);
      int8_t *out = y + (oy * w->out_w + ox) * w->in_c;
      const int left = ox * w->stride_w - w->pad_w;
      const int kx_from = restnet_tap_from(left, 1), kx_to = restnet_tap_to(left, 1, w->kernel_w, w->in_w);
      for (int c = 0; c < w->in_c; ++c) {
        int32_t largest = -128;
        for (int ky = ky_from; ky < ky_to; ++ky) {
          const int8_t *value = x + ((top + ky) * w->in_w + left + kx_from) * w->in_c + c;
          for (int kx = kx_from; kx < kx_to; ++kx, value += w->in_c) largest = *value > largest ? *value : largest;
        }
        *out++ = restnet_clamped(largest, layer->low, layer->high);
      }
    }
  }
  return RESTNET_OK;
}

#endif
