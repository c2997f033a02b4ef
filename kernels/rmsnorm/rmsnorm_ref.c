#include "kernels/rmsnorm/rmsnorm.h"

#include <math.h>

fc_status fc_rmsnorm_ref(fc_stream s, const fc_rmsnorm_args *a) {
    (void)s; /* the CPU has one queue: program order */
    for (int t = 0; t < a->T; t++) {
        size_t from = (size_t)(a->rows ? a->rows[t] : t) * (size_t)a->D, to = (size_t)t * (size_t)a->D;
        const float *x = a->x + from, *res = a->res ? a->res + from : NULL;
        double sum = 0.0, scale;
        for (int d = 0; d < a->D; d++) {
            double h = res ? (double)res[d] + (double)x[d] : (double)x[d];
            sum += h * h;
        }
        scale = 1.0 / sqrt(sum / a->D + (double)a->eps);
        for (int d = 0; d < a->D; d++) {
            double h = res ? (double)res[d] + (double)x[d] : (double)x[d];
            if (a->res && !a->rows) a->res[from + (size_t)d] = (float)h;
            a->y[to + (size_t)d] = (float)(h * scale * (double)a->w[d]);
        }
    }
    return FC_OK;
}
