#include "engine/lane.h"

#include "engine/base/os.h"

#include <math.h>
#include <string.h>

uint64_t fc_lane_state_bytes(const fc_model_config *c, const fc_lane_options *o) {
    return (uint64_t)o->kv_pages * (uint64_t)o->page_slots * (uint64_t)c->D * sizeof(float);
}

fc_status fc_lane_open(fc_model *m, const fc_lane_options *o, fc_lane *out) {
    const fc_model_config *c = &m->cfg;
    fc_status st = FC_OK;
    fc_lane l = {.model = m, .be = m->be, .max_rows = o->max_rows, .max_branches = o->max_branches, .ctx = o->ctx};
    fc_kv_shape shape = {
        .type = o->kv_type, .n_pages = o->kv_pages, .P = o->page_slots, .L = c->L, .G = m->G, .E = c->E};
    size_t slots = (size_t)o->kv_pages * (size_t)o->page_slots, row = (size_t)c->D * sizeof(float);
    void *p;
    if (m->be->attn_fits) FC_TRY(m->be->attn_fits(m->be->stream, o->kv_type, c->E));
    FC_TRY_GOTO(st, fc_kv_open(m->be, &shape, o->max_branches, o->ctx, &l.kv), fail);
    if (o->kv_touch && m->be->touch) m->be->touch(m->be, fc_kv_store(l.kv)->base);
    FC_TRY_GOTO(st, fc_work_open(m, o->max_rows, fc_batch_parts(o->max_rows, o->ctx), &l.work), fail);
    if (o->scores) {
        FC_TRY_GOTO(st, m->be->alloc(m->be, slots * row, "kept hidden states", &p), fail);
        l.states = p;
        l.n_states = (int)slots;
        FC_TRY_GOTO(st, m->be->alloc(m->be, (size_t)o->max_rows * row, "kept hidden states", &p), fail);
        l.read = p;
    }
    *out = l;
    return FC_OK;
fail:
    fc_lane_close(&l);
    return st;
}

enum { RIDGE_FIRST = 8, RIDGE_RUNS = 3 };
static const uint64_t ridge_most_ns = 20000000; /* one measurement: a large model is not asked for more rows */

/* Least time of some runs of a layer's widest matrix. */
static fc_status time_rows(const fc_lane *l, int rows, uint64_t *out) {
    uint64_t best = UINT64_MAX;
    for (int i = 0; i < RIDGE_RUNS; i++) {
        uint64_t begin = fc_clock_ns(), ns;
        FC_TRY(l->be->linear(l->be->stream, &(fc_linear_args){.y = l->work.gate_up,
                                                              .x = l->work.x,
                                                              .w = l->model->layers[0].gate_up,
                                                              .T = rows,
                                                              .precise = !l->model->imprecise}));
        FC_TRY(l->be->sync(l->be));
        ns = fc_clock_ns() - begin;
        best = ns < best ? ns : best;
    }
    *out = best;
    return FC_OK;
}

fc_status fc_lane_ridge(const fc_lane *l, int *rows) {
    double per_row[16], least = INFINITY;
    int n = 0;
    for (int T = RIDGE_FIRST; T <= l->max_rows && n < 16; T *= 2) {
        uint64_t ns;
        FC_TRY(time_rows(l, T, &ns));
        per_row[n] = (double)ns / T;
        least = per_row[n] < least ? per_row[n] : least;
        n++;
        if (ns > ridge_most_ns) break;
    }
    *rows = l->max_rows < RIDGE_FIRST ? l->max_rows : RIDGE_FIRST;
    for (int i = 0; i < n && per_row[i] > 1.15 * least; i++) *rows *= 2;
    return FC_OK;
}

fc_status fc_lane_batch(const fc_lane *l, size_t others, fc_batch *out) {
    int max_seqs = l->max_branches < l->max_rows ? l->max_branches : l->max_rows;
    return fc_batch_open(l->be, l->kv, l->model->H / l->model->G, l->max_rows, max_seqs, l->ctx, others, out);
}

void fc_lane_close(fc_lane *l) {
    if (!l->be) return;
    l->be->free(l->be, l->read);
    l->be->free(l->be, l->states);
    fc_work_close(&l->work);
    fc_kv_close(l->kv);
    memset(l, 0, sizeof *l);
}

static const struct {
    const char *name;
    fc_dtype type;
} kv_types[] = {{"f32", FC_F32}, {"bf16", FC_BF16}, {"int8", FC_I8}, {"fp8", FC_F8}};

fc_status fc_kv_type_parse(const char *name, fc_dtype *out) {
    for (size_t i = 0; i < sizeof kv_types / sizeof *kv_types; i++)
        if (strcmp(name, kv_types[i].name) == 0) {
            *out = kv_types[i].type;
            return FC_OK;
        }
    return FC_FAIL(FC_ERR_ARG, "kv_type \"%s\"; it is f32, bf16, int8 or fp8", name);
}

const char *fc_kv_type_name(fc_dtype t) {
    for (size_t i = 0; i < sizeof kv_types / sizeof *kv_types; i++)
        if (kv_types[i].type == t) return kv_types[i].name;
    return "?";
}
