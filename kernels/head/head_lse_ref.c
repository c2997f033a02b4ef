#include "kernels/head/head_lse.h"

#include "engine/base/mem.h"

#include <math.h>

/* A row of logits at a time by the reference of linear, capped and summed in double. */
fc_status fc_head_lse_ref(fc_stream s, const fc_head_lse_args *a) {
    size_t V = (size_t)a->w->N, D = (size_t)a->w->K;
    double cap = (double)a->cap;
    fc_status st = FC_OK;
    void *p;
    float *y;  /* [V] */
    int m = 0; /* next pick */
    FC_TRY(fc_alloc(V, sizeof *y, "head_lse reference", &p));
    y = p;
    for (int r = 0; r < a->R; r++) {
        double max = -INFINITY, sum = 0.0;
        fc_linear_args one = {.y = y, .x = a->x + (size_t)r * D, .w = a->w, .T = 1, .precise = a->precise};
        FC_TRY_GOTO(st, fc_linear_ref(s, &one), end);
        for (size_t v = 0; cap > 0.0 && v < V; v++) y[v] = (float)(cap * tanh((double)y[v] / cap));
        for (size_t v = 0; v < V; v++) max = fmax(max, (double)y[v]);
        for (size_t v = 0; v < V; v++) sum += exp((double)y[v] - max);
        a->lse[r] = max + log(sum);
        for (; m < a->M && a->row[m] == r; m++) a->lp[m] = (float)((double)y[a->id[m]] - a->lse[r]);
    }
end:
    fc_free(p);
    return st;
}
