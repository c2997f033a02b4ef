#include "engine/echo.h"

#include "engine/ranges.h"
#include "engine/sched.h"

#include <math.h>
#include <string.h>

/* ---- of one job ---- */

static fc_status check_alone(const fc_request *r) {
    const char *field = r->n_max > 1                         ? "n_max above 1"
                        : r->score                           ? "score"
                        : r->constraint != FC_CONSTRAINT_OFF ? "constraint"
                        : r->draw != FC_DRAW_IID             ? "draw"
                                                             : NULL;
    if (r->n != 1) return FC_FAIL(FC_ERR_ARG, "max_tokens = 0: nothing is drawn, so n is 1, not %d", r->n);
    if (field) return FC_FAIL(FC_ERR_ARG, "max_tokens = 0: nothing is drawn; leave %s out", field);
    return FC_OK;
}

fc_status fc_echo_check(const fc_request *r, int V) {
    int most = V < FC_TOP_LOGPROBS_MAX ? V : FC_TOP_LOGPROBS_MAX;
    FC_TRY(fc_in_range("prompt_top_logprobs", r->prompt_top_logprobs, 0, most));
    if (!r->prompt_logprobs && r->prompt_top_logprobs)
        return FC_FAIL(FC_ERR_ARG, "prompt_top_logprobs = %d: prompt_logprobs is off", r->prompt_top_logprobs);
    if (r->prompt_logprobs && r->n_given)
        return FC_FAIL(FC_ERR_ARG, "prompt_logprobs: for given candidates the novelty model does not read its prompt");
    return fc_echo_alone(r) ? check_alone(r) : FC_OK;
}

fc_status fc_echo_open(const fc_request *r, int n_prompt, fc_arena *a, fc_echo *out) {
    fc_echo e = {.on = r->prompt_logprobs, .top = r->prompt_top_logprobs, .all = r->prompt_logprobs ? n_prompt - 1 : 0};
    size_t n = (size_t)n_prompt, tops = n * (size_t)e.top;
    void *p;
    *out = e;
    if (!e.on) return FC_OK;
    FC_TRY(fc_arena_alloc(a, n, sizeof *e.lp, &p));
    e.lp = p;
    FC_TRY(fc_arena_alloc(a, tops + 1, sizeof *e.top_ids, &p));
    e.top_ids = p;
    FC_TRY(fc_arena_alloc(a, tops + 1, sizeof *e.top_lp, &p));
    e.top_lp = p;
    for (size_t i = 0; i < n; i++) e.lp[i] = NAN;
    for (size_t i = 0; i < tops; i++) {
        e.top_ids[i] = -1;
        e.top_lp[i] = NAN;
    }
    *out = e;
    return FC_OK;
}

/* ---- of a batch ---- */

static fc_status dev_list(fc_backend *be, size_t n, size_t size, void *out_ptr) {
    void *p;
    FC_TRY(be->alloc(be, n * size, "prompt log-probs", &p));
    memcpy(out_ptr, &p, sizeof p); /* the place holds a typed pointer */
    return FC_OK;
}

fc_status fc_echoer_open(const fc_lane *l, fc_echoer *out) {
    size_t rows = (size_t)l->max_rows;
    fc_echoer e = {0};
    fc_status st = FC_OK;
    void *p;
    FC_TRY_GOTO(st, fc_alloc(rows, sizeof *e.reads, "prompt log-probs", &p), fail);
    e.reads = p;
    FC_TRY_GOTO(st, fc_alloc(rows, sizeof *e.id, "prompt log-probs", &p), fail);
    e.id = p;
    FC_TRY_GOTO(st, dev_list(l->be, rows, sizeof *e.dev_row, &e.dev_row), fail);
    FC_TRY_GOTO(st, dev_list(l->be, rows, sizeof *e.dev_lp, &e.dev_lp), fail);
    FC_TRY_GOTO(st, dev_list(l->be, rows, sizeof *e.dev_lse, &e.dev_lse), fail);
    FC_TRY_GOTO(st, dev_list(l->be, rows * FC_TOP_LOGPROBS_MAX, sizeof *e.dev_top_ids, &e.dev_top_ids), fail);
    FC_TRY_GOTO(st, dev_list(l->be, rows * FC_TOP_LOGPROBS_MAX, sizeof *e.dev_top_lp, &e.dev_top_lp), fail);
    for (int i = 0; i < l->max_rows; i++) e.id[i] = i;
    FC_TRY_GOTO(st, l->be->upload(l->be, e.dev_row, e.id, rows * sizeof *e.id), fail);
    *out = e;
    return FC_OK;
fail:
    fc_echoer_close(l, &e);
    return st;
}

void fc_echoer_close(const fc_lane *l, fc_echoer *e) {
    fc_backend *be = l->be;
    be->free(be, e->dev_top_lp);
    be->free(be, e->dev_top_ids);
    be->free(be, e->dev_lse);
    be->free(be, e->dev_lp);
    be->free(be, e->dev_row);
    fc_free(e->id);
    fc_free(e->reads);
    memset(e, 0, sizeof *e);
}

void fc_echo_want(fc_flight *f, const fc_branch *b, int first, int n) {
    fc_job *j = b->job;
    fc_echoer *e = &f->echoer;
    int skip = j->echo.read - b->len, out = -1;
    if (b->role != FC_NOVELTY || skip < 0) return; /* what the base and the cache begin behind was read */
    if (n > j->echo.all - b->len) n = j->echo.all - b->len;
    for (int i = skip; i < n; i++) {
        int at = fc_batch_want(&f->batch, first + i);
        if (out < 0) out = at;
        e->id[e->n_ids++] = j->prompt[b->len + i + 1];
    }
    if (out < 0) return;
    e->reads[e->n_reads++] = (fc_echo_read){.job = j, .pos = j->echo.read, .n = n - skip, .out = out};
    j->echo.read += n - skip;
}

/* Log-probs alone need no logits in memory. */
static fc_status read_lp(fc_lane *l, fc_echoer *e, const fc_echo_read *r, int at) {
    fc_forward_count_head(l->model, r->n, (double)r->n * l->model->cfg.V, &l->work);
    return l->be->head_lse(l->be->stream,
                           &(fc_head_lse_args){.lse = e->dev_lse,
                                               .lp = e->dev_lp + at,
                                               .x = l->work.out + (size_t)r->out * (size_t)l->model->cfg.D,
                                               .w = l->model->head,
                                               .row = e->dev_row,
                                               .id = e->dev_id + at,
                                               .R = r->n,
                                               .M = r->n,
                                               .cap = l->model->cfg.final_soft_cap,
                                               .precise = !l->model->imprecise});
}

/* The same bits, and the alternatives, from logits in chunks. */
static fc_status read_tops(fc_lane *l, fc_echoer *e, const fc_echo_read *r, int at) {
    fc_backend *be = l->be;
    int D = l->model->cfg.D, V = l->model->cfg.V, top = r->job->echo.top;
    for (int i = 0, n; i < r->n; i += n) {
        size_t place = (size_t)(at + i) * FC_TOP_LOGPROBS_MAX, bytes;
        n = r->n - i < l->work.max_logit_rows ? r->n - i : l->work.max_logit_rows;
        bytes = (size_t)n * (size_t)top * 4;
        FC_TRY(fc_forward_logits(l->model, l->work.out + (size_t)(r->out + i) * (size_t)D, n, 0, &l->work));
        FC_TRY(be->logprob(be->stream, &(fc_logprob_args){.lp = e->dev_lp + at + i,
                                                          .logits = l->work.logits,
                                                          .row = e->dev_row,
                                                          .id = e->dev_id + at + i,
                                                          .R = n,
                                                          .V = V,
                                                          .M = n}));
        FC_TRY(be->top_logprobs(be->stream, &(fc_top_logprobs_args){.ids = e->dev_top_ids + place,
                                                                    .lp = e->dev_top_lp + place,
                                                                    .logits = l->work.logits,
                                                                    .rows = e->dev_row,
                                                                    .R = n,
                                                                    .V = V,
                                                                    .n = top}));
        place = (size_t)(r->pos + 1 + i) * (size_t)top;
        FC_TRY(be->download(be, r->job->echo.top_ids + place, e->dev_top_ids + (size_t)(at + i) * FC_TOP_LOGPROBS_MAX,
                            bytes));
        FC_TRY(be->download(be, r->job->echo.top_lp + place, e->dev_top_lp + (size_t)(at + i) * FC_TOP_LOGPROBS_MAX,
                            bytes));
    }
    return FC_OK;
}

size_t fc_echoer_stage_bytes(const fc_lane *l) { return fc_stage_room((size_t)l->max_rows * 4); }

void fc_echo_list(fc_flight *f) {
    fc_echoer *e = &f->echoer;
    e->dev_id = fc_stage_put(&f->batch.stage, e->id, (size_t)e->n_ids * sizeof *e->id);
}

fc_status fc_echo_launch(fc_lane *l, fc_flight *f) {
    fc_echoer *e = &f->echoer;
    for (int i = 0, at = 0; i < e->n_reads; at += e->reads[i++].n) {
        const fc_echo_read *r = &e->reads[i];
        FC_TRY(r->job->echo.top ? read_tops(l, e, r, at) : read_lp(l, e, r, at));
        FC_TRY(l->be->download(l->be, r->job->echo.lp + r->pos + 1, e->dev_lp + at, (size_t)r->n * sizeof *e->dev_lp));
    }
    return FC_OK;
}

void fc_echo_land(fc_flight *f, const fc_model *m) {
    for (int i = 0; i < f->echoer.n_reads; i++) {
        const fc_echo_read *r = &f->echoer.reads[i];
        for (int k = 0; k < r->n; k++)
            if (isnan(r->job->echo.lp[r->pos + 1 + k]))
                fc_job_blame(r->job, FC_NOVELTY, m, fc_row_words(FC_ROW_BROKEN));
    }
}
