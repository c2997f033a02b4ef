/* SentencePiece's BPE: neighbours whose joined text is a piece are merged, best score first, leftmost first; what is no
 * piece in the end falls back to its bytes. */
#include "tokenizer/parts.h"
#include "tokenizer/text.h"

#include <stdlib.h>

typedef struct {
    double score;
    uint32_t id;
} scored;

static int by_score(const void *a, const void *b) {
    const scored *x = a, *y = b;
    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

fc_status fc_spm_prepare(fc_tok *t) {
    scored *all;
    void *p;
    uint32_t place = 0;
    FC_TRY(fc_alloc(t->vocab.size, sizeof *t->order, "order of pieces", &p));
    t->order = p;
    FC_TRY(fc_alloc(t->vocab.size, sizeof *all, "order of pieces", &p));
    all = p;
    for (size_t i = 0; i < t->vocab.size; i++) all[i] = (scored){.score = t->vocab.entries[i].score, .id = (uint32_t)i};
    qsort(all, t->vocab.size, sizeof *all, by_score);
    for (size_t i = 0; i < t->vocab.size; i++) {
        if (i > 0 && all[i].score != all[i - 1].score) place++;
        t->order[all[i].id] = place;
    }
    fc_free(all);
    return FC_OK;
}

static fc_status propose(fc_run *r, const char *word, int32_t pos) {
    const fc_symbol *s = &r->symbols[pos], *next = &r->symbols[s->next];
    int32_t id;
    if ((size_t)s->size + next->size > r->t->longest) return FC_OK;
    id = fc_vocab_find_model(&r->t->vocab, word + s->at, s->size + next->size);
    if (id < 0) return FC_OK;
    return fc_job_push(
        r, (fc_job){.rank = r->t->order[id], .pos = pos, .merged = (uint32_t)id, .size = s->size + next->size});
}

static fc_status put_symbol(fc_run *r, const char *text, size_t size, bool *unknown) {
    const fc_tok *t = r->t;
    size_t k = 0;
    while (t->byte_fallback && k < size && t->byte_ids[(unsigned char)text[k]] >= 0) k++;
    if (k == size) {
        for (k = 0; k < size; k++) FC_TRY(fc_run_put(r, t->byte_ids[(unsigned char)text[k]]));
        *unknown = false;
        return FC_OK;
    }
    if (!*unknown && t->unk_model >= 0) FC_TRY(fc_run_put(r, t->unk_model)); /* one for a run of them */
    *unknown = true;
    return FC_OK;
}

fc_status fc_spm_word(fc_run *r, const char *word, size_t size) {
    size_t n = 0;
    bool unknown = false;
    fc_job j;
    for (size_t i = 0, step; i < size; i += step, n++) {
        uint32_t cp;
        step = fc_text_next(word + i, &cp);
        FC_TRY(fc_symbols_reserve(r, n + 1));
        r->symbols[n] = (fc_symbol){.id = fc_vocab_find_model(&r->t->vocab, word + i, step),
                                    .prev = (int32_t)n - 1,
                                    .next = i + step < size ? (int32_t)n + 1 : -1,
                                    .at = (uint32_t)i,
                                    .size = (uint32_t)step};
    }
    r->n_jobs = 0;
    for (size_t i = 0; i + 1 < n; i++) FC_TRY(propose(r, word, (int32_t)i));
    while (fc_job_pop(r, &j)) {
        fc_symbol *left = &r->symbols[j.pos], *right;
        if (left->size == 0 || left->next < 0) continue;
        right = &r->symbols[left->next];
        if (left->size + right->size != j.size) continue; /* made for symbols that have changed since */
        left->id = (int32_t)j.merged;
        left->size = j.size;
        left->next = right->next;
        right->size = 0;
        if (left->next >= 0) r->symbols[left->next].prev = j.pos;
        if (left->prev >= 0) FC_TRY(propose(r, word, left->prev));
        if (left->next >= 0) FC_TRY(propose(r, word, j.pos));
    }
    for (int32_t i = n > 0 ? 0 : -1; i >= 0; i = r->symbols[i].next) {
        const fc_symbol *s = &r->symbols[i];
        if (s->id < 0) {
            FC_TRY(put_symbol(r, word + s->at, s->size, &unknown));
        } else {
            FC_TRY(fc_run_put(r, s->id));
            unknown = false;
        }
    }
    return FC_OK;
}
