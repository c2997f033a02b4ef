#include "engine/ranges.h"

#include "engine/base/status.h"
#include "kernels/logprob/logprob.h"

#include <limits.h>
#include <math.h>
#include <string.h>

#define AT(field) #field, offsetof(fc_sampling, field)

const fc_range fc_sampling_ranges[FC_SAMPLING_RANGES] = {
    {AT(temperature), false, 0, 100},
    {AT(top_k), true, 0, INT_MAX},
    {AT(top_p), false, 1e-9, 1},
    {AT(min_p), false, 0, 1},
    {AT(typical_p), false, 1e-9, 1},
    {AT(repetition_penalty), false, 1e-3, 1e3},
    {AT(presence_penalty), false, -100, 100},
    {AT(frequency_penalty), false, -100, 100},
    {AT(max_tokens), true, 1, 1 << 24},
    {AT(min_tokens), true, 0, 1 << 24},
    {AT(top_logprobs), true, 0, FC_TOP_LOGPROBS_MAX},
};

/* Digits that write a whole number out, and a float as it was typed. */
static int digits(double v) { return v == floor(v) ? 10 : 6; }

fc_status fc_in_range(const char *field, double v, double min, double max) {
    if (!(v >= min && v <= max))
        return FC_FAIL(FC_ERR_ARG, "%s = %.*g; it must lie in %.*g to %.*g", field, digits(v), v, digits(min), min,
                       digits(max), max);
    return FC_OK;
}

fc_status fc_sampling_in_range(const fc_sampling *s) {
    for (int i = 0; i < FC_SAMPLING_RANGES; i++) {
        const fc_range *r = &fc_sampling_ranges[i];
        const char *place = (const char *)s + r->offset;
        int whole;
        float real;
        if (r->whole) memcpy(&whole, place, sizeof whole);
        else memcpy(&real, place, sizeof real);
        FC_TRY(fc_in_range(r->field, r->whole ? whole : (double)real, r->min, r->max));
    }
    return FC_OK;
}
