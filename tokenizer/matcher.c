#define _GNU_SOURCE /* memmem */
#include "tokenizer/matcher.h"

#include "engine/base/mem.h"
#include "tokenizer/text.h"

#include <string.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

/* Steps that one attempt may take before it is counted. A matched character of the usual expressions takes a few. */
enum {
    FREE_STEPS = 256,
    STEPS_PER_BYTE = 32,
    STEPS_AT_LEAST = 1 << 20,
    HEAP_KIB = 512 * 1024,
    LONGEST_PATTERN = 16384
};

fc_status fc_matcher_literal(fc_matcher *m, const char *name, const char *text, size_t size) {
    memset(m, 0, sizeof *m);
    m->kind = FC_MATCH_LITERAL;
    m->name = name;
    if (size == 0) return FC_FAIL(FC_ERR_UNSUPPORTED, "%s: an empty pattern", name);
    return fc_str_put(&m->text, text, size);
}

void fc_matcher_class(fc_matcher *m, const char *name, bool (*in_class)(uint32_t)) {
    memset(m, 0, sizeof *m);
    m->kind = FC_MATCH_CLASS;
    m->name = name;
    m->in_class = in_class;
}

/* ---- Oniguruma to PCRE2 ---------------------------------------------------------------------------------- */

typedef struct {
    const char *name, *p, *end, *whole;
    size_t whole_size;
    fc_str *out;
} rewrite;

static fc_status refuse(const rewrite *r, const char *what) {
    return FC_FAIL(FC_ERR_UNSUPPORTED, "%s: %s, at byte %zu of the expression \"%.*s\"", r->name, what,
                   (size_t)(r->p - r->whole), r->whole_size > 200 ? 200 : (int)r->whole_size, r->whole);
}

/* \p{Name}: general categories as they are; scripts by their own property, as PCRE2 would take script extensions. */
static fc_status put_property(rewrite *r) {
    static const char *const binary[] = {"Alphabetic", "White_Space", "Lowercase", "Uppercase", "Emoji", "Any"};
    const char *close, *name;
    size_t size;
    bool plain;
    if (r->p + 1 >= r->end || r->p[1] != '{' || !(close = memchr(r->p, '}', (size_t)(r->end - r->p))))
        return refuse(r, "\\p without {name}");
    FC_TRY(fc_str_put(r->out, "\\", 1));
    FC_TRY(fc_str_put(r->out, r->p, 2)); /* p{ */
    name = r->p + 2;
    if (name < close && *name == '^') {
        FC_TRY(fc_str_puts(r->out, "^"));
        name++;
    }
    size = (size_t)(close - name);
    plain = size <= 2;
    for (size_t i = 0; i < sizeof binary / sizeof *binary; i++)
        if (strlen(binary[i]) == size && memcmp(binary[i], name, size) == 0) plain = true;
    for (size_t i = 0; i < size; i++)
        if (!((name[i] | 0x20) >= 'a' && (name[i] | 0x20) <= 'z') && name[i] != '_')
            return refuse(r, "a property name that is not letters");
    if (!plain) FC_TRY(fc_str_puts(r->out, "sc:"));
    FC_TRY(fc_str_put(r->out, name, size + 1));
    r->p = close + 1;
    return FC_OK;
}

static fc_status put_escape(rewrite *r, bool in_class) {
    static const struct {
        char c;
        const char *alone, *in_class; /* NULL: cannot stand there */
    } known[] = {
        {'s', "\\p{White_Space}", "\\p{White_Space}"},
        {'S', "\\P{White_Space}", "\\P{White_Space}"},
        {'d', "\\p{Nd}", "\\p{Nd}"},
        {'D', "\\P{Nd}", "\\P{Nd}"},
        {'w', "[\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}]", "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}"},
        {'W', "[^\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}]", NULL},
        {'r', "\\r", "\\r"},
        {'n', "\\n", "\\n"},
        {'t', "\\t", "\\t"},
        {'f', "\\f", "\\f"},
        {'v', "\\x0b", "\\x0b"},
        {'a', "\\a", "\\a"},
        {'e', "\\e", "\\e"},
        {'A', "\\A", NULL},
        {'z', "\\z", NULL},
    };
    char c;
    r->p++; /* the backslash */
    if (r->p >= r->end) return refuse(r, "a backslash at the end");
    c = *r->p;
    if (c == 'p' || c == 'P') return put_property(r);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (known[i].c == c) {
            const char *to = in_class ? known[i].in_class : known[i].alone;
            if (!to) return refuse(r, "this escape inside a class");
            r->p++;
            return fc_str_puts(r->out, to);
        }
    if (c == 'x' || c == 'u') { /* \xHH, \x{H...}, \uHHHH */
        const char *digits = r->p + 1, *end;
        uint32_t cp = 0;
        bool braced = c == 'x' && digits < r->end && *digits == '{';
        if (braced) digits++;
        for (end = digits; end < r->end && end - digits < (braced ? 6 : c == 'u' ? 4 : 2); end++) {
            int h = fc_text_byte_piece((char[6]){'<', '0', 'x', '0', *end, '>'}, 6, false);
            if (h < 0) break;
            cp = cp * 16 + (uint32_t)h;
        }
        if (end == digits || cp > 0x10FFFF || (cp >= 0xD800 && cp < 0xE000))
            return refuse(r, "a bad hexadecimal escape");
        if (c == 'u' && end - digits != 4) return refuse(r, "\\u without four digits");
        if (braced && (end >= r->end || *end != '}')) return refuse(r, "a bad hexadecimal escape");
        if (!braced && c == 'x' && cp > 0x7F) return refuse(r, "\\x of a byte outside ASCII");
        r->p = braced ? end + 1 : end;
        return fc_str_printf(r->out, "\\x{%X}", (unsigned)cp);
    }
    if (c && strchr(" !\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~", c)) { /* a character that stands for itself */
        FC_TRY(fc_str_put(r->out, r->p - 1, 2));
        r->p++;
        return FC_OK;
    }
    return refuse(r, "an escape that is not supported");
}

static fc_status put_class(rewrite *r) {
    bool first = true;
    FC_TRY(fc_str_put(r->out, r->p++, 1));
    if (r->p < r->end && *r->p == '^') FC_TRY(fc_str_put(r->out, r->p++, 1));
    for (; r->p < r->end; first = false) {
        if (*r->p == ']' && !first) return fc_str_put(r->out, r->p++, 1);
        if (*r->p == '\\') {
            FC_TRY(put_escape(r, true));
            continue;
        }
        if (*r->p == '[' || *r->p == ']') return refuse(r, "a class in a class");
        if (*r->p == '&' && r->p + 1 < r->end && r->p[1] == '&') return refuse(r, "an intersection of classes");
        FC_TRY(fc_str_put(r->out, r->p++, 1));
    }
    return refuse(r, "a class without an end");
}

static fc_status put_group(rewrite *r) {
    static const char *const known[] = {"(?:", "(?i:", "(?=", "(?!", "(?<=", "(?<!", "(?>"};
    size_t left = (size_t)(r->end - r->p);
    if (left >= 2 && r->p[1] == '*') return refuse(r, "a '(' followed by '*'"); /* PCRE2's verbs */
    if (left < 2 || r->p[1] != '?') return fc_str_put(r->out, r->p++, 1);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        size_t n = strlen(known[i]);
        if (left >= n && memcmp(r->p, known[i], n) == 0) {
            r->p += n;
            return fc_str_puts(r->out, known[i]);
        }
    }
    return refuse(r, "a kind of group that is not supported");
}

/* {n}, {n,} and {n,m}; a '+' behind them means another thing to PCRE2 and is refused. */
static fc_status put_count(rewrite *r) {
    const char *q = r->p + 1;
    int digits = 0;
    for (; q < r->end && ((*q >= '0' && *q <= '9') || (*q == ',' && digits > 0)); q++) digits++;
    if (digits == 0 || q >= r->end || *q != '}') return refuse(r, "a '{' that is not a count");
    if (q + 1 < r->end && (q[1] == '+' || q[1] == '?')) return refuse(r, "a count followed by '+' or '?'");
    FC_TRY(fc_str_put(r->out, r->p, (size_t)(q + 1 - r->p)));
    r->p = q + 1;
    return FC_OK;
}

static fc_status put_pattern(rewrite *r) {
    while (r->p < r->end) {
        switch (*r->p) {
        case '\\': FC_TRY(put_escape(r, false)); break;
        case '[': FC_TRY(put_class(r)); break;
        case '(': FC_TRY(put_group(r)); break;
        case '{': FC_TRY(put_count(r)); break;
        default: FC_TRY(fc_str_put(r->out, r->p++, 1)); break;
        }
    }
    return FC_OK;
}

fc_status fc_matcher_regex(fc_matcher *m, const char *name, const char *pattern, size_t size) {
    fc_str text = {0};
    rewrite r = {.name = name, .p = pattern, .end = pattern + size, .whole = pattern, .whole_size = size, .out = &text};
    int error = 0;
    PCRE2_SIZE at = 0;
    uint32_t empty = 0;
    fc_status st;
    memset(m, 0, sizeof *m);
    m->kind = FC_MATCH_REGEX;
    m->name = name;
    if (size == 0 || size > LONGEST_PATTERN)
        return FC_FAIL(FC_ERR_UNSUPPORTED, "%s: an expression of %zu bytes; 1 to %d are possible", name, size,
                       LONGEST_PATTERN);
    FC_TRY(fc_str_put(&m->text, pattern, size));
    FC_TRY_GOTO(st, put_pattern(&r), done);
    /* Anchored: fc_matcher_next walks the text itself, so that every attempt is counted against the budget. Multi-line
     * because that is what ^ and $ mean in Oniguruma's Ruby syntax. */
    m->code = pcre2_compile((PCRE2_SPTR)text.data, text.size,
                            PCRE2_UTF | PCRE2_UCP | PCRE2_ANCHORED | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &error,
                            &at, NULL);
    if (!m->code) {
        char why[128] = "";
        pcre2_get_error_message(error, (PCRE2_UCHAR *)why, sizeof why);
        st = FC_FAIL(FC_ERR_UNSUPPORTED, "%s: the expression \"%.*s\": %s", name, size > 200 ? 200 : (int)size, pattern,
                     why);
        goto done;
    }
    pcre2_pattern_info(m->code, PCRE2_INFO_MATCHEMPTY, &empty);
    if (empty) {
        st = FC_FAIL(FC_ERR_UNSUPPORTED, "%s: the expression \"%.*s\" can match nothing", name,
                     size > 200 ? 200 : (int)size, pattern);
        goto done;
    }
    pcre2_jit_compile(m->code, PCRE2_JIT_COMPLETE); /* where there is no JIT the interpreter does the same, slower */
done:
    fc_str_fini(&text);
    return st;
}

void fc_matcher_fini(fc_matcher *m) {
    pcre2_code_free(m->code);
    fc_str_fini(&m->text);
    memset(m, 0, sizeof *m);
}

/* ---- matching -------------------------------------------------------------------------------------------- */

fc_status fc_match_use_init(fc_match_use *u, size_t text_size) {
    memset(u, 0, sizeof *u);
    u->data = pcre2_match_data_create(1, NULL);
    u->context = pcre2_match_context_create(NULL);
    if (!u->data || !u->context) {
        fc_match_use_fini(u);
        return FC_FAIL(FC_ERR_MEM, "no memory to match an expression");
    }
    pcre2_set_heap_limit(u->context, HEAP_KIB);
    u->budget = STEPS_AT_LEAST + (uint64_t)text_size * STEPS_PER_BYTE;
    return FC_OK;
}

void fc_match_use_fini(fc_match_use *u) {
    pcre2_match_data_free(u->data);
    pcre2_match_context_free(u->context);
    memset(u, 0, sizeof *u);
}

/* One anchored attempt. *end = from when it does not match. An attempt that takes many steps is repeated with a larger
 * limit, and what the smaller one took is paid from the budget: so cheap attempts cost nothing, and long runs of
 * blanks, which cost in proportion to what they match, are paid for by the text's own size. */
static fc_status attempt(const fc_matcher *m, fc_match_use *u, const char *text, size_t size, size_t from,
                         size_t *end) {
    uint64_t steps = FREE_STEPS;
    uint32_t options = PCRE2_NO_UTF_CHECK;
    for (;;) {
        int rc;
        pcre2_set_match_limit(u->context, steps > UINT32_MAX ? UINT32_MAX : (uint32_t)steps);
        rc = pcre2_match(m->code, (PCRE2_SPTR)text, size, from, options, u->data, u->context);
        if (rc >= 0) {
            *end = pcre2_get_ovector_pointer(u->data)[1];
            return FC_OK;
        }
        if (rc == PCRE2_ERROR_NOMATCH) {
            *end = from;
            return FC_OK;
        }
        if (rc == PCRE2_ERROR_JIT_STACKLIMIT) {
            options |= PCRE2_NO_JIT;
        } else if (rc == PCRE2_ERROR_MATCHLIMIT && steps < u->budget) {
            u->budget -= steps;
            steps = steps * 8 < u->budget ? steps * 8 : u->budget;
        } else {
            return FC_FAIL(FC_ERR_UNSUPPORTED,
                           "%s: the expression \"%.200s\" takes too many steps on this text (byte %zu of %zu)", m->name,
                           fc_str_text(&m->text), from, size);
        }
    }
}

fc_status fc_matcher_next(const fc_matcher *m, fc_match_use *u, const char *text, size_t size, size_t from,
                          size_t *start, size_t *end) {
    uint32_t cp;
    if (m->kind == FC_MATCH_LITERAL) {
        const char *hit = from < size ? memmem(text + from, size - from, m->text.data, m->text.size) : NULL;
        *start = hit ? (size_t)(hit - text) : size;
        *end = hit ? *start + m->text.size : size;
        return FC_OK;
    }
    while (from < size) {
        size_t n = fc_text_next(text + from, &cp);
        if (m->kind == FC_MATCH_CLASS) {
            *end = m->in_class(cp) ? from + n : from;
        } else {
            FC_TRY(attempt(m, u, text, size, from, end));
        }
        if (*end > from) {
            *start = from;
            return FC_OK;
        }
        from += n;
    }
    *start = *end = size;
    return FC_OK;
}
