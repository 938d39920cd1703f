/* Made by restnet-tf; do not edit. {{ about }}
 *
 * {{ "Each point is" if points | length > 1 else "The point is" }} a function of numbers of 8 bits: no interpreter, no heap.
 *
 *   static int8_t scores[{{ points[0].macro }}_OUTPUT_SIZE];
 *   {{ points[0].number }} *input = {{ points[0].name }}_input();
 *   for (int i = 0; i < {{ points[0].macro }}_INPUT_SIZE; ++i) input[i] = ...;
 *   if ({{ points[0].name }}_run(input, scores) != 0) ...;
 *
 * A number is round(value / SCALE) + ZERO_POINT, within its type; a value is SCALE * (number - ZERO_POINT).
 * Values of an input are {{ told }}, row by row, channels innermost.
{% if pixels %}
 * Here a pixel of 0 to 255 is the number {{ pixels }}.
{% endif %}
 * To switch is to call another function. All points share one arena, so they run one at a time; they keep nothing from
 * one call to the next. Where input() points is room in that arena: write it before each run, or hand in memory of
 * your own, which stays as it is.
 */
#ifndef RESTNET_MODEL_H_
#define RESTNET_MODEL_H_

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* RAM of all points, in bytes; static, in restnet_model.c. */
#ifdef RESTNET_CMSIS_NN
#define RESTNET_ARENA_SIZE {{ arenas[1] }}
#else
#define RESTNET_ARENA_SIZE {{ arenas[0] }}
#endif

/* The classes in the order of the scores, UTF-8. */
#define RESTNET_LABELS_SIZE {{ labels | length }}
extern const char *const restnet_labels[];
{% for point in points %}

/* {{ point.about }}: takes {{ point.input_shape }}, gives {{ point.output_shape }}, {{ point.arena }} bytes of the arena. */
#define {{ point.macro }}_INPUT_SIZE {{ point.input_size }}
#define {{ point.macro }}_INPUT_SCALE {{ point.input_scale | float32 }}
#define {{ point.macro }}_INPUT_ZERO_POINT ({{ point.input_zero_point }})
#define {{ point.macro }}_OUTPUT_SIZE {{ point.output_size }}
#define {{ point.macro }}_OUTPUT_SCALE {{ point.output_scale | float32 }}
#define {{ point.macro }}_OUTPUT_ZERO_POINT ({{ point.output_zero_point }})
{{ point.number }} *{{ point.name }}_input(void);
int {{ point.name }}_run(const {{ point.number }} *input, int8_t *output); /* 0, else see restnet_kernels.h */
{% endfor %}
{% for cascade in cascades %}

/* {{ cascade.about }}
 * {{ cascade.rule }}
 * The input is that of {{ cascade.stages[0].about }} and lies in memory of your own: the arena, of which
 * it takes {{ cascade.arena }} bytes, is lent to each stage, and what one has computed the next ones go on from. thresholds are {{ cascade.thresholds | length }}, a null pointer stands for those below. It returns the stage that answered, from 0; -1 where the
 * input lies in the arena or a stage could not be run. */
#define {{ cascade.macro }}_STAGES_SIZE {{ cascade.stages | length }}
#define {{ cascade.macro }}_THRESHOLDS {{ "{" }}{{ cascade.thresholds | map("float32") | join(", ") }}{{ "}" }}
int {{ cascade.name }}_run(const {{ cascade.number }} *input, int8_t *output, const float *thresholds);
{% endfor %}

#ifdef __cplusplus
}
#endif

#endif /* RESTNET_MODEL_H_ */
