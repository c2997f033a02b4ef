#include "engine/base/mem.h"
#include "kernels/linear/levels.h"

#include <math.h>

/* The largest magnitude of n numbers; NaN where one is not finite. */
static float largest(const float *x, int n) {
    float most = 0.0f;
    for (int k = 0; k < n && !isnan(most); k++) {
        most = fabsf(x[k]) > most ? fabsf(x[k]) : most;
        if (!isfinite(x[k])) most = NAN;
    }
    return most;
}

/* What takes the largest code in a fine group: the largest magnitude outside the first quad that holds the largest of
 * all, and no less than 1/250 of that. */
static float largest_outside(const float *x) {
    float most = largest(x, FC_XGROUP), rest = most * FC_X_REST;
    int quad = 0;
    while (largest(x + 4 * quad, 4) < most) quad++;
    for (int k = 0; k < FC_XGROUP; k++)
        if (k / 4 != quad && fabsf(x[k]) > rest) rest = fabsf(x[k]);
    return rest;
}

/* x as a quantised matrix reads it: whole multiples of a power of two, or of that times the root of two: the least by
 * which the largest magnitude of 32, or, of a fine group, of what its largest quad leaves, is 127.49 or less. A float
 * matrix takes it as it stands. */
static void read_row(fc_form f, const float *x, int K, bool precise, double *out) {
    for (int k = 0; k < K; k++) out[k] = (double)x[k];
    float above = 0.0f;
    for (int g = 0; g + FC_XGROUP <= K; g += FC_XGROUP) above += largest(x + g, FC_XGROUP);
    above = fc_linear_fine_above(above, K / FC_XGROUP, precise);
    for (int g = 0; !fc_form_is_float(f) && g < K; g += FC_XGROUP) {
        float most = largest(x + g, FC_XGROUP), scale;
        bool tiny = most <= FC_X_TINY;
        if (!tiny && most > above) most = largest_outside(x + g);
        scale = tiny || isnan(most) ? most : ldexpf(1.0f, ilogbf(most * FC_X_STEP));
        if (!tiny) scale *= most * FC_X_STEP <= scale * FC_X_ROOT ? FC_X_ROOT : 2.0f;
        for (int k = g; k < g + FC_XGROUP; k++) {
            double code = tiny || isnan(most) ? 0.0 : nearbyint((double)(x[k] * (1.0f / scale)));
            out[k] = isnan(most) ? NAN : code * (double)scale;
        }
    }
}

static const fc_linear_part *part_of(const fc_weight *w, int n) {
    const fc_linear_part *p = fc_weight_cpu_of(w)->parts;
    while (n >= p->first + p->N) p++;
    return p;
}

/* x as the operator that makes it would leave it, in its y or in spare [T,K]. */
static fc_status make_x(fc_stream s, const fc_linear_args *a, float *spare, const float **out) {
    *out = a->x;
    if (a->norm) {
        fc_rmsnorm_args norm = *a->norm;
        norm.y = norm.y ? norm.y : spare;
        *out = norm.y;
        return fc_rmsnorm_ref(s, &norm);
    }
    if (a->glu) {
        fc_glu_args glu = *a->glu;
        glu.y = glu.y ? glu.y : spare;
        *out = glu.y;
        return fc_glu_ref(s, &glu);
    }
    return FC_OK;
}

fc_status fc_linear_ref(fc_stream s, const fc_linear_args *a) {
    size_t K = (size_t)a->w->K, N = (size_t)a->w->N;
    fc_status st = FC_OK;
    void *p;
    double *x;  /* [K] */
    float *row; /* [K] of W */
    const float *all;
    FC_TRY(fc_alloc(K, sizeof *x + ((size_t)a->T + 1) * sizeof *row, "linear reference", &p));
    x = p;
    row = (float *)(x + K);
    FC_TRY_GOTO(st, make_x(s, a, row + K, &all), done);
    for (int n = 0; n < a->w->N; n++) {
        fc_weight_row_cpu(a->w, n, row);
        for (int t = 0; t < a->T; t++) {
            double sum = 0.0;
            read_row(part_of(a->w, n)->form, all + (size_t)t * K, a->w->K, a->precise, x);
            for (size_t k = 0; k < K; k++) sum += (double)row[k] * x[k];
            a->y[(size_t)t * N + (size_t)n] = (float)(sum + (a->bias ? (double)a->bias[n] : 0.0));
        }
    }
done:
    fc_free(p);
    return st;
}
