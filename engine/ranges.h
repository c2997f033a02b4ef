/* ranges - what the numbers of fc_sampling may be: one table, against which requests and recipes are held. */
#ifndef FC_ENGINE_RANGES_H
#define FC_ENGINE_RANGES_H

#include "engine/forkcast.h"

typedef struct {
    const char *field; /* as flags, recipes and sentences call it */
    size_t offset;     /* in fc_sampling */
    bool whole;        /* an int; else a float */
    double min, max;
} fc_range;

enum { FC_SAMPLING_RANGES = 11 };
extern const fc_range fc_sampling_ranges[FC_SAMPLING_RANGES];

/* FC_ERR_ARG names the field, the number and the range; NaN lies in none. */
fc_status fc_in_range(const char *field, double v, double min, double max);
fc_status fc_sampling_in_range(const fc_sampling *s);

#endif
