#include "engine/cost_model.h"

static fc_status check_job(const fc_cost_model *m, const fc_cost_job *j) {
    const struct {
        const char *name;
        int v, max;
    } fields[] = {{"requests", j->requests, 65536},
                  {"prompt", j->prompt, 1 << 24},
                  {"tokens", j->tokens, 1 << 20},
                  {"n", j->n, 65536}};
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        if (fields[i].v < 1 || fields[i].v > fields[i].max)
            return FC_FAIL(FC_ERR_ARG, "%s = %d; 1 to %d are possible", fields[i].name, fields[i].v, fields[i].max);
    if (j->rows < 0 || j->rows > j->n) return FC_FAIL(FC_ERR_ARG, "%d distinct rows of n = %d", j->rows, j->n);
    if ((int64_t)j->prompt + j->tokens > m->cfg.ctx)
        return FC_FAIL(FC_ERR_ARG, "%d positions of prompt and %d tokens; the model was made for %d", j->prompt,
                       j->tokens, m->cfg.ctx);
    if ((int64_t)j->requests * j->n > 1 << 20)
        return FC_FAIL(FC_ERR_ARG, "%d requests of n = %d; 1048576 candidates at once are possible", j->requests, j->n);
    return FC_OK;
}

/* branches: of a request, beside its prompt. own: positions that each has for itself at most. */
static fc_status open_plan(const fc_cost_model *m, const fc_cost_machine *c, const fc_cost_job *j, int branches,
                           int own, fc_cost_plan *p) {
    const int64_t page = m->P, alone = j->unshared ? j->prompt + own : own + page;
    int64_t pages =
        (int64_t)j->requests * ((j->prompt + page - 1) / page + 1 + branches * ((alone + page - 1) / page + 1));
    int64_t tables = (int64_t)j->requests * (branches + 1);
    fc_kv_shape shape;
    if (pages > 1 << 26) return FC_FAIL(FC_ERR_ARG, "%lld pages of KV; %d are possible", (long long)pages, 1 << 26);
    shape = fc_cost_shape(m, (int)pages);
    return fc_cost_plan_open(&shape, m->cfg.H / m->cfg.G, c->gpu ? 2 * c->device.sms : 0, m->max_rows, (int)tables,
                             j->prompt + own, p);
}

/* n rows at the table's end, in as many passes as it takes; outs: wanted ones, of the rows (all) or the last one. */
typedef struct {
    const fc_cost_model *m;
    const fc_cost_machine *c;
    fc_cost_plan *p;
    fc_cost_time *t;
    fc_cost_head h;
    bool all;
    int outs, members; /* of the pass as it stands */
} feed;

static fc_status feed_pass(feed *f) {
    if (f->p->batch.T == 0) return FC_OK;
    FC_TRY(fc_cost_add_pass(f->m, f->c, f->p, f->h, f->outs, f->members, f->t));
    f->outs = f->members = 0;
    return FC_OK;
}

static fc_status feed_rows(feed *f, int table, int n, int members) {
    while (n > 0) {
        int done;
        FC_TRY(fc_cost_plan_add(f->p, table, n, &done));
        n -= done;
        if (f->all) f->outs += done;
        if (n == 0 && !f->all && f->h != FC_HEAD_NONE) f->outs++;
        if (n == 0) f->members += members;
        if (f->p->batch.T == f->p->batch.max_rows) FC_TRY(feed_pass(f));
    }
    return FC_OK;
}

/* A candidate's table: the prompt's positions, and so many of its own that are there. */
static fc_status branch(const fc_cost_job *j, fc_cost_plan *p, int base, int own, int *table) {
    if (j->unshared) {
        FC_TRY(fc_kv_table_open(p->kv, table));
        return fc_cost_plan_fill(p, *table, j->prompt + own);
    }
    FC_TRY(fc_kv_fork(p->kv, base, table));
    return fc_cost_plan_fill(p, *table, own);
}

fc_status fc_cost_prefill(const fc_cost_model *m, const fc_cost_machine *c, const fc_cost_job *j, fc_cost_time *out) {
    fc_cost_time t = {0};
    fc_cost_plan p;
    feed f = {.m = m, .c = c, .p = &p, .t = &t, .h = FC_HEAD_DRAW};
    fc_status st = FC_OK;
    FC_TRY(check_job(m, j));
    FC_TRY(open_plan(m, c, j, 0, 0, &p));
    for (int r = 0; r < j->requests && !st; r++) {
        int table;
        st = fc_kv_table_open(p.kv, &table);
        if (!st) st = feed_rows(&f, table, j->prompt, j->n);
    }
    if (!st) st = feed_pass(&f);
    fc_cost_plan_close(&p);
    if (st) return st;
    fc_cost_finish(c, &t);
    *out = t;
    return FC_OK;
}

/* All requests' rows of one step, added to t. */
static fc_status one_step(const fc_cost_model *m, const fc_cost_machine *c, const fc_cost_job *j, int tokens,
                          fc_cost_time *t) {
    const int rows = j->rows ? j->rows : j->n;
    fc_cost_plan p;
    feed f = {.m = m, .c = c, .p = &p, .t = t, .h = FC_HEAD_DRAW};
    fc_status st = FC_OK;
    FC_TRY(open_plan(m, c, j, rows, tokens, &p));
    for (int r = 0; r < j->requests && !st; r++) {
        int base, table;
        st = fc_kv_table_open(p.kv, &base);
        if (!st && !j->unshared) st = fc_cost_plan_fill(&p, base, j->prompt);
        for (int i = 0; i < rows && !st; i++) {
            st = branch(j, &p, base, tokens - 1, &table);
            if (!st) st = feed_rows(&f, table, 1, (int)((i + 1L) * j->n / rows - (long)i * j->n / rows));
        }
    }
    if (!st) st = feed_pass(&f);
    fc_cost_plan_close(&p);
    return st;
}

fc_status fc_cost_step(const fc_cost_model *m, const fc_cost_machine *c, const fc_cost_job *j, int tokens,
                       fc_cost_time *out) {
    fc_cost_time t = {0};
    FC_TRY(check_job(m, j));
    if (tokens < 1 || tokens > j->tokens) return FC_FAIL(FC_ERR_ARG, "a step with %d of %d tokens", tokens, j->tokens);
    FC_TRY(one_step(m, c, j, tokens, &t));
    fc_cost_finish(c, &t);
    *out = t;
    return FC_OK;
}

static void scale(fc_cost_time *t, double by) {
    t->passes *= by, t->rows *= by, t->counted.bytes *= by, t->counted.flops *= by;
    for (int i = 0; i < t->n_parts; i++) {
        fc_cost_part *p = &t->parts[i];
        p->seconds *= by, p->floor *= by, p->load.memory *= by, p->load.cache *= by;
        p->load.launches = (int)(p->load.launches * by + 0.5);
        for (int u = 0; u < FC_UNITS; u++) p->load.ops[u] *= by;
    }
}

fc_status fc_cost_decode(const fc_cost_model *m, const fc_cost_machine *c, const fc_cost_job *j, fc_cost_time *out) {
    fc_cost_time t = {0};
    int steps = j->tokens - 1, n = steps < FC_COST_SAMPLES ? steps : FC_COST_SAMPLES;
    FC_TRY(check_job(m, j));
    for (int i = 0; i < n; i++) /* the middle of each n-th, or every step */
        FC_TRY(one_step(m, c, j, n == steps ? i + 1 : 1 + (int)((i + 0.5) * steps / n), &t));
    if (n) scale(&t, (double)steps / n);
    fc_cost_finish(c, &t);
    *out = t;
    return FC_OK;
}

fc_status fc_cost_score(const fc_cost_model *m, const fc_cost_machine *c, const fc_cost_job *j, bool cached,
                        fc_cost_time *out) {
    fc_cost_time t = {0};
    fc_cost_plan p;
    feed f = {.m = m, .c = c, .p = &p, .t = &t, .h = FC_HEAD_SCORE};
    const int rows = j->rows ? j->rows : j->n;
    const int first = j->tokens == 1 ? rows : 0; /* log-probs that the prompt's last row alone says */
    fc_status st = FC_OK;
    FC_TRY(check_job(m, j));
    FC_TRY(open_plan(m, c, j, rows, j->tokens, &p));
    for (int r = 0; r < j->requests && !st; r++) {
        int base, table;
        st = fc_kv_table_open(p.kv, &base);
        f.all = false;
        if (!st && cached && j->prompt > 1) st = fc_cost_plan_fill(&p, base, j->prompt - 1);
        if (!st) st = feed_rows(&f, base, cached ? 1 : j->prompt, first); /* its last row is computed in any case */
        f.all = true; /* the last token's own row is not computed: the one before it says its log-prob */
        for (int i = 0; i < rows && !st; i++) {
            st = branch(j, &p, base, 0, &table);
            if (!st) st = feed_rows(&f, table, j->tokens - 1, j->tokens);
        }
    }
    if (!st) st = feed_pass(&f);
    fc_cost_plan_close(&p);
    if (st) return st;
    fc_cost_finish(c, &t);
    *out = t;
    return FC_OK;
}
