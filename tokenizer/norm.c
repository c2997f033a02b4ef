/* The steps of the normaliser. Decomposition is utf8proc's, character by character; marks are ordered here, because a
 * run of a million marks must not take quadratic time; composition is utf8proc's again, over the ordered code points.
 * */
#include "tokenizer/parts.h"
#include "tokenizer/text.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

typedef struct {
    utf8proc_int32_t *cps;
    size_t n, cap;
} runes;

static fc_status runes_room(runes *r, size_t more) {
    void *p = r->cps;
    FC_TRY(fc_grow(&p, &r->cap, r->n + more, sizeof *r->cps, "normalised text"));
    r->cps = p;
    return FC_OK;
}

static unsigned combining(utf8proc_int32_t cp) {
    return cp < 0x300 ? 0 : (unsigned)utf8proc_get_property(cp)->combining_class;
}

/* Stable order of the marks of one run by combining class: counting sort, classes are below 256. */
static void order_marks(utf8proc_int32_t *cps, utf8proc_int32_t *copy, size_t n) {
    size_t count[257] = {0};
    for (size_t i = 0; i < n; i++) count[combining(cps[i]) + 1]++;
    for (size_t c = 1; c < 257; c++) count[c] += count[c - 1];
    memcpy(copy, cps, n * sizeof *cps);
    for (size_t i = 0; i < n; i++) cps[count[combining(copy[i])]++] = copy[i];
}

static fc_status order_all(runes *r) {
    runes copy = {0};
    fc_status st = FC_OK;
    for (size_t i = 0; i < r->n && !st;) {
        size_t end = i;
        bool sorted = true;
        for (; end < r->n && combining(r->cps[end]) != 0; end++)
            if (end > i && combining(r->cps[end]) < combining(r->cps[end - 1])) sorted = false;
        if (!sorted) {
            copy.n = 0;
            st = runes_room(&copy, end - i);
            if (!st) order_marks(r->cps + i, copy.cps, end - i);
        }
        i = end + 1; /* cps[end] is a starter */
    }
    fc_free(copy.cps);
    return st;
}

static fc_status unicode_form(const char *text, size_t size, bool compat, bool compose, fc_str *out) {
    runes r = {0};
    fc_status st = FC_OK;
    utf8proc_option_t options =
        UTF8PROC_STABLE | (compat ? UTF8PROC_COMPAT : 0) | (compose ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE);
    size_t plain = 0;
    while (plain < size && (unsigned char)text[plain] < 0x80) plain++;
    if (plain == size) return fc_str_put(out, text, size); /* ASCII is every form of itself */
    for (size_t i = 0; i < size && !st;) {
        uint32_t cp;
        int last = 0;
        i += fc_text_next(text + i, &cp);
        st = runes_room(&r, 32); /* the longest decomposition has 18 */
        if (st) break;
        utf8proc_ssize_t n = utf8proc_decompose_char((utf8proc_int32_t)cp, r.cps + r.n, 32, options, &last);
        if (n < 0 || n > 32)
            st = FC_FAIL(FC_ERR_INTERNAL, "normaliser: U+%04X decomposes into %lld code points", (unsigned)cp,
                         (long long)n);
        else r.n += (size_t)n;
    }
    if (!st) st = order_all(&r);
    if (!st && compose) {
        utf8proc_ssize_t n = utf8proc_normalize_utf32(r.cps, (utf8proc_ssize_t)r.n, options);
        if (n < 0) st = FC_FAIL(FC_ERR_INTERNAL, "normaliser: %s", utf8proc_errmsg(n));
        r.n = n < 0 ? 0 : (size_t)n;
    }
    for (size_t i = 0; i < r.n && !st; i++) st = fc_text_put(out, (uint32_t)r.cps[i]);
    fc_free(r.cps);
    return st;
}

static fc_status lowercase(const char *text, size_t size, fc_str *out) {
    for (size_t i = 0; i < size;) {
        uint32_t cp;
        i += fc_text_next(text + i, &cp);
        if (cp == 0x130) FC_TRY(fc_str_puts(out, "i\xCC\x87")); /* the one lower case of two characters */
        else FC_TRY(fc_text_put(out, (uint32_t)utf8proc_tolower((utf8proc_int32_t)cp)));
    }
    return FC_OK;
}

static fc_status replace(const fc_norm_step *s, fc_match_use *use, const char *text, size_t size, fc_str *out,
                         bool *moved) {
    size_t done = 0, start, end;
    while (done < size) {
        FC_TRY(fc_matcher_next(&s->match, use, text, size, done, &start, &end));
        FC_TRY(fc_str_put(out, text + done, start - done));
        if (start < end) {
            uint32_t cp;
            if (start == 0 && (s->with.size == 0 || fc_text_next(text, &cp) < end)) *moved = true;
            FC_TRY(fc_str_put(out, s->with.data, s->with.size));
        }
        done = end;
    }
    return FC_OK;
}

static fc_status strip(const fc_norm_step *s, const char *text, size_t size, fc_str *out, bool *moved) {
    size_t from = 0, n, before;
    uint32_t cp;
    while (s->left && from < size && (n = fc_text_next(text + from, &cp), fc_text_is_white(cp))) from += n;
    if (from > 0) *moved = true;
    while (s->right && size > from) {
        before = fc_text_prev(text, size);
        fc_text_next(text + before, &cp);
        if (!fc_text_is_white(cp)) break;
        size = before;
    }
    return fc_str_put(out, text + from, size - from);
}

fc_status fc_norm_apply(const fc_norm_step *s, fc_match_use *use, const char *text, size_t size, fc_str *out,
                        bool *moved) {
    switch (s->kind) {
    case FC_NORM_NFC: return unicode_form(text, size, false, true, out);
    case FC_NORM_NFD: return unicode_form(text, size, false, false, out);
    case FC_NORM_NFKC: return unicode_form(text, size, true, true, out);
    case FC_NORM_NFKD: return unicode_form(text, size, true, false, out);
    case FC_NORM_LOWERCASE: return lowercase(text, size, out);
    case FC_NORM_PREPEND:
        if (size > 0) FC_TRY(fc_str_put(out, s->with.data, s->with.size));
        return fc_str_put(out, text, size);
    case FC_NORM_REPLACE: return replace(s, use, text, size, out, moved);
    case FC_NORM_STRIP: return strip(s, text, size, out, moved);
    case FC_NORM_CHARSMAP: return fc_charsmap_apply(s->with.data, s->with.size, s->longest, text, size, out, moved);
    }
    return FC_FAIL(FC_ERR_INTERNAL, "normaliser: kind %d", (int)s->kind);
}
