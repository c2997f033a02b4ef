#include "kernels/logprob/list_logprob.h"

#include <math.h>

fc_status fc_list_logprob_ref(fc_stream s, const fc_list_logprob_args *a) {
    (void)s; /* the CPU has one queue: program order */
    for (int r = 0; r < a->n_rows; r++) {
        const fc_list_row *l = a->rows + r;
        const float *x = a->value + l->values;
        double max = -INFINITY, sum = 0.0, lse;
        for (int i = 0; i < l->n_ids; i++) max = fmax(max, (double)x[i]);
        for (int i = 0; i < l->n_ids; i++) sum += exp((double)x[i] - max);
        lse = max + log(sum);
        if (a->lse) a->lse[r] = lse;
        for (int i = 0; a->lp && i < l->n_ids; i++) a->lp[l->values + i] = (float)((double)x[i] - lse);
    }
    return FC_OK;
}

fc_status fc_list_gather_ref(fc_stream s, const fc_list_gather_args *a) {
    (void)s;
    for (int r = 0; r < a->n_rows; r++)
        for (int i = 0; i < a->rows[r].n_ids; i++)
            a->value[a->rows[r].values + i] =
                a->logits[(size_t)a->rows[r].row * (size_t)a->V + (size_t)a->ids[a->rows[r].ids + i]];
    return FC_OK;
}
