#include "engine/stop_job.h"

#include "engine/ranges.h"

#include <limits.h>
#include <math.h>

/* ---- open ---- */

static fc_status check_hopeless(const fc_job *j) {
    if (!j->score || !fc_job_is_loglik(j))
        return FC_FAIL(FC_ERR_ARG,
                       "stop_when: hopeless needs a log-likelihood, whose parts bound the whole; the mode is %s",
                       j->score ? fc_score_mode_name(j->mode) : "none");
    if (j->diversity == FC_DIVERSITY_KEYWORDS)
        return FC_FAIL(FC_ERR_ARG, "stop_when: hopeless does not go with diversity keywords: a later candidate may put "
                                   "two of the kept out, and let in whoever stands below");
    return FC_OK;
}

static fc_status check(const fc_job *j, const fc_request *r, const fc_stop_rules *rules) {
    int64_t most = (int64_t)j->max_tokens * (j->constraint == FC_CONSTRAINT_REJECT ? 1 + j->reject_budget : 1);
    const fc_field ends[] = {{"stop_when stable", rules->stable > 0},
                             {"stop_when margin", rules->margin > 0},
                             {"n_max", r->n_max > j->n},
                             {"token_budget", r->token_budget}};
    char set[96];
    if (r->deadline_ms < 0) return FC_FAIL(FC_ERR_ARG, "deadline_ms = %d; it must not be negative", r->deadline_ms);
    if (rules->hopeless) FC_TRY(check_hopeless(j));
    if (r->n_given) {
        const fc_field drawn[] = {
            {"stop_when", r->stop_when && r->stop_when[0]}, {"n_max", r->n_max}, {"token_budget", r->token_budget}};
        int n = fc_fields_set(drawn, 3, set, sizeof set);
        if (n)
            return FC_FAIL(FC_ERR_ARG, "%s: given candidates are not drawn; leave %s out", set, n > 1 ? "them" : "it");
        return FC_OK;
    }
    if (r->n_max != 0 && (r->n_max < j->n || r->n_max > FC_MAX_CANDIDATES))
        return FC_FAIL(FC_ERR_ARG, "n_max = %d; it must lie in n = %d to %d", r->n_max, j->n, FC_MAX_CANDIDATES);
    if (r->draw != FC_DRAW_IID && fc_fields_set(ends, 4, set, sizeof set))
        return FC_FAIL(FC_ERR_ARG, "draw %s: its candidates come all at once; leave out %s", fc_draw_name(r->draw),
                       set);
    if (r->token_budget != 0 && r->token_budget < most)
        return FC_FAIL(FC_ERR_ARG, "token_budget = %lld; one candidate may take %lld: max_tokens %d, attempts %lld",
                       (long long)r->token_budget, (long long)most, j->max_tokens, (long long)(most / j->max_tokens));
    return FC_OK;
}

fc_status fc_stop_job_open(fc_job *j, const fc_request *r) {
    fc_stop_options o = {.keep = j->keep, .max = j->n_max, .token_budget = r->token_budget};
    fc_stop_job *s;
    void *p;
    FC_TRY(fc_stop_parse(r->stop_when, &o.rules));
    FC_TRY(check(j, r, &o.rules));
    j->deadline_ms = r->deadline_ms;
    if (!o.rules.stable && !(o.rules.margin > 0) && !o.rules.hopeless && j->n_max == j->n && !o.token_budget &&
        !j->deadline_ms)
        return FC_OK;
    if (j->diversity) o.n_tags = fc_names_count_tags(j->names, j->diversity);
    FC_TRY(fc_arena_alloc(&j->arena, 1, sizeof *s, &p));
    s = p;
    FC_TRY(fc_stop_open(&j->arena, &o, &s->stop));
    FC_TRY(fc_distinct_open(&j->arena, j->n_max, &s->seen));
    FC_TRY(fc_arena_alloc(&j->arena, (size_t)j->n_max, sizeof *s->head, &p));
    s->head = p;
    j->stop = s;
    return FC_OK;
}

/* ---- candidates in order ---- */

fc_rank_item fc_stop_job_item(const fc_job *j, int path) {
    const fc_path *p = &j->paths[path];
    fc_rank_item item = {.index = path, .key = fc_rank_key(p->score, fc_job_logprob(p), j->score, j->blend)};
    if (j->diversity && p->name >= 0) item.tags = fc_names_tags(j->names, j->diversity, p->name, &item.n_tags);
    return item;
}

static void see_finished(fc_stop_job *s, const fc_job *j) {
    for (; s->n_seen < j->n_finished; s->n_seen++) {
        int path = j->finished[s->n_seen];
        if (j->paths[path].finish == FC_FINISH_GIVEN) {
            for (int i = path; i < j->n; i++)
                if (j->members[i] == path) s->head[i] = 1 + path;
        } else {
            for (int m = path; m >= 0; m = j->members[m]) s->head[m] = 1 + path;
        }
    }
}

static void take(fc_stop_job *s, fc_job *j) {
    int m = s->stop.m, path = s->head[m] - 1;
    fc_path *p = &j->paths[path];
    fc_stop_candidate c = {.repeats = path != m || fc_distinct_put(&s->seen, j->paths, path) != path,
                           .bound = p->bound,
                           .ids = p->n + (j->discarded ? j->discarded[m] : 0)};
    if (!c.repeats) c.item = fc_stop_job_item(j, path);
    c.item.index = m;
    if (!fc_stop_take(&s->stop, &c)) return;
    p->score = NAN;
    p->hopeless = true;
}

bool fc_stop_job_late(const fc_job *j, uint64_t now_ns) {
    return j->deadline_ms && now_ns >= j->clock.submit_ns + (uint64_t)j->deadline_ms * 1000000u;
}

bool fc_stop_job_over(fc_job *j, uint64_t now_ns) {
    fc_stop_job *s = j->stop;
    bool over;
    if (!s || j->failed) return false;
    see_finished(s, j);
    while (!s->stop.fixed && s->stop.m < j->n) {
        int path = s->head[s->stop.m] - 1;
        if (path < 0 || (j->score && j->paths[path].scoring != FC_SCORED)) break;
        take(s, j);
    }
    over = s->stop.fixed || fc_stop_job_late(j, now_ns);
    if (!over) return false;
    j->n_used = s->stop.m;
    if (j->n_used == 0)
        fc_job_fail(j, FC_FAIL(FC_ERR_TIMEOUT,
                               "request %llu: deadline_ms = %d passed before its first candidate was complete",
                               (unsigned long long)j->id, j->deadline_ms));
    return true;
}

bool fc_stop_job_wants_wave(const fc_job *j) {
    return j->stop && !j->searching && !j->failed && !j->stop->stop.fixed && j->n < j->n_max && j->stop->stop.m == j->n;
}

/* ---- hopeless ---- */

bool fc_stop_job_hopeless(fc_job *j, int path) {
    fc_path *p = &j->paths[path];
    const fc_stop *s = j->stop ? &j->stop->stop : NULL;
    double key;
    if (!s || !s->o.rules.hopeless || p->n_score_done % s->o.rules.hopeless || p->n_score_done >= p->n_score_ids)
        return false;
    key = fc_rank_key(fc_stop_bound(p->sum, p->n_score_ids, j->mode == FC_SCORE_LOGLIK_MEAN), fc_job_logprob(p), true,
                      j->blend);
    if (key < p->bound) p->bound = key;
    return fc_stop_hopeless(s, p->bound);
}

int fc_job_piece(const fc_job *j) { return j->stop ? j->stop->stop.o.rules.hopeless : 0; }
