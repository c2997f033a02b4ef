#include "engine/follow.h"

#include "engine/base/mem.h"

#include <string.h>

typedef struct {
    int32_t *ids;
    size_t n, cap;
} id_list;

/* A text that stands in front, and its own ids. */
typedef struct {
    const char *text;
    size_t size;
    unsigned flags;
    id_list ids;
    bool fit; /* may be used */
} stem;

enum { BEFORE, DATA, NEUTRAL, STEMS = 6 };
static const char *const neutral[STEMS - NEUTRAL] = {"\n", ":", "a", "1"};

struct fc_follow {
    const fc_tok *tok;
    stem stems[STEMS];
    fc_str joined; /* stem and text */
    id_list whole; /* its ids */
};

static fc_status encode(const fc_tok *tok, const char *text, size_t size, unsigned flags, id_list *out) {
    out->n = 0;
    return fc_tok_encode(tok, text, size, flags, &out->ids, &out->n, &out->cap);
}

static size_t count_special(const fc_tok *tok, const id_list *l) {
    size_t n = 0;
    for (size_t i = 0; i < l->n; i++) n += fc_tok_is_special(tok, l->ids[i]);
    return n;
}

/* What of `before` stands behind its last special token: in front of a text that spells one itself, only that much can
 * be encoded as data, as in fc_chat_encode. */
static fc_status tail_of(const fc_tok *tok, const stem *before, stem *tail) {
    fc_str name = {0};
    fc_status st = FC_OK;
    tail->text = before->text;
    tail->size = before->size;
    for (size_t i = before->ids.n; i-- > 0;)
        if (fc_tok_is_special(tok, before->ids.ids[i])) {
            st = fc_tok_piece(tok, before->ids.ids[i], true, &name);
            break;
        }
    for (size_t i = before->size; !st && name.size && i >= name.size; i--)
        if (memcmp(before->text + i - name.size, name.data, name.size) == 0) {
            tail->text += i;
            tail->size -= i;
            break;
        }
    fc_str_fini(&name);
    return st;
}

/* A neutral character must come out as a token's end: some tokenizers strip or join blanks. */
static fc_status neutral_fits(const fc_tok *tok, stem *s) {
    fc_str piece = {0};
    fc_status st = FC_OK;
    if (s->ids.n) st = fc_tok_piece(tok, s->ids.ids[s->ids.n - 1], false, &piece);
    s->fit = !st && piece.size && piece.data[piece.size - 1] == s->text[0];
    fc_str_fini(&piece);
    return st;
}

static fc_status open_stems(fc_follow *f, const char *before, size_t before_size) {
    for (int i = 0; i < STEMS; i++) {
        stem *s = &f->stems[i];
        s->fit = true;
        if (i == BEFORE) {
            s->text = before;
            s->size = before_size;
            s->flags = FC_TOK_PARSE_SPECIAL;
        } else if (i == DATA) {
            FC_TRY(tail_of(f->tok, &f->stems[BEFORE], s));
        } else {
            s->text = neutral[i - NEUTRAL];
            s->size = 1;
        }
        FC_TRY(encode(f->tok, s->text, s->size, s->flags, &s->ids));
        if (i >= NEUTRAL) FC_TRY(neutral_fits(f->tok, s));
    }
    return FC_OK;
}

/* f->whole = ids of stem and name; *fits: they begin with the stem's. */
static fc_status behind(fc_follow *f, const stem *s, const char *text, size_t size, bool *fits) {
    fc_str_clear(&f->joined);
    FC_TRY(fc_str_put(&f->joined, s->text, s->size));
    FC_TRY(fc_str_put(&f->joined, text, size));
    FC_TRY(encode(f->tok, f->joined.data, f->joined.size, s->flags, &f->whole));
    *fits = f->whole.n >= s->ids.n &&
            (s->ids.n == 0 || memcmp(f->whole.ids, s->ids.ids, s->ids.n * sizeof *s->ids.ids) == 0);
    return FC_OK;
}

/* The text's ids are those of f->whole from *from on. A text that spells a special token fits behind `before` as that
 * token, which it must not: then only as data. (The unknown piece counts as special too; as data it is the same.) */
static fc_status text_ids(fc_follow *f, const char *text, size_t size, size_t *from) {
    for (int i = BEFORE; i < STEMS; i++) {
        const stem *s = &f->stems[i];
        bool fits;
        if (!s->fit) continue;
        FC_TRY(behind(f, s, text, size, &fits));
        if (i == BEFORE && count_special(f->tok, &f->whole) != count_special(f->tok, &s->ids)) continue;
        *from = s->ids.n;
        if (fits) return FC_OK;
    }
    *from = 0;
    return encode(f->tok, text, size, 0, &f->whole);
}

fc_status fc_follow_open(const fc_tok *tok, const char *before, size_t size, fc_follow **out) {
    fc_follow *f;
    fc_status st;
    void *p;
    FC_TRY(fc_alloc(1, sizeof *f, "text in front", &p));
    f = p;
    f->tok = tok;
    st = open_stems(f, before, size);
    if (st) fc_follow_close(f);
    else *out = f;
    return st;
}

void fc_follow_close(fc_follow *f) {
    if (!f) return;
    for (int i = 0; i < STEMS; i++) fc_free(f->stems[i].ids.ids);
    fc_str_fini(&f->joined);
    fc_free(f->whole.ids);
    fc_free(f);
}

fc_status fc_follow_ids(fc_follow *f, const char *text, size_t size, const int32_t **ids, size_t *n) {
    size_t from = 0;
    FC_TRY(text_ids(f, text, size, &from));
    *n = f->whole.n - from;
    *ids = f->whole.ids + from;
    return FC_OK;
}
