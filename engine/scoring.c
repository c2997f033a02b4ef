/* scoring - finished candidates as tails behind the alignment prompt, and what their rows say. */
#include "engine/sched.h"

#include "engine/base/os.h"

#include <math.h>
#include <string.h>

fc_status fc_scorer_open(fc_lane *lane, int max_reads, fc_scorer *out) {
    fc_backend *be = lane->be;
    fc_scorer s = {.max_reads = max_reads, .max_gather = lane->work.max_logit_rows * FC_MAX_LABELS};
    fc_status st = FC_OK;
    size_t n;
    void *p;
    if (s.max_gather < max_reads) s.max_gather = max_reads;
    n = (size_t)s.max_gather;
    FC_TRY_GOTO(st, fc_alloc((size_t)max_reads, sizeof *s.reads, "score reads", &p), fail);
    s.reads = p;
    FC_TRY_GOTO(st, fc_alloc(n, 4, "score lists", &p), fail);
    s.row = p;
    FC_TRY_GOTO(st, fc_alloc(n, 4, "score lists", &p), fail);
    s.id = p;
    FC_TRY_GOTO(st, fc_alloc(n, 4, "score lists", &p), fail);
    s.lp = p;
    FC_TRY_GOTO(st, be->alloc(be, n * 4, "score lists", &p), fail);
    s.dev_row = p;
    FC_TRY_GOTO(st, be->alloc(be, n * 4, "score lists", &p), fail);
    s.dev_id = p;
    FC_TRY_GOTO(st, be->alloc(be, n * 4, "score lists", &p), fail);
    s.dev_lp = p;
    *out = s;
    return FC_OK;
fail:
    fc_scorer_close(lane, &s);
    return st;
}

void fc_scorer_close(fc_lane *lane, fc_scorer *s) {
    if (!lane || !lane->be) return;
    lane->be->free(lane->be, s->dev_lp);
    lane->be->free(lane->be, s->dev_id);
    lane->be->free(lane->be, s->dev_row);
    fc_free(s->lp);
    fc_free(s->id);
    fc_free(s->row);
    fc_free(s->reads);
    memset(s, 0, sizeof *s);
}

/* ---- tails ---- */

int64_t fc_scoring_waiting_rows(const fc_sched *s) {
    int64_t rows = 0;
    for (const fc_job *j = s->running; j; j = j->next)
        for (int i = j->next_tail; j->score && !j->failed && i < j->n_finished; i++)
            rows += fc_job_tail_rows(j, &j->paths[j->finished[i]]) + 1;
    return rows;
}

static void put_score(fc_sched *s, fc_job *j, int path, double score) {
    fc_path *p = &j->paths[path];
    p->score = score;
    j->n_scored++;
    if (!j->events) return;
    if (p->finish == FC_FINISH_GIVEN) {
        for (int i = 0; i < j->n; i++)
            if (j->members[i] == path) s->sink.score(s->sink.arg, j, i, score);
    } else {
        for (int m = path; m >= 0; m = j->members[m]) s->sink.score(s->sink.arg, j, m, score);
    }
}

static void add_read(fc_sched *s, fc_job *j, int path, int out, int32_t id) {
    fc_scorer *sc = &s->scorer;
    FC_ASSERT(sc->n_reads < sc->max_reads);
    sc->reads[sc->n_reads++] = (fc_score_read){.job = j, .path = path, .out = out, .id = id};
}

/* The candidate and the suffix in one list, where both are fed. */
static fc_status tail_feed(fc_job *j, const fc_path *p, const int32_t **feed) {
    int32_t *ids;
    void *mem;
    *feed = p->score_ids;
    if (fc_job_is_loglik(j) || j->n_suffix == 0) return FC_OK;
    FC_TRY(fc_arena_alloc(&j->arena, (size_t)p->n_score_ids + (size_t)j->n_suffix, sizeof *ids, &mem));
    ids = mem;
    if (p->n_score_ids) memcpy(ids, p->score_ids, (size_t)p->n_score_ids * sizeof *ids);
    memcpy(ids + p->n_score_ids, j->suffix, (size_t)j->n_suffix * sizeof *ids);
    *feed = ids;
    return FC_OK;
}

/* Begins the next finished candidate of a job. *more: it was begun, ask again. */
static fc_status start_tail(fc_sched *s, fc_job *j, bool *more) {
    fc_lane *l = s->lane[FC_ALIGNMENT];
    int path = j->finished[j->next_tail], P = fc_kv_store(l->kv)->shape.P, rows, pages;
    const fc_path *p = &j->paths[path];
    fc_branch b = {.job = j, .kind = FC_BRANCH_TAIL, .path = path};
    *more = false;
    rows = fc_job_tail_rows(j, p);
    if ((int64_t)j->n_align + p->n_score_ids + j->n_suffix > l->ctx)
        return FC_FAIL(
            FC_ERR_ARG,
            "candidate %d: %d tokens for the alignment model, its prompt has %d and the suffix %d; the context is %d",
            path, p->n_score_ids, j->n_align, j->n_suffix, l->ctx);
    pages = fc_kv_pages_for(j->n_align % P + rows, P);
    if (pages > j->tail_pages)
        return FC_FAIL(FC_ERR_FULL,
                       "candidate %d: %d tokens for the alignment model need %d pages; the request has %d for scoring",
                       path, p->n_score_ids, pages, j->tail_pages);
    if (s->scorer.n_reads >= s->scorer.max_reads - l->batch.max_rows) return FC_OK; /* room for a batch's own reads */
    if (rows > 0) {
        if (j->tail_pages_used + pages > j->tail_pages || j->tail_tables_used == j->tail_tables) return FC_OK;
        FC_TRY(tail_feed(j, p, &b.feed));
        FC_TRY(fc_kv_fork(l->kv, j->align_table, &b.table));
        b.n_feed = rows;
        j->tail_pages_used += pages;
        j->tail_tables_used++;
        fc_sched_push(s, FC_ALIGNMENT, &b);
    }
    if (!j->clock.score_begin_ns) j->clock.score_begin_ns = fc_clock_ns();
    if (fc_job_is_loglik(j) ? p->n_score_ids > 0 : rows == 0)
        add_read(s, j, path, -1, fc_job_is_loglik(j) ? p->score_ids[0] : 0);
    /* nothing to judge: an empty candidate has no likelihood to compare, and ranks last */
    if (fc_job_is_loglik(j) && p->n_score_ids == 0) put_score(s, j, path, -INFINITY);
    j->next_tail++;
    *more = true;
    return FC_OK;
}

void fc_scoring_start_tails(fc_sched *s) {
    for (fc_job *j = s->running; j; j = j->next) {
        bool more = j->score && j->align_ready;
        while (more && !j->failed && j->next_tail < j->n_finished) {
            fc_status st = start_tail(s, j, &more);
            if (st) fc_job_fail(j, st);
        }
    }
}

/* ---- reading ---- */

static void take_loglik(fc_sched *s, fc_job *j, int path, double lp) {
    fc_path *p = &j->paths[path];
    p->sum += lp;
    if (++p->n_score_done < p->n_score_ids) return;
    put_score(s, j, path, j->mode == FC_SCORE_LOGLIK_SUM ? p->sum : p->sum / p->n_score_ids);
}

/* P(first label) among the labels. */
static double judge(const float *lp, int n) {
    double most = (double)lp[0], sum = 0;
    for (int i = 1; i < n; i++)
        if ((double)lp[i] > most) most = (double)lp[i];
    for (int i = 0; i < n; i++) sum += exp((double)lp[i] - most);
    return exp((double)lp[0] - most) / sum;
}

static int ids_of(const fc_job *j) { return j->mode == FC_SCORE_JUDGE ? j->n_labels : 1; }

/* Where a read's hidden state lies. */
static const float *hidden_of(const fc_sched *s, const fc_score_read *r) {
    const fc_lane *l = s->lane[FC_ALIGNMENT];
    size_t D = (size_t)l->model->cfg.D;
    return r->out >= 0 ? l->work.out + (size_t)r->out * D : l->last + (size_t)r->job->slot * D;
}

static bool same_row(const fc_score_read *a, const fc_score_read *b) {
    return a->out == b->out && (a->out >= 0 || a->job == b->job);
}

/* Reads [first, *end), *end <= limit: as many as the logits have room for, their rows through the head, their ids gathered. */
static fc_status read_chunk(fc_sched *s, int first, int limit, int *end) {
    fc_lane *l = s->lane[FC_ALIGNMENT];
    fc_scorer *sc = &s->scorer;
    fc_backend *be = l->be;
    int R = 0, M = 0, i = first, run = 0; /* run: first logits row not yet computed */
    const float *run_hidden = NULL;
    for (; i < limit; i++) {
        const fc_score_read *r = &sc->reads[i];
        bool fresh = i == first || !same_row(r, r - 1);
        if (M + ids_of(r->job) > sc->max_gather || (fresh && R == l->work.max_logit_rows)) break;
        if (fresh) {
            const float *h = hidden_of(s, r);
            if (run_hidden && h != run_hidden + (size_t)(R - run) * (size_t)l->model->cfg.D) {
                FC_TRY(fc_forward_logits(l->model, run_hidden, R - run, run, &l->work));
                run_hidden = NULL;
            }
            if (!run_hidden) {
                run_hidden = h;
                run = R;
            }
            R++;
        }
        for (int k = 0; k < ids_of(r->job); k++) {
            sc->row[M] = R - 1;
            sc->id[M++] = r->job->mode == FC_SCORE_JUDGE ? r->job->labels[k] : r->id;
        }
    }
    *end = i;
    FC_TRY(fc_forward_logits(l->model, run_hidden, R - run, run, &l->work));
    FC_TRY(be->upload(be, sc->dev_row, sc->row, (size_t)M * 4));
    FC_TRY(be->upload(be, sc->dev_id, sc->id, (size_t)M * 4));
    FC_TRY(be->logprob(be->stream, &(fc_logprob_args){.lp = sc->dev_lp,
                                                      .logits = l->work.logits,
                                                      .row = sc->dev_row,
                                                      .id = sc->dev_id,
                                                      .R = R,
                                                      .V = l->model->cfg.V,
                                                      .M = M}));
    FC_TRY(be->download(be, sc->lp, sc->dev_lp, (size_t)M * 4));
    return be->sync(be);
}

/* Scores of the reads [first, end) by the reward head, neighbouring rows in one call. */
static fc_status reward_chunk(fc_sched *s, int first, int end) {
    fc_lane *l = s->lane[FC_ALIGNMENT];
    fc_scorer *sc = &s->scorer;
    size_t D = (size_t)l->model->cfg.D;
    for (int i = first, k; i < end; i = k) {
        const float *x = hidden_of(s, &sc->reads[i]);
        for (k = i + 1; k < end && hidden_of(s, &sc->reads[k]) == x + (size_t)(k - i) * D;) k++;
        FC_TRY(
            l->be->linear(l->be->stream,
                          &(fc_linear_args){.y = sc->dev_lp + (i - first), .x = x, .w = l->model->reward, .T = k - i}));
    }
    FC_TRY(l->be->download(l->be, sc->lp, sc->dev_lp, (size_t)(end - first) * 4));
    return l->be->sync(l->be);
}

/* Reads [first, *end) of one kind: reward head or log-probabilities. At most up to `limit`. */
static fc_status read_some(fc_sched *s, int first, int limit, int *end) {
    fc_scorer *sc = &s->scorer;
    bool reward = sc->reads[first].job->mode == FC_SCORE_REWARD;
    int M = 0, n = first + 1;
    uint64_t begin = fc_clock_ns();
    fc_status st;
    while (n < limit && (sc->reads[n].job->mode == FC_SCORE_REWARD) == reward) n++;
    *end = n;
    st = reward ? reward_chunk(s, first, n) : read_chunk(s, first, n, end);
    s->op_ns += fc_clock_ns() - begin;
    if (st) return st;
    for (int i = first; i < *end; i++) {
        const fc_score_read *r = &sc->reads[i];
        if (reward) put_score(s, r->job, r->path, (double)sc->lp[M]);
        else if (r->job->mode == FC_SCORE_JUDGE) put_score(s, r->job, r->path, judge(sc->lp + M, r->job->n_labels));
        else take_loglik(s, r->job, r->path, (double)sc->lp[M]);
        M += ids_of(r->job);
    }
    return FC_OK;
}

/* Everything the batch's tails wanted, in the order of their ids. */
static void collect_reads(fc_sched *s) {
    int list = fc_sched_list(s, FC_ALIGNMENT);
    for (int i = 0; i < s->n_branches[list]; i++) {
        fc_branch *b = &s->branches[list][i];
        if (!b->job || b->kind != FC_BRANCH_TAIL || b->n_outs == 0 || b->job->failed) continue;
        for (int k = 0; k < b->n_outs; k++) {
            int done = b->fed - b->n_outs + k; /* this row fed score_ids[done], so it predicts the next one */
            add_read(s, b->job, b->path, b->out + k,
                     fc_job_is_loglik(b->job) ? b->job->paths[b->path].score_ids[done + 1] : 0);
        }
    }
}

/* A complete tail gives its table back. */
static void close_tails(fc_sched *s) {
    int list = fc_sched_list(s, FC_ALIGNMENT), P = fc_kv_store(s->lane[FC_ALIGNMENT]->kv)->shape.P;
    for (int i = 0; i < s->n_branches[list]; i++) {
        fc_branch *b = &s->branches[list][i];
        if (!b->job || b->kind != FC_BRANCH_TAIL || b->fed < b->n_feed) continue;
        b->job->tail_pages_used -= fc_kv_pages_for(b->job->n_align % P + b->n_feed, P);
        b->job->tail_tables_used--;
        fc_sched_table_close(s, FC_ALIGNMENT, b->job, b->table);
        b->job = NULL;
    }
}

fc_status fc_scoring_run(fc_sched *s) {
    fc_scorer *sc = &s->scorer;
    collect_reads(s);
    for (int first = 0, end; first < sc->n_reads; first = end) {
        fc_status st = read_some(s, first, sc->n_reads, &end);
        if (st == FC_ERR_ARG) { /* a row that cannot be read ends its own request: read one by one */
            for (int i = first, one; i < end; i++) {
                st = read_some(s, i, i + 1, &one);
                if (st) fc_job_fail(sc->reads[i].job, st);
            }
        } else if (st) {
            return st;
        }
    }
    sc->n_reads = 0;
    close_tails(s);
    return FC_OK;
}
