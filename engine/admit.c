#include "engine/admit.h"

/* Scoring takes the alignment prompt's table and at least one candidate's. */
enum { SCORE_TABLES = 2 };

static int slots_of(const fc_lane *l) { return fc_kv_store(l->kv)->shape.P; }

/* Ids that one candidate may have in the alignment tokenizer. Another tokenizer may need more than were drawn; four times
 * is promised, and a candidate that exceeds all of its request's pages is an error that says so. */
static int64_t tail_ids(const fc_sched *s, const fc_job *j) {
    int64_t longest = 0;
    if (j->max_tokens) longest = s->same_tokenizer ? j->max_tokens : 4 * (int64_t)j->max_tokens;
    else
        for (int i = 0; i < j->n; i++)
            if (j->paths[i].n > longest) longest = j->paths[i].n;
    longest += j->n_suffix;
    if (longest > s->lane[FC_ALIGNMENT]->ctx) longest = s->lane[FC_ALIGNMENT]->ctx;
    return longest;
}

static int64_t pages_for(int64_t len, int P) { return (len + P - 1) / P; }

fc_need fc_need_of(const fc_sched *s, const fc_job *j) {
    fc_need n = {0};
    if (j->max_tokens) {
        int P = slots_of(s->lane[FC_NOVELTY]);
        n.draw_pages = j->n_prompt / P + (int64_t)j->n * pages_for(j->n_prompt % P + j->max_tokens, P);
        n.draw_tables = j->n;
    }
    if (j->score) {
        int P = slots_of(s->lane[FC_ALIGNMENT]);
        n.base_pages = pages_for(j->n_align, P);
        n.tail_pages = pages_for(j->n_align % P + tail_ids(s, j), P);
        if (n.tail_pages == 0) n.tail_pages = 1;
        n.tails = j->n;
    }
    return n;
}

static fc_status check_pages(const fc_lane *l, int64_t pages, const fc_job *j, const char *what) {
    if (pages > fc_kv_pages_total(l->kv))
        return FC_FAIL(
            FC_ERR_ARG,
            "request: its %s needs %lld KV pages (prompt %d tokens, n %d, max_tokens %d), the pool has %d of "
            "%zu bytes; raise kv_pool to %lld bytes",
            what, (long long)pages, what[0] == 's' ? j->n_align : j->n_prompt, j->n, j->max_tokens,
            fc_kv_pages_total(l->kv), fc_kv_bytes_per_page(l->kv),
            (long long)pages * (long long)fc_kv_bytes_per_page(l->kv));
    return FC_OK;
}

fc_status fc_sched_can_run(const fc_sched *s, const fc_job *j) {
    fc_need n = fc_need_of(s, j);
    bool shared = fc_sched_shared(s);
    int score = j->score ? SCORE_TABLES : 0, tables = n.draw_tables + (shared ? score : 0);
    if (tables < score) tables = score;
    if (tables > s->max_branches)
        return FC_FAIL(FC_ERR_ARG, "request: n = %d needs %d branches; max_branches is %d", j->n, tables,
                       s->max_branches);
    if (shared) return check_pages(s->lane[0], n.draw_pages + n.base_pages + n.tail_pages, j, "drawing and scoring");
    FC_TRY(check_pages(s->lane[FC_NOVELTY], n.draw_pages, j, "drawing"));
    return j->score ? check_pages(s->lane[FC_ALIGNMENT], n.base_pages + n.tail_pages, j, "scoring") : FC_OK;
}

bool fc_admit_try(fc_sched *s, fc_job *j) {
    fc_need n = fc_need_of(s, j);
    int a = fc_sched_list(s, FC_ALIGNMENT), slot = 0;
    int64_t free_pages[2], free_tables[2], tail_pages;
    for (int i = 0; i < 2; i++) {
        free_pages[i] = s->lane[i] ? fc_kv_pages_total(s->lane[i]->kv) - s->reserved_pages[i] : 0;
        free_tables[i] = s->max_branches - s->reserved_tables[i];
    }
    if (n.draw_pages > free_pages[0] || n.draw_tables > free_tables[0]) return false;
    free_pages[0] -= n.draw_pages;
    free_tables[0] -= n.draw_tables;
    if (j->score) {
        if (n.base_pages + n.tail_pages > free_pages[a] || free_tables[a] < SCORE_TABLES) return false;
        while (slot < s->max_jobs && s->slots[slot]) slot++;
        if (slot == s->max_jobs) return false;
        s->slots[slot] = true;
        j->slot = slot;
        tail_pages = n.tails * n.tail_pages;
        if (tail_pages > free_pages[a] - n.base_pages) tail_pages = free_pages[a] - n.base_pages;
        j->tail_pages = (int)tail_pages;
        j->tail_tables = n.tails < free_tables[a] - 1 ? n.tails : (int)free_tables[a] - 1;
        j->reserved_pages[FC_ALIGNMENT] = (int)n.base_pages + j->tail_pages;
        j->reserved_tables[FC_ALIGNMENT] = 1 + j->tail_tables;
        s->reserved_pages[a] += j->reserved_pages[FC_ALIGNMENT];
        s->reserved_tables[a] += j->reserved_tables[FC_ALIGNMENT];
    }
    j->reserved_pages[FC_NOVELTY] = (int)n.draw_pages;
    j->reserved_tables[FC_NOVELTY] = n.draw_tables;
    s->reserved_pages[0] += (int)n.draw_pages;
    s->reserved_tables[0] += n.draw_tables;
    return true;
}

void fc_admit_release(fc_sched *s, fc_job *j) {
    for (int role = 0; role < 2; role++) {
        int list = fc_sched_list(s, (fc_role)role);
        s->reserved_pages[list] -= j->reserved_pages[role];
        s->reserved_tables[list] -= j->reserved_tables[role];
        j->reserved_pages[role] = j->reserved_tables[role] = 0;
    }
    if (j->slot >= 0) s->slots[j->slot] = false;
    j->slot = -1;
}
