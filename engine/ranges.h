/* ranges - what numbers may be: one sentence for all, and the numbers of fc_sampling held against the option table. */
#ifndef FC_ENGINE_RANGES_H
#define FC_ENGINE_RANGES_H

#include "engine/forkcast.h"

/* FC_ERR_ARG names the field, the number and the range; NaN lies in none. */
fc_status fc_in_range(const char *field, double v, double min, double max);
fc_status fc_sampling_in_range(const fc_sampling *s);

/* Fields by name, and whether the request sets them. */
typedef struct {
    const char *name;
    bool set;
} fc_field;
/* Those that are set, as "a, b and c", into out [size]; how many. */
int fc_fields_set(const fc_field *f, size_t n, char *out, size_t size);

#endif
