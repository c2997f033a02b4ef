/* sampler_run - the device's side of a call of the sampler: draws by the head, logits of whole rows and of listed ids,
 * draws from these, read-back. */
#include "engine/sampler.h"

#include <string.h>

static fc_status up(fc_backend *be, void *dev, const void *host, int n, size_t size) {
    return n ? be->upload(be, dev, host, (size_t)n * size) : FC_OK;
}

static fc_status down(fc_backend *be, void *host, const void *dev, int n, size_t size) {
    return n ? be->download(be, host, dev, (size_t)n * size) : FC_OK;
}

/* Outputs of the batch that are wanted, and listed rows whose logits are picked: known once outs are. */
static void list_outs(fc_sampler *s) {
    int list = 0;
    for (int i = 0; i < s->n_rows; i++) {
        const fc_sampler_row *r = &s->rows[i];
        const fc_draw_row *d = r->draw >= 0 ? &s->draw[r->draw] : NULL;
        if (r->head >= 0) s->outs[r->head] = r->out;
        if (r->logits >= 0) s->outs[s->n_head + r->logits] = r->out;
        if (r->full >= 0) s->outs[s->n_head + s->n_logits + r->full] = r->out;
        if (!d || d->n_ids == 0) continue;
        list++;
        if (r->logits < 0)
            s->segments[s->n_segments++] =
                (fc_pick_segment){.row = r->out, .n_rows = 1, .ids = d->ids, .n_ids = d->n_ids, .y = d->values};
    }
    FC_ASSERT(list == s->n_lists);
}

static fc_status upload_lists(fc_sampler *s) {
    fc_backend *be = s->be;
    FC_TRY(up(be, s->dev.head, s->head, s->n_head, sizeof *s->head));
    FC_TRY(up(be, s->dev.draw, s->draw, s->n_draw, sizeof *s->draw));
    FC_TRY(up(be, s->dev.members, s->members, s->n_members, sizeof *s->members));
    FC_TRY(up(be, s->dev.bias_id, s->bias_id, s->n_bias, 4));
    FC_TRY(up(be, s->dev.bias_value, s->bias_value, s->n_bias, 4));
    FC_TRY(up(be, s->dev.seen_id, s->seen_id, s->n_seen, 4));
    FC_TRY(up(be, s->dev.seen_count, s->seen_count, s->n_seen, 4));
    FC_TRY(up(be, s->dev.asked_id, s->asked_id, s->n_asked, 4));
    FC_TRY(up(be, s->dev.list_id, s->list_id, s->n_list, 4));
    FC_TRY(up(be, s->dev.lists, s->lists, s->n_lists, sizeof *s->lists));
    FC_TRY(up(be, s->dev.segments, s->segments, s->n_segments, sizeof *s->segments));
    return up(be, s->dev.outs, s->outs, s->n_head + s->n_logits + s->n_full, 4);
}

/* n outputs of the batch to w->x, from outs[first] on. */
static fc_status gather(fc_sampler *s, const fc_model *m, fc_work *w, int n_outs, int first, int n) {
    if (n == 0) return FC_OK;
    return s->be->rows_copy(s->be->stream, &(fc_rows_copy_args){.y = w->x,
                                                                .x = w->out,
                                                                .src = s->dev.outs + first,
                                                                .n = n,
                                                                .D = m->cfg.D,
                                                                .x_rows = n_outs,
                                                                .y_rows = w->max_rows});
}

static fc_status sum_lists(fc_sampler *s, int first, int n) {
    return s->be->list_logprob(s->be->stream, &(fc_list_logprob_args){.lse = s->dev.lse_list + first,
                                                                      .value = s->dev.list_value,
                                                                      .ids = s->dev.list_id,
                                                                      .rows = s->dev.lists + first,
                                                                      .n_rows = n,
                                                                      .V = s->V});
}

static fc_status sum_whole(fc_sampler *s, const fc_model *m, const fc_work *w, int first, int n) {
    return s->be->head_lse(s->be->stream, &(fc_head_lse_args){.lse = s->dev.lse_full + first,
                                                              .x = w->x + (size_t)first * (size_t)m->cfg.D,
                                                              .w = m->head,
                                                              .R = n,
                                                              .cap = m->cfg.final_soft_cap,
                                                              .precise = true});
}

static void blame(fc_sampler_row *r, const fc_model *m) {
    r->status = FC_ERR_FORMAT;
    fc_job_blame(r->job, FC_NOVELTY, m, fc_status_text());
}

/* Rows first .. first+n-1 of head[], whose states are the first of w->x, in one call. */
static fc_status draw_heads(fc_sampler *s, const fc_model *m, const fc_work *w, int first, int n) {
    return s->be->head_draw(s->be->stream, &(fc_head_draw_args){.token = s->dev.token,
                                                                .logprob = s->dev.logprob,
                                                                .x = w->x + (size_t)first * (size_t)m->cfg.D,
                                                                .w = m->head,
                                                                .rows = s->dev.head + first,
                                                                .members = s->dev.members,
                                                                .R = n,
                                                                .M = s->n_members,
                                                                .cap = m->cfg.final_soft_cap,
                                                                .precise = true});
}

/* Tokens of rows that the head draws, when the call is refused, row by row; logits of the others that want them. */
static fc_status run_head(fc_sampler *s, const fc_model *m, fc_work *w, int n_outs) {
    fc_status st = FC_OK;
    FC_TRY(gather(s, m, w, n_outs, 0, s->n_head + s->n_logits));
    if (s->n_head) st = draw_heads(s, m, w, 0, s->n_head);
    for (int i = 0; i < s->n_rows && st == FC_ERR_ARG; i++) {
        fc_sampler_row *r = &s->rows[i];
        fc_status one = r->head >= 0 ? draw_heads(s, m, w, r->head, 1) : FC_OK;
        if (one == FC_ERR_ARG) blame(r, m);
        else FC_TRY(one);
    }
    if (st && st != FC_ERR_ARG) return st;
    return s->n_logits ? fc_forward_logits(m, w->x + (size_t)s->n_head * (size_t)m->cfg.D, s->n_logits, 0, w) : FC_OK;
}

/* Sums of lists and, of rows that lie in w->x, of the whole vocabulary: when a call is refused, row by row. */
static fc_status compute_sums(fc_sampler *s, const fc_model *m, const fc_work *w) {
    fc_status lists = sum_lists(s, 0, s->n_lists), whole = sum_whole(s, m, w, 0, s->n_full);
    for (int i = 0; i < s->n_rows; i++) {
        fc_sampler_row *r = &s->rows[i];
        fc_status list = lists == FC_ERR_ARG && r->list >= 0 ? sum_lists(s, r->list, 1) : FC_OK;
        fc_status full = whole == FC_ERR_ARG && r->full >= 0 ? sum_whole(s, m, w, r->full, 1) : FC_OK;
        if (list == FC_ERR_ARG || full == FC_ERR_ARG) blame(r, m);
        if (list != FC_ERR_ARG) FC_TRY(list);
        if (full != FC_ERR_ARG) FC_TRY(full);
    }
    if (lists && lists != FC_ERR_ARG) return lists;
    return whole == FC_ERR_ARG ? FC_OK : whole;
}

/* Values of listed ids: picked by the head, or gathered from whole rows; then the sums that full_logprob compares. */
static fc_status compute_lists(fc_sampler *s, const fc_model *m, fc_work *w, int n_outs) {
    const fc_model_config *c = &m->cfg;
    fc_backend *be = s->be;
    if (s->n_segments) {
        FC_TRY(be->linear_pick(be->stream, &(fc_linear_pick_args){.y = s->dev.list_value,
                                                                  .x = w->out,
                                                                  .w = m->head,
                                                                  .segments = s->dev.segments,
                                                                  .ids = s->dev.list_id,
                                                                  .R = n_outs,
                                                                  .S = s->n_segments,
                                                                  .precise = true}));
        if (c->final_soft_cap > 0) /* what whole rows leave between these is written over below */
            FC_TRY(be->softcap(
                be->stream,
                &(fc_softcap_args){.x = s->dev.list_value, .n = (size_t)s->n_list, .cap = c->final_soft_cap}));
    }
    for (int i = 0, n; i < s->n_lists; i += n) { /* stretches of rows that are there whole */
        for (n = 0; i + n < s->n_lists && s->lists[i + n].row >= 0;) n++;
        if (n)
            FC_TRY(be->list_gather(be->stream, &(fc_list_gather_args){.value = s->dev.list_value,
                                                                      .logits = w->logits,
                                                                      .ids = s->dev.list_id,
                                                                      .rows = s->dev.lists + i,
                                                                      .n_rows = n,
                                                                      .R = s->n_logits,
                                                                      .V = s->V}));
        else n = 1;
    }
    if (s->n_full == 0) return FC_OK;
    FC_TRY(gather(s, m, w, n_outs, s->n_head + s->n_logits, s->n_full));
    return compute_sums(s, m, w);
}

/* Rows first .. first+n-1 of draw[] in one call. */
static fc_status draw_rows(fc_sampler *s, const float *logits, int first, int n) {
    return s->be->draw(s->be->stream, &(fc_draw_args){.token = s->dev.token,
                                                      .logprob = s->dev.logprob,
                                                      .logits = s->n_logits ? logits : NULL,
                                                      .rows = s->dev.draw + first,
                                                      .members = s->dev.members,
                                                      .bias_id = s->dev.bias_id,
                                                      .bias_value = s->dev.bias_value,
                                                      .seen_id = s->dev.seen_id,
                                                      .seen_count = s->dev.seen_count,
                                                      .list_id = s->dev.list_id,
                                                      .list_value = s->dev.list_value,
                                                      .R = s->n_logits,
                                                      .V = s->V,
                                                      .n_rows = n,
                                                      .M = s->n_members});
}

/* Whether row i of draw[] is refused without the request's bias, penalties and filters too: the logits are at fault. */
static bool broken(fc_sampler *s, const float *logits, int i) {
    const fc_draw_row *d = &s->draw[i];
    const fc_draw_row plain = {.row = d->row,
                               .member = d->member,
                               .n_members = d->n_members,
                               .top_p = 1.0f,
                               .typical_p = 1.0f,
                               .repetition = 1.0f,
                               .n_ids = d->n_ids,
                               .ids = d->ids,
                               .values = d->values};
    return !up(s->be, s->dev.draw + i, &plain, 1, sizeof plain) && draw_rows(s, logits, i, 1) == FC_ERR_ARG;
}

/* A row that cannot be drawn from fails its request alone: when the whole call is refused, row by row. */
static fc_status draw(fc_sampler *s, const fc_model *m, const float *logits) {
    fc_status st = draw_rows(s, logits, 0, s->n_draw);
    if (st != FC_ERR_ARG) return st;
    for (int i = 0; i < s->n_rows; i++) {
        fc_sampler_row *r = &s->rows[i];
        if (r->draw < 0) continue;
        st = draw_rows(s, logits, r->draw, 1);
        if (st == FC_OK) continue;
        if (st == FC_ERR_ARG && broken(s, logits, r->draw)) {
            blame(r, m);
        } else {
            r->status = st;
            fc_job_fail(r->job, st);
        }
    }
    return FC_OK;
}

/* Log-probs of n ids under one row; a row that cannot be read fails its request alone. */
static fc_status read_row(fc_sampler *s, const fc_model *m, const float *logits, fc_sampler_row *r, const int32_t *id,
                          float *lp, int n) {
    fc_status st = s->be->logprob(s->be->stream, &(fc_logprob_args){.lp = lp,
                                                                    .logits = logits + (size_t)r->logits * (size_t)s->V,
                                                                    .row = s->dev.zero,
                                                                    .id = id,
                                                                    .R = 1,
                                                                    .V = s->V,
                                                                    .M = n});
    if (st == FC_ERR_ARG) blame(r, m);
    return st == FC_ERR_ARG ? FC_OK : st;
}

/* What a row of allowed ids drew, under the whole row as without them; and of ids that were asked for. */
static fc_status whole_logprobs(fc_sampler *s, const fc_model *m, const float *logits) {
    for (int i = 0; i < s->n_rows; i++) {
        fc_sampler_row *r = &s->rows[i];
        if (r->whole && !r->status)
            FC_TRY(read_row(s, m, logits, r, s->dev.token + r->member, s->dev.logprob + r->member, r->n_members));
        if (r->asked >= 0 && !r->status)
            FC_TRY(read_row(s, m, logits, r, s->dev.asked_id + r->asked, s->dev.asked_lp + r->asked,
                            (int)r->job->sampling.n_logprob_ids));
    }
    return FC_OK;
}

/* Places first .. first+n-1 of top_rows in one call. */
static fc_status read_tops(fc_sampler *s, const float *logits, int first, int n) {
    size_t at = (size_t)first * (size_t)s->top_n;
    return s->be->top_logprobs(s->be->stream, &(fc_top_logprobs_args){.ids = s->dev.top_ids + at,
                                                                      .lp = s->dev.top_logprobs + at,
                                                                      .logits = logits,
                                                                      .rows = s->dev.top_rows + first,
                                                                      .R = n,
                                                                      .V = s->V,
                                                                      .n = s->top_n});
}

/* Of a row that drew under a list the rest is read here for the first time: when the call is refused, row by row. */
static fc_status top_logprobs(fc_sampler *s, const fc_model *m, const float *logits) {
    fc_backend *be = s->be;
    int kept = 0;
    fc_status st;
    for (int i = 0; i < s->n_rows; i++) { /* a row that could not be drawn from is not looked at again */
        fc_sampler_row *r = &s->rows[i];
        if (r->top < 0 || r->status) continue;
        s->top_rows[kept] = r->logits;
        r->top = kept++;
    }
    s->n_top = kept;
    if (kept == 0) return FC_OK;
    FC_TRY(up(be, s->dev.top_rows, s->top_rows, kept, 4));
    st = read_tops(s, logits, 0, kept);
    for (int i = 0; i < s->n_rows && st == FC_ERR_ARG; i++) {
        fc_sampler_row *r = &s->rows[i];
        if (r->top >= 0 && !r->status && read_tops(s, logits, r->top, 1)) blame(r, m);
    }
    if (st && st != FC_ERR_ARG) return st;
    FC_TRY(down(be, s->top_ids, s->dev.top_ids, kept * s->top_n, 4));
    return down(be, s->top_logprobs, s->dev.top_logprobs, kept * s->top_n, 4);
}

fc_status fc_sampler_run(fc_sampler *s, const fc_model *m, fc_work *w, int n_outs) {
    fc_backend *be = s->be;
    if (s->n_rows == 0) return FC_OK;
    list_outs(s);
    FC_TRY(upload_lists(s));
    FC_TRY(run_head(s, m, w, n_outs));
    if (s->n_lists) FC_TRY(compute_lists(s, m, w, n_outs));
    if (s->n_draw) FC_TRY(draw(s, m, w->logits));
    FC_TRY(whole_logprobs(s, m, w->logits));
    FC_TRY(down(be, s->token, s->dev.token, s->n_members, 4));
    FC_TRY(down(be, s->logprob, s->dev.logprob, s->n_members, 4));
    FC_TRY(down(be, s->asked_lp, s->dev.asked_lp, s->n_asked, 4));
    FC_TRY(down(be, s->lse_list, s->dev.lse_list, s->n_full ? s->n_lists : 0, sizeof *s->lse_list));
    FC_TRY(down(be, s->lse_full, s->dev.lse_full, s->n_full, sizeof *s->lse_full));
    return s->n_top ? top_logprobs(s, m, w->logits) : FC_OK;
}
