#include "engine/app/bench/cases.h"

#include "engine/base/mem.h"

#include <stdio.h>
#include <string.h>

/* ---- values as text ---- */

/* A scalar of a result; what is no scalar is "". */
static void put_value(const fc_json *n, char *out, size_t size) {
    const char *text = "";
    double number;
    bool on;
    snprintf(out, size, "%s", n ? "" : "nothing");
    if (!n) return;
    if (fc_json_kind(n) == FC_JSON_STRING && fc_json_string(n, &text) == FC_OK) snprintf(out, size, "%s", text);
    if (fc_json_kind(n) == FC_JSON_NUMBER && fc_json_double(n, &number) == FC_OK) snprintf(out, size, "%.9g", number);
    if (fc_json_kind(n) == FC_JSON_BOOL && fc_json_bool(n, &on) == FC_OK)
        snprintf(out, size, "%s", on ? "true" : "false");
}

static bool same_value(const fc_json *a, const fc_json *b) {
    const char *of_a, *of_b;
    char x[256], y[256];
    if (a && b && fc_json_kind(a) == FC_JSON_STRING && fc_json_kind(b) == FC_JSON_STRING)
        return !fc_json_string(a, &of_a) && !fc_json_string(b, &of_b) && strcmp(of_a, of_b) == 0; /* of any length */
    put_value(a, x, sizeof x);
    put_value(b, y, sizeof y);
    return strcmp(x, y) == 0;
}

/* ---- what differs ---- */

static fc_status put_unlike(const char *key, const fc_json *a, const fc_json *b, fc_str *out) {
    char x[256], y[256];
    put_value(a, x, sizeof x);
    put_value(b, y, sizeof y);
    return fc_str_printf(out, "%s%s: %s and %s", out->size ? "; " : "", key, x, y);
}

static fc_status differ(const fc_json *a, const fc_json *b, const char *key, fc_str *out) {
    const fc_json *of_a = fc_json_get(a, key), *of_b = fc_json_get(b, key);
    return same_value(of_a, of_b) ? FC_OK : put_unlike(key, of_a, of_b, out);
}

/* What differs of the conditions, but the seed and the salt, which are luck, and what is compared. */
static bool is_luck(const char *key) { return strcmp(key, "seed") == 0 || strcmp(key, "salt") == 0; }

static fc_status conditions(const fc_json *a, const fc_json *b, fc_str *out) {
    static const char *const machine[] = {"cpu", "cores", "gpu"};
    const fc_json *x = fc_json_get(a, "settings"), *y = fc_json_get(b, "settings");
    FC_TRY(differ(a, b, "program", out));
    for (size_t i = 0; i < sizeof machine / sizeof *machine; i++)
        FC_TRY(differ(fc_json_get(a, "machine"), fc_json_get(b, "machine"), machine[i], out));
    for (const fc_json *n = x ? fc_json_first(x) : NULL; n; n = fc_json_next(n))
        if (!is_luck(fc_json_key(n))) FC_TRY(differ(x, y, fc_json_key(n), out));
    for (const fc_json *n = y ? fc_json_first(y) : NULL; n; n = fc_json_next(n))
        if (!is_luck(fc_json_key(n)) && !fc_json_get(x, fc_json_key(n))) FC_TRY(differ(x, y, fc_json_key(n), out));
    return FC_OK;
}

/* ---- what tells no cases apart ---- */

static const fc_json *value_of(const fc_json *row, const char *of, const char *key) {
    return fc_json_get(fc_json_get(row, of), key);
}

static bool is_constant(const fc_json *rows, const char *of, const char *key) {
    const fc_json *first = value_of(fc_json_first(rows), of, key);
    for (const fc_json *r = fc_json_first(rows); r; r = fc_json_next(r))
        if (!same_value(value_of(r, of, key), first)) return false;
    return true;
}

static fc_status put_aside(bench_cases *c, const char *of, const char *key, bool *is) {
    const fc_json *x = value_of(fc_json_first(c->rows[0]), of, key), *y = value_of(fc_json_first(c->rows[1]), of, key);
    *is = !same_value(x, y) && is_constant(c->rows[0], of, key) && is_constant(c->rows[1], of, key);
    return *is ? put_unlike(strcmp(of, "case") == 0 ? key : of, x, y, &c->unlike) : FC_OK;
}

static bool is_aside(const bench_cases *c, const char *key) {
    for (size_t i = 0; i < c->n_aside; i++)
        if (strcmp(c->aside[i], key) == 0) return true;
    return false;
}

static fc_status find_aside(bench_cases *c) {
    bool is;
    for (int i = 0; i < 2; i++)
        for (const fc_json *n = fc_json_first(fc_json_get(fc_json_first(c->rows[i]), "case")); n; n = fc_json_next(n)) {
            void *p = (void *)c->aside;
            if (is_aside(c, fc_json_key(n))) continue;
            FC_TRY(put_aside(c, "case", fc_json_key(n), &is));
            if (!is) continue;
            FC_TRY(fc_grow(&p, &c->cap_aside, c->n_aside + 1, sizeof *c->aside, "keys of cases"));
            c->aside = p;
            c->aside[c->n_aside++] = fc_json_key(n);
        }
    return put_aside(c, "subject", "name", &c->any_subject);
}

fc_status bench_cases_find(const fc_json *a, const fc_json *b, bench_cases *out) {
    out->rows[0] = fc_json_get(a, "rows");
    out->rows[1] = fc_json_get(b, "rows");
    FC_TRY(conditions(a, b, &out->unlike));
    return find_aside(out);
}

void bench_cases_fini(bench_cases *c) {
    fc_free((void *)c->aside);
    fc_str_fini(&c->unlike);
}

/* ---- rows ---- */

/* Has b's case all that a's has, but what is left out? */
static bool has_case(const bench_cases *c, const fc_json *a, const fc_json *b) {
    for (const fc_json *n = fc_json_first(fc_json_get(a, "case")); n; n = fc_json_next(n))
        if (!is_aside(c, fc_json_key(n)) && !same_value(n, value_of(b, "case", fc_json_key(n)))) return false;
    return true;
}

const fc_json *bench_cases_row(const bench_cases *c, int in, const fc_json *like) {
    for (const fc_json *r = fc_json_first(c->rows[in]); r; r = fc_json_next(r))
        if (has_case(c, r, like) && has_case(c, like, r) &&
            (c->any_subject || same_value(value_of(r, "subject", "name"), value_of(like, "subject", "name"))))
            return r;
    return NULL;
}

size_t bench_cases_common(const bench_cases *c) {
    size_t n = 0;
    for (const fc_json *r = fc_json_first(c->rows[0]); r; r = fc_json_next(r)) n += bench_cases_row(c, 1, r) != NULL;
    return n;
}

fc_status bench_cases_name(const bench_cases *c, const fc_json *row, fc_str *out) {
    char value[256];
    const char *comma = "";
    for (const fc_json *n = fc_json_first(fc_json_get(row, "case")); n; n = fc_json_next(n)) {
        if (is_aside(c, fc_json_key(n))) continue;
        put_value(n, value, sizeof value);
        FC_TRY(fc_str_printf(out, "%s%s %s", comma, fc_json_key(n), value));
        comma = ", ";
    }
    if (c->any_subject) return *comma ? FC_OK : fc_str_puts(out, "the only case");
    put_value(value_of(row, "subject", "name"), value, sizeof value);
    return fc_str_printf(out, "%s%s", comma, value);
}
