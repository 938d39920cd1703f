/* A fully connected layer on each of some rows. CMSIS-NN rounds twice, so that its result may be a step apart. */
#include "restnet_fixed_point.h"
#include "restnet_kernels.h"

#ifdef RESTNET_CMSIS_NN
#include "restnet_cmsis_nn.h"

/* Whether CMSIS-NN takes it with no memory of its own: with MVE it wants sums of the weights, made differently from
 * version to version. */
static int is_taken(const restnet_dense_layer *layer)
{
  const cmsis_nn_dims filter = {layer->in_c, 1, 1, layer->out_c};
  return !layer->per_channel && arm_fully_connected_s8_get_buffer_size(&filter) == 0;
}

static int taken(const restnet_dense_layer *layer, const int8_t *x, int8_t *y)
{
  const restnet_scaling *s = &layer->scaling;
  const cmsis_nn_fc_params params = {s->in_offset, 0, s->out_offset, {s->low, s->high}};
  const cmsis_nn_per_tensor_quant_params quant = {s->multiplier[0], s->shift[0]};
  const cmsis_nn_dims in = {layer->rows, 1, 1, layer->in_c}, out = {layer->rows, 1, 1, layer->out_c};
  const cmsis_nn_dims filter = {layer->in_c, 1, 1, layer->out_c}, bias = {1, 1, 1, layer->out_c};
  const cmsis_nn_context context = {0, 0};
  return restnet_status(arm_fully_connected_s8(&context, &params, &quant, &in, x, &filter, layer->weights, &bias,
                                               layer->bias, &out, y));
}
#endif

int restnet_dense(const restnet_dense_layer *layer, const int8_t *x, int8_t *y)
{
  const restnet_scaling *s = &layer->scaling;
  const int in_c = layer->in_c;
  const int32_t offset = s->in_offset;
#ifdef RESTNET_CMSIS_NN
  if (is_taken(layer)) return taken(layer, x, y);
#endif
  for (int row = 0; row < layer->rows; ++row, x += in_c) {
    const int8_t *weight = layer->weights;
    for (int oc = 0; oc < layer->out_c; ++oc) {
      const int which = layer->per_channel ? oc : 0;
      int32_t sum = layer->bias ? layer->bias[oc] : 0;
      for (int i = 0; i < in_c; ++i) sum += (x[i] + offset) * *weight++;
      sum = restnet_scaled_once(sum, s->multiplier[which], s->shift[which]) + s->out_offset;
      *y++ = restnet_clamped(sum, s->low, s->high);
    }
  }
  return RESTNET_OK;
}
