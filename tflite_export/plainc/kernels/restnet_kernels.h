/* Integer kernels of TensorFlow Lite networks in plain C99, equal to its reference kernels to the bit.
 *
 * No heap, no state, nothing of libc but string.h. Tensors are int8, rows of pixels of channels (height, width,
 * channels), the batch is 1. A value is scale * (number - zero point); an offset of an operand is -zero point, that of
 * a result its zero point. A layer is a constant, so it takes no RAM.
 *
 * With -DRESTNET_CMSIS_NN the convolutions, dense layers, pools, sums, products and softmaxes call CMSIS-NN.
 */
#ifndef RESTNET_KERNELS_H_
#define RESTNET_KERNELS_H_

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* CMSIS-NN reads shifts as 32 bits, plain C as 8, which takes a quarter of the flash. */
#ifdef RESTNET_CMSIS_NN
typedef int32_t restnet_shift;
#else
typedef int8_t restnet_shift;
#endif

/* Every kernel returns 0, or RESTNET_NO_SCRATCH where CMSIS-NN needs more than RESTNET_SCRATCH_BYTES. */
#define RESTNET_OK 0
#define RESTNET_NO_SCRATCH 1
#define RESTNET_REFUSED 2

/* A window that moves over an image: from the last pixel to the first where it is reversed, as the result may lie over
 * what was read already. */
typedef struct {
  uint16_t in_h, in_w, in_c;
  uint16_t out_h, out_w, out_c;
  uint16_t kernel_h, kernel_w;
  uint16_t stride_h, stride_w;
  uint16_t dilation_h, dilation_w;
  int16_t pad_h, pad_w; /* rows above, columns to the left */
  uint16_t reversed;
} restnet_window;

/* What is left of a sum: one multiplier and shift for each channel of the result. */
typedef struct {
  const int32_t *multiplier;
  const restnet_shift *shift;
  int16_t in_offset, out_offset;
  int8_t low, high; /* of the fused activation */
} restnet_scaling;

/* weights (out_c, kernel_h, kernel_w, in_c); bias may be null */
typedef struct {
  restnet_window window;
  restnet_scaling scaling;
  const int8_t *weights;
  const int32_t *bias;
} restnet_conv_layer;

/* weights (kernel_h, kernel_w, out_c), where out_c is in_c times the depth multiplier */
typedef restnet_conv_layer restnet_depthwise_layer;

/* weights (out_c, in_c) on each of the rows; per_channel 0: one multiplier and shift for all channels */
typedef struct {
  uint16_t rows, in_c, out_c, per_channel;
  restnet_scaling scaling;
  const int8_t *weights;
  const int32_t *bias;
} restnet_dense_layer;

/* (batches, rows, depth) times (batches, depth, columns), or times (batches, columns, depth) where it is turned */
typedef struct {
  uint16_t batches, rows, depth, columns;
  int16_t a_offset, b_offset, out_offset;
  uint16_t a_turned, b_turned;
  int32_t multiplier;
  int8_t shift;
} restnet_matmul_layer;

typedef struct {
  restnet_window window;
  int8_t low, high;
} restnet_average_pool_layer;

typedef restnet_average_pool_layer restnet_max_pool_layer;

/* Up to four nested loops: how often each runs, and by how much it moves on in each operand; outermost first. */
typedef struct {
  int32_t count[4];
  int32_t a_step[4], b_step[4];
} restnet_loops;

/* out = scaled(scaled(a << lift) + or - scaled(b << lift)); negative multipliers of b subtract */
typedef struct {
  restnet_loops loops;
  int32_t a_multiplier, b_multiplier, out_multiplier;
  int16_t a_offset, b_offset, out_offset;
  int8_t a_shift, b_shift, out_shift, lift;
  int8_t low, high;
} restnet_add_layer;

/* The same record serves squared differences. */
typedef restnet_add_layer restnet_square_layer;

typedef struct {
  restnet_loops loops;
  int32_t multiplier;
  int16_t a_offset, b_offset, out_offset;
  int8_t shift;
  int8_t low, high;
} restnet_mul_layer;

/* The mean over the middle one of three dimensions. */
typedef struct {
  int32_t outer, count, inner;
  int16_t in_offset, out_offset;
  int32_t multiplier;
  int8_t shift;
} restnet_mean_layer;

typedef struct {
  int32_t rows, depth;
  int32_t multiplier;
  int8_t shift;
  int16_t least; /* differences from the largest below it count as nothing */
} restnet_softmax_layer;

typedef struct {
  int32_t rows, depth;
  int16_t in_offset;
} restnet_normalise_layer;

/* values[number + 128] for each of count numbers */
typedef struct {
  int32_t count;
  const int8_t *values;
} restnet_table_layer;

/* Copies a block of up to five dimensions from one place to another; steps in numbers, outermost first. */
typedef struct {
  int32_t count[5];
  int32_t in_first, out_first;
  int32_t in_step[5], out_step[5];
} restnet_copy_layer;

typedef struct {
  uint32_t count;
  int8_t value;
} restnet_fill_layer;

/* For each row and column of the result the two of the image, and how far behind the first, in 1/1024. */
typedef struct {
  uint16_t in_w, channels, out_h, out_w;
  const int16_t *row, *column; /* three numbers each */
} restnet_bilinear_layer;

int restnet_conv(const restnet_conv_layer *layer, const int8_t *x, int8_t *y);
int restnet_depthwise(const restnet_depthwise_layer *layer, const int8_t *x, int8_t *y);
int restnet_dense(const restnet_dense_layer *layer, const int8_t *x, int8_t *y);
int restnet_matmul(const restnet_matmul_layer *layer, const int8_t *a, const int8_t *b, int8_t *y);
int restnet_average_pool(const restnet_average_pool_layer *layer, const int8_t *x, int8_t *y);
int restnet_max_pool(const restnet_max_pool_layer *layer, const int8_t *x, int8_t *y);
int restnet_add(const restnet_add_layer *layer, const int8_t *a, const int8_t *b, int8_t *y);
int restnet_square(const restnet_square_layer *layer, const int8_t *a, const int8_t *b, int8_t *y);
int restnet_mul(const restnet_mul_layer *layer, const int8_t *a, const int8_t *b, int8_t *y);
int restnet_mean(const restnet_mean_layer *layer, const int8_t *x, int8_t *y);
int restnet_softmax(const restnet_softmax_layer *layer, const int8_t *x, int8_t *y);
int restnet_normalise(const restnet_normalise_layer *layer, const int8_t *x, int8_t *y);
int restnet_table(const restnet_table_layer *layer, const int8_t *x, int8_t *y);
int restnet_copy(const restnet_copy_layer *layer, const int8_t *x, int8_t *y);
int restnet_fill(const restnet_fill_layer *layer, int8_t *y);
int restnet_bilinear(const restnet_bilinear_layer *layer, const int8_t *x, int8_t *y);

/* Of the scores of a stage, 0 to 1: the largest; the largest less the next; one less the entropy over that of an even
 * distribution, where terms[number + 128] is p log p of the probability p that a number stands for. */
float restnet_largest(const int8_t *scores, int classes, float scale, int zero_point);
float restnet_margin(const int8_t *scores, int classes, float scale, int zero_point);
float restnet_certainty(const int8_t *scores, int classes, const float *terms, float factor);

#ifdef __cplusplus
}
#endif

#endif /* RESTNET_KERNELS_H_ */
