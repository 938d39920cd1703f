/* Convolution of each channel alone. Four channels are summed up together: their numbers lie side by side. */
#include "restnet_fixed_point.h"
#include "restnet_kernels.h"
#include "restnet_window.h"

#ifdef RESTNET_CMSIS_NN
#include "restnet_cmsis_nn.h"

int restnet_depthwise(const restnet_depthwise_layer *layer, const int8_t *x, int8_t *y)
{
  const restnet_window *w = &layer->window;
  const restnet_scaling *s = &layer->scaling;
  const cmsis_nn_dw_conv_params params = {
      s->in_offset, s->out_offset, w->out_c / w->in_c, {w->stride_w, w->stride_h}, {w->pad_w, w->pad_h},
      {w->dilation_w, w->dilation_h}, {s->low, s->high}};
  const cmsis_nn_per_channel_quant_params quant = {restnet_variable(s->multiplier), restnet_variable(s->shift)};
  const cmsis_nn_dims in = {1, w->in_h, w->in_w, w->in_c}, out = {1, w->out_h, w->out_w, w->out_c};
  const cmsis_nn_dims filter = {1, w->kernel_h, w->kernel_w, w->out_c}, bias = {1, 1, 1, w->out_c};
  const cmsis_nn_context context =
      restnet_scratch(arm_depthwise_conv_wrapper_s8_get_buffer_size(&params, &in, &filter, &out));
  if (context.size < 0) return RESTNET_NO_SCRATCH;
  return restnet_status(arm_depthwise_conv_wrapper_s8(&context, &params, &quant, &in, x, &filter, layer->weights,
                                                      &bias, layer->bias, &out, y));
}

#else

int restnet_depthwise(const restnet_depthwise_layer *layer, const int8_t *x, int8_t *y)
{
  const restnet_window *w = &layer->window;
  const restnet_scaling *s = &layer->scaling;
  const int in_c = w->in_c, out_c = w->out_c, each = out_c / in_c;
  const int x_step = w->dilation_w * in_c;
  const int32_t offset = s->in_offset;
  for (int row_number = 0; row_number < w->out_h; ++row_number) {
    const int oy = restnet_turn(row_number, w->out_h, w->reversed);
    const int top = oy * w->stride_h - w->pad_h;
    const int ky_from = restnet_tap_from(top, w->dilation_h);
    const int ky_to = restnet_tap_to(top, w->dilation_h, w->kernel_h, w->in_h);
    for (int column_number = 0; column_number < w->out_w; ++column_number) {
      const int ox = restnet_turn(column_number, w->out_w, w->reversed);
      int8_t *out = y + (oy * w->out_w + ox) * out_c;
      const int left = ox * w->stride_w - w->pad_w;
      const int kx_from = restnet_tap_from(left, w->dilation_w);
      const int kx_to = restnet_tap_to(left, w->dilation_w, w->kernel_w, w->in_w);
      for (int oc = 0; oc < out_c;) {
        const int together = each == 1 && out_c - oc >= 4 ? 4 : 1;
        int32_t a = 0, b = 0, c = 0, d = 0;
        for (int ky = ky_from; ky < ky_to; ++ky) {
          const int8_t *weight = layer->weights + (ky * w->kernel_w + kx_from) * out_c + oc;
          const int column = left + kx_from * w->dilation_w;
          const int8_t *value = x + ((top + ky * w->dilation_h) * w->in_w + column) * in_c + oc / each;
          for (int kx = kx_from; kx < kx_to; ++kx, weight += out_c, value += x_step) {
            a += (value[0] + offset) * weight[0];
            if (together == 4) {
              b += (value[1] + offset) * weight[1];
              c += (value[2] + offset) * weight[2];
              d += (value[3] + offset) * weight[3];
            }
          }
        }
        const int32_t sums[4] = {a, b, c, d};
        for (int i = 0; i < together; ++i, ++oc) {
          const int32_t sum = sums[i] + (layer->bias ? layer->bias[oc] : 0);
          const int32_t scaled = restnet_scaled(sum, s->multiplier[oc], s->shift[oc]) + s->out_offset;
          *out++ = restnet_clamped(scaled, s->low, s->high);
        }
      }
    }
  }
  return RESTNET_OK;
}

#endif
