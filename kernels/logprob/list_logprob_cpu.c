#include "kernels/logprob/list_logprob.h"

#include "kernels/logprob/list.h"

static fc_status check_rows(const char *what, const fc_list_row *rows, int n_rows, const int32_t *ids, int V) {
    if (n_rows < 0 || V < 1) return FC_FAIL(FC_ERR_ARG, "%s: %d rows, V=%d; V must be at least 1", what, n_rows, V);
    for (int r = 0; r < n_rows; r++) {
        const fc_list_row *l = rows + r;
        if (l->n_ids < 1 || l->ids < 0 || l->values < 0)
            return FC_FAIL(FC_ERR_ARG, "%s: row %d: ids %d+%d, values %d; a list has at least one id", what, l->row,
                           l->ids, l->n_ids, l->values);
        for (int i = 0; i < l->n_ids; i++) {
            const int32_t *id = ids + l->ids + i;
            if (*id < (i ? id[-1] + 1 : 0) || *id >= V)
                return FC_FAIL(FC_ERR_ARG, "%s: row %d: listed id %d at place %d; ids rise, from 0 to %d", what, l->row,
                               *id, i, V - 1);
        }
    }
    return FC_OK;
}

static double listed(const fc_list_row *rows, int n_rows) {
    double n = 0.0;
    for (int r = 0; r < n_rows; r++) n += rows[r].n_ids;
    return n;
}

/* ---- list_logprob */

typedef struct {
    fc_stream s;
    const fc_list_logprob_args *a;
} work;

static size_t scratch_bytes(int V) { return 3 * sizeof(float) * (size_t)fc_tile_count(V); }

static void logprob_row(void *arg, int r, int thread) {
    const work *w = arg;
    const fc_list_logprob_args *a = w->a;
    const fc_list_row *l = a->rows + r;
    const fc_id_list list = {a->ids + l->ids, a->value + l->values, l->n_ids};
    int32_t *tile = fc_cpu_scratch_of(w->s, thread); /* [tiles], as top and sum behind it */
    int tiles = fc_tile_count(a->V);
    float *top = (float *)(tile + tiles);
    fc_row_lse lse;
    (void)fc_list_lse(fc_tile_ops_of(w->s->level), &list, tile, top, top + tiles, &tiles, &lse);
    if (a->lse) a->lse[r] = lse.lse;
    for (int i = 0; a->lp && i < l->n_ids; i++) a->lp[l->values + i] = (float)((double)list.value[i] - lse.lse);
}

fc_status fc_list_logprob_cpu(fc_stream s, const fc_list_logprob_args *a) {
    work w = {.s = s, .a = a};
    FC_TRY(check_rows("list_logprob", a->rows, a->n_rows, a->ids, a->V));
    FC_TRY(fc_cpu_scratch(s, scratch_bytes(a->V), "list_logprob"));
    fc_pool_run(s->pool, a->n_rows, logprob_row, &w);
    return FC_OK;
}

fc_cost fc_list_logprob_cost(const fc_list_logprob_args *a) {
    double n = listed(a->rows, a->n_rows); /* an exponential counts as 16 */
    return (fc_cost){.bytes = (a->lp ? 12 : 8) * n + (a->lse ? 8.0 * a->n_rows : 0), .flops = 20 * n};
}

/* ---- list_gather */

static void gather_row(void *arg, int r, int thread) {
    const fc_list_gather_args *a = arg;
    const fc_list_row *l = a->rows + r;
    const float *logits = a->logits + (size_t)l->row * (size_t)a->V;
    (void)thread;
    for (int i = 0; i < l->n_ids; i++) a->value[l->values + i] = logits[a->ids[l->ids + i]];
}

fc_status fc_list_gather_cpu(fc_stream s, const fc_list_gather_args *a) {
    FC_TRY(check_rows("list_gather", a->rows, a->n_rows, a->ids, a->V));
    for (int r = 0; r < a->n_rows; r++)
        if (a->rows[r].row < 0 || a->rows[r].row >= a->R)
            return FC_FAIL(FC_ERR_ARG, "list_gather: row %d of %d", a->rows[r].row, a->R);
    fc_pool_run(s->pool, a->n_rows, gather_row, (void *)a);
    return FC_OK;
}

fc_cost fc_list_gather_cost(const fc_list_gather_args *a) {
    return (fc_cost){.bytes = 12 * listed(a->rows, a->n_rows)};
}
