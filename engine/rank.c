#include "engine/rank.h"

#include <math.h>
#include <stdlib.h>

double fc_rank_key(double score, double logprob, bool scored, double blend) {
    double key;
    if (!scored || blend == 1) key = logprob;
    else if (blend == 0) key = score; /* a log-prob of -INFINITY times 0 is NAN */
    else key = (1 - blend) * score + blend * logprob;
    return isnan(key) || (scored && isnan(score)) ? -INFINITY : key;
}

bool fc_rank_before(const fc_rank_item *a, const fc_rank_item *b) {
    return a->key != b->key ? a->key > b->key : a->index < b->index;
}

static int in_order(const void *a, const void *b) { return fc_rank_before(a, b) ? -1 : fc_rank_before(b, a); }

void fc_rank_sort(fc_rank_item *items, int n) { qsort(items, (size_t)n, sizeof *items, in_order); }

fc_status fc_rank_marks_open(fc_arena *a, int n_tags, fc_rank_marks *out) {
    void *p;
    FC_TRY(fc_arena_alloc(a, (size_t)n_tags, sizeof *out->seen, &p));
    *out = (fc_rank_marks){.seen = p};
    return FC_OK;
}

static bool free_of(const fc_rank_item *item, const fc_rank_marks *m) {
    for (int t = 0; t < item->n_tags; t++)
        if (m->seen[item->tags[t]] == m->round) return false;
    return true;
}

int fc_rank_keep(const fc_rank_item *items, int n, int k, fc_rank_marks *marks, int *kept) {
    int n_kept = 0;
    marks->round++; /* what earlier rounds saw is forgotten */
    for (int i = 0; i < n && n_kept < k; i++) {
        if (!free_of(&items[i], marks)) continue;
        for (int t = 0; t < items[i].n_tags; t++) marks->seen[items[i].tags[t]] = marks->round;
        kept[n_kept++] = i;
    }
    return n_kept;
}

double fc_rank_margin(const fc_rank_item *items, int n) {
    if (n < 2 || !isfinite(items[0].key) || !isfinite(items[1].key)) return NAN;
    return items[0].key - items[1].key;
}
