#include "engine/ban.h"

#include "engine/base/sort.h"

#include <string.h>

static fc_status open_allowed(const fc_sampling *s, int V, fc_arena *a, fc_ban *b) {
    void *p;
    if (s->n_allowed > (size_t)V)
        return FC_FAIL(FC_ERR_ARG, "allowed_token_ids: %zu ids; the vocabulary has %d", s->n_allowed, V);
    FC_TRY(fc_arena_alloc(a, s->n_allowed + 1, sizeof *b->allowed, &p));
    b->allowed = p;
    for (size_t i = 0; i < s->n_allowed; i++) {
        if (s->allowed_ids[i] < 0 || s->allowed_ids[i] >= V)
            return FC_FAIL(FC_ERR_ARG, "allowed_token_ids: id %d; the vocabulary has %d ids", s->allowed_ids[i], V);
        b->allowed[i] = s->allowed_ids[i];
    }
    fc_sort_ids(b->allowed, (int)s->n_allowed);
    for (size_t i = 0; i < s->n_allowed; i++)
        if (i == 0 || b->allowed[i] != b->allowed[b->n_allowed - 1]) b->allowed[b->n_allowed++] = b->allowed[i];
    return FC_OK;
}

/* The sequence of `blank` and the word, behind those that ids [n] holds, unless it is the one before it. */
static fc_status add_word(const fc_tok *tok, const char *word, bool blank, fc_ban *b, int32_t **ids, size_t *n,
                          size_t *cap) {
    fc_str text = {0};
    size_t from = *n, before = b->n_words ? (size_t)b->end[b->n_words - 1] : 0;
    size_t last = b->n_words > 1 ? (size_t)b->end[b->n_words - 2] : 0;
    fc_status st = fc_str_put(&text, " ", blank ? 1 : 0);
    if (!st) st = fc_str_put(&text, word, strlen(word));
    if (!st) st = fc_tok_encode(tok, fc_str_text(&text), text.size, 0, ids, n, cap);
    fc_str_fini(&text);
    if (st || *n == from) return st;
    if (blank && before - last == *n - from && memcmp(*ids + last, *ids + from, (*n - from) * sizeof **ids) == 0) {
        *n = from;
        return FC_OK;
    }
    b->end[b->n_words++] = (int)*n;
    return FC_OK;
}

static fc_status add_words(const fc_sampling *s, const fc_tok *tok, fc_ban *b, int32_t **ids, size_t *n) {
    size_t cap = 0, at;
    for (size_t i = 0; i < s->n_bad_words; i++) {
        const char *word = s->bad_words[i] ? s->bad_words[i] : "";
        int had = b->n_words;
        word += strspn(word, " \t\n\v\f\r");
        if (!*word) return FC_FAIL(FC_ERR_ARG, "bad_words: word %zu is empty", i);
        if (strlen(word) > FC_BAD_WORD_BYTES)
            return FC_FAIL(FC_ERR_ARG, "bad_words: word %zu has %zu bytes; at most %d", i, strlen(word),
                           FC_BAD_WORD_BYTES);
        if (fc_tok_loses(tok, word, strlen(word), &at))
            return FC_FAIL(FC_ERR_ARG, "bad_words: byte 0x%02x of \"%.80s\" has no token in the model's vocabulary",
                           (unsigned char)word[at], word);
        FC_TRY(add_word(tok, word, false, b, ids, n, &cap));
        if (b->n_words == had) return FC_FAIL(FC_ERR_ARG, "bad_words: \"%.80s\" gives no token", word);
        FC_TRY(add_word(tok, word, true, b, ids, n, &cap));
    }
    return FC_OK;
}

static fc_status open_words(const fc_sampling *s, const fc_tok *tok, int V, fc_arena *a, fc_ban *b) {
    int32_t *ids = NULL;
    size_t n = 0;
    void *p;
    fc_status st;
    if (s->n_bad_words > FC_BAD_WORDS_MAX)
        return FC_FAIL(FC_ERR_ARG, "bad_words: %zu words; at most %d", s->n_bad_words, FC_BAD_WORDS_MAX);
    FC_TRY(fc_arena_alloc(a, 2 * s->n_bad_words + 1, sizeof *b->end, &p));
    b->end = p;
    st = add_words(s, tok, b, &ids, &n);
    for (size_t i = 0; i < n && !st; i++)
        if (ids[i] < 0 || ids[i] >= V)
            st =
                FC_FAIL(FC_ERR_FORMAT, "bad_words: the tokenizer gave id %d; the model's vocabulary has %d", ids[i], V);
    if (!st) st = fc_arena_alloc(a, n + 1, sizeof *ids, &p);
    if (!st) {
        b->ids = p;
        if (n) memcpy(b->ids, ids, n * sizeof *ids);
    }
    fc_free(ids);
    return st;
}

fc_status fc_ban_open(const fc_sampling *s, const fc_tok *tok, int V, fc_arena *a, fc_ban *out) {
    fc_ban b = {0};
    if (s->n_allowed) FC_TRY(open_allowed(s, V, a, &b));
    if (s->n_bad_words) FC_TRY(open_words(s, tok, V, a, &b));
    *out = b;
    return FC_OK;
}

bool fc_ban_allows(const fc_ban *b, int32_t id) {
    int lo = 0, n = b->n_allowed;
    while (lo < n) {
        int mid = lo + (n - lo) / 2;
        if (b->allowed[mid] < id) lo = mid + 1;
        else n = mid;
    }
    return b->n_allowed == 0 || (lo < b->n_allowed && b->allowed[lo] == id);
}

int fc_ban_words(const fc_ban *b, const int32_t *drawn, int n, int32_t *out) {
    int found = 0;
    for (int w = 0, begin = 0; w < b->n_words; begin = b->end[w++]) {
        int before = b->end[w] - 1 - begin; /* ids that must stand there already */
        if (before > n) continue;
        if (before && memcmp(drawn + n - before, b->ids + begin, (size_t)before * sizeof *drawn) != 0) continue;
        out[found++] = b->ids[b->end[w] - 1];
    }
    return found;
}

bool fc_ban_forbids(const fc_ban *b, const int32_t *drawn, int n, int32_t id) {
    int32_t last[2 * FC_BAD_WORDS_MAX];
    int words = fc_ban_words(b, drawn, n, last);
    for (int i = 0; i < words; i++)
        if (last[i] == id) return true;
    return !fc_ban_allows(b, id);
}
