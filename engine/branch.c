/* branch - places of branches, linked by job in the order in which they came, and the pages that a job shows. */
#include "engine/sched.h"

fc_status fc_branches_open(fc_sched *s) {
    for (int list = 0; list < 2; list++) {
        void *p;
        FC_TRY(fc_alloc((size_t)s->max_places, sizeof **s->branches, "branches", &p));
        s->branches[list] = p;
        s->free_place[list] = 0;
        for (int i = 0; i < s->max_places; i++) s->branches[list][i].next = i + 1 < s->max_places ? i + 1 : -1;
    }
    return FC_OK;
}

fc_branch *fc_branch_put(fc_sched *s, const fc_branch *b) {
    int list = fc_sched_list(s, b->role), at = s->free_place[list], *end = &b->job->branches[list];
    FC_ASSERT(at >= 0);
    s->free_place[list] = s->branches[list][at].next;
    while (*end >= 0) end = &s->branches[list][*end].next;
    *end = at;
    s->branches[list][at] = *b;
    s->branches[list][at].next = -1;
    s->branches[list][at].n_flying = 0;
    s->branches[list][at].rows = 0;
    s->branches[list][at].draw = -1;
    s->n_scoring_places[list] += b->kind == FC_BRANCH_CHAIN || b->kind == FC_BRANCH_ALONE;
    return &s->branches[list][at];
}

void fc_branch_drop(fc_sched *s, fc_branch *b) {
    fc_job *j = b->job;
    int list = fc_sched_list(s, b->role), at = (int)(b - s->branches[list]);
    int *place = &j->branches[list];
    while (*place != at) place = &s->branches[list][*place].next;
    *place = b->next;
    if (b->kind == FC_BRANCH_ALONE) j->alone_tables--;
    s->n_scoring_places[list] -= b->kind == FC_BRANCH_CHAIN || b->kind == FC_BRANCH_ALONE;
    if (b->kind == FC_BRANCH_DRAW) fc_cache_put(s, b, b->len, true);
    if (b->kind != FC_BRANCH_PROMPT && b->table >= 0) fc_kv_table_close(s->lane[list]->kv, b->table);
    b->job = NULL;
    b->next = s->free_place[list];
    s->free_place[list] = at;
}

void fc_branch_drop_all(fc_sched *s, fc_job *j) {
    for (int list = 0; list < 2; list++)
        while (j->branches[list] >= 0) fc_branch_drop(s, &s->branches[list][j->branches[list]]);
}

fc_status fc_stem_begin(fc_sched *s, fc_job *j, fc_role role) {
    fc_stem *t = &j->stem[role];
    fc_branch b = {.job = j, .kind = FC_BRANCH_PROMPT, .role = role, .target = t->n};
    void *p;
    if (!t->tree.tables) {
        t->tree.max_tables = j->reserved_tables[role] - 1;
        FC_TRY(fc_arena_alloc(&j->arena, (size_t)t->tree.max_tables, sizeof *t->tree.tables, &p));
        t->tree.tables = p;
    }
    FC_TRY(fc_kv_table_open(s->lane[role]->kv, &b.table));
    t->table = b.table;
    FC_TRY(fc_cache_take(s, fc_branch_put(s, &b)));
    fc_sched_count_pages(s, j, fc_sched_list(s, role)); /* whoever holds pages may have to give them up */
    return FC_OK;
}

/* Pages that the job's tables of a list show, each once. */
static int pages_of(fc_sched *s, const fc_job *j, int list) {
    fc_kv *kv = s->lane[list]->kv;
    uint32_t stamp = ++s->stamp;
    int n = 0;
    for (int at = j->branches[list]; at >= 0; at = s->branches[list][at].next) {
        const fc_branch *b = &s->branches[list][at];
        if (b->kind == FC_BRANCH_DRAW || b->kind == FC_BRANCH_ALONE) n += fc_kv_stamp(kv, b->table, stamp);
    }
    for (int role = 0; role < 2; role++) {
        const fc_stem *t = &j->stem[role];
        if (list != fc_sched_list(s, (fc_role)role)) continue;
        if (t->table >= 0) n += fc_kv_stamp(kv, t->table, stamp);
        for (int i = 0; i < t->tree.n_tables; i++) n += fc_kv_stamp(kv, t->tree.tables[i], stamp);
    }
    return n;
}

void fc_sched_count_pages(fc_sched *s, fc_job *j, int list) {
    int64_t bytes = 0;
    j->pages[list] = pages_of(s, j, list);
    for (int i = 0; i < 2; i++)
        if (j->pages[i]) bytes += (int64_t)j->pages[i] * (int64_t)fc_kv_bytes_per_page(s->lane[i]->kv);
    if (bytes > j->rows.kv_bytes) j->rows.kv_bytes = bytes;
}
