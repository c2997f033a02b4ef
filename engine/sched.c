#include "engine/sched.h"

#include "engine/admit.h"
#include "engine/base/os.h"

#include <stdio.h>
#include <string.h>

/* Rows that fill the vector units of a scoring pass of its own; fewer wait until nothing is left to draw. */
enum { SCORE_ROWS = 64 };

fc_status fc_sched_open(fc_lane *novelty, fc_lane *alignment, const fc_tok *const tok[2], bool same_tokenizer,
                        int max_branches, int max_jobs, const fc_sink *sink, fc_sched *out) {
    fc_sched *s = out;
    fc_status st = FC_OK;
    int max_members = max_branches > FC_MAX_CANDIDATES ? max_branches : FC_MAX_CANDIDATES;
    void *p;
    memset(s, 0, sizeof *s);
    s->lane[FC_NOVELTY] = novelty;
    s->lane[FC_ALIGNMENT] = alignment;
    s->tok[0] = tok[0];
    s->tok[1] = tok[1];
    s->same_tokenizer = same_tokenizer;
    s->max_branches = max_branches;
    s->max_jobs = max_jobs;
    s->score_rows = SCORE_ROWS;
    s->sink = *sink;
    for (int i = 0; i < 2; i++) {
        FC_TRY_GOTO(st, fc_alloc((size_t)max_branches, sizeof **s->branches, "branches", &p), fail);
        s->branches[i] = p;
    }
    FC_TRY_GOTO(st, fc_alloc((size_t)max_branches, sizeof *s->draw_at, "branches", &p), fail);
    s->draw_at = p;
    FC_TRY_GOTO(st, fc_alloc((size_t)max_jobs, sizeof *s->slots, "request slots", &p), fail);
    s->slots = p;
    FC_TRY_GOTO(st,
                fc_sampler_open(novelty->be, novelty->model->cfg.V, novelty->ctx, novelty->work.max_logit_rows,
                                max_members, &s->sampler),
                fail);
    if (alignment) FC_TRY_GOTO(st, fc_scorer_open(alignment, 2 * alignment->batch.max_rows, &s->scorer), fail);
    return FC_OK;
fail:
    fc_sched_close(s);
    return st;
}

/* ---- lists ---- */

static void list_append(fc_job **list, fc_job *j) {
    while (*list) list = &(*list)->next;
    j->next = NULL;
    *list = j;
}

static void list_remove(fc_job **list, const fc_job *j) {
    while (*list != j) list = &(*list)->next;
    *list = j->next;
}

void fc_sched_push(fc_sched *s, fc_role role, const fc_branch *b) {
    int list = fc_sched_list(s, role);
    FC_ASSERT(s->n_branches[list] < s->max_branches);
    s->branches[list][s->n_branches[list]] = *b;
    s->branches[list][s->n_branches[list]].batch_rows = 0;
    s->branches[list][s->n_branches[list]++].n_outs = 0;
}

static void compact(fc_sched *s, int list) {
    int n = 0;
    for (int i = 0; i < s->n_branches[list]; i++)
        if (s->branches[list][i].job) s->branches[list][n++] = s->branches[list][i];
    s->n_branches[list] = n;
}

/* ---- KV with the job's account ---- */

static void count_pages(fc_sched *s, fc_role role, fc_job *j, int free_before) {
    int64_t bytes = 0;
    j->pages[role] += free_before - fc_kv_pages_free(s->lane[role]->kv);
    for (int i = 0; i < 2; i++)
        if (s->lane[i]) bytes += (int64_t)j->pages[i] * (int64_t)fc_kv_bytes_per_page(s->lane[i]->kv);
    if (bytes > j->rows.kv_bytes) j->rows.kv_bytes = bytes;
}

fc_status fc_sched_append(fc_sched *s, fc_role role, fc_job *j, int table, int n) {
    int before = fc_kv_pages_free(s->lane[role]->kv);
    FC_TRY(fc_kv_append(s->lane[role]->kv, table, n));
    count_pages(s, role, j, before);
    return FC_OK;
}

void fc_sched_table_close(fc_sched *s, fc_role role, fc_job *j, int table) {
    int before = fc_kv_pages_free(s->lane[role]->kv);
    fc_kv_table_close(s->lane[role]->kv, table);
    count_pages(s, role, j, before);
}

static fc_role role_of(fc_branch_kind k) { return k == FC_BRANCH_DRAW ? FC_NOVELTY : FC_ALIGNMENT; }

/* ---- beginning and end of a job ---- */

static fc_status begin(fc_sched *s, fc_job *j) {
    j->clock.admit_ns = fc_clock_ns();
    if (j->max_tokens) {
        fc_branch b = {.job = j, .kind = FC_BRANCH_DRAW, .feed = j->prompt, .n_feed = j->n_prompt};
        FC_TRY(fc_kv_table_open(s->lane[FC_NOVELTY]->kv, &b.table));
        fc_sched_push(s, FC_NOVELTY, &b);
        j->n_open = 1;
    }
    if (j->score) {
        fc_branch b = {.job = j, .kind = FC_BRANCH_PROMPT, .feed = j->align, .n_feed = j->n_align};
        FC_TRY(fc_kv_table_open(s->lane[FC_ALIGNMENT]->kv, &b.table));
        j->align_table = b.table;
        fc_sched_push(s, FC_ALIGNMENT, &b);
    }
    return FC_OK;
}

/* Gives everything back and hands the job to the sink. */
static void end(fc_sched *s, fc_job *j) {
    for (int list = 0; list < 2; list++) {
        for (int i = 0; i < s->n_branches[list]; i++) {
            fc_branch *b = &s->branches[list][i];
            if (b->job != j) continue;
            if (b->kind != FC_BRANCH_PROMPT) fc_sched_table_close(s, role_of(b->kind), j, b->table);
            b->job = NULL;
        }
        compact(s, list);
    }
    if (j->align_table >= 0) fc_sched_table_close(s, FC_ALIGNMENT, j, j->align_table);
    j->align_table = -1;
    fc_admit_release(s, j);
    j->clock.end_ns = fc_clock_ns();
    s->sink.done(s->sink.arg, j);
}

static void cancel(fc_job *j) {
    if (!j->failed) fc_job_fail(j, FC_FAIL(FC_ERR_CANCELLED, "request %llu was cancelled", (unsigned long long)j->id));
}

static void sweep(fc_sched *s) {
    fc_job *next;
    for (fc_job *j = s->waiting; j; j = next) {
        next = j->next;
        if (j->cancelled) cancel(j);
        if (!j->failed) continue;
        list_remove(&s->waiting, j);
        j->clock.end_ns = fc_clock_ns();
        s->sink.done(s->sink.arg, j);
    }
    for (fc_job *j = s->running; j; j = next) {
        bool drawn, scored;
        next = j->next;
        if (j->cancelled) cancel(j);
        drawn = j->n_open == 0;
        scored = !j->score || (j->align_ready && j->n_scored == j->n_finished);
        if (!j->failed && !(drawn && scored)) continue;
        list_remove(&s->running, j);
        end(s, j);
    }
}

static void admit(fc_sched *s) {
    while (s->waiting && fc_admit_try(s, s->waiting)) { /* in order: a large request is not overtaken for ever */
        fc_job *j = s->waiting;
        fc_status st;
        list_remove(&s->waiting, j);
        list_append(&s->running, j);
        st = begin(s, j);
        if (st) fc_job_fail(j, st);
    }
}

/* ---- one batch ---- */

/* Rows of one branch into the batch, and what is wanted of them. */
static fc_status take_rows(fc_sched *s, fc_lane *l, fc_branch *b) {
    fc_job *j = b->job;
    int room = l->batch.max_rows - l->batch.T, n = b->n_feed - b->fed, first;
    bool complete;
    if (n > room) n = room;
    FC_TRY(fc_sched_append(s, role_of(b->kind), j, b->table, n));
    first = fc_batch_add(&l->batch, b->table, b->feed + b->fed, n);
    b->fed += n;
    b->batch_rows = n;
    complete = b->fed == b->n_feed;
    if (b->kind == FC_BRANCH_TAIL && (j->mode == FC_SCORE_LOGLIK_MEAN || j->mode == FC_SCORE_LOGLIK_SUM)) {
        b->out = fc_batch_want(&l->batch, first);
        for (int i = 1; i < n; i++) fc_batch_want(&l->batch, first + i);
        b->n_outs = n;
    } else if (complete) {
        b->out = fc_batch_want(&l->batch, first + n - 1);
        b->n_outs = 1;
    }
    if (b->kind != FC_BRANCH_DRAW) j->rows.rows_score += n;
    else if (j->paths[b->path].n == 0) j->rows.rows_prefill += n;
    else j->rows.rows_decode += n;
    return FC_OK;
}

static void build(fc_sched *s, int list, fc_lane *l) {
    int n = s->n_branches[list], taken = 0;
    fc_batch_reset(&l->batch);
    if (s->rotate[list] >= n) s->rotate[list] = 0;
    for (int k = 0; k < n; k++) s->branches[list][k].batch_rows = s->branches[list][k].n_outs = 0;
    for (int k = 0; k < n && l->batch.T < l->batch.max_rows && l->batch.n_seqs < l->batch.max_seqs; k++) {
        fc_branch *b = &s->branches[list][(s->rotate[list] + k) % n];
        fc_status st;
        taken++;
        if (b->job->failed) continue;
        st = take_rows(s, l, b);
        if (st) fc_job_fail(b->job, st);
    }
    s->rotate[list] = n ? (s->rotate[list] + taken) % n : 0; /* who got no rows comes first next time */
}

/* The alignment prompt's last hidden state, kept for the first token of every candidate. */
static fc_status keep_prompts(fc_sched *s, fc_lane *l) {
    int list = fc_sched_list(s, FC_ALIGNMENT);
    const fc_model *m = l->model;
    for (int i = 0; i < s->n_branches[list]; i++) {
        fc_branch *b = &s->branches[list][i];
        if (!b->job || b->kind != FC_BRANCH_PROMPT || b->n_outs == 0) continue;
        FC_TRY(l->be->rmsnorm(l->be->stream, &(fc_rmsnorm_args){.y = l->last + (size_t)b->job->slot * (size_t)m->cfg.D,
                                                                .x = l->work.x,
                                                                .res = l->work.h,
                                                                .w = m->out_norm,
                                                                .rows = l->batch.dev.outs + b->out,
                                                                .eps = m->cfg.norm_eps,
                                                                .T = 1,
                                                                .D = m->cfg.D}));
        b->job->align_ready = true;
        b->job = NULL; /* its table stays, as the job's align_table */
    }
    return FC_OK;
}

static fc_status run(fc_sched *s, int list, fc_lane *l) {
    uint64_t begin_ns;
    bool scores = l == s->lane[FC_ALIGNMENT];
    if (l->batch.T > 0) {
        FC_TRY(fc_batch_plan(&l->batch));
        begin_ns = fc_clock_ns();
        FC_TRY(fc_kv_flush(l->kv));
        FC_TRY(fc_forward(l->model, &l->batch, &l->work));
        if (scores) FC_TRY(keep_prompts(s, l));
        s->op_ns += fc_clock_ns() - begin_ns;
    }
    if (scores) FC_TRY(fc_scoring_run(s)); /* before drawing: it reads the same outputs, drawing moves branches */
    if (list == 0 && l->batch.T > 0) FC_TRY(fc_drawing_run(s));
    return FC_OK;
}

/* An operator failed: the requests of this batch end with its sentence, the others go on. */
static void fail_batch(fc_sched *s, int list, fc_status st) {
    for (int i = 0; i < s->n_branches[list]; i++)
        if (s->branches[list][i].job && s->branches[list][i].batch_rows) fc_job_fail(s->branches[list][i].job, st);
    if (s->lane[list] != s->lane[FC_ALIGNMENT]) return; /* reads belong to the other model's batch */
    for (int i = 0; i < s->scorer.n_reads; i++) fc_job_fail(s->scorer.reads[i].job, st);
    s->scorer.n_reads = 0;
}

static void run_lane(fc_sched *s, fc_role role) {
    int list = (int)role;
    fc_lane *l = s->lane[role];
    uint64_t begin_ns = fc_clock_ns();
    double host_ms;
    fc_status st;
    s->op_ns = 0;
    build(s, list, l);
    st = run(s, list, l);
    if (st) fail_batch(s, list, st);
    compact(s, list);
    host_ms = (double)(fc_clock_ns() - begin_ns - s->op_ns) * 1e-6;
    for (fc_job *j = s->running; j; j = j->next) j->clock.host_ms += host_ms;
}

/* A scoring pass of its own model starts when its rows fill the machine, or when nothing is left to draw. */
static bool scoring_due(const fc_sched *s) {
    if (!s->lane[FC_ALIGNMENT]) return false;
    if (fc_sched_shared(s)) return true;
    return s->n_branches[FC_NOVELTY] == 0 || fc_scoring_waiting_rows(s) >= s->score_rows;
}

void fc_sched_step(fc_sched *s) {
    sweep(s);
    admit(s);
    if (scoring_due(s)) fc_scoring_start_tails(s);
    if (s->n_branches[FC_NOVELTY] || (fc_sched_shared(s) && s->scorer.n_reads)) run_lane(s, FC_NOVELTY);
    if (s->lane[FC_ALIGNMENT] && !fc_sched_shared(s)) {
        if (s->n_branches[FC_NOVELTY] == 0) fc_scoring_start_tails(s);
        if (s->n_branches[FC_ALIGNMENT] || s->scorer.n_reads) run_lane(s, FC_ALIGNMENT);
    }
    sweep(s);
}

/* ---- from outside ---- */

void fc_sched_submit(fc_sched *s, fc_job *j) { list_append(&s->waiting, j); }

void fc_sched_cancel(fc_sched *s, uint64_t id) {
    for (fc_job *j = s->waiting; j; j = j->next)
        if (j->id == id) j->cancelled = true;
    for (fc_job *j = s->running; j; j = j->next)
        if (j->id == id) j->cancelled = true;
}

bool fc_sched_busy(const fc_sched *s) { return s->waiting || s->running; }

void fc_sched_close(fc_sched *s) {
    for (fc_job *j = s->waiting; j; j = j->next) j->cancelled = true;
    for (fc_job *j = s->running; j; j = j->next) j->cancelled = true;
    if (s->sink.done) sweep(s);
    fc_scorer_close(s->lane[FC_ALIGNMENT], &s->scorer);
    fc_sampler_close(&s->sampler);
    fc_free(s->slots);
    fc_free(s->draw_at);
    fc_free(s->branches[1]);
    fc_free(s->branches[0]);
    memset(s, 0, sizeof *s);
}

fc_status fc_sched_check(const fc_sched *s) {
    int pages[2] = {0}, tables[2] = {0}, open[2] = {0};
    for (const fc_job *j = s->running; j; j = j->next) {
        int drawing = 0, members = 0;
        for (int role = 0; role < 2; role++) {
            pages[fc_sched_list(s, (fc_role)role)] += j->reserved_pages[role];
            tables[fc_sched_list(s, (fc_role)role)] += j->reserved_tables[role];
        }
        if (j->align_table >= 0) open[fc_sched_list(s, FC_ALIGNMENT)]++;
        for (int i = 0; i < s->n_branches[FC_NOVELTY]; i++) {
            const fc_branch *b = &s->branches[FC_NOVELTY][i];
            if (b->job != j || b->kind != FC_BRANCH_DRAW) continue;
            drawing++;
            for (int m = b->path; m >= 0; m = j->members[m]) members++;
        }
        for (int i = 0; i < j->n_finished; i++) members += j->paths[j->finished[i]].votes;
        if (!j->failed && (drawing != j->n_open || members != j->n))
            return FC_FAIL(FC_ERR_INTERNAL, "sched (3): request %llu: %d drawing branches, n_open %d; %d members of %d",
                           (unsigned long long)j->id, drawing, j->n_open, members, j->n);
    }
    for (int list = 0; list < (fc_sched_shared(s) || !s->lane[1] ? 1 : 2); list++) {
        const fc_kv *kv = s->lane[list]->kv;
        for (int i = 0; i < s->n_branches[list]; i++) open[list] += s->branches[list][i].kind != FC_BRANCH_PROMPT;
        if (pages[list] != s->reserved_pages[list] || tables[list] != s->reserved_tables[list] ||
            pages[list] > fc_kv_pages_total(kv))
            return FC_FAIL(FC_ERR_INTERNAL, "sched (1): list %d: %d pages and %d tables promised, %d and %d counted",
                           list, s->reserved_pages[list], s->reserved_tables[list], pages[list], tables[list]);
        if (open[list] != s->max_branches - fc_kv_tables_free(kv))
            return FC_FAIL(FC_ERR_INTERNAL, "sched (2): list %d: %d KV tables belong to branches, %d are open", list,
                           open[list], s->max_branches - fc_kv_tables_free(kv));
        FC_TRY(fc_kv_check(kv));
    }
    return FC_OK;
}
