/* Byte pair encoding by merge rank: the pair of lowest rank, leftmost first, until none is left. A heap of jobs keeps
 * it O(n log n) in the length of a word. */
#include "tokenizer/parts.h"
#include "tokenizer/text.h"

#include <string.h>

/* ---- merges ---------------------------------------------------------------------------------------------- */

static fc_merge *slot_of(const fc_tok *t, uint32_t left, uint32_t right) {
    size_t i = (size_t)fc_vocab_mix(((uint64_t)left << 32) | right) & (t->n_merge_slots - 1);
    while (t->merges[i].used && (t->merges[i].left != left || t->merges[i].right != right))
        i = (i + 1) & (t->n_merge_slots - 1);
    return &t->merges[i];
}

fc_status fc_bpe_reserve(fc_tok *t, size_t n_merges) {
    void *p;
    if (n_merges > INT32_MAX / 4) return FC_FAIL(FC_ERR_FORMAT, "%s: %zu merges are too many", t->name, n_merges);
    for (t->n_merge_slots = 16; t->n_merge_slots < 2 * n_merges;) t->n_merge_slots *= 2;
    FC_TRY(fc_alloc(t->n_merge_slots, sizeof *t->merges, "merges", &p));
    t->merges = p;
    return FC_OK;
}

static int shown(size_t size) { return size > 64 ? 64 : (int)size; }

fc_status fc_bpe_add_merge(fc_tok *t, size_t rank, const char *left, size_t left_size, const char *right,
                           size_t right_size) {
    int32_t a = fc_vocab_find(&t->vocab, left, left_size), b = fc_vocab_find(&t->vocab, right, right_size), c;
    fc_str joined = {0};
    fc_status st;
    fc_merge *m;
    if (a < 0 || b < 0)
        return FC_FAIL(FC_ERR_FORMAT, "%s: merge %zu names \"%.*s\", which is not in the vocabulary", t->name, rank,
                       shown(a < 0 ? left_size : right_size), a < 0 ? left : right);
    st = fc_str_put(&joined, left, left_size);
    if (!st) st = fc_str_put(&joined, right, right_size);
    c = st ? -1 : fc_vocab_find(&t->vocab, joined.data, joined.size);
    fc_str_fini(&joined);
    if (st) return st;
    if (c < 0)
        return FC_FAIL(FC_ERR_FORMAT, "%s: merge %zu makes \"%.*s%.*s\", which is not in the vocabulary", t->name, rank,
                       shown(left_size), left, shown(right_size), right);
    m = slot_of(t, (uint32_t)a, (uint32_t)b); /* a pair that comes again takes its last rank, as in `tokenizers` */
    *m = (fc_merge){
        .left = (uint32_t)a, .right = (uint32_t)b, .rank = (uint32_t)rank, .merged = (uint32_t)c, .used = true};
    return FC_OK;
}

static const fc_merge *find_merge(const fc_tok *t, int32_t left, int32_t right) {
    const fc_merge *m;
    if (t->n_merge_slots == 0) return NULL;
    m = slot_of(t, (uint32_t)left, (uint32_t)right);
    return m->used && m->merged != UINT32_MAX ? m : NULL;
}

/* ---- jobs: a heap of four children, whose comparison stays in one cache line --------------------------------- */

static bool before(const fc_job *a, const fc_job *b) {
    return a->rank != b->rank ? a->rank < b->rank : a->pos < b->pos;
}

fc_status fc_job_push(fc_run *r, fc_job j) {
    void *p = r->jobs;
    size_t i = r->n_jobs;
    FC_TRY(fc_grow(&p, &r->cap_jobs, r->n_jobs + 1, sizeof *r->jobs, "merge jobs"));
    r->jobs = p;
    for (r->n_jobs++; i > 0 && before(&j, &r->jobs[(i - 1) / 4]); i = (i - 1) / 4) r->jobs[i] = r->jobs[(i - 1) / 4];
    r->jobs[i] = j;
    return FC_OK;
}

bool fc_job_pop(fc_run *r, fc_job *out) {
    fc_job last;
    size_t i = 0, child;
    if (r->n_jobs == 0) return false;
    *out = r->jobs[0];
    last = r->jobs[--r->n_jobs];
    while ((child = 4 * i + 1) < r->n_jobs) {
        size_t best = child, end = child + 4 < r->n_jobs ? child + 4 : r->n_jobs;
        while (++child < end)
            if (before(&r->jobs[child], &r->jobs[best])) best = child;
        if (!before(&r->jobs[best], &last)) break;
        r->jobs[i] = r->jobs[best];
        i = best;
    }
    r->jobs[i] = last;
    return true;
}

fc_status fc_symbols_reserve(fc_run *r, size_t n) {
    void *p = r->symbols;
    FC_TRY(fc_grow(&p, &r->cap_symbols, n, sizeof *r->symbols, "symbols"));
    r->symbols = p;
    return FC_OK;
}

/* ---- one word -------------------------------------------------------------------------------------------- */

static fc_status add_symbol(fc_run *r, size_t *n, int32_t id) {
    FC_TRY(fc_symbols_reserve(r, *n + 1));
    r->symbols[*n] = (fc_symbol){.id = id, .prev = (int32_t)*n - 1, .next = (int32_t)*n + 1, .size = 1};
    ++*n;
    return FC_OK;
}

/* The characters as pieces. What has no piece falls back to its bytes if all of them have one, else to the unknown
 * piece, else to nothing. A waiting unknown is written before the next known character, not before bytes: so does
 * `tokenizers`. */
static fc_status split_word(fc_run *r, const char *word, size_t size, size_t *n_out) {
    const fc_tok *t = r->t;
    bool waiting = false;
    size_t n = 0;
    for (size_t i = 0, step; i < size; i += step) {
        uint32_t cp;
        int32_t id;
        size_t k = 0;
        step = fc_text_next(word + i, &cp);
        id = cp < FC_TOK_LOW_RUNES ? t->low[cp] : fc_vocab_find_model(&t->vocab, word + i, step);
        if (id >= 0) {
            if (waiting) FC_TRY(add_symbol(r, &n, t->unk_model));
            waiting = false;
            FC_TRY(add_symbol(r, &n, id));
            continue;
        }
        while (t->byte_fallback && k < step && t->byte_ids[(unsigned char)word[i + k]] >= 0) k++;
        if (k == step) {
            for (k = 0; k < step; k++) FC_TRY(add_symbol(r, &n, t->byte_ids[(unsigned char)word[i + k]]));
            continue;
        }
        if (t->unk_model < 0) continue;
        if (waiting && !t->fuse_unk) FC_TRY(add_symbol(r, &n, t->unk_model));
        waiting = true;
    }
    if (waiting) FC_TRY(add_symbol(r, &n, t->unk_model));
    if (n > 0) r->symbols[n - 1].next = -1;
    *n_out = n;
    return FC_OK;
}

static fc_status propose(fc_run *r, int32_t pos) {
    const fc_symbol *s = &r->symbols[pos];
    const fc_merge *m = find_merge(r->t, s->id, r->symbols[s->next].id);
    return m ? fc_job_push(r, (fc_job){.rank = m->rank, .pos = pos, .merged = m->merged}) : FC_OK;
}

fc_status fc_bpe_word(fc_run *r, const char *word, size_t size) {
    size_t n;
    fc_job j;
    if (r->t->ignore_merges) {
        int32_t id = fc_vocab_find_model(&r->t->vocab, word, size);
        if (id >= 0) return fc_run_put(r, id);
    }
    FC_TRY(split_word(r, word, size, &n));
    r->n_jobs = 0;
    for (size_t i = 0; i + 1 < n; i++) FC_TRY(propose(r, (int32_t)i));
    while (fc_job_pop(r, &j)) {
        fc_symbol *left = &r->symbols[j.pos], *right;
        const fc_merge *m;
        if (left->size == 0 || left->next < 0) continue;
        right = &r->symbols[left->next];
        m = find_merge(r->t, left->id, right->id);
        if (!m || m->merged != j.merged) continue; /* made for symbols that have changed since */
        left->id = (int32_t)j.merged;
        left->next = right->next;
        right->size = 0;
        if (left->next >= 0) r->symbols[left->next].prev = j.pos;
        if (left->prev >= 0) FC_TRY(propose(r, left->prev));
        if (left->next >= 0) FC_TRY(propose(r, j.pos));
    }
    for (int32_t i = n > 0 ? 0 : -1; i >= 0; i = r->symbols[i].next) FC_TRY(fc_run_put(r, r->symbols[i].id));
    return FC_OK;
}
