/* One number everywhere: what padding puts around a block. */
#include <string.h>

#include "restnet_kernels.h"

int restnet_fill(const restnet_fill_layer *layer, int8_t *y)
{
  memset(y, layer->value, layer->count);
  return RESTNET_OK;
}
