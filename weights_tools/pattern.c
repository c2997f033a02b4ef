#include "weights_tools/pattern.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

enum { MAX_PATTERN = 256, MAX_COUNT = 16, MAX_COUNTS = 3 };

typedef struct {
    const char *p;             /* what is left of Python's */
    char out[8 * MAX_PATTERN]; /* the longest step, \\w, makes 12 of 2 bytes */
    size_t n;
    int counts; /* counted repetitions so far: nested ones multiply what is compiled */
} translation;

static void put(translation *t, const char *s, size_t n) {
    memcpy(t->out + t->n, s, n);
    t->n += n;
}
static void put_text(translation *t, const char *s) { put(t, s, strlen(s)); }

/* Behind a backslash, outside brackets. GNU gives some escaped signs a meaning of its own: only those of POSIX stay. */
static bool take_escape(translation *t) {
    char c = *t->p++;
    if (c == 'd') put_text(t, "[0-9]");
    else if (c == 'w') put_text(t, "[A-Za-z0-9_]");
    else if (c == 'b') put_text(t, "\\b");
    else if (c && strchr(".[]{}()*+?^$|\\", c)) put(t, t->p - 2, 2);
    else if (c && ispunct((unsigned char)c)) put(t, &c, 1);
    else return false;
    return true;
}

/* From behind '[' to behind ']'. */
static bool take_bracket(translation *t) {
    put_text(t, "[");
    if (*t->p == '^') put(t, t->p++, 1);
    if (*t->p == ']') put(t, t->p++, 1);
    for (; *t->p != ']'; t->p++) {
        if (!*t->p || *t->p == '[') return false; /* [: [. [= mean something in POSIX */
        if (*t->p != '\\') {
            put(t, t->p, 1);
            continue;
        }
        t->p++;
        if (*t->p == 'd') put_text(t, "0-9");
        else if (*t->p == 'w') put_text(t, "A-Za-z0-9_");
        else if (*t->p == '.' || *t->p == '_') put(t, t->p, 1);
        else return false;
    }
    put(t, t->p++, 1);
    return true;
}

/* From behind '{' to behind '}': one or two small numbers. */
static bool take_count(translation *t) {
    int lo = 0, hi = 0, used = 0;
    if (sscanf(t->p, "%2d}%n", &lo, &used) >= 1 && used) hi = lo;
    else if (sscanf(t->p, "%2d,}%n", &lo, &used) >= 1 && used) hi = lo;
    else if (sscanf(t->p, "%2d,%2d}%n", &lo, &hi, &used) < 2 || !used) return false;
    if (lo < 0 || hi < lo || hi > MAX_COUNT || ++t->counts > MAX_COUNTS) return false;
    put_text(t, "{");
    put(t, t->p, (size_t)used);
    t->p += used;
    return true;
}

static bool translate(translation *t) {
    bool repeated = false; /* what stands before is a quantifier */
    while (*t->p) {
        char c = *t->p++;
        bool quantifier = c == '*' || c == '+' || c == '?' || c == '{';
        if ((unsigned char)c < 0x20 || (unsigned char)c > 0x7e) return false;
        if (repeated && quantifier) { /* only the ? of a lazy one may follow */
            if (c != '?') return false;
            repeated = false;
            continue;
        }
        repeated = quantifier;
        if (c == '\\') {
            if (!take_escape(t)) return false;
        } else if (c == '[') {
            if (!take_bracket(t)) return false;
        } else if (c == '{') {
            if (!take_count(t)) return false;
        } else {
            put(t, &c, 1);
            if (c == '(' && t->p[0] == '?') {
                if (t->p[1] != ':') return false;
                t->p += 2;
            }
        }
    }
    return true;
}

fc_status fc_pattern_open(const char *path, const char *python, bool tail, fc_pattern *out) {
    translation t = {.p = python};
    if (strlen(python) > MAX_PATTERN)
        return FC_FAIL(FC_ERR_UNSUPPORTED, "%s: an expression of %zu bytes; %d are possible", path, strlen(python),
                       MAX_PATTERN);
    put_text(&t, tail ? "^(.*\\.)?(" : "^(");
    if (!translate(&t))
        return FC_FAIL(FC_ERR_UNSUPPORTED, "%s: the expression \"%s\" has parts that are not understood", path, python);
    put_text(&t, ")$");
    t.out[t.n] = 0;
    if (regcomp(&out->re, t.out, REG_EXTENDED | REG_NOSUB) != 0)
        return FC_FAIL(FC_ERR_UNSUPPORTED, "%s: the expression \"%s\" is not understood", path, python);
    return FC_OK;
}

void fc_pattern_fini(fc_pattern *p) { regfree(&p->re); }

bool fc_pattern_matches(const fc_pattern *p, const char *name) { return regexec(&p->re, name, 0, NULL, 0) == 0; }
