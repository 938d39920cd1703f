/* Made by restnet-tf; do not edit. {{ about }} */
#include "restnet_model.h"

#include "restnet_kernels.h"

/* Kernels in plain C work in order, so that a result may lie over what was read already; those of CMSIS-NN do not. */
#ifdef RESTNET_CMSIS_NN
#define AT(plain, apart) apart
#ifndef RESTNET_SCRATCH_BYTES
#ifdef __ARM_FEATURE_MVE
#define RESTNET_SCRATCH_BYTES {{ scratches[0] }}
#else
#define RESTNET_SCRATCH_BYTES {{ scratches[1] }}
#endif
#endif
int32_t restnet_scratch_memory[(RESTNET_SCRATCH_BYTES + 3) / 4];
const int32_t restnet_scratch_bytes = RESTNET_SCRATCH_BYTES;
#else
#define AT(plain, apart) plain
#endif

static union {
  int64_t alignment;
  int8_t bytes[RESTNET_ARENA_SIZE];
} room;

const char *const restnet_labels[] = {
{% for label in labels %}
    {{ label | c_string }},
{% else %}
    0,
{% endfor %}
};

/* Constants, each once for all points. */
{% for constant in constants %}
static const {{ constant.kind }} {{ constant.name }}[{{ constant.size }}] = {
{{ constant.text }}
};
{% endfor %}

/* Layers, each once for all points. */
{% for layer in layers %}
static const restnet_{{ layer.kernel }}_layer {{ layer.name }} = {{ layer.text }};
{% endfor %}
{% for point in points %}

/* {{ point.about }} */
{{ point.number }} *{{ point.name }}_input(void) { return {{ "" if point.number == "int8_t" else "(%s *)(" % point.number }}room.bytes + {{ point.input_at }}{{ "" if point.number == "int8_t" else ")" }}; }

int {{ point.name }}_run(const {{ point.number }} *input, int8_t *output)
{
  int8_t *const arena = room.bytes;
  int status = RESTNET_OK;
{% for call in point.calls %}
  status |= restnet_{{ call }};
{% endfor %}
{% if not point.uses_arena %}
  (void)arena;
{% endif %}
  return status;
}
{% endfor %}
{% for cascade in cascades %}

/* {{ cascade.about }} */
int {{ cascade.name }}_run(const {{ cascade.number }} *input, int8_t *output, const float *thresholds)
{
  static const float chosen[] = {{ cascade.macro }}_THRESHOLDS;
  int8_t *const arena = room.bytes;
  const uintptr_t place = (uintptr_t)input - (uintptr_t)arena;
  int status = RESTNET_OK;
  if (place < RESTNET_ARENA_SIZE) return -1;
  if (!thresholds) thresholds = chosen;
{% for stage in cascade.stages %}
  /* {{ stage.about }} */
{% for call in stage.calls %}
  status |= restnet_{{ call }};
{% endfor %}
  if (status != RESTNET_OK) return -1;
{% if not loop.last %}
  if ({{ cascade.sure }} >= thresholds[{{ loop.index0 }}]) return {{ loop.index0 }};
{% endif %}
{% endfor %}
  return {{ cascade.stages | length - 1 }};
}
{% endfor %}
