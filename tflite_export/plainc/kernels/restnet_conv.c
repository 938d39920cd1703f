/* Convolution. Four channels of the result are summed up together, so that a pixel is read once for four weights. */
#include "restnet_fixed_point.h"
#include "restnet_kernels.h"
#include "restnet_window.h"

#ifdef RESTNET_CMSIS_NN
#include "restnet_cmsis_nn.h"

int restnet_conv(const restnet_conv_layer *layer, const int8_t *x, int8_t *y)
{
  const restnet_window *w = &layer->window;
  const restnet_scaling *s = &layer->scaling;
  const cmsis_nn_conv_params params = {
      s->in_offset, s->out_offset, {w->stride_w, w->stride_h}, {w->pad_w, w->pad_h}, {w->dilation_w, w->dilation_h},
      {s->low, s->high}};
  const cmsis_nn_per_channel_quant_params quant = {restnet_variable(s->multiplier), restnet_variable(s->shift)};
  const cmsis_nn_dims in = {1, w->in_h, w->in_w, w->in_c}, out = {1, w->out_h, w->out_w, w->out_c};
  const cmsis_nn_dims filter = {w->out_c, w->kernel_h, w->kernel_w, w->in_c}, bias = {1, 1, 1, w->out_c};
  const cmsis_nn_context context =
      restnet_scratch(arm_convolve_wrapper_s8_get_buffer_size(&params, &in, &filter, &out));
  if (context.size < 0) return RESTNET_NO_SCRATCH;
  return restnet_status(arm_convolve_wrapper_s8(&context, &params, &quant, &in, x, &filter, layer->weights, &bias,
                                                layer->bias, &out, y));
}

#else

/* Adds count products to the sums of four channels, whose weights lie filter numbers apart. */
static inline void dot_of_four(const int8_t *x, const int8_t *weights, int filter, int count, int32_t offset,
                               int32_t sums[4])
{
  const int8_t *w0 = weights, *w1 = w0 + filter, *w2 = w1 + filter, *w3 = w2 + filter;
  int32_t a = sums[0], b = sums[1], c = sums[2], d = sums[3];
  for (const int8_t *end = x + count; x != end;) {
    const int32_t value = *x++ + offset;
    a += value * *w0++;
    b += value * *w1++;
    c += value * *w2++;
    d += value * *w3++;
  }
  sums[0] = a, sums[1] = b, sums[2] = c, sums[3] = d;
}

static inline int32_t dot(const int8_t *x, const int8_t *weights, int count, int32_t offset)
{
  int32_t sum = 0;
  for (const int8_t *end = x + count; x != end;) sum += (*x++ + offset) * *weights++;
  return sum;
}

int restnet_conv(const restnet_conv_layer *layer, const int8_t *x, int8_t *y)
{
  const restnet_window *w = &layer->window;
  const restnet_scaling *s = &layer->scaling;
  const int in_c = w->in_c, out_c = w->out_c, row = w->kernel_w * in_c, filter = w->kernel_h * row;
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
      /* Neighbouring taps of a row lie side by side in the image as in the weights, unless they are dilated. */
      const int joined = w->dilation_w == 1 && kx_to > kx_from ? kx_to - kx_from : 1;
      for (int oc = 0; oc < out_c;) {
        const int together = out_c - oc >= 4 ? 4 : 1;
        int32_t sums[4] = {0, 0, 0, 0};
        for (int ky = ky_from; ky < ky_to; ++ky) {
          const int8_t *line = x + (top + ky * w->dilation_h) * w->in_w * in_c;
          const int8_t *weights = layer->weights + oc * filter + ky * row;
          for (int kx = kx_from; kx < kx_to; kx += joined) {
            const int8_t *pixel = line + (left + kx * w->dilation_w) * in_c;
            if (together == 4) {
              dot_of_four(pixel, weights + kx * in_c, filter, joined * in_c, offset, sums);
            } else {
              sums[0] += dot(pixel, weights + kx * in_c, joined * in_c, offset);
            }
          }
        }
        for (int i = 0; i < together; ++i, ++oc) {
          const int32_t sum = sums[i] + (layer->bias ? layer->bias[oc] : 0);
          const int32_t value = restnet_scaled(sum, s->multiplier[oc], s->shift[oc]) + s->out_offset;
          *out++ = restnet_clamped(value, s->low, s->high);
        }
      }
    }
  }
  return RESTNET_OK;
}

#endif
