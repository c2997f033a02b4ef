/* token - what the public tokenizer does not say at once: the text of one token, and the ids of a prompt. */
#include "engine/app/openai/call.h"

#include <string.h>

size_t openai_chars(const char *text, size_t size) {
    size_t n = 0;
    for (size_t i = 0; i < size; i++) n += ((unsigned char)text[i] & 0xC0) != 0x80;
    return n;
}

/* Behind another token: SentencePiece takes the blank of a text's first piece away. */
fc_status openai_token_text(const fc_tokenizer *t, const int32_t *ids, size_t at, bool special, fc_str *out) {
    int32_t twice[2] = {ids[at], ids[at]};
    char *both, *one;
    size_t all, first;
    fc_status st;
    if (ids[at] < 0 || ids[at] >= fc_tokenizer_vocab(t)) return FC_OK;
    FC_TRY(fc_tokenizer_decode(t, twice, 1, special, &one, &first));
    if (at == 0) {
        st = fc_str_put(out, one, first);
        fc_memory_free(one);
        return st;
    }
    fc_memory_free(one);
    FC_TRY(fc_tokenizer_decode(t, twice, 2, special, &both, &all));
    st = fc_str_put(out, both + first, all - first);
    fc_memory_free(both);
    return st;
}

static fc_status append(int32_t **ids, size_t *n, const int32_t *more, size_t n_more) {
    size_t cap = *n;
    void *p = *ids;
    FC_TRY(fc_grow(&p, &cap, *n + n_more + 1, sizeof **ids, "prompt ids"));
    *ids = p;
    if (n_more) memcpy(*ids + *n, more, n_more * sizeof **ids);
    *n += n_more;
    return FC_OK;
}

static fc_status append_text(const fc_tokenizer *t, const char *text, size_t size, bool special, int32_t **ids,
                             size_t *n) {
    int32_t *more;
    size_t n_more;
    fc_status st;
    FC_TRY(fc_tokenizer_encode(t, text, size, false, special, &more, &n_more));
    st = append(ids, n, more, n_more);
    fc_memory_free(more);
    return st;
}

/* Does data spell the name of a special token? */
static fc_status spells_special(const fc_tokenizer *t, const fc_piece *piece, bool *out) {
    int32_t *a = NULL, *b = NULL;
    size_t n_a = 0, n_b = 0;
    fc_status st = fc_tokenizer_encode(t, piece->text, piece->size, false, true, &a, &n_a);
    if (!st) st = fc_tokenizer_encode(t, piece->text, piece->size, false, false, &b, &n_b);
    if (!st) *out = n_a != n_b || memcmp(a, b, n_a * sizeof *a) != 0;
    fc_memory_free(a);
    fc_memory_free(b);
    return st;
}

/* BOS, where the tokenizer's rule puts it in front of the text and the text does not begin with it already. */
static fc_status append_bos(const fc_tokenizer *t, const fc_piece *piece, int32_t **ids, size_t *n) {
    size_t size = fc_utf8_complete(piece->text, piece->size < 64 ? piece->size : 64), n_with = 0, n_without = 0;
    int32_t *with = NULL, *without = NULL;
    fc_status st = fc_tokenizer_encode(t, piece->text, size, true, piece->special, &with, &n_with);
    if (!st) st = fc_tokenizer_encode(t, piece->text, size, false, piece->special, &without, &n_without);
    if (!st && n_with > n_without && (n_without == 0 || with[0] != without[0])) st = append(ids, n, with, 1);
    fc_memory_free(with);
    fc_memory_free(without);
    return st;
}

/* In one go, so that neighbours join as they do in the engine; else piece by piece. */
static fc_status pieces_ids(const fc_tokenizer *t, const fc_prompt *p, bool bos, int32_t **ids, size_t *n) {
    fc_str whole = {0};
    bool special = false, apart = false, spells = false;
    fc_status st = FC_OK;
    for (size_t i = 0; i < p->n_pieces && !st; i++) {
        special = special || p->pieces[i].special;
        st = fc_str_put(&whole, p->pieces[i].text, p->pieces[i].size);
    }
    for (size_t i = 0; special && i < p->n_pieces && !st; i++) {
        if (p->pieces[i].special) continue;
        st = spells_special(t, &p->pieces[i], &spells);
        apart = apart || (!st && spells);
    }
    if (!st && bos && p->n_pieces) st = append_bos(t, &p->pieces[0], ids, n);
    if (!st && !apart) st = append_text(t, fc_str_text(&whole), whole.size, special, ids, n);
    for (size_t i = 0; apart && i < p->n_pieces && !st; i++)
        st = append_text(t, p->pieces[i].text, p->pieces[i].size, p->pieces[i].special, ids, n);
    fc_str_fini(&whole);
    return st;
}

fc_status openai_prompt_ids(const fc_tokenizer *t, const fc_prompt *p, bool bos, int32_t **ids, size_t *n) {
    int32_t *list = NULL;
    size_t count = 0;
    fc_status st = p->ids ? append(&list, &count, p->ids, p->n_ids) : pieces_ids(t, p, bos, &list, &count);
    if (!st && !list) st = append(&list, &count, NULL, 0);
    if (st) {
        fc_free(list);
        return st;
    }
    *ids = list;
    *n = count;
    return FC_OK;
}
