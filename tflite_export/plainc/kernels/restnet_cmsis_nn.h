/* What the kernels that call CMSIS-NN have in common. Its scratch memory is static, in restnet_model.c. */
#ifndef RESTNET_CMSIS_NN_H_
#define RESTNET_CMSIS_NN_H_

#include "arm_nnfunctions.h"
#include "restnet_kernels.h"

/* -DRESTNET_SCRATCH_BYTES=N gives more; a kernel that needs more says RESTNET_NO_SCRATCH and computes nothing. */
extern int32_t restnet_scratch_memory[];
extern const int32_t restnet_scratch_bytes;

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
  cmsis_nn_context context = {restnet_scratch_memory, bytes};
  if (bytes > restnet_scratch_bytes) context.size = -1;
  return context;
}

static inline int restnet_status(arm_cmsis_nn_status status)
{
  return status == ARM_CMSIS_NN_SUCCESS ? RESTNET_OK : RESTNET_REFUSED;
}

#endif /* RESTNET_CMSIS_NN_H_ */
