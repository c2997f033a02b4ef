#include "tokenizer/parts.h"
#include "tokenizer/text.h"

#include <string.h>

/* A text whose words could grow beyond what 32-bit positions hold. Normalisation multiplies by 11 at most per step. */
enum { LONGEST_TEXT = 256 << 20 };

fc_status fc_run_put(fc_run *r, int32_t id) {
    void *p = *r->ids;
    FC_TRY(fc_grow(&p, r->cap, r->n + 1, sizeof **r->ids, "ids"));
    *r->ids = p;
    (*r->ids)[r->n++] = id;
    return FC_OK;
}

void fc_run_skip(fc_run *r, const char *text, size_t size) {
    if (r->n_stand_ins > 0) r->next_stand_in += fc_text_count(text, size, FC_TEXT_REPLACEMENT, 3);
}

/* Valid text out of any bytes, and in r->stand_ins what each U+FFFD of it stands for. */
static fc_status make_valid(fc_run *r, const char *text, size_t size, fc_str *out) {
    for (size_t i = 0, n; i < size; i += n) {
        uint32_t cp;
        size_t bad;
        void *p = r->stand_ins;
        fc_stand_in s = {0};
        n = fc_text_decode(text + i, size - i, &cp, &bad);
        if (n > 0) {
            FC_TRY(fc_str_put(out, text + i, n));
            if (cp != 0xFFFD) continue;
        } else {
            n = bad;
            s.n = (unsigned char)bad;
            memcpy(s.bytes, text + i, bad);
            FC_TRY(fc_str_put(out, FC_TEXT_REPLACEMENT, 3));
        }
        FC_TRY(fc_grow(&p, &r->cap_stand_ins, r->n_stand_ins + 1, sizeof s, "invalid bytes"));
        r->stand_ins = p;
        r->stand_ins[r->n_stand_ins++] = s;
    }
    return FC_OK;
}

/* ---- added tokens ---------------------------------------------------------------------------------------- */

static bool white_before(const char *text, size_t at, size_t *to) {
    uint32_t cp;
    if (at == 0) return false;
    *to = fc_text_prev(text, at);
    fc_text_next(text + *to, &cp);
    return fc_text_is_white(cp);
}

static bool word_before(const char *text, size_t at) {
    uint32_t cp;
    if (at == 0) return false;
    fc_text_next(text + fc_text_prev(text, at), &cp);
    return fc_text_is_word(cp);
}

static bool word_at(const char *text, size_t size, size_t at) {
    uint32_t cp;
    if (at == size) return false;
    fc_text_next(text + at, &cp);
    return fc_text_is_word(cp);
}

/* Cuts the tokens of `set` out of a text, leftmost first, of those the longest; the rests go to `rest`. A token that is
 * not wanted after all (special and not asked for, part of a word) still hides shorter ones inside it, as in
 * `tokenizers`. */
static fc_status cut_added(fc_run *r, const fc_prefixes *set, const char *text, size_t size, bool at_start,
                           fc_status (*rest)(fc_run *, const char *, size_t, bool)) {
    size_t done = 0, at = 0;
    while (at < size) {
        int32_t i = 0;
        size_t n = set->first[(unsigned char)text[at]] ? fc_prefixes_longest(set, text + at, size - at, &i) : 0;
        size_t start = at, end = at + n, to;
        const fc_added *a;
        uint32_t cp;
        at += n ? n : 1;
        if (n == 0) continue;
        a = &r->t->added[i];
        if (a->special && !(r->flags & FC_TOK_PARSE_SPECIAL)) continue;
        if (a->single_word && (word_before(text, start) || word_at(text, size, end))) continue;
        while (a->lstrip && start > done && white_before(text, start, &to)) start = to;
        while (a->rstrip && end < size && (n = fc_text_next(text + end, &cp), fc_text_is_white(cp))) end += n;
        if (done < start) FC_TRY(rest(r, text + done, start - done, at_start && done == 0));
        fc_run_skip(r, text + start, end - start);
        FC_TRY(fc_run_put(r, a->id));
        done = end;
    }
    return done < size ? rest(r, text + done, size - done, at_start && done == 0) : FC_OK;
}

static fc_status words(fc_run *r, const char *text, size_t size, bool at_start) {
    return fc_pretok_run(r, 0, text, size, at_start);
}

static fc_status normalise(fc_run *r, const char *text, size_t size, bool at_start) {
    size_t first = r->next_stand_in, n = r->n_stand_ins > 0 ? fc_text_count(text, size, FC_TEXT_REPLACEMENT, 3) : 0;
    bool moved = false;
    for (int i = 0; i < r->t->n_norm; i++) {
        fc_str *out = &r->text[i % 2];
        fc_str_clear(out);
        FC_TRY(fc_norm_apply(&r->t->norm[i], &r->use, text, size, out, &moved));
        text = fc_str_text(out);
        size = out->size;
        if (size > INT32_MAX / 4)
            return FC_FAIL(FC_ERR_ARG, "%s: the text grows to %zu bytes when it is normalised", r->t->name, size);
    }
    r->keep_bytes = n == 0 || fc_text_count(text, size, FC_TEXT_REPLACEMENT, 3) == n;
    FC_TRY(cut_added(r, &r->t->added_normalized, text, size, at_start && !moved, words));
    r->next_stand_in = first + n;
    return FC_OK;
}

static fc_status encode(fc_run *r, const char *text, size_t size) {
    const fc_tok *t = r->t;
    for (int i = 0; i < t->n_prefix && (r->flags & FC_TOK_ADD_SPECIAL); i++) FC_TRY(fc_run_put(r, t->prefix[i]));
    if (size > 0) FC_TRY(cut_added(r, &t->added_raw, text, size, true, normalise));
    for (int i = 0; i < t->n_suffix && (r->flags & FC_TOK_ADD_SPECIAL); i++) FC_TRY(fc_run_put(r, t->suffix[i]));
    return FC_OK;
}

bool fc_tok_loses(const fc_tok *t, const char *text, size_t size, size_t *at) {
    bool bytes = false;
    for (int i = 0; i < t->n_pre; i++) bytes = bytes || t->pre[i].kind == FC_PRE_BYTES;
    if (!bytes || t->model != FC_MODEL_BPE || t->byte_fallback || t->unk_model >= 0) return false;
    for (size_t i = 0; i < size; i++)
        if (t->low[fc_text_byte_rune((unsigned char)text[i])] < 0) {
            *at = i;
            return true;
        }
    return false;
}

fc_status fc_tok_encode(const fc_tok *t, const char *text, size_t size, unsigned flags, int32_t **ids, size_t *n,
                        size_t *cap) {
    fc_run r = {.t = t, .flags = flags, .keep_bytes = true, .ids = ids, .cap = cap, .n = *n};
    fc_str valid = {0};
    size_t bad;
    fc_status st;
    if (size > LONGEST_TEXT)
        return FC_FAIL(FC_ERR_ARG, "%s: a text of %zu bytes; the limit is %d", t->name, size, LONGEST_TEXT);
    FC_TRY(fc_match_use_init(&r.use, size));
    if (fc_utf8_valid(text, size, &bad)) {
        st = encode(&r, text, size);
    } else {
        st = make_valid(&r, text, size, &valid);
        if (!st) st = encode(&r, valid.data, valid.size);
    }
    if (!st) *n = r.n;
    fc_str_fini(&valid);
    for (int i = 0; i < FC_TOK_MAX_STEPS; i++) fc_str_fini(&r.scratch[i]);
    fc_str_fini(&r.text[0]);
    fc_str_fini(&r.text[1]);
    fc_free(r.symbols);
    fc_free(r.jobs);
    fc_free(r.nodes);
    fc_free(r.stand_ins);
    fc_match_use_fini(&r.use);
    return st;
}

void fc_tok_default_ends(fc_tok *t, int32_t bos, int32_t eos) {
    if (t->bos < 0 && bos >= 0 && (size_t)bos < t->vocab.size) t->bos = bos;
    if (t->eos < 0 && eos >= 0 && (size_t)eos < t->vocab.size) t->eos = eos;
}

/* ---- questions ------------------------------------------------------------------------------------------- */

size_t fc_tok_size(const fc_tok *t) { return t->vocab.size; }
int32_t fc_tok_bos(const fc_tok *t) { return t->bos; }
int32_t fc_tok_eos(const fc_tok *t) { return t->eos; }

bool fc_tok_adds_bos(const fc_tok *t) { return t->n_prefix > 0 && t->prefix[0] == t->bos; }

bool fc_tok_is_special(const fc_tok *t, int32_t id) {
    return id >= 0 && (size_t)id < t->vocab.size && t->vocab.entries[id].special;
}

int32_t fc_tok_find(const fc_tok *t, const char *piece) { return fc_vocab_find(&t->vocab, piece, strlen(piece)); }

bool fc_tok_same(const fc_tok *a, const fc_tok *b) {
    return a == b || (a->digest[0] == b->digest[0] && a->digest[1] == b->digest[1]);
}
