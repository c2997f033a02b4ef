/* scoring - finished candidates as nodes of a tree behind the alignment prompt, and what their hidden states say.
 *
 * A row's final hidden state goes into the lane's pool under its KV slot, and scores are read from the pool: so a
 * candidate may share stems with one that was fed long before. With the tree off every candidate is fed alone, prompt
 * and all. A candidate is read at once, when all states that it needs are there.
 */
#include "engine/sched.h"

#include "engine/base/os.h"
#include "engine/stop_job.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

bool fc_scoring_alone(const fc_sched *s) { return fc_sched_off(s, FC_OFF_FORK) || fc_sched_off(s, FC_OFF_SCORE_TREE); }

int32_t fc_scoring_id(const fc_job *j, int path, int k) {
    const fc_path *p = &j->paths[path];
    return k < p->n_score_ids ? p->score_ids[k] : j->suffix[k - p->n_score_ids];
}

/* ---- begin and idle ---- */

/* Only when a candidate needs it: where all scores are cached, the alignment prompt is not computed. */
static fc_status begin_prompt(fc_sched *s, fc_job *j) {
    return j->stem[FC_ALIGNMENT].table >= 0 ? FC_OK : fc_stem_begin(s, j, FC_ALIGNMENT);
}

static void begin_anew(fc_path *p) {
    p->scoring = FC_UNSCORED;
    p->n_read = p->n_score_done = 0;
}

void fc_scoring_idle(fc_sched *s, fc_job *j) {
    int list = fc_sched_list(s, FC_ALIGNMENT);
    if (!j->score) return;
    for (int at = j->branches[list]; at >= 0; at = s->branches[list][at].next) {
        const fc_branch *b = &s->branches[list][at];
        if (b->kind != FC_BRANCH_ALONE) continue;
        if (b->len > j->paths[b->group].score_replay_to) j->paths[b->group].score_replay_to = b->len;
        j->paths[b->group].alone = -1;
    }
    for (int i = 0; i < j->n_finished; i++) {
        fc_path *p = &j->paths[j->finished[i]];
        if (p->scoring == FC_SCORE_BEGUN) begin_anew(p);
    }
    j->n_begun = 0;
    j->next_score = 0;
}

bool fc_scoring_give_way(fc_sched *s, fc_job *j) {
    int list = fc_sched_list(s, FC_ALIGNMENT), before = j->alone_tables;
    bool first = true;
    for (int at = j->branches[list], next; at >= 0; at = next) {
        fc_branch *b = &s->branches[list][at];
        fc_path *p = &j->paths[b->group];
        next = b->next;
        if (b->kind != FC_BRANCH_ALONE) continue;
        if (!first) {
            if (b->len > p->score_replay_to) p->score_replay_to = b->len;
            p->alone = -1;
            begin_anew(p);
            j->n_begun--;
            j->next_score = 0;
            fc_branch_drop(s, b);
        }
        first = false;
    }
    return j->alone_tables < before;
}

void fc_scoring_prune(fc_sched *s, fc_job *j) {
    int list = fc_sched_list(s, FC_ALIGNMENT);
    fc_tree *t = &j->stem[FC_ALIGNMENT].tree;
    if (!j->prune) return;
    j->prune = false;
    for (int at = j->branches[list], next; at >= 0; at = next) {
        fc_branch *b = &s->branches[list][at];
        next = b->next;
        if (b->kind == FC_BRANCH_CHAIN && b->role == FC_ALIGNMENT) fc_branch_drop(s, b);
    }
    for (int i = 0; i < t->n; i++) t->nodes[i].queued = t->nodes[i].slot >= 0;
    for (int i = 0; i < j->n_finished; i++) /* those that still wait for nodes ask for them again */
        if (j->paths[j->finished[i]].scoring == FC_SCORE_BEGUN && j->paths[j->finished[i]].alone < 0) {
            begin_anew(&j->paths[j->finished[i]]);
            j->n_begun--;
        }
    j->next_score = 0;
}

/* ---- candidates become branches ---- */

int64_t fc_scoring_waiting_rows(const fc_sched *s) {
    int64_t rows = 0;
    for (const fc_job *j = s->running; j; j = j->next)
        for (int i = j->next_score; j->score && !j->failed && i < j->n_finished; i++)
            rows += fc_job_tail_rows(j, &j->paths[j->finished[i]]) + 1;
    return rows;
}

static void put_score(fc_sched *s, fc_job *j, int path, double score) {
    fc_path *p = &j->paths[path];
    p->score = score;
    p->scoring = FC_SCORED;
    j->n_scored++;
    if (!j->events) return;
    if (p->finish == FC_FINISH_GIVEN) {
        for (int i = 0; i < j->n; i++)
            if (j->members[i] == path) s->o.sink.score(s->o.sink.arg, j, i, score);
    } else {
        for (int m = path; m >= 0; m = j->members[m]) s->o.sink.score(s->o.sink.arg, j, m, score);
    }
}

/* Does the adapter change row k behind the alignment prompt? */
static bool adapted(const fc_job *j, const fc_path *p, int k) {
    const fc_stem *t = &j->stem[FC_ALIGNMENT];
    if (t->adapter < 0) return false;
    return j->suffix_begins < 0 || k >= p->n_score_ids + j->suffix_begins;
}

/* The first `rows` ids of candidate and suffix as nodes of the tree. */
static fc_status insert(fc_job *j, int path, int rows) {
    fc_path *p = &j->paths[path];
    int32_t *ids;
    void *mem;
    FC_TRY(fc_arena_alloc(&j->arena, (size_t)rows, sizeof *ids, &mem));
    ids = mem;
    for (int k = 0; k < rows; k++) ids[k] = fc_scoring_id(j, path, k) | (adapted(j, p, k) ? FC_TREE_ADAPTED : 0);
    return fc_tree_insert(&j->stem[FC_ALIGNMENT].tree, ids, rows, &p->leaf);
}

/* What was promised at admission for ids in another tokenizer may not be enough. */
static fc_status check_promise(const fc_sched *s, const fc_job *j, int64_t ids, int64_t promised) {
    if (ids <= promised) return FC_OK;
    return FC_FAIL(
        FC_ERR_UNSUPPORTED,
        "request %llu: %lld ids of its candidates in the alignment model's tokenizer; there is room for %lld, "
        "%d for each drawn one",
        (unsigned long long)j->id, (long long)ids, (long long)promised, s->o.same_tokenizer ? 1 : FC_TAIL_IDS);
}

/* A candidate alone begins beside others of its job only where pages for all are to be had: else each would hold a
 * part, and none would end. */
static bool room_alone(const fc_sched *s, const fc_job *j, int target) {
    int list = fc_sched_list(s, FC_ALIGNMENT), pages = 0;
    const fc_kv *kv = s->lane[FC_ALIGNMENT]->kv;
    if (j->alone_tables == 0) return true;
    for (int at = j->branches[list]; at >= 0; at = s->branches[list][at].next) {
        const fc_branch *b = &s->branches[list][at];
        if (b->kind == FC_BRANCH_ALONE) pages += fc_kv_append_cost(kv, b->table, b->target - fc_kv_len(kv, b->table));
    }
    return pages + fc_kv_pages_for(target, fc_kv_store(kv)->shape.P) <= fc_cache_pages(s, list);
}

/* Begins a finished candidate; *begun stays false where there is no place or table for it now. */
static fc_status start(fc_sched *s, fc_job *j, int path, bool *begun) {
    fc_path *p = &j->paths[path];
    int rows = fc_job_tail_rows(j, p), list = fc_sched_list(s, FC_ALIGNMENT);
    fc_branch b = {.job = j, .role = FC_ALIGNMENT, .group = path, .table = -1, .target = j->n_align + rows};
    *begun = false;
    if (s->free_place[list] < 0 || s->n_scoring_places[list] >= s->max_places - s->o.max_branches) return FC_OK;
    if (fc_scoring_alone(s)) {
        if (j->alone_tables == j->reserved_tables[FC_ALIGNMENT] || !room_alone(s, j, b.target)) return FC_OK;
        FC_TRY(check_promise(s, j, rows, fc_sched_tail_ids(s, j)));
        b.kind = FC_BRANCH_ALONE;
        FC_TRY(fc_kv_table_open(s->lane[FC_ALIGNMENT]->kv, &b.table));
        j->alone_tables++;
        p->alone = (int)(fc_branch_put(s, &b) - s->branches[list]);
    } else {
        int from = -1;
        p->leaf = -1;
        FC_TRY(begin_prompt(s, j));
        if (rows > 0) {
            FC_TRY(insert(j, path, rows));
            FC_TRY(check_promise(s, j, j->stem[FC_ALIGNMENT].tree.n, j->n_max * fc_sched_tail_ids(s, j)));
            from = fc_tree_unfed(&j->stem[FC_ALIGNMENT].tree, p->leaf);
        }
        if (from >= 0) {
            fc_tree_queue(&j->stem[FC_ALIGNMENT].tree, from, p->leaf);
            b.kind = FC_BRANCH_CHAIN;
            b.group = p->leaf;
            b.len = j->n_align + j->stem[FC_ALIGNMENT].tree.nodes[from].depth;
            fc_branch_put(s, &b);
        }
    }
    if (!j->clock.score_begin_ns) j->clock.score_begin_ns = fc_clock_ns();
    p->scoring = FC_SCORE_BEGUN;
    j->n_begun++;
    *begun = true;
    return FC_OK;
}

static bool take_cached(fc_sched *s, fc_job *j, int path) {
    fc_path *p = &j->paths[path];
    double score;
    if (!j->score_scoped || p->score_missed || fc_job_piece(j)) return false;
    p->score_missed =
        !fc_score_cache_get(s->scores, fc_score_cache_key(&j->score_scope, p->score_ids, p->n_score_ids), &score);
    if (p->score_missed) return false;
    j->rows.scores_cached++;
    put_score(s, j, path, score);
    return true;
}

/* What needs no row: nothing to judge, and what the context has no room for, rank last; and what was scored before. */
static bool scored_already(fc_sched *s, fc_job *j, int path) {
    const fc_path *p = &j->paths[path];
    if ((int64_t)j->n_align + p->n_score_ids + j->n_suffix > s->lane[FC_ALIGNMENT]->ctx) {
        put_score(s, j, path, NAN);
        return true;
    }
    if (!fc_job_is_loglik(j) || p->n_score_ids > 0) return take_cached(s, j, path);
    put_score(s, j, path, -INFINITY);
    return true;
}

void fc_scoring_start(fc_sched *s) {
    for (fc_job *j = s->running; j; j = j->next) {
        bool more = j->score && !j->over && !(fc_sched_off(s, FC_OFF_OVERLAP) && j->n_open > 0);
        while (more && !j->failed && j->next_score < j->n_finished) {
            int path = j->finished[j->next_score];
            if (j->paths[path].scoring == FC_UNSCORED && !scored_already(s, j, path)) {
                fc_status st = start(s, j, path, &more);
                if (st) fc_job_fail(j, st);
                if (st || !more) break;
            }
            j->next_score++;
        }
    }
}

/* ---- the batch being built ---- */

static int32_t slot_of(const fc_kv *kv, int table, int pos) {
    int P = fc_kv_store(kv)->shape.P;
    return fc_kv_pages(kv, table)[pos / P] * P + pos % P;
}

void fc_scoring_keep(fc_sched *s, fc_flight *f, const fc_branch *b, int first, int n) {
    fc_scorer *sc = &f->scorer;
    const fc_kv *kv = s->lane[FC_ALIGNMENT]->kv;
    for (int i = 0; i < n; i++) {
        if (b->len + i < b->job->n_align - 1) continue; /* predicts an id of the prompt */
        sc->keep_src[sc->n_keep] = fc_batch_want(&f->batch, first + i);
        sc->keep_dst[sc->n_keep++] = b->kind == FC_BRANCH_CHAIN ? s->slots[i] : slot_of(kv, b->table, b->len + i);
    }
}

static int ids_of(const fc_job *j) { return j->mode == FC_SCORE_JUDGE ? j->n_labels : 1; }

/* Slot of the state behind the candidate's first k ids. */
static int32_t state_of(const fc_sched *s, const fc_job *j, const fc_path *p, int k) {
    const fc_kv *kv = s->lane[FC_ALIGNMENT]->kv;
    if (p->alone >= 0) {
        const fc_branch *b = &s->branches[fc_sched_list(s, FC_ALIGNMENT)][p->alone];
        return slot_of(kv, b->table, j->n_align - 1 + k);
    }
    if (k == 0) return slot_of(kv, j->stem[FC_ALIGNMENT].table, j->n_align - 1);
    return j->stem[FC_ALIGNMENT].tree.nodes[fc_tree_up(&j->stem[FC_ALIGNMENT].tree, p->leaf, k - 1)].slot;
}

static bool ready(const fc_sched *s, const fc_job *j, const fc_path *p) {
    if (p->alone >= 0) {
        const fc_branch *b = &s->branches[fc_sched_list(s, FC_ALIGNMENT)][p->alone];
        return b->len == b->target;
    }
    return j->stem[FC_ALIGNMENT].ready && (p->leaf < 0 || j->stem[FC_ALIGNMENT].tree.nodes[p->leaf].slot >= 0);
}

/* The state behind its first k ids is there. */
static bool piece_ready(const fc_job *j, const fc_path *p, int k) {
    const fc_tree *t = &j->stem[FC_ALIGNMENT].tree;
    if (p->alone >= 0 || !j->stem[FC_ALIGNMENT].ready || !fc_job_piece(j)) return false;
    return k == 0 || t->nodes[fc_tree_up(t, p->leaf, k - 1)].slot >= 0;
}

/* Ids of a candidate that are read at once, at least, unless they are the last. */
static int read_step(const fc_job *j, const fc_path *p) {
    int all = fc_job_is_loglik(j) ? p->n_score_ids : 1, step = fc_job_piece(j);
    return step && step < all ? step : all;
}

/* Reads of one candidate for which the states are there; false when they do not fit. */
static bool add_reads(const fc_sched *s, fc_scorer *sc, fc_job *j, int path) {
    fc_path *p = &j->paths[path];
    int all = fc_job_is_loglik(j) ? p->n_score_ids : 1, n = all - p->n_read;
    if (!ready(s, j, p)) { /* a log-likelihood in pieces */
        for (n = 0; p->n_read + n < all && piece_ready(j, p, p->n_read + n);) n++;
        if (n < read_step(j, p)) return true;
    }
    if (sc->n_reads + n > sc->max_reads || sc->n_gather + n * ids_of(j) > sc->max_gather) return false;
    for (int k = p->n_read; k < p->n_read + n; k++)
        sc->reads[sc->n_reads++] = (fc_score_read){
            .job = j,
            .path = path,
            .slot = state_of(s, j, p, fc_job_is_loglik(j) ? k : fc_job_tail_rows(j, p)),
            .id = fc_job_is_loglik(j) ? p->score_ids[k] : 0,
        };
    sc->n_gather += n * ids_of(j);
    p->n_read += n;
    if (p->n_read < all) return true;
    p->scoring = FC_SCORE_READ;
    j->n_begun--;
    return true;
}

void fc_scoring_collect(fc_sched *s, fc_flight *f) {
    f->scorer.n_gather = 0;
    for (fc_job *j = s->running; j; j = j->next)
        for (int i = 0; j->n_begun > 0 && !j->failed && !j->over && i < j->n_finished; i++) {
            const fc_path *p = &j->paths[j->finished[i]];
            if (p->scoring == FC_SCORE_BEGUN && !add_reads(s, &f->scorer, j, j->finished[i])) return;
        }
}

/* ---- landing ---- */

/* P(first label) among the labels. */
static double judge(const float *lp, int n) {
    double most = (double)lp[0], sum = 0;
    for (int i = 1; i < n; i++)
        if ((double)lp[i] > most) most = (double)lp[i];
    for (int i = 0; i < n; i++) sum += exp((double)lp[i] - most);
    return exp((double)lp[0] - most) / sum;
}

static void land_score(fc_sched *s, fc_job *j, int path, double score) {
    const fc_path *p = &j->paths[path];
    if (j->score_scoped)
        fc_score_cache_put(s->scores, fc_score_cache_key(&j->score_scope, p->score_ids, p->n_score_ids), score);
    put_score(s, j, path, score);
}

static void take_loglik(fc_sched *s, fc_job *j, int path, double lp) {
    fc_path *p = &j->paths[path];
    if (p->n_score_done == 0) p->sum = 0;
    p->sum += lp;
    if (++p->n_score_done < p->n_score_ids) {
        if (!fc_stop_job_hopeless(j, path)) return;
        p->hopeless = true;
        if (p->scoring == FC_SCORE_BEGUN) j->n_begun--;
        j->prune = true;
        put_score(s, j, path, NAN);
        return;
    }
    land_score(s, j, path, j->mode == FC_SCORE_LOGLIK_SUM ? p->sum : p->sum / p->n_score_ids);
}

static void take(fc_sched *s, fc_job *j, int path, double score) {
    char why[64];
    if (isfinite(score)) {
        land_score(s, j, path, score);
        return;
    }
    snprintf(why, sizeof why, "a score of %g", score);
    fc_job_blame(j, FC_ALIGNMENT, s->lane[FC_ALIGNMENT]->model, why);
}

void fc_scoring_land(fc_sched *s, fc_flight *f) {
    fc_scorer *sc = &f->scorer;
    for (int i = 0; i < sc->n_reads; i++) { /* in the order of a candidate's ids: sums have one order */
        const fc_score_read *r = &sc->reads[i];
        const float *lp = sc->lp + r->at;
        if (r->job->failed || r->job->paths[r->path].scoring == FC_SCORED) continue; /* given up */
        if (r->job->mode != FC_SCORE_REWARD && isnan(lp[0])) {
            fc_job_blame(r->job, FC_ALIGNMENT, s->lane[FC_ALIGNMENT]->model, fc_row_words(FC_ROW_BROKEN));
            continue;
        }
        if (r->job->mode == FC_SCORE_REWARD) take(s, r->job, r->path, (double)lp[0]);
        else if (r->job->mode == FC_SCORE_JUDGE) take(s, r->job, r->path, judge(lp, r->job->n_labels));
        else take_loglik(s, r->job, r->path, (double)lp[0]);
    }
}

void fc_scoring_tidy(fc_sched *s, fc_flight *f) {
    int list = fc_sched_list(s, FC_ALIGNMENT);
    for (int i = 0; i < f->scorer.n_reads; i++) {
        fc_path *p = &f->scorer.reads[i].job->paths[f->scorer.reads[i].path];
        if (p->alone < 0 || p->scoring != FC_SCORED) continue;
        fc_branch_drop(s, &s->branches[list][p->alone]);
        p->alone = -1;
    }
}
