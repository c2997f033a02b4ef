#include "kernels/linear/linear_pick.h"

#include "engine/base/mem.h"

/* All outputs of a segment's rows by the reference of linear; those that are asked for are kept. */
fc_status fc_linear_pick_ref(fc_stream s, const fc_linear_pick_args *a) {
    size_t N = (size_t)a->w->N, K = (size_t)a->w->K;
    fc_status st = FC_OK;
    void *p;
    float *all; /* [N] */
    FC_TRY(fc_alloc(N, sizeof *all, "linear_pick reference", &p));
    all = p;
    for (int i = 0; i < a->S; i++) {
        const fc_pick_segment *g = a->segments + i;
        for (int r = 0; r < g->n_rows; r++) {
            fc_linear_args one = {
                .y = all, .x = a->x + (size_t)(g->row + r) * K, .w = a->w, .T = 1, .precise = a->precise};
            FC_TRY_GOTO(st, fc_linear_ref(s, &one), end);
            for (int k = 0; k < g->n_ids; k++) {
                int row = a->ids[g->ids + k] - a->w->first;
                a->y[(size_t)g->y + (size_t)r * (size_t)g->n_ids + (size_t)k] =
                    row >= 0 && row < a->w->N ? all[row] : 0.0f;
            }
        }
    }
end:
    fc_free(p);
    return st;
}
