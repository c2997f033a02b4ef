/* cache - which prompts come from the prefix cache, and what is offered to it. */
#include "engine/sched.h"

#include <string.h>

/* Ids of the branch's first n positions, in one piece. */
static const int32_t *ids_of(fc_sched *s, const fc_branch *b, int n) {
    const fc_job *j = b->job;
    if (b->kind != FC_BRANCH_DRAW) return j->stem[b->role].ids;
    if (n <= j->n_prompt) return j->prompt;
    memcpy(s->ancestors, j->prompt, (size_t)j->n_prompt * sizeof *s->ancestors);
    memcpy(s->ancestors + j->n_prompt, j->paths[b->group].ids, (size_t)(n - j->n_prompt) * sizeof *s->ancestors);
    return s->ancestors;
}

static fc_status take(fc_sched *s, fc_prefix *p, fc_branch *b) {
    fc_role role = b->role;
    int hit, from = b->job->stem[role].begins, most = b->target - 1,
             replay = b->kind == FC_BRANCH_DRAW ? b->job->paths[b->group].replay_to : b->job->stem[role].replay_to;
    uint64_t scope = b->job->scope[role];
    const int32_t *ids = ids_of(s, b, b->target);
    if (role == FC_NOVELTY && fc_echo_pending(&b->job->echo) && b->job->echo.read < most) most = b->job->echo.read;
    if (scope != b->job->base_scope[role]) { /* what stands before the adapter's first row is the base's too */
        int base = from < most ? from : most;
        if (fc_prefix_match(p, b->job->base_scope[role], ids, b->target, base) >
            fc_prefix_match(p, scope, ids, b->target, most)) {
            scope = b->job->base_scope[role];
            most = base;
        }
    }
    FC_TRY(fc_prefix_take(p, scope, ids, b->target, most, b->table, &hit));
    b->len = hit;
    if (hit > replay) { /* what it had computed itself is no gift */
        fc_job *j = b->job;
        int gift = hit < j->stem[role].n ? hit : j->stem[role].n;
        j->rows.rows_reused += hit - replay;
        if (role == (j->max_tokens ? FC_NOVELTY : FC_ALIGNMENT) && gift > j->prompt_cached) j->prompt_cached = gift;
    }
    return FC_OK;
}

fc_status fc_cache_take(fc_sched *s, fc_branch *b) {
    fc_prefix *p = s->prefix[fc_sched_list(s, b->role)];
    return p ? take(s, p, b) : FC_OK;
}

/* The index refuses only what its caller got wrong. */
static void put(fc_sched *s, fc_role role, const fc_job *j, const int32_t *ids, int n, int table, bool closing) {
    fc_prefix *p = s->prefix[fc_sched_list(s, role)];
    int base = j->stem[role].begins; /* aLoRA: of a prompt that is invoked late, the base's part is of most use */
    bool late = j->scope[role] != j->base_scope[role] && base > 0;
    fc_status st = FC_OK;
    if (p && !j->failed && late) st = fc_prefix_put(p, j->base_scope[role], ids, n < base ? n : base, table, false);
    else if (p && !j->failed) st = fc_prefix_put(p, j->scope[role], ids, n, table, closing);
    FC_ASSERT(st == FC_OK);
}

void fc_cache_put(fc_sched *s, const fc_branch *b, int len, bool closing) {
    put(s, b->role, b->job, ids_of(s, b, len), len, b->table, closing);
}

void fc_cache_put_stem(fc_sched *s, const fc_job *j, fc_role role) {
    const fc_stem *t = &j->stem[role];
    int len = t->table >= 0 ? fc_kv_len(s->lane[role]->kv, t->table) : 0;
    if (len) put(s, role, j, t->ids, len < t->n ? len : t->n, t->table, true);
}

int fc_cache_pages(const fc_sched *s, int list) {
    return fc_kv_pages_free(s->lane[list]->kv) + (s->prefix[list] ? fc_prefix_evictable(s->prefix[list]) : 0);
}
