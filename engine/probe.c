#include "engine/probe.h"

#include "engine/adapter.h"
#include "engine/base/mem.h"
#include "engine/base/os.h"
#include "engine/lane.h"

struct fc_probe {
    fc_weights *weights;
    fc_backend *be;
    fc_model *model;
    fc_adapter *adapter;           /* or NULL */
    const fc_adapter *adapters[1]; /* the model's table */
    fc_lane lane;
    fc_batch batch;
};

fc_status fc_probe_open(const char *path, const fc_probe_options *o, fc_probe **out) {
    fc_status st = FC_OK;
    fc_probe *p;
    void *mem;
    fc_op_limits limits = {0};
    fc_cpu_level level;
    fc_backend_opener open = o->open ? o->open : fc_backend_open_cpu;
    fc_lane_options lane = {
        .ctx = o->ctx ? o->ctx : 2048,
        .page_slots = o->page_slots ? o->page_slots : 16,
        .max_rows = o->max_rows ? o->max_rows : 128,
        .max_branches = 1,
    };
    FC_TRY(fc_cpu_level_parse(o->cpu ? o->cpu : "auto", &level));
    FC_TRY(fc_kv_type_parse(o->kv_type ? o->kv_type : "f32", &lane.kv_type));
    FC_TRY(fc_alloc(1, sizeof *p, "probe", &mem));
    p = mem;
    lane.kv_pages = fc_kv_pages_for(lane.ctx, lane.page_slots);
    FC_TRY_GOTO(st, fc_weights_open(path, &p->weights), fail);
    fc_model_limits(fc_weights_config(p->weights), lane.max_rows, &limits);
    FC_TRY_GOTO(st, open(level, o->threads ? o->threads : fc_cpu_count(), &limits, &p->be), fail);
    FC_TRY_GOTO(st, fc_model_open(p->weights, p->be, o->edit, o->arg, &p->model), fail);
    p->model->imprecise = o->imprecise;
    if (o->adapter) {
        FC_TRY_GOTO(st, fc_adapter_open(p->model, o->adapter, &p->adapter), fail);
        p->adapters[0] = p->adapter;
        p->model->adapters = p->adapters;
        p->model->n_adapters = 1;
    }
    FC_TRY_GOTO(st, fc_lane_open(p->model, &lane, &p->lane), fail);
    FC_TRY_GOTO(st, fc_lane_batch(&p->lane, 0, &p->batch), fail);
    *out = p;
    return FC_OK;
fail:
    fc_probe_close(p);
    return st;
}

void fc_probe_close(fc_probe *p) {
    if (!p) return;
    fc_batch_close(&p->batch);
    fc_lane_close(&p->lane);
    fc_adapter_close(p->adapter);
    fc_model_close(p->model);
    fc_backend_close(p->be);
    fc_weights_close(p->weights);
    fc_free(p);
}

const fc_model_config *fc_probe_config(const fc_probe *p) { return &p->model->cfg; }

static fc_status read_logits(fc_probe *p, int at, float *logits) {
    fc_lane *l = &p->lane;
    size_t V = (size_t)p->model->cfg.V, D = (size_t)p->model->cfg.D;
    for (int done = 0; done < p->batch.n_outs;) {
        int R = p->batch.n_outs - done;
        if (R > l->work.max_logit_rows) R = l->work.max_logit_rows;
        FC_TRY(fc_forward_logits(p->model, l->work.out + (size_t)done * D, R, 0, &l->work));
        FC_TRY(p->be->download(p->be, logits + (size_t)(at + done) * V, l->work.logits, (size_t)R * V * sizeof(float)));
        FC_TRY(p->be->sync(p->be));
        done += R;
    }
    return FC_OK;
}

/* Feeds ids in chunks; logits [n,V] or NULL: then the last row alone is wanted and left in work.out. */
static fc_status feed(fc_probe *p, int table, const int32_t *ids, int n, float *logits) {
    fc_lane *l = &p->lane;
    int begins = p->adapter ? fc_adapter_begins(p->adapter, ids, n) : n;
    for (int at = 0; at < n;) {
        int T = n - at < p->batch.max_rows ? n - at : p->batch.max_rows;
        for (int i = at; i < at + T; i++)
            if (ids[i] < 0 || ids[i] >= p->model->cfg.V)
                return FC_FAIL(FC_ERR_ARG, "probe: id %d at %d; the vocabulary has %d", ids[i], i, p->model->cfg.V);
        fc_batch_reset(&p->batch);
        FC_TRY(fc_kv_append(l->kv, table, T));
        fc_batch_add(&p->batch, table, ids + at, T);
        if (begins < at + T) {
            int first = begins > at ? begins - at : 0;
            fc_batch_adapter(&p->batch, first, T - first, 0);
        }
        for (int r = 0; r < T; r++)
            if (logits || at + r == n - 1) fc_batch_want(&p->batch, r);
        FC_TRY(fc_kv_flush(l->kv));
        FC_TRY(fc_batch_plan(&p->batch));
        FC_TRY(fc_forward(p->model, &p->batch, &l->work));
        if (logits) FC_TRY(read_logits(p, at, logits));
        at += T;
    }
    return FC_OK;
}

static fc_status fresh(fc_probe *p, const int32_t *ids, int n, float *logits) {
    int table;
    fc_status st;
    if (n < 1) return FC_FAIL(FC_ERR_ARG, "probe: %d ids; at least one is needed", n);
    FC_TRY(fc_kv_table_open(p->lane.kv, &table));
    st = feed(p, table, ids, n, logits);
    fc_kv_table_close(p->lane.kv, table);
    return st;
}

fc_status fc_probe_logits(fc_probe *p, const int32_t *ids, int n, float *logits) { return fresh(p, ids, n, logits); }

fc_status fc_probe_reward(fc_probe *p, const int32_t *ids, int n, float *score) {
    fc_lane *l = &p->lane;
    const fc_weight *reward = p->adapter && p->adapter->reward ? p->adapter->reward : p->model->reward;
    if (!reward)
        return FC_FAIL(FC_ERR_UNSUPPORTED, "%s: the model has no reward head (score.weight)",
                       fc_weights_path(p->weights));
    FC_TRY(fresh(p, ids, n, NULL));
    FC_TRY(p->be->linear(p->be->stream, &(fc_linear_args){.y = l->work.logits, .x = l->work.out, .w = reward, .T = 1}));
    FC_TRY(p->be->download(p->be, score, l->work.logits, sizeof *score));
    return p->be->sync(p->be);
}
