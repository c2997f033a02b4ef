#include "engine/ranges.h"

#include "engine/base/status.h"
#include "engine/options.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Digits that write a whole number out, and a float as it was typed. */
static int digits(double v) { return v == floor(v) ? 10 : 6; }

fc_status fc_in_range(const char *field, double v, double min, double max) {
    if (!(v >= min && v <= max))
        return FC_FAIL(FC_ERR_ARG, "%s = %.*g; it must lie in %.*g to %.*g", field, digits(v), v, digits(min), min,
                       digits(max), max);
    return FC_OK;
}

fc_status fc_sampling_in_range(const fc_sampling *s) {
    for (size_t i = 0; i < fc_option_count(); i++) {
        const fc_option_row *r = fc_option_row_at(i);
        const char *place = (const char *)s + r->at;
        bool whole = r->o.kind == FC_OPTION_INT;
        int number;
        float real;
        if (r->o.scope != FC_SCOPE_SAMPLING || (!whole && r->o.kind != FC_OPTION_FLOAT)) continue;
        if (whole) memcpy(&number, place, sizeof number);
        else memcpy(&real, place, sizeof real);
        FC_TRY(fc_in_range(r->o.name, whole ? number : (double)real, r->o.min, r->o.max));
    }
    return FC_OK;
}

int fc_fields_set(const fc_field *f, size_t n, char *out, size_t size) {
    int all = 0, seen = 0;
    size_t used = 0;
    out[0] = 0;
    for (size_t i = 0; i < n; i++) all += f[i].set;
    for (size_t i = 0; i < n && used < size; i++)
        if (f[i].set) {
            const char *before = seen == 0 ? "" : seen + 1 == all ? " and " : ", ";
            used += (size_t)snprintf(out + used, size - used, "%s%s", before, f[i].name);
            seen++;
        }
    return all;
}
