/* admit - what a job needs of the KV pools, who is let in, and who must give way. */
#include "engine/sched.h"

#include "engine/base/os.h"

/* A job is let in when its prompts fit and so many of its candidates find a page each. */
enum { FIRST_PAGES = 8 };

/* Pages and tables of one job at their worst, by role. */
typedef struct {
    int64_t draw_pages, score_pages;
    int draw_tables, score_tables;
} need;

static int slots_of(const fc_lane *l) { return fc_kv_store(l->kv)->shape.P; }

int64_t fc_sched_tail_ids(const fc_sched *s, const fc_job *j) {
    int64_t longest = 0;
    if (j->max_tokens) longest = s->o.same_tokenizer ? j->max_tokens : FC_TAIL_IDS * (int64_t)j->max_tokens;
    else
        for (int i = 0; i < j->n; i++)
            if (j->paths[i].n > longest) longest = j->paths[i].n;
    longest += j->n_suffix;
    if (longest > s->lane[FC_ALIGNMENT]->ctx - j->n_align) longest = s->lane[FC_ALIGNMENT]->ctx - j->n_align;
    return longest;
}

static int64_t pages_for(int64_t len, int P) { return (len + P - 1) / P; }

static need worst(const fc_sched *s, const fc_job *j) {
    need n = {0};
    bool alone = fc_sched_off(s, FC_OFF_FORK);
    if (j->searching) {
        const fc_lane *l = s->lane[FC_NOVELTY];
        int P = slots_of(l);
        int64_t nodes = fc_searching_nodes(s, j);
        n.draw_pages = pages_for(j->n_prompt, P) + pages_for(nodes, P) + nodes / l->ctx;
        n.draw_tables = 1 + (int)(nodes / l->ctx + 1);
    } else if (j->max_tokens) {
        int P = slots_of(s->lane[FC_NOVELTY]);
        int64_t own = alone ? 0 : j->n_prompt / P; /* pages that all share */
        n.draw_pages = own + (int64_t)j->wave * pages_for(j->n_prompt - own * P + j->max_tokens, P) +
                       1;        /* the prompt's last page may stay for redraws and waves */
        n.draw_tables = j->wave; /* and the prompt's, for redraws, waves, and its log-probs where nobody draws */
        n.draw_tables += j->constraint == FC_CONSTRAINT_REJECT || j->n_max > j->wave || j->echo.on;
    }
    if (j->score) {
        const fc_lane *l = s->lane[FC_ALIGNMENT];
        int P = slots_of(l);
        int64_t tail = fc_sched_tail_ids(s, j), nodes = (int64_t)j->n_max * tail;
        if (fc_scoring_alone(s)) {
            n.score_pages = pages_for(j->n_align + tail, P); /* one after another, if need be */
            n.score_tables = 1;
        } else {
            n.score_pages = pages_for(j->n_align, P) + pages_for(nodes, P) + nodes / l->ctx;
            n.score_tables = 1 + (int)(nodes / l->ctx + 1);
        }
    }
    return n;
}

static fc_status check_pages(const fc_lane *l, int64_t pages, const fc_job *j, const char *what) {
    if (pages > fc_kv_pages_total(l->kv))
        return FC_FAIL(
            FC_ERR_ARG,
            "request: its %s needs %lld KV pages (prompt %d tokens, n %d, max_tokens %d), the pool has %d of "
            "%zu bytes; raise kv_pool to %lld bytes (--kv-pool), or lower n or max_tokens",
            what, (long long)pages, what[0] == 's' ? j->n_align : j->n_prompt, j->n, j->max_tokens,
            fc_kv_pages_total(l->kv), fc_kv_bytes_per_page(l->kv),
            (long long)pages * (long long)fc_kv_bytes_per_page(l->kv));
    return FC_OK;
}

fc_status fc_sched_can_run(const fc_sched *s, const fc_job *j) {
    need n = worst(s, j);
    bool shared = fc_sched_shared(s);
    int tables = shared ? n.draw_tables + n.score_tables : n.draw_tables;
    if (!shared && n.score_tables > tables) tables = n.score_tables;
    if (j->searching && j->n > tables) tables = j->n; /* as any request's; here n is at most the number of names */
    if (tables > s->o.max_branches)
        return FC_FAIL(FC_ERR_ARG,
                       "request: n = %d needs %d branches, and max_branches is %d; raise it, or ask for fewer", j->n,
                       tables, s->o.max_branches);
    if (shared) return check_pages(s->lane[0], n.draw_pages + n.score_pages, j, "drawing and scoring");
    FC_TRY(check_pages(s->lane[FC_NOVELTY], n.draw_pages, j, "drawing"));
    return j->score ? check_pages(s->lane[FC_ALIGNMENT], n.score_pages, j, "scoring") : FC_OK;
}

/* ---- admission ---- */

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

/* Pages that a job takes soon: its prompts, what is to be replayed, and a page each for its first candidates. */
static need soon(const fc_sched *s, const fc_job *j) {
    need all = worst(s, j), n = all;
    if (j->n_open > 0 && !j->searching) {
        int P = slots_of(s->lane[FC_NOVELTY]);
        int64_t longest = 0, first = least(j->n_open, FIRST_PAGES);
        for (int g = j->idle; g >= 0; g = j->group_next[g])
            if (j->paths[g].n > longest) longest = j->paths[g].n;
        if (fc_sched_off(s, FC_OFF_FORK)) first *= pages_for(j->n_prompt + longest, P);
        n.draw_pages = least(all.draw_pages, pages_for(j->n_prompt + longest, P) + first);
    }
    if (j->score) n.score_pages = least(all.score_pages, pages_for(j->n_align, slots_of(s->lane[FC_ALIGNMENT])) + 1);
    return n;
}

static bool try_admit(fc_sched *s, fc_job *j) {
    need n = soon(s, j);
    int a = fc_sched_list(s, FC_ALIGNMENT);
    int64_t pages[2] = {0}, tables[2] = {0};
    pages[0] = n.draw_pages;
    tables[0] = n.draw_tables;
    pages[a] += n.score_pages;
    tables[a] += n.score_tables;
    for (int list = 0; list < 2; list++) {
        if (!s->lane[list] || (list == 1 && fc_sched_shared(s))) continue;
        if (tables[list] > s->o.max_branches - s->reserved_tables[list]) return false;
        /* pages that queued copies read are free once these have run, and nobody else would run them */
        if (!s->running && pages[list] > fc_cache_pages(s, list) && fc_kv_flush(s->lane[list]->kv)) return false;
        if (pages[list] > fc_cache_pages(s, list)) return false;
    }
    if (fc_scoring_alone(s) && j->score) { /* as many at once as there are tables */
        int64_t more = least(j->n - 1, s->o.max_branches - s->reserved_tables[a] - tables[a]);
        n.score_tables += (int)more;
    }
    j->reserved_tables[FC_NOVELTY] = n.draw_tables;
    j->reserved_tables[FC_ALIGNMENT] = n.score_tables;
    s->reserved_tables[0] += n.draw_tables;
    s->reserved_tables[a] += n.score_tables;
    return true;
}

static void release(fc_sched *s, fc_job *j) {
    for (int role = 0; role < 2; role++) {
        s->reserved_tables[fc_sched_list(s, (fc_role)role)] -= j->reserved_tables[role];
        j->reserved_tables[role] = 0;
    }
}

void fc_admit(fc_sched *s) {
    while (s->waiting && try_admit(s, s->waiting)) { /* in order: a large request is not overtaken for ever */
        fc_job *j = s->waiting;
        fc_status st;
        fc_jobs_remove(&s->waiting, j);
        fc_jobs_insert(&s->running, j);
        if (!j->clock.admit_ns) j->clock.admit_ns = fc_clock_ns();
        st = j->searching ? fc_searching_begin(s, j) : fc_drawing_begin(s, j);
        if (st) fc_job_fail(j, st);
    }
}

/* ---- the way out ---- */

void fc_admit_leave(fc_sched *s, fc_job *j) {
    FC_ASSERT(j->n_flying == 0);
    fc_drawing_idle(s, j);
    fc_scoring_idle(s, j);
    fc_branch_drop_all(s, j);
    for (int role = 0; role < 2; role++) {
        fc_stem *t = &j->stem[role];
        if (!s->lane[role]) continue;
        fc_tree_drop_kv(&t->tree, s->lane[role]->kv);
        fc_cache_put_stem(s, j, (fc_role)role);
        if (t->table >= 0) {
            int len = fc_kv_len(s->lane[role]->kv, t->table);
            t->replay_to = len > t->replay_to ? len : t->replay_to;
            fc_kv_table_close(s->lane[role]->kv, t->table);
        }
        t->table = -1;
        t->ready = false;
    }
    j->pages[0] = j->pages[1] = 0;
    release(s, j);
    fc_jobs_remove(&s->running, j);
}

void fc_preempt(fc_sched *s, fc_job *j) {
    fc_admit_leave(s, j);
    fc_jobs_insert(&s->waiting, j);
    s->stats.preemptions++;
}

/* The lowest in rank below j that holds pages of the pool and is in no batch. */
static fc_job *victim_of(int list, const fc_job *j) {
    fc_job *found = NULL;
    for (fc_job *v = j->next; v; v = v->next) {
        if (v->pages[list] > 0 && !v->in_batch && v->n_flying == 0) found = v;
    }
    return found;
}

bool fc_make_room(fc_sched *s, int list, const fc_job *j, int pages) {
    fc_kv *kv = s->lane[list]->kv;
    for (;;) {
        int missing = pages - fc_kv_pages_free(kv);
        fc_job *v;
        if (missing <= 0) return true;
        if (s->prefix[list] && fc_prefix_evict(s->prefix[list], missing) > 0) continue;
        v = victim_of(list, j);
        if (v) {
            fc_preempt(s, v);
        } else { /* pages that queued copies read are free once these have run */
            int before = fc_kv_pages_free(kv);
            if (fc_kv_flush(kv) || fc_kv_pages_free(kv) == before) return false;
        }
    }
}
