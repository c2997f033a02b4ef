#include "engine/sampler.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- memory ---- */

typedef struct {
    void *host, *dev; /* where the two pointers go */
    size_t count, size;
} buffer;

enum { N_BUFFERS = 11 };

static void list_buffers(fc_sampler *s, buffer b[N_BUFFERS]) {
    size_t rows = (size_t)s->max_rows, members = (size_t)s->max_members, entries = (size_t)s->max_entries;
    const buffer all[N_BUFFERS] = {
        {&s->draw, &s->dev.draw, rows, sizeof *s->draw},
        {&s->members, &s->dev.members, members, sizeof *s->members},
        {&s->bias_id, &s->dev.bias_id, entries, 4},
        {&s->bias_value, &s->dev.bias_value, entries, 4},
        {&s->seen_id, &s->dev.seen_id, entries, 4},
        {&s->seen_count, &s->dev.seen_count, entries, 4},
        {&s->top_rows, &s->dev.top_rows, rows, 4},
        {&s->token, &s->dev.token, members, 4},
        {&s->logprob, &s->dev.logprob, members, 4},
        {&s->top_ids, &s->dev.top_ids, rows * FC_TOP_LOGPROBS_MAX, 4},
        {&s->top_logprobs, &s->dev.top_logprobs, rows * FC_TOP_LOGPROBS_MAX, 4},
    };
    memcpy(b, all, sizeof all);
}

fc_status fc_sampler_open(fc_backend *be, int V, int ctx, int max_rows, int max_members, fc_sampler *out) {
    fc_sampler *s = out;
    buffer b[N_BUFFERS];
    void *p;
    memset(s, 0, sizeof *s);
    s->be = be;
    s->V = V;
    s->max_rows = max_rows;
    s->max_members = max_members;
    s->max_entries = 2 * (V + ctx); /* one row's bias and history always fit */
    list_buffers(s, b);
    for (int i = 0; i < N_BUFFERS; i++) {
        fc_status st = fc_alloc(b[i].count, b[i].size, "draw lists", &p);
        if (!st) {
            memcpy(b[i].host, &p, sizeof p); /* the place holds a typed pointer */
            st = be->alloc(be, b[i].count * b[i].size, "draw lists", &p);
        }
        if (st) {
            fc_sampler_close(s);
            return st;
        }
        memcpy(b[i].dev, &p, sizeof p);
    }
    if (fc_alloc((size_t)max_rows, sizeof *s->rows, "draw rows", &p)) {
        fc_sampler_close(s);
        return FC_ERR_MEM;
    }
    s->rows = p;
    if (fc_alloc((size_t)s->max_entries, sizeof *s->scratch, "draw history", &p)) {
        fc_sampler_close(s);
        return FC_ERR_MEM;
    }
    s->scratch = p;
    return FC_OK;
}

void fc_sampler_close(fc_sampler *s) {
    buffer b[N_BUFFERS];
    if (!s->be) return;
    list_buffers(s, b);
    for (int i = N_BUFFERS; i-- > 0;) {
        void *host, *dev;
        memcpy(&host, b[i].host, sizeof host);
        memcpy(&dev, b[i].dev, sizeof dev);
        s->be->free(s->be, dev);
        fc_free(host);
    }
    fc_free(s->scratch);
    fc_free(s->rows);
    memset(s, 0, sizeof *s);
}

void fc_sampler_begin(fc_sampler *s) { s->n_rows = s->n_members = s->n_bias = s->n_seen = s->n_top = s->top_n = 0; }

/* ---- adding a row ---- */

/* What a row's logits get added: the request's own bias, and a ban of the ends before min_tokens. */
static int put_bias(fc_sampler *s, const fc_job *j, int drawn) {
    const fc_sampling *c = &j->sampling;
    int begin = s->n_bias;
    for (size_t i = 0; i < c->n_bias; i++) {
        s->bias_id[s->n_bias] = c->bias_ids[i];
        s->bias_value[s->n_bias++] = c->bias_values[i];
    }
    for (int i = 0; drawn < c->min_tokens && i < j->n_ends; i++) {
        s->bias_id[s->n_bias] = j->ends[i];
        s->bias_value[s->n_bias++] = -INFINITY;
    }
    return s->n_bias - begin;
}

static int by_value(const void *a, const void *b) {
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return x < y ? -1 : x > y;
}

static bool penalised(const fc_sampling *c) {
    return c->repetition_penalty != 1.0f || c->presence_penalty != 0.0f || c->frequency_penalty != 0.0f;
}

/* Distinct ids of prompt and output, in rising order, with their counts in the output. */
static int put_seen(fc_sampler *s, const fc_job *j, const fc_path *p) {
    int begin = s->n_seen, i = 0, k = 0;
    if (!penalised(&j->sampling)) return 0;
    if (p->n) memcpy(s->scratch, p->ids, (size_t)p->n * sizeof *p->ids);
    qsort(s->scratch, (size_t)p->n, sizeof *s->scratch, by_value);
    while (i < j->n_prompt_seen || k < p->n) {
        bool prompt = k == p->n || (i < j->n_prompt_seen && j->prompt_seen[i] <= s->scratch[k]);
        int32_t id = prompt ? j->prompt_seen[i] : s->scratch[k];
        int count = 0;
        if (prompt) i++;
        for (; k < p->n && s->scratch[k] == id; k++) count++;
        s->seen_id[s->n_seen] = id;
        s->seen_count[s->n_seen++] = count;
    }
    return s->n_seen - begin;
}

bool fc_sampler_add(fc_sampler *s, fc_job *j, int head, int row) {
    const fc_sampling *c = &j->sampling;
    const fc_path *p = &j->paths[head];
    int members = 0, bias = (int)c->n_bias + j->n_ends, seen = penalised(c) ? j->n_prompt_seen + p->n : 0;
    fc_draw_row *d = &s->draw[s->n_rows];
    fc_sampler_row *r = &s->rows[s->n_rows];
    for (int m = head; m >= 0; m = j->members[m]) members++;
    if (s->n_rows == s->max_rows || s->n_members + members > s->max_members || s->n_bias + bias > s->max_entries ||
        s->n_seen + seen > s->max_entries)
        return false;
    *r = (fc_sampler_row){.job = j, .path = head, .member = s->n_members, .n_members = members, .top = -1};
    *d = (fc_draw_row){
        .row = row,
        .member = s->n_members,
        .n_members = members,
        .bias = s->n_bias,
        .seen = s->n_seen,
        .top_k = c->top_k,
        .temperature = c->temperature,
        .top_p = c->top_p,
        .min_p = c->min_p,
        .typical_p = c->typical_p,
        .repetition = c->repetition_penalty,
        .presence = c->presence_penalty,
        .frequency = c->frequency_penalty,
    };
    d->n_bias = put_bias(s, j, p->n);
    d->n_seen = put_seen(s, j, p);
    for (int m = head; m >= 0; m = j->members[m])
        s->members[s->n_members++] =
            (fc_draw_member){.seed = j->seed, .candidate = (uint32_t)m, .position = (uint32_t)p->n};
    if (c->top_logprobs) {
        r->top = s->n_top;
        s->n_top++;
        if (c->top_logprobs > s->top_n) s->top_n = c->top_logprobs;
    }
    s->n_rows++;
    return true;
}

/* ---- running ---- */

static fc_status upload_lists(fc_sampler *s) {
    fc_backend *be = s->be;
    FC_TRY(be->upload(be, s->dev.draw, s->draw, (size_t)s->n_rows * sizeof *s->draw));
    FC_TRY(be->upload(be, s->dev.members, s->members, (size_t)s->n_members * sizeof *s->members));
    if (s->n_bias) {
        FC_TRY(be->upload(be, s->dev.bias_id, s->bias_id, (size_t)s->n_bias * 4));
        FC_TRY(be->upload(be, s->dev.bias_value, s->bias_value, (size_t)s->n_bias * 4));
    }
    if (s->n_seen) {
        FC_TRY(be->upload(be, s->dev.seen_id, s->seen_id, (size_t)s->n_seen * 4));
        FC_TRY(be->upload(be, s->dev.seen_count, s->seen_count, (size_t)s->n_seen * 4));
    }
    return FC_OK;
}

/* Rows first .. first+n-1 of the list in one call. */
static fc_status draw_rows(fc_sampler *s, const float *logits, int R, int first, int n) {
    return s->be->draw(s->be->stream, &(fc_draw_args){.token = s->dev.token,
                                                      .logprob = s->dev.logprob,
                                                      .logits = logits,
                                                      .rows = s->dev.draw + first,
                                                      .members = s->dev.members,
                                                      .bias_id = s->dev.bias_id,
                                                      .bias_value = s->dev.bias_value,
                                                      .seen_id = s->dev.seen_id,
                                                      .seen_count = s->dev.seen_count,
                                                      .R = R,
                                                      .V = s->V,
                                                      .n_rows = n,
                                                      .M = s->n_members});
}

fc_status fc_sampler_run(fc_sampler *s, const float *logits, int R) {
    fc_backend *be = s->be;
    fc_status st;
    FC_TRY(upload_lists(s));
    st = draw_rows(s, logits, R, 0, s->n_rows);
    if (st == FC_ERR_ARG) { /* some row cannot be drawn from: find which, the others go on */
        for (int i = 0; i < s->n_rows; i++) {
            s->rows[i].status = draw_rows(s, logits, R, i, 1);
            if (s->rows[i].status) fc_job_fail(s->rows[i].job, s->rows[i].status);
        }
    } else if (st) {
        return st;
    }
    FC_TRY(be->download(be, s->token, s->dev.token, (size_t)s->n_members * 4));
    FC_TRY(be->download(be, s->logprob, s->dev.logprob, (size_t)s->n_members * 4));
    if (s->n_top) { /* a row that could not be drawn from is not looked at again */
        int kept = 0;
        for (int i = 0; i < s->n_rows; i++) {
            fc_sampler_row *r = &s->rows[i];
            if (r->top < 0 || r->status) continue;
            s->top_rows[kept] = s->draw[i].row;
            r->top = kept++;
        }
        s->n_top = kept;
    }
    if (s->n_top) {
        size_t bytes = (size_t)s->n_top * (size_t)s->top_n * 4;
        FC_TRY(be->upload(be, s->dev.top_rows, s->top_rows, (size_t)s->n_top * 4));
        FC_TRY(be->top_logprobs(be->stream, &(fc_top_logprobs_args){.ids = s->dev.top_ids,
                                                                    .lp = s->dev.top_logprobs,
                                                                    .logits = logits,
                                                                    .rows = s->dev.top_rows,
                                                                    .R = s->n_top,
                                                                    .V = s->V,
                                                                    .n = s->top_n}));
        FC_TRY(be->download(be, s->top_ids, s->dev.top_ids, bytes));
        FC_TRY(be->download(be, s->top_logprobs, s->dev.top_logprobs, bytes));
    }
    return be->sync(be);
}
