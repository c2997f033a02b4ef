#include "engine/base/json_scan.h"

#include "engine/base/mem.h"
#include "engine/base/str.h"

#include <string.h>

enum { NUMBER_MAX = 63 }; /* cJSON copies a number into 64 bytes and drops the rest */

typedef struct {
    const char *name;
    const unsigned char *text, *p, *end;
    fc_json_census out;
    size_t wide_cap;
    int depth;
    unsigned char open[FC_JSON_DEPTH]; /* '[' or '{' of each level */
} scanner;

/* Column in bytes, from 1. */
static fc_status bad(const scanner *s, const unsigned char *at, const char *what) {
    size_t line = 1, column;
    const unsigned char *start = s->text;
    for (const unsigned char *q = s->text; q < at; q++)
        if (*q == '\n') {
            line++;
            start = q + 1;
        }
    column = (size_t)(at - start) + 1;
    return FC_FAIL(FC_ERR_FORMAT, "%s: line %zu, column %zu: %s", s->name, line, column, what);
}

static void blanks(scanner *s) {
    while (s->p < s->end && (*s->p == ' ' || *s->p == '\n' || *s->p == '\r' || *s->p == '\t')) s->p++;
}

static bool digit(const scanner *s) { return s->p < s->end && *s->p >= '0' && *s->p <= '9'; }

/* Four hex digits at p, or -1. */
static int hex4(const unsigned char *p, const unsigned char *end) {
    int v = 0;
    if (end - p < 4) return -1;
    for (int i = 0; i < 4; i++) {
        int c = p[i] | 32;
        if (p[i] >= '0' && p[i] <= '9') v = v * 16 + (p[i] - '0');
        else if (c >= 'a' && c <= 'f') v = v * 16 + (c - 'a' + 10);
        else return -1;
    }
    return v;
}

static fc_status escape(scanner *s) { /* p is behind the backslash */
    const unsigned char *at = s->p - 1;
    int v;
    if (s->p == s->end) return bad(s, at, "the text ends inside a string");
    if (*s->p != 'u') {
        if (!*s->p || !strchr("\"\\/bfnrt", *s->p)) return bad(s, at, "an unknown escape in a string");
        s->p++;
        return FC_OK;
    }
    v = hex4(s->p + 1, s->end);
    if (v < 0) return bad(s, at, "\\u wants four hexadecimal digits");
    if (v == 0) return bad(s, at, "\\u0000 is not taken: a text cannot hold a NUL");
    if (v >= 0xDC00 && v < 0xE000) return bad(s, at, "a low surrogate without a high one");
    s->p += 5;
    if (v >= 0xD800 && v < 0xDC00) {
        v = s->end - s->p > 2 && s->p[0] == '\\' && s->p[1] == 'u' ? hex4(s->p + 2, s->end) : -1;
        if (v < 0xDC00 || v >= 0xE000) return bad(s, at, "a high surrogate without a low one");
        s->p += 6;
    }
    return FC_OK;
}

static fc_status string(scanner *s) {
    const unsigned char *at = s->p++;
    while (s->p < s->end) {
        unsigned char c = *s->p;
        if (c == '"') {
            s->p++;
            return FC_OK;
        }
        if (c < 0x20) return bad(s, s->p, c ? "a raw control character in a string" : "a NUL in a string");
        s->p++;
        if (c == '\\') FC_TRY(escape(s));
    }
    return bad(s, at, "the string that begins here has no end");
}

static fc_status number(scanner *s) {
    const unsigned char *at = s->p, *first;
    bool whole = true, fits = true, negative = *s->p == '-';
    uint64_t v = 0;
    if (negative) s->p++;
    first = s->p;
    if (!digit(s)) return bad(s, at, "a minus sign without a number");
    if (*first == '0' && s->end - first > 1 && first[1] >= '0' && first[1] <= '9')
        return bad(s, at, "a number with a leading zero");
    for (; digit(s); s->p++)
        if (__builtin_mul_overflow(v, (uint64_t)10, &v) || __builtin_add_overflow(v, (uint64_t)(*s->p - '0'), &v))
            fits = false;
    if (s->p - first < 16) fits = false; /* the double is exact */
    if (s->p < s->end && *s->p == '.') {
        whole = false;
        s->p++;
        if (!digit(s)) return bad(s, at, "a number that ends in a point");
        while (digit(s)) s->p++;
    }
    if (s->p < s->end && (*s->p == 'e' || *s->p == 'E')) {
        whole = false;
        s->p++;
        if (s->p < s->end && (*s->p == '+' || *s->p == '-')) s->p++;
        if (!digit(s)) return bad(s, at, "a number without digits in its exponent");
        while (digit(s)) s->p++;
    }
    if (s->p - at > NUMBER_MAX) return bad(s, at, "a number of more than 63 characters");
    if (whole && fits) {
        void *w = s->out.wide;
        FC_TRY(fc_grow(&w, &s->wide_cap, s->out.n_wide + 1, sizeof *s->out.wide, s->name));
        s->out.wide = w;
        s->out.wide[s->out.n_wide++] = (fc_json_wide){.value = s->out.values - 1, .magnitude = v, .negative = negative};
    }
    return FC_OK;
}

static fc_status word(scanner *s, const char *w) {
    size_t n = strlen(w);
    if ((size_t)(s->end - s->p) < n || memcmp(s->p, w, n) != 0) return bad(s, s->p, "neither a value nor its end");
    s->p += n;
    return FC_OK;
}

/* A key and its colon. */
static fc_status key(scanner *s) {
    blanks(s);
    if (s->p == s->end) return bad(s, s->p, "the text ends inside an object");
    if (*s->p != '"') return bad(s, s->p, "a key in quotes is expected");
    FC_TRY(string(s));
    blanks(s);
    if (s->p == s->end || *s->p != ':') return bad(s, s->p, "a colon is expected behind the key");
    s->p++;
    return FC_OK;
}

/* One value, or the opening of one. *opened: a container was entered and its first value comes next. */
static fc_status value(scanner *s, bool *opened) {
    unsigned char c;
    *opened = false;
    blanks(s);
    if (s->p == s->end) return bad(s, s->p, "the text ends where a value is expected");
    s->out.values++;
    c = *s->p;
    if (c == '"') return string(s);
    if (c == '-' || digit(s)) return number(s);
    if (c == 't') return word(s, "true");
    if (c == 'f') return word(s, "false");
    if (c == 'n') return word(s, "null");
    if (c != '[' && c != '{') return bad(s, s->p, "neither a value nor its end");
    if (s->depth == FC_JSON_DEPTH) return bad(s, s->p, "more than 32 levels deep");
    s->open[s->depth++] = c;
    s->p++;
    blanks(s);
    if (s->p < s->end && *s->p == (c == '[' ? ']' : '}')) {
        s->p++;
        s->depth--;
        return FC_OK;
    }
    if (c == '{') FC_TRY(key(s));
    *opened = true;
    return FC_OK;
}

static fc_status document(scanner *s) {
    bool opened;
    size_t at;
    if (!fc_utf8_valid((const char *)s->text, (size_t)(s->end - s->text), &at))
        return bad(s, s->text + at, "not UTF-8");
    FC_TRY(value(s, &opened));
    while (s->depth) {
        unsigned char c = s->open[s->depth - 1], next;
        if (!opened) { /* behind a value inside a container */
            blanks(s);
            next = s->p < s->end ? *s->p : '\0';
            if (next == (c == '[' ? ']' : '}')) {
                s->p++;
                s->depth--;
                continue;
            }
            if (next != ',') return bad(s, s->p, c == '[' ? "a comma or ] is expected" : "a comma or } is expected");
            s->p++;
            if (c == '{') FC_TRY(key(s));
        }
        FC_TRY(value(s, &opened));
    }
    blanks(s);
    return s->p == s->end ? FC_OK : bad(s, s->p, "text behind the document's end");
}

fc_status fc_json_scan(const char *name, const char *text, size_t size, fc_json_census *out) {
    const unsigned char *t = (const unsigned char *)text;
    scanner s = {.name = name, .text = t, .p = t, .end = t + size};
    fc_status st = document(&s);
    if (st) {
        fc_free(s.out.wide);
        return st;
    }
    *out = s.out;
    return FC_OK;
}
