/* What the kernels that call CMSIS-NN have in common. Its scratch memory is static: RESTNET_SCRATCH_BYTES of it. */
#ifndef RESTNET_CMSIS_NN_H_
#define RESTNET_CMSIS_NN_H_

#include "arm_nnfunctions.h"
#include "restnet_kernels.h"

/* A kernel that needs more says so by RESTNET_NO_SCRATCH and computes nothing. */
#ifndef RESTNET_SCRATCH_BYTES
#define RESTNET_SCRATCH_BYTES 4096
#endif

/* CMSIS-NN reads multipliers and shifts through pointers that are not const. */
static inline int32_t *restnet_variable(const int32_t *constant)
{
  union {
    const int32_t *constant;
    int32_t *variable;
  } both;
  both.constant = constant;
  return both.variable;
}

/* Scratch memory of so many bytes; its size is negative where there is not enough. */
static inline cmsis_nn_context restnet_scratch(int32_t bytes)
{
  static int32_t scratch[(RESTNET_SCRATCH_BYTES + 3) / 4];
  cmsis_nn_context context = {scratch, bytes};
  if (bytes > RESTNET_SCRATCH_BYTES) context.size = -1;
  return context;
}

static inline int restnet_status(arm_cmsis_nn_status status)
{
  return status == ARM_CMSIS_NN_SUCCESS ? RESTNET_OK : RESTNET_REFUSED;
}

#endif /* RESTNET_CMSIS_NN_H_ */
