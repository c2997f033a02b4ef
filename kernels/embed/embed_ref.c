#include "engine/base/mem.h"
#include "kernels/embed/embed.h"

fc_status fc_embed_ref(fc_stream s, const fc_embed_args *a) {
    size_t D = (size_t)a->w->K;
    void *p;
    (void)s; /* the CPU has one queue: program order */
    FC_TRY(fc_alloc(D, sizeof(float), "embed reference", &p));
    for (int t = 0; t < a->T; t++) {
        int row = a->tokens[t] - a->w->first;
        bool own = row >= 0 && row < a->w->N;
        if (a->tokens[t] < 0 || a->tokens[t] >= a->w->of) {
            fc_free(p);
            return FC_FAIL(FC_ERR_ARG, "embed: token %d at row %d", (int)a->tokens[t], t);
        }
        if (own) fc_weight_row_cpu(a->w, row, p);
        for (size_t d = 0; d < D; d++)
            a->y[(size_t)t * D + d] = own ? (float)((double)a->scale * (double)((float *)p)[d]) : 0.0f;
    }
    fc_free(p);
    return FC_OK;
}
