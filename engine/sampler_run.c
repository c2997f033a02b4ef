/* sampler_run - the device's side of a call of the sampler: draws by the head, logits of whole rows and of listed ids,
 * draws from these, read-back; then what was read of each row. */
#include "engine/sampler.h"

#include <math.h>
#include <string.h>

static fc_status down(fc_backend *be, void *host, const void *dev, int n, size_t size) {
    return n ? be->download(be, host, dev, (size_t)n * size) : FC_OK;
}

/* Outputs of the batch that are wanted, rows of top log-probs, and listed rows whose logits are picked: known once outs
 * are. */
static void list_outs(fc_sampler *s) {
    int list = 0;
    for (int i = 0; i < s->n_rows; i++) {
        const fc_sampler_row *r = &s->rows[i];
        const fc_draw_row *d = r->draw >= 0 ? &s->draw[r->draw] : NULL;
        if (r->head >= 0) s->outs[r->head] = r->out;
        if (r->logits >= 0) s->outs[s->n_head + r->logits] = r->out;
        if (r->top >= 0) s->top_rows[r->top] = r->logits;
        if (r->full >= 0) s->outs[s->n_head + s->n_logits + r->full] = r->out;
        if (!d || d->n_ids == 0) continue;
        list++;
        if (r->logits < 0)
            s->segments[s->n_segments++] =
                (fc_pick_segment){.row = r->out, .n_rows = 1, .ids = d->ids, .n_ids = d->n_ids, .y = d->values};
    }
    FC_ASSERT(list == s->n_lists);
}

void fc_sampler_list(fc_sampler *s, fc_stage *stage) {
    int n_outs;
    if (s->n_rows == 0) return;
    list_outs(s);
    n_outs = s->n_head + s->n_logits + s->n_full;
    s->in.head = fc_stage_put(stage, s->head, (size_t)s->n_head * sizeof *s->head);
    s->in.draw = fc_stage_put(stage, s->draw, (size_t)s->n_draw * sizeof *s->draw);
    s->in.members = fc_stage_put(stage, s->members, (size_t)s->n_members * sizeof *s->members);
    s->in.bias_id = fc_stage_put(stage, s->bias_id, (size_t)s->n_bias * 4);
    s->in.bias_value = fc_stage_put(stage, s->bias_value, (size_t)s->n_bias * 4);
    s->in.seen_id = fc_stage_put(stage, s->seen_id, (size_t)s->n_seen * 4);
    s->in.seen_count = fc_stage_put(stage, s->seen_count, (size_t)s->n_seen * 4);
    s->in.asked_id = fc_stage_put(stage, s->asked_id, (size_t)s->n_asked * 4);
    s->in.top_rows = fc_stage_put(stage, s->top_rows, (size_t)s->n_top * 4);
    s->in.list_id = fc_stage_put(stage, s->list_id, (size_t)s->n_list * 4);
    s->in.lists = fc_stage_put(stage, s->lists, (size_t)s->n_lists * sizeof *s->lists);
    s->in.segments = fc_stage_put(stage, s->segments, (size_t)s->n_segments * sizeof *s->segments);
    s->in.outs = fc_stage_put(stage, s->outs, (size_t)n_outs * 4);
}

/* n outputs of the batch to w->x, from outs[first] on. */
static fc_status gather(fc_sampler *s, const fc_model *m, fc_work *w, int n_outs, int first, int n) {
    if (n == 0) return FC_OK;
    return s->be->rows_copy(s->be->stream, &(fc_rows_copy_args){.y = w->x,
                                                                .x = w->out,
                                                                .src = s->in.outs + first,
                                                                .n = n,
                                                                .D = m->cfg.D,
                                                                .x_rows = n_outs,
                                                                .y_rows = w->max_rows});
}

/* Sums of lists and, of rows that lie in w->x, of the whole vocabulary. */
static fc_status compute_sums(fc_sampler *s, const fc_model *m, fc_work *w) {
    fc_backend *be = s->be;
    fc_forward_count_head(m, s->n_full, (double)s->n_full * m->cfg.V, w);
    FC_TRY(be->list_logprob(be->stream, &(fc_list_logprob_args){.lse = s->dev.lse_list,
                                                                .value = s->dev.list_value,
                                                                .ids = s->in.list_id,
                                                                .rows = s->in.lists,
                                                                .n_rows = s->n_lists,
                                                                .V = s->V}));
    return be->head_lse(be->stream, &(fc_head_lse_args){.lse = s->dev.lse_full,
                                                        .x = w->x,
                                                        .w = m->head,
                                                        .R = s->n_full,
                                                        .cap = m->cfg.final_soft_cap,
                                                        .precise = !m->imprecise});
}

/* Tokens of rows that the head draws; logits of the others that want them. */
static fc_status run_head(fc_sampler *s, const fc_model *m, fc_work *w, int n_outs) {
    FC_TRY(gather(s, m, w, n_outs, 0, s->n_head + s->n_logits));
    fc_forward_count_head(m, s->n_head, (double)s->n_head * m->cfg.V, w);
    if (s->n_head)
        FC_TRY(s->be->head_draw(s->be->stream, &(fc_head_draw_args){.token = s->dev.token,
                                                                    .logprob = s->dev.logprob,
                                                                    .x = w->x,
                                                                    .w = m->head,
                                                                    .rows = s->in.head,
                                                                    .members = s->in.members,
                                                                    .R = s->n_head,
                                                                    .M = s->n_members,
                                                                    .cap = m->cfg.final_soft_cap,
                                                                    .precise = !m->imprecise}));
    return s->n_logits ? fc_forward_logits(m, w->x + (size_t)s->n_head * (size_t)m->cfg.D, s->n_logits, 0, w) : FC_OK;
}

/* Values of listed ids: picked by the head, or gathered from whole rows; then the sums that full_logprob compares. */
static fc_status compute_lists(fc_sampler *s, const fc_model *m, fc_work *w, int n_outs) {
    fc_backend *be = s->be;
    if (s->n_segments) /* what whole rows leave between these is written over below */
        FC_TRY(
            fc_forward_pick(m, s->in.segments, s->n_segments, s->in.list_id, s->n_list, n_outs, s->dev.list_value, w));
    for (int i = 0, n; i < s->n_lists; i += n) { /* stretches of rows that are there whole */
        for (n = 0; i + n < s->n_lists && s->lists[i + n].row >= 0;) n++;
        if (n)
            FC_TRY(be->list_gather(be->stream, &(fc_list_gather_args){.value = s->dev.list_value,
                                                                      .logits = w->logits,
                                                                      .ids = s->in.list_id,
                                                                      .rows = s->in.lists + i,
                                                                      .n_rows = n,
                                                                      .R = s->n_logits,
                                                                      .V = s->V}));
        else n = 1;
    }
    if (s->n_full == 0) return FC_OK;
    FC_TRY(gather(s, m, w, n_outs, s->n_head + s->n_logits, s->n_full));
    return compute_sums(s, m, w);
}

static fc_status draw(fc_sampler *s, const float *logits) {
    return s->be->draw(s->be->stream, &(fc_draw_args){.token = s->dev.token,
                                                      .logprob = s->dev.logprob,
                                                      .logits = s->n_logits ? logits : NULL,
                                                      .rows = s->in.draw,
                                                      .members = s->in.members,
                                                      .bias_id = s->in.bias_id,
                                                      .bias_value = s->in.bias_value,
                                                      .seen_id = s->in.seen_id,
                                                      .seen_count = s->in.seen_count,
                                                      .list_id = s->in.list_id,
                                                      .list_value = s->dev.list_value,
                                                      .R = s->n_logits,
                                                      .V = s->V,
                                                      .n_rows = s->n_draw,
                                                      .M = s->n_members});
}

/* Log-probs of n ids under one row. */
static fc_status read_row(fc_sampler *s, const float *logits, int row, const int32_t *id, float *lp, int n) {
    return s->be->logprob(s->be->stream, &(fc_logprob_args){.lp = lp,
                                                            .logits = logits + (size_t)row * (size_t)s->V,
                                                            .row = s->dev.zero,
                                                            .id = id,
                                                            .R = 1,
                                                            .V = s->V,
                                                            .M = n});
}

/* What a row of allowed ids drew, under the whole row as without them; and of ids that were asked for. */
static fc_status whole_logprobs(fc_sampler *s, const float *logits) {
    for (int i = 0; i < s->n_rows; i++) {
        const fc_sampler_row *r = &s->rows[i];
        if (r->whole)
            FC_TRY(read_row(s, logits, r->logits, s->dev.token + r->member, s->dev.logprob + r->member, r->n_members));
        if (r->asked >= 0)
            FC_TRY(read_row(s, logits, r->logits, s->in.asked_id + r->asked, s->dev.asked_lp + r->asked,
                            (int)r->job->sampling.n_logprob_ids));
    }
    return FC_OK;
}

static fc_status top_logprobs(fc_sampler *s, const float *logits) {
    fc_backend *be = s->be;
    FC_TRY(be->top_logprobs(be->stream, &(fc_top_logprobs_args){.ids = s->dev.top_ids,
                                                                .lp = s->dev.top_logprobs,
                                                                .logits = logits,
                                                                .rows = s->in.top_rows,
                                                                .R = s->n_top,
                                                                .V = s->V,
                                                                .n = s->top_n}));
    FC_TRY(down(be, s->top_ids, s->dev.top_ids, s->n_top * s->top_n, 4));
    return down(be, s->top_logprobs, s->dev.top_logprobs, s->n_top * s->top_n, 4);
}

fc_status fc_sampler_run(fc_sampler *s, const fc_model *m, fc_work *w, int n_outs) {
    fc_backend *be = s->be;
    if (s->n_rows == 0) return FC_OK;
    FC_TRY(run_head(s, m, w, n_outs));
    if (s->n_lists) FC_TRY(compute_lists(s, m, w, n_outs));
    if (s->n_draw) FC_TRY(draw(s, w->logits));
    FC_TRY(whole_logprobs(s, w->logits));
    FC_TRY(down(be, s->token, s->dev.token, s->n_members, 4));
    FC_TRY(down(be, s->logprob, s->dev.logprob, s->n_members, 4));
    FC_TRY(down(be, s->asked_lp, s->dev.asked_lp, s->n_asked, 4));
    FC_TRY(down(be, s->lse_list, s->dev.lse_list, s->n_full ? s->n_lists : 0, sizeof *s->lse_list));
    FC_TRY(down(be, s->lse_full, s->dev.lse_full, s->n_full, sizeof *s->lse_full));
    return s->n_top ? top_logprobs(s, w->logits) : FC_OK;
}

static bool any_nan(const float *v, int n) {
    for (int i = 0; i < n; i++)
        if (isnan(v[i])) return true;
    return false;
}

/* What was read of the row, all of it. */
static fc_row_state state_of(const fc_sampler *s, const fc_sampler_row *r) {
    bool sums = r->full >= 0 && (isnan(s->lse_list[r->list]) || isnan(s->lse_full[r->full]));
    if (s->token[r->member] < 0) return (fc_row_state)-s->token[r->member];
    if (sums || any_nan(s->logprob + r->member, r->n_members)) return FC_ROW_BROKEN;
    if (r->asked >= 0 && any_nan(s->asked_lp + r->asked, (int)r->job->sampling.n_logprob_ids)) return FC_ROW_BROKEN;
    return r->top >= 0 && s->top_ids[r->top * s->top_n] < 0 ? FC_ROW_BROKEN : FC_ROW_OK;
}

void fc_sampler_land(fc_sampler *s, const fc_model *m) {
    for (int i = 0; i < s->n_rows; i++) {
        const fc_sampler_row *r = &s->rows[i];
        fc_row_state state = state_of(s, r);
        if (r->job->over) continue; /* nothing is drawn for it any more */
        if (state == FC_ROW_CHANGED_BROKEN || state == FC_ROW_CHANGED_EMPTY)
            fc_job_fail(r->job, FC_FAIL(FC_ERR_ARG, "token %d of a candidate: %s", r->length + 1, fc_row_words(state)));
        else if (state) fc_job_blame(r->job, FC_NOVELTY, m, fc_row_words(state));
    }
}
