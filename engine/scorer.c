/* scorer - the device's side of scoring: states into the pool, states out of it through a head, log-probs gathered. */
#include "engine/sched.h"

#include <string.h>

static fc_status host_list(size_t n, size_t size, void *out_ptr) {
    void *p;
    FC_TRY(fc_alloc(n, size, "score lists", &p));
    memcpy(out_ptr, &p, sizeof p); /* the place holds a typed pointer */
    return FC_OK;
}

fc_status fc_scorer_open(fc_lane *lane, fc_scorer *out) {
    const fc_kv_shape *shape = &fc_kv_store(lane->kv)->shape;
    fc_scorer s = {.max_reads = 2 * lane->max_rows + lane->ctx}; /* a candidate's reads always fit */
    size_t slots = (size_t)shape->n_pages * (size_t)shape->P, rows = (size_t)lane->max_rows, reads, n;
    fc_status st = FC_OK;
    void *p;
    s.max_gather = s.max_reads + 4 * FC_MAX_LABELS;
    reads = (size_t)s.max_reads;
    n = (size_t)s.max_gather;
    FC_TRY_GOTO(st, host_list(reads, sizeof *s.reads, &s.reads), fail);
    FC_TRY_GOTO(st, host_list(reads, 4, &s.slot), fail);
    FC_TRY_GOTO(st, host_list(reads, sizeof *s.reward, &s.reward), fail);
    FC_TRY_GOTO(st, host_list(reads + 1, 4, &s.first), fail);
    FC_TRY_GOTO(st, host_list(slots, 4, &s.row_of), fail);
    FC_TRY_GOTO(st, host_list(n, 4, &s.row), fail);
    FC_TRY_GOTO(st, host_list(n, 4, &s.id), fail);
    FC_TRY_GOTO(st, host_list(n, 4, &s.lp), fail);
    FC_TRY_GOTO(st, host_list(rows, 4, &s.keep_src), fail);
    FC_TRY_GOTO(st, host_list(rows, 4, &s.keep_dst), fail);
    FC_TRY_GOTO(st, lane->be->alloc(lane->be, n * 4, "score lists", &p), fail);
    s.dev_lp = p;
    FC_TRY_GOTO(st, lane->be->alloc(lane->be, rows * sizeof *s.dev_lse, "score lists", &p), fail);
    s.dev_lse = p;
    *out = s;
    return FC_OK;
fail:
    fc_scorer_close(lane, &s);
    return st;
}

void fc_scorer_close(fc_lane *lane, fc_scorer *s) {
    fc_backend *be;
    if (!lane || !lane->be) return;
    be = lane->be;
    be->free(be, s->dev_lse);
    be->free(be, s->dev_lp);
    fc_free(s->keep_dst);
    fc_free(s->keep_src);
    fc_free(s->lp);
    fc_free(s->id);
    fc_free(s->row);
    fc_free(s->row_of);
    fc_free(s->first);
    fc_free(s->reward);
    fc_free(s->slot);
    fc_free(s->reads);
    memset(s, 0, sizeof *s);
}

size_t fc_scorer_stage_bytes(const fc_lane *lane, const fc_scorer *s) {
    return 2 * fc_stage_room((size_t)lane->max_rows * 4) + fc_stage_room((size_t)s->max_reads * 4) +
           2 * fc_stage_room((size_t)s->max_gather * 4);
}

static bool rewards(const fc_score_read *r) { return r->job->mode == FC_SCORE_REWARD; }
static int ids_of(const fc_job *j) { return j->mode == FC_SCORE_JUDGE ? j->n_labels : 1; }

/* Rows, from R0 on, for the states of the reads of one kind, reward head or language head, in the order in which they
 * come: a state is read once for all its reads. first[] counts the ids that are picked of each. Returns the next
 * row. */
static int number_rows(fc_scorer *sc, bool reward, int R0) {
    int R = R0;
    for (int i = 0; i < sc->n_reads; i++) {
        fc_score_read *r = &sc->reads[i];
        if (rewards(r) != reward) continue;
        if (sc->row_of[r->slot] == 0) { /* numbers are kept with 1 added */
            sc->row_of[r->slot] = R + 1;
            sc->slot[R] = r->slot;
            sc->reward[R] = r->job->reward;
            sc->first[R++] = 0;
        }
        r->at = sc->row_of[r->slot] - 1;
        sc->first[r->at] += ids_of(r->job);
    }
    for (int r = R0; r < R; r++) sc->row_of[sc->slot[r]] = 0;
    return R;
}

/* Picks of the language head's rows [0, R): those of a row lie together; first[] becomes the end of each row's. Returns
 * how many there are. */
static int put_picks(fc_scorer *sc, int R) {
    int at = 0;
    for (int r = 0; r < R; r++) {
        int n = sc->first[r];
        sc->first[r] = at;
        at += n;
    }
    for (int i = 0; i < sc->n_reads; i++) {
        fc_score_read *r = &sc->reads[i];
        int row = r->at;
        if (rewards(r)) continue;
        r->at = sc->first[row];
        for (int k = 0; k < ids_of(r->job); k++) {
            sc->row[sc->first[row]] = row;
            sc->id[sc->first[row]++] = r->job->mode == FC_SCORE_JUDGE ? r->job->labels[k] : r->id;
        }
    }
    return at;
}

/* Log-probs of picks [m0, m1), of n rows that have been read; no logits in memory. */
static fc_status pick(fc_lane *l, fc_scorer *sc, int n, int m0, int m1) {
    const fc_model *m = l->model;
    fc_forward_count_head(m, n, (double)n * m->cfg.V, &l->work);
    return l->be->head_lse(l->be->stream, &(fc_head_lse_args){.lse = sc->dev_lse,
                                                              .lp = sc->dev_lp + m0,
                                                              .x = l->read,
                                                              .w = m->head,
                                                              .row = sc->dev_row + m0,
                                                              .id = sc->dev_id + m0,
                                                              .R = n,
                                                              .M = m1 - m0,
                                                              .cap = m->cfg.final_soft_cap,
                                                              .precise = !m->imprecise});
}

static fc_status read_states(fc_lane *l, fc_scorer *sc, int r0, int n) {
    return l->be->rows_copy(l->be->stream, &(fc_rows_copy_args){.y = l->read,
                                                                .x = l->states,
                                                                .src = sc->dev_slot + r0,
                                                                .n = n,
                                                                .D = l->model->cfg.D,
                                                                .x_rows = l->n_states,
                                                                .y_rows = l->max_rows});
}

/* Head rows [0, R): as many at once as a batch has. */
static fc_status read_head(fc_lane *l, fc_scorer *sc, int R) {
    for (int r0 = 0, m0 = 0, m1; r0 < R; m0 = m1) {
        int n = R - r0 < l->max_rows ? R - r0 : l->max_rows;
        m1 = sc->first[r0 + n - 1];
        FC_TRY(read_states(l, sc, r0, n));
        FC_TRY(pick(l, sc, n, m0, m1));
        r0 += n;
    }
    return FC_OK;
}

/* Reward rows [r0, R), in stretches of one head. */
static fc_status read_reward(fc_lane *l, fc_scorer *sc, int r0, int R, int m0) {
    for (int n; r0 < R; r0 += n, m0 += n) {
        const fc_weight *w = sc->reward[r0];
        for (n = 1; r0 + n < R && n < l->max_rows && sc->reward[r0 + n] == w;) n++;
        FC_TRY(read_states(l, sc, r0, n));
        FC_TRY(l->be->linear(l->be->stream, &(fc_linear_args){.y = sc->dev_lp + m0, .x = l->read, .w = w, .T = n}));
    }
    return FC_OK;
}

void fc_scoring_list(fc_sched *s, fc_flight *f) {
    fc_scorer *sc = &f->scorer;
    fc_stage *stage = &f->batch.stage;
    int chunk = s->lane[FC_ALIGNMENT]->max_rows;
    sc->dev_keep_src = fc_stage_put(stage, sc->keep_src, (size_t)sc->n_keep * 4);
    sc->dev_keep_dst = fc_stage_put(stage, sc->keep_dst, (size_t)sc->n_keep * 4);
    if (sc->n_reads == 0) return;
    sc->n_head = number_rows(sc, false, 0);
    sc->n_rows = number_rows(sc, true, sc->n_head);
    sc->n_picks = put_picks(sc, sc->n_head);
    for (int i = 0; i < sc->n_reads; i++) /* rewards stand behind the log-probs, one a row */
        if (rewards(&sc->reads[i])) sc->reads[i].at += sc->n_picks - sc->n_head;
    for (int m = 0; m < sc->n_picks; m++) sc->row[m] %= chunk; /* rows of a chunk count from 0 */
    sc->dev_slot = fc_stage_put(stage, sc->slot, (size_t)sc->n_rows * 4);
    sc->dev_row = fc_stage_put(stage, sc->row, (size_t)sc->n_picks * 4);
    sc->dev_id = fc_stage_put(stage, sc->id, (size_t)sc->n_picks * 4);
}

fc_status fc_scoring_launch(fc_sched *s, fc_flight *f) {
    fc_scorer *sc = &f->scorer;
    fc_lane *l = s->lane[FC_ALIGNMENT];
    fc_backend *be = l->be;
    if (sc->n_keep)
        FC_TRY(be->rows_copy(be->stream, &(fc_rows_copy_args){.y = l->states,
                                                              .x = l->work.out,
                                                              .dst = sc->dev_keep_dst,
                                                              .src = sc->dev_keep_src,
                                                              .n = sc->n_keep,
                                                              .D = l->model->cfg.D,
                                                              .x_rows = f->batch.n_outs,
                                                              .y_rows = l->n_states}));
    if (sc->n_reads == 0) return FC_OK;
    FC_TRY(read_head(l, sc, sc->n_head));
    FC_TRY(read_reward(l, sc, sc->n_head, sc->n_rows, sc->n_picks));
    return be->download(be, sc->lp, sc->dev_lp, (size_t)(sc->n_picks + sc->n_rows - sc->n_head) * 4);
}
