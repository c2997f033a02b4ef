#include "engine/cost_plan.h"

#include "engine/base/mem.h"

#include <string.h>

static fc_status no_memory(fc_backend *be, size_t bytes, const char *what, void **out) {
    (void)bytes;
    (void)what;
    *out = be; /* an address; nobody reads it */
    return FC_OK;
}

static void no_free(fc_backend *be, void *buffer) {
    (void)be;
    (void)buffer;
}

static fc_status no_upload(fc_backend *be, void *dst, const void *host, size_t bytes) {
    (void)be;
    (void)dst;
    (void)host;
    (void)bytes;
    return FC_OK;
}

fc_status fc_cost_plan_open(const fc_kv_shape *shape, int per, int units, int max_rows, int tables, int max_len,
                            fc_cost_plan *p) {
    const int seqs = tables < max_rows ? tables : max_rows; /* of one batch */
    fc_status st = FC_OK;
    void *ids;
    memset(p, 0, sizeof *p);
    p->be = (fc_backend){
        .name = "plan", .alloc = no_memory, .free = no_free, .upload = no_upload, .depth = 1, .attn_units = units};
    FC_TRY_GOTO(st, fc_alloc((size_t)max_rows, sizeof *p->ids, "ids", &ids), fail);
    p->ids = ids;
    FC_TRY_GOTO(st, fc_kv_open(&p->be, shape, tables, max_len, &p->kv), fail);
    FC_TRY_GOTO(st, fc_batch_open(&p->be, p->kv, per, max_rows, seqs, max_len, 0, &p->batch), fail);
    return FC_OK;
fail:
    fc_cost_plan_close(p);
    return st;
}

void fc_cost_plan_close(fc_cost_plan *p) {
    fc_batch_close(&p->batch);
    fc_kv_close(p->kv);
    fc_free(p->ids);
    p->kv = NULL;
    p->ids = NULL;
}

fc_status fc_cost_plan_fill(fc_cost_plan *p, int table, int n) { return n ? fc_kv_append(p->kv, table, n) : FC_OK; }

fc_status fc_cost_plan_add(fc_cost_plan *p, int table, int n, int *done) {
    int room = p->batch.max_rows - p->batch.T;
    *done = n < room ? n : room;
    if (*done == 0) return FC_OK;
    FC_TRY(fc_kv_append(p->kv, table, *done));
    fc_batch_add(&p->batch, table, p->ids, *done);
    return FC_OK;
}
