#include "engine/lane.h"

#include <string.h>

fc_status fc_lane_open(fc_model *m, const fc_lane_options *o, fc_lane *out) {
    const fc_model_config *c = &m->cfg;
    fc_status st = FC_OK;
    fc_lane l = {.model = m, .be = m->be, .max_jobs = o->max_jobs, .ctx = o->ctx};
    fc_kv_shape shape = {
        .type = o->kv_type, .n_pages = o->kv_pages, .P = o->page_slots, .L = c->L, .G = c->G, .E = c->E};
    int max_seqs = o->max_branches < o->max_rows ? o->max_branches : o->max_rows;
    void *p;
    FC_TRY_GOTO(st, fc_kv_open(m->be, &shape, o->max_branches, o->ctx, &l.kv), fail);
    FC_TRY_GOTO(st, fc_batch_open(m->be, l.kv, o->max_rows, max_seqs, o->ctx, &l.batch), fail);
    FC_TRY_GOTO(st, fc_work_open(m, o->max_rows, l.batch.max_parts, &l.work), fail);
    FC_TRY_GOTO(st, m->be->alloc(m->be, (size_t)o->max_jobs * (size_t)c->D * sizeof(float), "last hidden states", &p),
                fail);
    l.last = p;
    *out = l;
    return FC_OK;
fail:
    fc_lane_close(&l);
    return st;
}

void fc_lane_close(fc_lane *l) {
    if (!l->be) return;
    l->be->free(l->be, l->last);
    fc_work_close(&l->work);
    fc_batch_close(&l->batch);
    fc_kv_close(l->kv);
    memset(l, 0, sizeof *l);
}

static const struct {
    const char *name;
    fc_dtype type;
} kv_types[] = {{"f32", FC_F32}, {"bf16", FC_BF16}, {"int8", FC_I8}};

fc_status fc_kv_type_parse(const char *name, fc_dtype *out) {
    for (size_t i = 0; i < sizeof kv_types / sizeof *kv_types; i++)
        if (strcmp(name, kv_types[i].name) == 0) {
            *out = kv_types[i].type;
            return FC_OK;
        }
    return FC_FAIL(FC_ERR_ARG, "kv_type \"%s\"; it is f32, bf16 or int8", name);
}

const char *fc_kv_type_name(fc_dtype t) {
    for (size_t i = 0; i < sizeof kv_types / sizeof *kv_types; i++)
        if (kv_types[i].type == t) return kv_types[i].name;
    return "?";
}
