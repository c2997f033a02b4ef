#include "engine/base/mem.h"
#include "kernels/linear/levels.h"

#include <math.h>

/* What the fast kernels make of a row of x for quantised matrices: whole multiples of (largest magnitude of 32) / 127. left
 * [K]: what that leaves over, in f32 as the kernels have it. */
static void round_row(const float *x, int K, double *out, float *left) {
    for (int g = 0; g < K; g += FC_XGROUP) {
        float most = 0.0f;
        for (int k = g; k < g + FC_XGROUP; k++) {
            most = fabsf(x[k]) > most ? fabsf(x[k]) : most;
            if (!isfinite(x[k])) most = NAN;
            if (isnan(most)) break;
        }
        for (int k = g; k < g + FC_XGROUP; k++) {
            double code = most > FC_X_TINY ? nearbyint((double)(x[k] * (127.0f / most))) : 0.0;
            out[k] = isnan(most) ? NAN : code * (double)(most * FC_X_STEP);
            left[k] = isnan(most) ? NAN : x[k] - most * FC_X_STEP * (float)code;
        }
    }
}

/* x as the form reads it: as it stands for float matrices, else in one int8 term or two. left [2,K] scratch. */
static void read_row(fc_form f, const float *x, int K, bool precise, double *out, double *second, float *left) {
    for (int k = 0; k < K; k++) out[k] = (double)x[k];
    if (fc_form_is_float(f)) return;
    round_row(x, K, out, left);
    if (!precise) return;
    round_row(left, K, second, left + K);
    for (int k = 0; k < K; k++) out[k] += second[k];
}

static const fc_linear_part *part_of(const fc_weight *w, int n) {
    const fc_linear_part *p = w->parts;
    while (n >= p->first + p->N) p++;
    return p;
}

fc_status fc_linear_ref(fc_stream s, const fc_linear_args *a) {
    size_t K = (size_t)a->w->K, N = (size_t)a->w->N;
    void *p;
    double *x;  /* [2,K] */
    float *row; /* [3,K]: the row of W, scratch of read_row */
    (void)s;    /* the CPU has one queue: program order */
    FC_TRY(fc_alloc(K, 2 * sizeof *x + 3 * sizeof *row, "linear reference", &p));
    x = p;
    row = (float *)(x + 2 * K);
    for (int n = 0; n < a->w->N; n++) {
        fc_weight_row_cpu(a->w, n, row);
        for (int t = 0; t < a->T; t++) {
            double sum = 0.0;
            read_row(part_of(a->w, n)->form, a->x + (size_t)t * K, a->w->K, a->precise, x, x + K, row + K);
            for (size_t k = 0; k < K; k++) sum += (double)row[k] * x[k];
            a->y[(size_t)t * N + (size_t)n] = (float)(sum + (a->bias ? (double)a->bias[n] : 0.0));
        }
    }
    fc_free(p);
    return FC_OK;
}
