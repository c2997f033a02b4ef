#include "kernels/draw/gumbel.h"

#include "engine/base/mem.h"
#include "engine/base/rng.h"

#include <math.h>

static double perturbed(const fc_gumbel_row *r, double lp, int32_t id) {
    return r->lp + lp - log(-log(fc_rng_token_uniform(fc_rng_token_bits(r->seed, r->prefix, id))));
}

static double given_max(double g, double Z, double G) {
    return (double)-logl(expl(-(long double)G) + (expl(-(long double)g) - expl(-(long double)Z)));
}

fc_status fc_gumbel_list_ref(fc_stream s, const fc_gumbel_list_args *a) {
    (void)s; /* the CPU has one queue: program order */
    for (int r = 0; r < a->n_rows; r++) {
        const fc_gumbel_row *row = a->rows + r;
        double *g = a->g + row->values, Z = -INFINITY;
        for (int i = 0; i < row->n_ids; i++) {
            g[i] = perturbed(row, (double)a->lp[row->values + i], a->ids[row->ids + i]);
            Z = fmax(Z, g[i]);
        }
        for (int i = 0; i < row->n_ids; i++) g[i] = given_max(g[i], Z, row->G);
    }
    return FC_OK;
}

/* n passes over the row: each finds the best id that comes after the one found before. */
static void top_row(const fc_gumbel_top_args *a, int r, double *g) {
    const fc_gumbel_row *row = a->rows + r;
    const float *x = a->logits + (size_t)row->row * (size_t)a->V;
    double max = -INFINITY, sum = 0.0, lse, Z = -INFINITY;
    int last = -1;
    for (int i = 0; i < a->V; i++) max = fmax(max, (double)x[i]);
    for (int i = 0; i < a->V; i++) sum += exp((double)x[i] - max);
    lse = max + log(sum);
    for (int i = 0; i < a->V; i++) {
        g[i] = perturbed(row, (double)(float)((double)x[i] - lse), i);
        Z = fmax(Z, g[i]);
    }
    for (int k = 0; k < a->n; k++) {
        size_t at = (size_t)r * (size_t)a->n + (size_t)k;
        int best = -1;
        for (int i = 0; i < a->V; i++) {
            if (last >= 0 && (g[i] > g[last] || (g[i] == g[last] && i <= last))) continue;
            if (best < 0 || g[i] > g[best]) best = i;
        }
        a->ids[at] = last = best;
        a->lp[at] = (float)((double)x[best] - lse);
        a->g[at] = given_max(g[best], Z, row->G);
    }
}

fc_status fc_gumbel_top_ref(fc_stream s, const fc_gumbel_top_args *a) {
    void *g; /* [V] */
    (void)s;
    FC_TRY(fc_alloc((size_t)a->V, sizeof(double), "gumbel_top reference", &g));
    for (int r = 0; r < a->n_rows; r++) top_row(a, r, g);
    fc_free(g);
    return FC_OK;
}
