#include "kernels/cpu/cpu.h"
#include "kernels/embed/embed.h"

#include <string.h>

static void run_row(void *arg, int t, int thread) {
    const fc_embed_args *a = arg;
    size_t D = (size_t)a->w->K;
    float *y = a->y + (size_t)t * D;
    int row = a->tokens[t] - a->w->first;
    (void)thread;
    if (row < 0 || row >= a->w->N) { /* another rank's */
        memset(y, 0, D * sizeof *y);
        return;
    }
    fc_weight_row_cpu(a->w, row, y);
    if (a->scale != 1.0f)
        for (size_t d = 0; d < D; d++) y[d] *= a->scale;
}

static fc_status check(const fc_embed_args *a) {
    int V = a->w->of;
    if (a->T < 1) return FC_FAIL(FC_ERR_ARG, "embed: T=%d; it must be at least 1", a->T);
    for (int t = 0; t < a->T; t++)
        if (a->tokens[t] < 0 || a->tokens[t] >= V)
            return FC_FAIL(FC_ERR_ARG, "embed: token %d at row %d; the vocabulary has %d", (int)a->tokens[t], t, V);
    return FC_OK;
}

fc_status fc_embed_cpu(fc_stream s, const fc_embed_args *a) {
    FC_TRY(check(a));
    fc_pool_run(s->pool, a->T, run_row, (void *)a);
    return FC_OK;
}

/* A row's share of the packed matrix is read once; its values are written once. */
fc_cost fc_embed_cost(const fc_embed_args *a) {
    double values = (double)a->T * a->w->K, row = (double)a->w->bytes / a->w->N;
    return (fc_cost){.bytes = 4.0 * a->T + a->T * row + 4 * values, .flops = 2 * values};
}
