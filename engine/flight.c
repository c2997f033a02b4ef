/* flight - one batch of a list: built from branches in order of rank, launched, landed. */
#include "engine/sched.h"

#include "engine/base/os.h"

#include <limits.h>
#include <string.h>

enum {
    SHORT_FEED = 16,  /* rows of a branch that go before long prompts: what decoding waits for */
    SECOND_ROWS = 256 /* of a batch beside another: from about here on it is not the weights' reading that it costs */
};

/* ---- memory ---- */

fc_status fc_flight_open(fc_sched *s, int list, fc_flight *out) {
    const fc_lane *l = s->lane[list];
    fc_flight *f = out;
    int members = s->o.max_branches > FC_MAX_CANDIDATES ? s->o.max_branches : FC_MAX_CANDIDATES;
    void *p;
    size_t others = 0;
    memset(f, 0, sizeof *f);
    FC_TRY(fc_alloc((size_t)l->max_rows, sizeof *f->held, "batch branches", &p));
    f->held = p;
    if (list == (int)FC_NOVELTY) {
        FC_TRY(
            fc_sampler_open(l->be, l->model->cfg.V, l->ctx, l->max_rows, l->work.max_logit_rows, members, &f->sampler));
        FC_TRY(fc_seeker_open(l, &f->seeker));
        FC_TRY(fc_echoer_open(l, &f->echoer));
        others += fc_sampler_stage_bytes(&f->sampler) + fc_seeker_stage_bytes(&f->seeker) + fc_echoer_stage_bytes(l);
    }
    if (l == s->lane[FC_ALIGNMENT]) {
        FC_TRY(fc_scorer_open(s->lane[FC_ALIGNMENT], &f->scorer));
        others += fc_scorer_stage_bytes(l, &f->scorer);
    }
    FC_TRY(fc_lane_batch(l, others, &f->batch));
    f->batch.share = !fc_sched_off(s, FC_OFF_GROUPS);
    return FC_OK;
}

void fc_flight_close(fc_sched *s, int list, fc_flight *f) {
    if (s->lane[list]) fc_scorer_close(s->lane[FC_ALIGNMENT], &f->scorer);
    fc_sampler_close(&f->sampler);
    if (s->lane[list]) fc_seeker_close(s->lane[list], &f->seeker);
    if (s->lane[list]) fc_echoer_close(s->lane[list], &f->echoer);
    fc_free(f->held);
    fc_batch_close(&f->batch);
    memset(f, 0, sizeof *f);
}

/* ---- building ---- */

static void count_rows(fc_sched *s, fc_branch *b, int n) {
    fc_job *j = b->job;
    int replay = 0, until = b->len + n, prompt;
    if (b->kind == FC_BRANCH_DRAW) {
        for (int g = b->group; g >= 0; g = j->group_next[g])
            if (j->paths[g].replay_to > replay) replay = j->paths[g].replay_to;
    } else {
        replay = b->kind == FC_BRANCH_PROMPT ? j->stem[b->role].replay_to : j->paths[b->group].score_replay_to;
    }
    replay = replay < b->len ? 0 : replay < until ? replay - b->len : n;
    j->rows.rows_replayed += replay;
    s->stats.rows_replayed += replay;
    if (b->role == FC_ALIGNMENT) {
        j->rows.rows_score += n - replay;
        s->stats.rows_score += n - replay;
        return;
    }
    prompt = j->n_prompt - b->len - replay; /* of the others, those of the prompt come first */
    prompt = prompt < 0 ? 0 : prompt > n - replay ? n - replay : prompt;
    j->rows.rows_prefill += prompt;
    j->rows.rows_decode += n - replay - prompt;
    s->stats.rows_prefill += prompt;
    s->stats.rows_decode += n - replay - prompt;
}

static int32_t id_at(const fc_branch *b, int pos) {
    const fc_job *j = b->job;
    if (b->kind == FC_BRANCH_DRAW)
        return pos < j->n_prompt ? j->prompt[pos] : j->paths[b->group].ids[pos - j->n_prompt];
    return pos < j->stem[b->role].n ? j->stem[b->role].ids[pos] : fc_scoring_id(j, b->group, pos - j->n_align);
}

/* First position of the branch's sequence that its adapter changes, or a position that it never comes to. */
static int changed_from(const fc_branch *b) {
    const fc_stem *t = &b->job->stem[b->role];
    if (t->adapter < 0) return INT_MAX;
    if (b->kind != FC_BRANCH_ALONE || b->job->suffix_begins < 0) return t->begins;
    return t->n + b->job->paths[b->group].n_score_ids + b->job->suffix_begins;
}

/* Rows first .. first+n-1 of the batch are positions b->len .. of the branch. */
static void give_adapter(fc_flight *f, const fc_branch *b, int first, int n) {
    int from = changed_from(b), skip = from <= b->len ? 0 : from - b->len < n ? from - b->len : n;
    if (skip < n) fc_batch_adapter(&f->batch, first + skip, n - skip, b->job->stem[b->role].adapter);
}

/* Rows of a branch with a table of its own. */
static fc_status take_table_rows(fc_sched *s, int list, fc_flight *f, fc_branch *b, int n) {
    fc_lane *l = s->lane[list];
    bool draws = b->kind == FC_BRANCH_DRAW && b->len + n == b->target && fc_drawing_wants(b);
    int row = f->sampler.n_rows, first;
    if (!fc_make_room(s, list, b->job, fc_kv_append_cost(l->kv, b->table, n))) return FC_OK;
    if (draws && !fc_sampler_add(&f->sampler, b->job, b->group, b->target - b->job->n_prompt,
                                 !fc_sched_off(s, FC_OFF_RESTRICTED_HEAD)))
        return FC_OK;
    FC_TRY(fc_kv_append(l->kv, b->table, n));
    for (int i = 0; i < n; i++) s->ids[i] = id_at(b, b->len + i);
    first = fc_batch_add(&f->batch, b->table, s->ids, n);
    give_adapter(f, b, first, n);
    fc_echo_want(f, b, first, n);
    if (draws) {
        b->draw = row;
        f->sampler.rows[row].out = fc_batch_want(&f->batch, first + n - 1);
    }
    if (b->role == FC_ALIGNMENT) fc_scoring_keep(s, f, b, first, n);
    else if (b->kind == FC_BRANCH_PROMPT && b->job->searching) fc_searching_want(s, f, b, first, n);
    count_rows(s, b, n);
    b->rows = n;
    return FC_OK;
}

/* Nodes of a chain: their parent and the prompt must be there, or in this batch. */
static fc_status take_chain_rows(fc_sched *s, int list, fc_flight *f, fc_branch *b, int n) {
    fc_job *j = b->job;
    const fc_stem *stem = &j->stem[b->role];
    fc_tree *t = &j->stem[b->role].tree;
    bool scores = b->role == FC_ALIGNMENT;
    int64_t *rows = scores ? &j->rows.rows_score : &j->rows.rows_decode;
    int64_t *all = scores ? &s->stats.rows_score : &s->stats.rows_decode;
    int depth = b->len - stem->n, last = fc_tree_up(t, b->group, depth + n - 1), above = last, first;
    if (!stem->ready) return FC_OK;
    for (int i = 0; i < n; i++) above = t->nodes[above].parent;
    if (above >= 0 && t->nodes[above].slot < 0) return FC_OK;
    if (!fc_batch_fits_chain(&f->batch, stem->n, b->len, n)) return FC_OK;
    if (!fc_make_room(s, list, j, fc_tree_cost(t, s->lane[list]->kv, n))) return FC_OK;
    FC_TRY(fc_tree_place(t, s->lane[list]->kv, last, n));
    for (int i = n - 1, node = last; i >= 0; i--, node = t->nodes[node].parent) {
        s->ids[i] = t->nodes[node].token & ~FC_TREE_ADAPTED;
        s->slots[i] = t->nodes[node].slot;
        *(t->nodes[node].once ? &j->rows.rows_replayed : rows) += 1;
        *(t->nodes[node].once ? &s->stats.rows_replayed : all) += 1;
    }
    for (int i = depth - 1, node = above; i >= 0; i--, node = t->nodes[node].parent)
        s->ancestors[i] = t->nodes[node].slot;
    first = fc_batch_add_chain(&f->batch, &(fc_batch_chain){.table = stem->table,
                                                            .base = stem->n,
                                                            .first = b->len,
                                                            .ids = s->ids,
                                                            .slot = s->slots,
                                                            .ancestors = depth ? s->ancestors : NULL,
                                                            .n = n});
    for (int i = n - 1, node = last; i >= 0; i--, node = t->nodes[node].parent)
        if (t->nodes[node].token & FC_TREE_ADAPTED) fc_batch_adapter(&f->batch, first + i, 1, stem->adapter);
    if (b->role == FC_ALIGNMENT) fc_scoring_keep(s, f, b, first, n);
    else fc_searching_want(s, f, b, first, n);
    b->rows = n;
    return FC_OK;
}

static fc_status take_rows(fc_sched *s, int list, fc_flight *f, fc_branch *b) {
    int room = f->batch.max_rows - f->batch.T, n = b->target - b->len, piece = fc_job_piece(b->job);
    if (n > room) n = room;
    if (b->kind == FC_BRANCH_CHAIN && b->role == FC_ALIGNMENT && piece && n > piece) n = piece;
    if (b->role == FC_NOVELTY && b->job->searching) n = fc_searching_fits(f, b, n);
    if (n == 0) return FC_OK;
    if (b->kind == FC_BRANCH_CHAIN) FC_TRY(take_chain_rows(s, list, f, b, n));
    else FC_TRY(take_table_rows(s, list, f, b, n));
    if (!b->rows) return FC_OK; /* no page, or no room for its draw: another time */
    b->len += n;
    if (b->kind == FC_BRANCH_PROMPT && b->len == b->target) b->job->stem[b->role].ready = true;
    b->job->in_batch = true;
    f->held[f->n_held].branch = (int)(b - s->branches[list]);
    f->held[f->n_held].rows = n;
    f->held[f->n_held++].end = b->len;
    return FC_OK;
}

/* What it feeds next is known while a batch with rows of it is under way. A chain's nodes wait for their places. */
static bool goes_on(const fc_branch *b) { return b->kind != FC_BRANCH_CHAIN; }

static bool full(const fc_batch *b) { return b->T == b->max_rows || b->n_seqs == b->max_seqs; }

static void build(fc_sched *s, int list, fc_flight *f) {
    fc_batch_reset(&f->batch);
    if (list == (int)FC_NOVELTY) fc_sampler_begin(&f->sampler);
    f->seeker.n_reads = f->seeker.n_list = f->echoer.n_reads = f->echoer.n_ids = 0;
    f->scorer.n_reads = f->scorer.n_keep = f->n_held = 0;
    for (fc_job *j = s->running; j; j = j->next) j->in_batch = false;
    for (int pass = 0; pass < 2; pass++)
        for (fc_job *j = s->running; j && !full(&f->batch); j = j->next)
            for (int at = j->branches[list]; at >= 0 && !j->failed && !j->over && !full(&f->batch);
                 at = s->branches[list][at].next) {
                fc_branch *b = &s->branches[list][at];
                fc_status st;
                if (b->rows || b->len == b->target || (b->n_flying && !goes_on(b))) continue;
                if (pass == 0 && b->target - b->len > SHORT_FEED) continue;
                st = take_rows(s, list, f, b);
                if (st) fc_job_fail(j, st);
            }
    for (fc_job *j = s->running; j; j = j->next)
        if (j->in_batch) fc_sched_count_pages(s, j, list);
    if (s->lane[list] == s->lane[FC_ALIGNMENT]) fc_scoring_collect(s, f);
}

/* ---- launch ---- */

/* All lists that the step's operators read, in one upload. */
static fc_status send_lists(fc_sched *s, int list, fc_flight *f) {
    fc_stage *stage = &f->batch.stage;
    fc_stage_begin(stage);
    if (f->batch.T > 0) fc_batch_list(&f->batch);
    if (s->lane[list] == s->lane[FC_ALIGNMENT]) fc_scoring_list(s, f);
    if (list == (int)FC_NOVELTY) {
        fc_sampler_list(&f->sampler, stage);
        fc_echo_list(f);
        fc_searching_list(f);
    }
    return fc_stage_send(stage);
}

static fc_status launch(fc_sched *s, int list, fc_flight *f) {
    fc_lane *l = s->lane[list];
    FC_TRY(send_lists(s, list, f));
    if (f->batch.T > 0) {
        FC_TRY(fc_kv_flush(l->kv));
        FC_TRY(fc_forward(l->model, &f->batch, &l->work));
    }
    if (f->echoer.n_reads) FC_TRY(fc_echo_launch(l, f));
    if (l == s->lane[FC_ALIGNMENT]) FC_TRY(fc_scoring_launch(s, f));
    if (f->seeker.n_reads) FC_TRY(fc_searching_launch(s, f));
    if (list == (int)FC_NOVELTY) FC_TRY(fc_sampler_run(&f->sampler, l->model, &l->work, f->batch.n_outs));
    return l->be->mark(l->be, f->mark);
}

/* Jobs of the flight; a job that stands in several places is visited as often. */
static void each_job(fc_sched *s, int list, fc_flight *f, void (*visit)(fc_job *j, fc_status st), fc_status st) {
    for (int i = 0; i < f->n_held; i++) visit(s->branches[list][f->held[i].branch].job, st);
    for (int i = 0; i < f->scorer.n_reads; i++) visit(f->scorer.reads[i].job, st);
}

static void take_off(fc_job *j, fc_status st) {
    (void)st;
    j->n_flying++;
}

static void touch_down(fc_job *j, fc_status st) {
    (void)st;
    j->n_flying--;
}

static void fail(fc_job *j, fc_status st) { fc_job_fail(j, st); }

static const fc_job *job_of(const fc_sched *s, int list, const fc_flight *f, int seq) {
    return s->branches[list][f->held[seq].branch].job;
}

/* Items of the plan whose rows belong to several requests. A batch's sequences stand in the order of the flight's
 * branches. */
static void count_groups(fc_sched *s, int list, const fc_flight *f) {
    const fc_batch *b = &f->batch;
    int32_t *owner = s->slots; /* by row */
    for (int i = 0; i < b->n_seqs; i++)
        for (int r = 0; r < b->seqs[i].n_rows; r++) owner[b->seqs[i].row + r] = i;
    for (int i = 0; i < b->n_items; i++) {
        const fc_attn_item *it = &b->items[i];
        const fc_job *first = job_of(s, list, f, owner[b->item_rows[it->row]]);
        bool mixed = false;
        for (int r = 1; r < it->n_rows && !mixed; r++)
            mixed = job_of(s, list, f, owner[b->item_rows[it->row + r]]) != first;
        s->stats.cross_groups += mixed;
    }
    s->stats.shared_tiles += (int64_t)(b->row_tiles - b->tiles);
}

static void count_batch(fc_sched_stats *t, int rows) {
    int i = 0;
    for (int most = 1; i + 1 < FC_BATCH_SIZES && rows > most; i++) most = most == 1 ? 8 : 2 * most;
    t->batches_of[i]++;
    t->batch_rows += rows;
}

/* A second batch reads all weights again, and holds up whoever waits for draws of the one under way. It goes when
 * nobody does, and it follows that one in the same branches or is large; else its rows go with what comes back. */
static bool worth_a_second(const fc_sched *s, int list) {
    const fc_flight *first = &s->flights[list][(s->next_flight[list] + s->depth - 1) % s->depth];
    int rows = 0, most = s->lane[list]->max_rows;
    if (first->sampler.n_rows > 0) return false;
    for (const fc_job *j = s->running; j; j = j->next)
        for (int at = j->branches[list]; at >= 0 && !j->failed && !j->over; at = s->branches[list][at].next) {
            const fc_branch *b = &s->branches[list][at];
            if (b->len == b->target || (b->n_flying && !goes_on(b))) continue;
            rows += b->target - b->len;
            if (b->n_flying || rows >= SECOND_ROWS || rows >= most) return true;
        }
    return false;
}

bool fc_flight_start(fc_sched *s, int list) {
    fc_flight *f;
    uint64_t begin;
    fc_status st;
    if (s->n_flying[list] == 0) s->next_flight[list] = 0; /* steps that go alone have the same buffers each time */
    f = &s->flights[list][s->next_flight[list]];
    FC_ASSERT(!f->flying);
    if (s->n_flying[list] > 0 && !worth_a_second(s, list)) return false;
    build(s, list, f);
    if (f->batch.T == 0 && f->scorer.n_reads == 0) return false;
    begin = fc_clock_ns();
    each_job(s, list, f, take_off, FC_OK);
    for (int i = 0; i < f->n_held; i++) {
        fc_branch *b = &s->branches[list][f->held[i].branch];
        b->rows = 0;
        b->n_flying++;
    }
    st = launch(s, list, f);
    s->op_ns += fc_clock_ns() - begin;
    s->stats.batches++;
    count_batch(&s->stats, f->batch.T);
    if (f->batch.T > 0 && !st) count_groups(s, list, f);
    if (st) each_job(s, list, f, fail, st); /* an operator failed: the requests of this batch end, the others go on */
    f->failed = st != FC_OK;
    f->flying = true;
    s->n_flying[list]++;
    s->next_flight[list] = (s->next_flight[list] + 1) % s->depth;
    return true;
}

/* ---- landing ---- */

/* Rows end-rows .. end-1 of the branch have landed; more of it may be under way. */
static void commit(fc_sched *s, fc_flight *f, fc_branch *b, int rows, int end) {
    fc_job *j = b->job;
    fc_status st = FC_OK;
    int prompt = j->stem[b->role].n;
    b->n_flying--;
    if ((b->kind == FC_BRANCH_DRAW || b->kind == FC_BRANCH_PROMPT) && end >= prompt && end - rows < prompt)
        fc_cache_put(s, b, end, false); /* whole pages of the prompt, for those who come while this job runs */
    if (end < b->target) return;
    if (j->failed || j->over) {
        b->draw = -1;
        return;
    }
    if (b->kind == FC_BRANCH_DRAW) st = fc_drawing_commit(s, f, b);
    else if (b->kind != FC_BRANCH_ALONE) fc_branch_drop(s, b); /* a prompt's table stays, as its stem's */
    if (b->job) b->draw = -1;
    if (st) fc_job_fail(j, st);
}

static void begin_again(fc_sched *s) {
    for (fc_job *j = s->running; j; j = j->next) {
        fc_status st = fc_drawing_again(s, j);
        if (st) fc_job_fail(j, st);
    }
}

static void clock_draws(fc_flight *f, uint64_t now) {
    for (int i = 0; i < f->sampler.n_rows; i++) {
        fc_job_clock *c = &f->sampler.rows[i].job->clock;
        if (!c->first_draw_ns) c->first_draw_ns = now;
        c->last_draw_ns = now;
    }
}

void fc_flight_land(fc_sched *s, int list) {
    fc_flight *f = &s->flights[list][(s->next_flight[list] + s->depth - s->n_flying[list]) % s->depth];
    fc_backend *be = s->lane[list]->be;
    uint64_t begin = fc_clock_ns(), now;
    fc_status st;
    FC_ASSERT(f->flying);
    /* Of a launch that failed there is no mark; and nothing may arrive for its requests once they are gone. */
    st = f->failed ? be->sync(be) : be->wait(be, f->mark);
    now = fc_clock_ns();
    s->op_ns += now - begin;
    if (st) {
        each_job(s, list, f, fail, st);
        s->stats.lost = be->sync(be) && be->sync(be); /* the first may tell what kernels complained of */
    }
    each_job(s, list, f, touch_down, FC_OK);
    if (list == (int)FC_NOVELTY) {
        clock_draws(f, now);
        fc_sampler_land(&f->sampler, s->lane[list]->model);
        fc_echo_land(f, s->lane[list]->model);
    }
    if (f->scorer.n_reads) fc_scoring_land(s, f);
    if (f->seeker.n_reads) fc_searching_land(s, f);
    for (int i = 0; i < f->n_held; i++)
        commit(s, f, &s->branches[list][f->held[i].branch], f->held[i].rows, f->held[i].end);
    if (f->scorer.n_reads) fc_scoring_tidy(s, f);
    if (list == (int)FC_NOVELTY) begin_again(s);
    f->flying = false;
    s->n_flying[list]--;
}
