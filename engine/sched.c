#include "engine/sched.h"

#include "engine/stop_job.h"

#include "engine/base/os.h"

#include <string.h>

/* Steps for which a job waits for others' rows before it is scored without them. */
enum { SCORE_PATIENCE = 16 };

static fc_status scratch(size_t n, int32_t **out) {
    void *p;
    FC_TRY(fc_alloc(n, sizeof **out, "scheduler lists", &p));
    *out = p;
    return FC_OK;
}

fc_status fc_sched_open(fc_lane *novelty, fc_lane *alignment, const fc_sched_options *o, fc_sched *out) {
    fc_sched *s = out;
    fc_status st = FC_OK;
    int members = o->max_branches > FC_MAX_CANDIDATES ? o->max_branches : FC_MAX_CANDIDATES;
    int rows = alignment && alignment->max_rows > novelty->max_rows ? alignment->max_rows : novelty->max_rows;
    int ctx = alignment && alignment->ctx > novelty->ctx ? alignment->ctx : novelty->ctx;
    memset(s, 0, sizeof *s);
    s->lane[FC_NOVELTY] = novelty;
    s->lane[FC_ALIGNMENT] = alignment;
    s->o = *o;
    s->max_places = 2 * o->max_branches;
    s->depth = novelty->be->depth < FC_MAX_FLIGHTS ? novelty->be->depth : FC_MAX_FLIGHTS;
    FC_TRY_GOTO(st, fc_branches_open(s), fail);
    for (int list = 0; list < 2; list++)
        if (s->lane[list] && !(list && fc_sched_shared(s)) && !fc_sched_off(s, FC_OFF_PREFIX_CACHE) &&
            !fc_sched_off(s, FC_OFF_FORK))
            FC_TRY_GOTO(st, fc_prefix_open(s->lane[list]->kv, &s->prefix[list]), fail);
    if (alignment && !fc_sched_off(s, FC_OFF_SCORE_CACHE))
        FC_TRY_GOTO(st, fc_score_cache_open(o->score_cache, o->score_cache_file, &s->scores), fail);
    FC_TRY_GOTO(st, scratch((size_t)rows, &s->ids), fail);
    FC_TRY_GOTO(st, scratch((size_t)rows, &s->slots), fail);
    FC_TRY_GOTO(st, scratch((size_t)ctx, &s->ancestors), fail);
    FC_TRY_GOTO(st, scratch((size_t)members, &s->who), fail);
    for (int list = 0; list < 2; list++)
        for (int i = 0; s->lane[list] && !(list && fc_sched_shared(s)) && i < s->depth; i++) {
            FC_TRY_GOTO(st, fc_flight_open(s, list, &s->flights[list][i]), fail);
            s->flights[list][i].mark = list * FC_MAX_FLIGHTS + i;
        }
    return FC_OK;
fail:
    fc_sched_close(s);
    return st;
}

/* ---- lists ---- */

void fc_jobs_insert(fc_job **list, fc_job *j) {
    while (*list && ((*list)->priority < j->priority || ((*list)->priority == j->priority && (*list)->id < j->id)))
        list = &(*list)->next;
    j->next = *list;
    *list = j;
}

void fc_jobs_remove(fc_job **list, const fc_job *j) {
    while (*list != j) list = &(*list)->next;
    *list = j->next;
}

/* ---- the end of a job ---- */

static void done(fc_sched *s, fc_job *j) {
    j->clock.end_ns = fc_clock_ns();
    s->o.sink.done(s->o.sink.arg, j);
}

static void cancel(fc_job *j) {
    if (!j->failed) fc_job_fail(j, FC_FAIL(FC_ERR_CANCELLED, "request %llu was cancelled", (unsigned long long)j->id));
}

/* All candidates are drawn, the prompt's log-probs are read and candidates scored, where that was asked for. */
static bool complete(const fc_job *j) {
    return j->n_open == 0 && !fc_echo_pending(&j->echo) && !(j->score && j->n_scored < j->n_finished);
}

/* Enough is drawn, or the deadline has passed. Log-probs of the prompt are waited for, up to there. */
static bool over(fc_job *j, uint64_t now) {
    return (!fc_echo_pending(&j->echo) || fc_stop_job_late(j, now)) && fc_stop_job_over(j, now);
}

static void sweep(fc_sched *s) {
    uint64_t now = fc_clock_ns();
    fc_job *next;
    for (fc_job *j = s->waiting; j; j = next) {
        next = j->next;
        if (j->cancelled) cancel(j);
        if (!j->failed && !over(j, now)) continue;
        fc_jobs_remove(&s->waiting, j);
        done(s, j);
    }
    for (fc_job *j = s->running; j; j = next) {
        next = j->next;
        if (j->cancelled) cancel(j);
        if (!j->failed && !j->over) j->over = over(j, now);
        if (j->n_flying > 0) continue; /* over or failed: no batch takes it any more, and it ends when it has landed */
        if (!j->failed && !j->over) {
            fc_scoring_prune(s, j);
            if (!complete(j)) continue;
            if (fc_stop_job_wants_wave(j)) {
                fc_status st = fc_drawing_wave(s, j);
                if (st) fc_job_fail(j, st);
                else continue;
            }
        }
        fc_admit_leave(s, j);
        done(s, j);
    }
}

/* ---- one step ---- */

static bool draws(const fc_sched *s) {
    for (const fc_job *j = s->running; j; j = j->next)
        if (j->n_open > 0 && !j->failed) return true;
    return false;
}

/* Steps for which each job has had nothing but scores to wait for. */
static void count_waits(fc_sched *s) {
    for (fc_job *j = s->running; j; j = j->next)
        j->score_wait = j->score && j->n_open == 0 && j->next_score < j->n_finished ? j->score_wait + 1 : 0;
}

/* Somebody waits for scores alone: the first in rank, or for long. Others that draw must not hold him up for ever. */
static bool scores_awaited(const fc_sched *s) {
    for (const fc_job *j = s->running; j; j = j->next)
        if (j->score_wait > (j == s->running ? 0 : SCORE_PATIENCE)) return true;
    return false;
}

/* A scoring pass of its own model starts when its rows fill the machine, when it is waited for, or when nothing is left
 * to draw. */
static bool scoring_due(const fc_sched *s) {
    if (!s->lane[FC_ALIGNMENT]) return false;
    return fc_sched_shared(s) || !draws(s) || scores_awaited(s) || fc_scoring_waiting_rows(s) >= s->o.score_rows;
}

/* One batch more of the list, and the oldest home when there are as many as the backend wants, or nothing was there to
 * start. */
static bool turn(fc_sched *s, int list) {
    uint64_t begin = fc_clock_ns();
    bool started = s->n_flying[list] < s->depth && fc_flight_start(s, list), landed = false;
    double host_ms;
    if (s->n_flying[list] == s->depth || (!started && s->n_flying[list] > 0)) {
        fc_flight_land(s, list);
        landed = true;
    }
    host_ms = (double)(fc_clock_ns() - begin - s->op_ns) * 1e-6;
    for (fc_job *j = s->running; j; j = j->next) j->clock.host_ms += host_ms;
    s->op_ns = 0;
    return started || landed;
}

static bool turns(fc_sched *s) {
    bool ran;
    fc_searching_start(s);
    if (scoring_due(s)) fc_scoring_start(s);
    ran = turn(s, FC_NOVELTY);
    if (s->lane[FC_ALIGNMENT] && !fc_sched_shared(s)) {
        if (!ran && !scoring_due(s)) fc_scoring_start(s);
        ran = turn(s, FC_ALIGNMENT) || ran;
    }
    return ran;
}

/* The first in rank has something to do, which nothing but pages and places keeps it from. */
static bool held_up(const fc_job *j) { return j && !j->failed && !j->over && !complete(j); }

/* Nothing ran and nothing is under way. Others give way, the last in rank first, then what the first itself began
 * beside; false where it has all there is, which fits by fc_sched_can_run. */
static bool give_way(fc_sched *s) {
    fc_job *last = s->running;
    while (last->next) last = last->next;
    if (last == s->running) return fc_scoring_give_way(s, last);
    fc_preempt(s, last);
    return true;
}

static void fail_stuck(fc_job *j) {
    fc_job_fail(j, FC_FAIL(FC_ERR_INTERNAL, "request %llu: nothing could run", (unsigned long long)j->id));
}

void fc_sched_step(fc_sched *s) {
    bool ran;
    s->stats.steps++;
    sweep(s);
    fc_admit(s);
    count_waits(s);
    ran = turns(s);
    while (!ran && held_up(s->running)) {
        if (!give_way(s)) break;
        ran = turns(s);
    }
    if (!ran && held_up(s->running)) fail_stuck(s->running);
    if (!s->running && s->waiting && !s->waiting->failed && !s->waiting->cancelled) fail_stuck(s->waiting);
    sweep(s);
    if (s->scores && !fc_sched_busy(s)) fc_score_cache_flush(s->scores);
}

/* ---- from outside ---- */

void fc_sched_submit(fc_sched *s, fc_job *j) { fc_jobs_insert(&s->waiting, j); }

void fc_sched_cancel(fc_sched *s, uint64_t id) {
    for (fc_job *j = s->waiting; j; j = j->next)
        if (j->id == id) j->cancelled = true;
    for (fc_job *j = s->running; j; j = j->next)
        if (j->id == id) j->cancelled = true;
}

fc_sched_stats fc_sched_counts(const fc_sched *s) {
    fc_sched_stats all = s->stats;
    for (int list = 0; list < 2; list++) {
        fc_prefix_stats p;
        if (s->lane[list] && (list == 0 || !fc_sched_shared(s))) {
            all.bytes += s->lane[list]->work.done.bytes;
            all.flops += s->lane[list]->work.done.flops;
        }
        if (!s->prefix[list]) continue;
        p = fc_prefix_counts(s->prefix[list]);
        all.evicted_pages += p.evicted_pages;
        all.partial_copies += p.partial_copies;
        all.hit_tokens += p.hit_tokens;
        all.asked_tokens += p.asked_tokens;
    }
    return all;
}

bool fc_sched_busy(const fc_sched *s) { return s->waiting || s->running; }

void fc_sched_close(fc_sched *s) {
    for (fc_job *j = s->waiting; j; j = j->next) j->cancelled = true;
    for (fc_job *j = s->running; j; j = j->next) j->cancelled = true;
    for (int list = 0; list < 2; list++)
        while (s->n_flying[list] > 0) fc_flight_land(s, list);
    if (s->o.sink.done) sweep(s);
    for (int list = 0; list < 2; list++)
        for (int i = 0; i < FC_MAX_FLIGHTS; i++) fc_flight_close(s, list, &s->flights[list][i]);
    fc_score_cache_close(s->scores);
    for (int list = 0; list < 2; list++) fc_prefix_close(s->prefix[list]);
    fc_free(s->who);
    fc_free(s->ancestors);
    fc_free(s->slots);
    fc_free(s->ids);
    fc_free(s->branches[1]);
    fc_free(s->branches[0]);
    memset(s, 0, sizeof *s);
}

/* ---- invariants ---- */

/* Adds the groups of a list and their members; false where members do not rise. */
static bool count_groups(const fc_job *j, int list, int *groups, int *members) {
    bool rising = true;
    for (int g = list; g >= 0; g = j->group_next[g]) {
        *groups += 1;
        for (int m = g; m >= 0; m = j->members[m]) {
            *members += 1;
            rising = rising && (j->members[m] < 0 || j->members[m] > m);
        }
    }
    return rising;
}

static fc_status check_job(const fc_sched *s, const fc_job *j) {
    int list = fc_sched_list(s, FC_NOVELTY), groups = 0, members = 0;
    bool rising = count_groups(j, j->idle, &groups, &members);
    for (int at = j->branches[list]; at >= 0; at = s->branches[list][at].next) {
        const fc_branch *b = &s->branches[list][at];
        if (b->kind == FC_BRANCH_DRAW) rising = count_groups(j, b->group, &groups, &members) && rising;
    }
    for (int i = 0; i < j->n_finished; i++) members += j->paths[j->finished[i]].votes;
    if (!j->failed && !j->searching && (groups != j->n_open || members != j->n || !rising))
        return FC_FAIL(FC_ERR_INTERNAL, "sched (3): request %llu: %d groups, n_open %d; %d members of %d%s",
                       (unsigned long long)j->id, groups, j->n_open, members, j->n,
                       rising ? "" : ", which do not rise");
    for (int role = 0; role < 2; role++)
        if (s->lane[role]) FC_TRY(fc_tree_check(&j->stem[role].tree, s->lane[role]->kv));
    return FC_OK;
}

static fc_status check_order(const fc_job *j) {
    for (; j && j->next; j = j->next)
        if (j->priority > j->next->priority || (j->priority == j->next->priority && j->id > j->next->id))
            return FC_FAIL(FC_ERR_INTERNAL, "sched (5): request %llu stands before %llu", (unsigned long long)j->id,
                           (unsigned long long)j->next->id);
    return FC_OK;
}

fc_status fc_sched_check(const fc_sched *s) {
    int tables[2] = {0}, open[2] = {0}, a = fc_sched_list(s, FC_ALIGNMENT);
    FC_TRY(check_order(s->waiting));
    FC_TRY(check_order(s->running));
    for (const fc_job *j = s->waiting; j; j = j->next)
        if (j->pages[0] || j->pages[1] || j->branches[0] >= 0 || j->branches[1] >= 0)
            return FC_FAIL(FC_ERR_INTERNAL, "sched (4): request %llu waits with %d and %d pages",
                           (unsigned long long)j->id, j->pages[0], j->pages[1]);
    for (const fc_job *j = s->running; j; j = j->next) {
        for (int role = 0; role < 2; role++) tables[fc_sched_list(s, (fc_role)role)] += j->reserved_tables[role];
        for (int role = 0; role < 2; role++)
            open[role ? a : 0] += (j->stem[role].table >= 0) + j->stem[role].tree.n_tables;
        for (int list = 0; list < 2; list++)
            for (int at = j->branches[list]; at >= 0; at = s->branches[list][at].next)
                open[list] +=
                    s->branches[list][at].kind == FC_BRANCH_DRAW || s->branches[list][at].kind == FC_BRANCH_ALONE;
        FC_TRY(check_job(s, j));
    }
    for (int list = 0; list < (fc_sched_shared(s) || !s->lane[1] ? 1 : 2); list++) {
        const fc_kv *kv = s->lane[list]->kv;
        if (tables[list] != s->reserved_tables[list] || tables[list] > s->o.max_branches)
            return FC_FAIL(FC_ERR_INTERNAL, "sched (1): list %d: %d tables promised, %d counted", list,
                           s->reserved_tables[list], tables[list]);
        if (open[list] != s->o.max_branches - fc_kv_tables_free(kv))
            return FC_FAIL(FC_ERR_INTERNAL, "sched (2): list %d: %d KV tables belong to branches, %d are open", list,
                           open[list], s->o.max_branches - fc_kv_tables_free(kv));
        if (s->prefix[list]) FC_TRY(fc_prefix_check(s->prefix[list]));
        FC_TRY(fc_kv_check(kv));
    }
    return s->scores ? fc_score_cache_check(s->scores) : FC_OK;
}
