#include "kernels/head/head_draw.h"

#include "engine/base/mem.h"
#include "kernels/softcap/softcap.h"

/* The three references one after another. */
fc_status fc_head_draw_ref(fc_stream s, const fc_head_draw_args *a) {
    size_t R = (size_t)a->R, V = (size_t)a->w->N;
    fc_status st = FC_OK;
    void *logits = NULL, *rows = NULL;
    fc_draw_row *row;
    FC_TRY(fc_alloc(R * V, sizeof(float), "head_draw reference", &logits));
    FC_TRY_GOTO(st, fc_alloc(R, sizeof *row, "head_draw reference", &rows), end);
    row = rows;
    for (size_t r = 0; r < R; r++)
        row[r] = (fc_draw_row){.row = (int32_t)r,
                               .member = a->rows[r].member,
                               .n_members = a->rows[r].n_members,
                               .temperature = a->rows[r].temperature,
                               .top_p = 1.0f,
                               .typical_p = 1.0f,
                               .repetition = 1.0f};
    FC_TRY_GOTO(
        st, fc_linear_ref(s, &(fc_linear_args){.y = logits, .x = a->x, .w = a->w, .T = a->R, .precise = a->precise}),
        end);
    if (a->cap > 0.0f)
        FC_TRY_GOTO(st, fc_softcap_ref(s, &(fc_softcap_args){.x = logits, .n = R * V, .cap = a->cap}), end);
    FC_TRY_GOTO(st,
                fc_draw_ref(s, &(fc_draw_args){.token = a->token,
                                               .logprob = a->logprob,
                                               .logits = logits,
                                               .rows = rows,
                                               .members = a->members,
                                               .R = a->R,
                                               .V = (int)V,
                                               .n_rows = a->R,
                                               .M = a->M}),
                end);
end:
    fc_free(rows);
    fc_free(logits);
    return st;
}
