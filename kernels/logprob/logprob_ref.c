#include "kernels/logprob/logprob.h"

#include <math.h>

static double row_lse(const float *x, int V) {
    double max = -INFINITY, sum = 0.0;
    for (int i = 0; i < V; i++) max = fmax(max, (double)x[i]);
    for (int i = 0; i < V; i++) sum += exp((double)x[i] - max);
    return max + log(sum);
}

fc_status fc_logprob_ref(fc_stream s, const fc_logprob_args *a) {
    (void)s; /* the CPU has one queue: program order */
    for (int m = 0; m < a->M; m++) {
        const float *x = a->logits + (size_t)a->row[m] * (size_t)a->V;
        a->lp[m] = a->id[m] < 0 ? NAN : (float)((double)x[a->id[m]] - row_lse(x, a->V));
    }
    return FC_OK;
}

/* n passes over the row: each finds the best id that comes after the one found before. */
fc_status fc_top_logprobs_ref(fc_stream s, const fc_top_logprobs_args *a) {
    (void)s;
    for (int r = 0; r < a->R; r++) {
        const float *x = a->logits + (size_t)a->rows[r] * (size_t)a->V;
        double lse = row_lse(x, a->V);
        int last = -1;
        for (int k = 0; k < a->n; k++) {
            size_t at = (size_t)r * (size_t)a->n + (size_t)k;
            int best = -1;
            for (int i = 0; i < a->V && !isnan(lse); i++) {
                if (last >= 0 && (x[i] > x[last] || (x[i] == x[last] && i <= last))) continue;
                if (best < 0 || x[i] > x[best]) best = i;
            }
            a->ids[at] = last = best;
            a->lp[at] = best < 0 ? NAN : (float)((double)x[best] - lse);
        }
    }
    return FC_OK;
}
