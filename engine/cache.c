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

fc_status fc_cache_take(fc_sched *s, fc_branch *b) {
    fc_role role = b->role;
    fc_prefix *p = s->prefix[fc_sched_list(s, role)];
    int hit, replay = b->kind == FC_BRANCH_DRAW ? b->job->paths[b->group].replay_to : b->job->stem[role].replay_to;
    if (!p) return FC_OK;
    FC_TRY(fc_prefix_take(p, b->job->scope[role], ids_of(s, b, b->target), b->target, b->target - 1, b->table, &hit));
    b->len = hit;
    if (hit > replay) b->job->rows.rows_reused += hit - replay; /* what it had computed itself is no gift */
    return FC_OK;
}

/* The index refuses only what its caller got wrong. */
static void put(fc_sched *s, fc_role role, const fc_job *j, const int32_t *ids, int n, int table, bool closing) {
    fc_prefix *p = s->prefix[fc_sched_list(s, role)];
    fc_status st = p && !j->failed ? fc_prefix_put(p, j->scope[role], ids, n, table, closing) : FC_OK;
    FC_ASSERT(st == FC_OK);
}

void fc_cache_put(fc_sched *s, const fc_branch *b, bool closing) {
    put(s, b->role, b->job, ids_of(s, b, b->len), b->len, b->table, closing);
}

void fc_cache_put_stem(fc_sched *s, const fc_job *j, fc_role role) {
    const fc_stem *t = &j->stem[role];
    int len = t->table >= 0 ? fc_kv_len(s->lane[role]->kv, t->table) : 0;
    if (len) put(s, role, j, t->ids, len < t->n ? len : t->n, t->table, true);
}

int fc_cache_pages(const fc_sched *s, int list) {
    return fc_kv_pages_free(s->lane[list]->kv) + (s->prefix[list] ? fc_prefix_evictable(s->prefix[list]) : 0);
}
