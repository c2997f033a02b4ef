/* options_text - values of options from text: flags, and whatever else has no types. */
#include "engine/base/mem.h"
#include "engine/base/status.h"
#include "engine/options.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* text, whole or up to `stop`, as a number of base 10. */
static bool read_whole(const char *text, const char *stop, int64_t *out) {
    char *end;
    long long v;
    if (*text != '-' && (*text < '0' || *text > '9')) return false;
    errno = 0;
    v = strtoll(text, &end, 10);
    if (errno || end == text || end != stop) return false;
    *out = v;
    return true;
}

static fc_status no_choice(const fc_option *o, const char *said, const char *text) {
    char choices[256];
    return FC_FAIL(FC_ERR_ARG, "%s: \"%.60s\"; it is %s", said, text, fc_option_choices(o, choices, sizeof choices));
}

static fc_status text_int(const fc_option *o, const char *said, const char *text, fc_option_value *v) {
    if (!read_whole(text, text + strlen(text), &v->whole) || (double)v->whole < o->min || (double)v->whole > o->max)
        return FC_FAIL(FC_ERR_ARG, "%s: \"%.60s\" is not a whole number from %.0f to %.0f", said, text, o->min, o->max);
    if (o->choices && fc_option_choice(o, text, strlen(text)) < 0) return no_choice(o, said, text);
    return FC_OK;
}

static fc_status text_big(const fc_option *o, const char *said, const char *text, fc_option_value *v) {
    char *end;
    if (o->kind == FC_OPTION_INT64) {
        if (!read_whole(text, text + strlen(text), &v->whole) || v->whole < 0)
            return FC_FAIL(FC_ERR_ARG, "%s: \"%.60s\" is not a whole number from 0 to %lld", said, text, LLONG_MAX);
        return FC_OK;
    }
    errno = 0;
    v->natural = strtoull(text, &end, 10);
    if (errno || *text < '0' || *text > '9' || *end)
        return FC_FAIL(FC_ERR_ARG, "%s: \"%.60s\" is not a whole number from 0 to %llu", said, text, ULLONG_MAX);
    return FC_OK;
}

static fc_status text_float(const fc_option *o, const char *said, const char *text, fc_option_value *v) {
    char *end;
    v->real = strtod(text, &end);
    if (end == text || *end || !(v->real >= o->min && v->real <= o->max))
        return FC_FAIL(FC_ERR_ARG, "%s: \"%.60s\" is not a number from %g to %g", said, text, o->min, o->max);
    return FC_OK;
}

static fc_status text_words(const fc_option *o, const char *said, const char *text, fc_option_value *v) {
    uint32_t bits;
    for (const char *at = text;;) {
        size_t n = strcspn(at, ",");
        if (fc_option_choice(o, at, n) < 0) return no_choice(o, said, text);
        if (!at[n]) break;
        at += n + 1;
    }
    FC_TRY(fc_off_parse(text, &bits));
    v->natural = bits;
    return FC_OK;
}

/* ID or ID=VALUE, up to `stop`. */
static bool read_id(const char *text, const char *stop, bool biased, int32_t *id, float *value) {
    const char *equals = biased ? memchr(text, '=', (size_t)(stop - text)) : stop;
    int64_t v;
    char *end;
    if (!equals || *text == '-' || !read_whole(text, equals, &v) || v > INT32_MAX) return false;
    *id = (int32_t)v;
    if (!biased) return true;
    *value = strtof(equals + 1, &end);
    if (end == equals + 1 || end != stop) return false;
    return *value == -INFINITY || (*value >= -(float)FC_BIAS_MAX && *value <= (float)FC_BIAS_MAX);
}

/* ids and values [1 + commas] are the caller's to free. */
static fc_status text_ids(const fc_option *o, const char *said, const char *text, int32_t *ids, float *values,
                          size_t *n) {
    bool biased = o->kind == FC_OPTION_BIASES;
    *n = 0;
    for (const char *at = text;;) {
        const char *stop = at + strcspn(at, ",");
        if (!read_id(at, stop, biased, &ids[*n], &values[*n]))
            return FC_FAIL(FC_ERR_ARG, "%s: \"%.*s\" is not %s", said, (int)(stop - at < 60 ? stop - at : 60), at,
                           biased ? "ID=VALUE, a token id and a number" : "a token id");
        ++*n;
        if (!*stop) return FC_OK;
        at = stop + 1;
    }
}

static fc_status name_it(fc_status st, const char *said) {
    return st ? FC_FAIL(st, "%s: %s", said, fc_status_text()) : FC_OK;
}

static fc_status set_ids(fc_option_target *t, const fc_option_row *row, const char *said, const char *text) {
    fc_option_value v = {0};
    void *ids = NULL, *values = NULL;
    size_t most = 1;
    fc_status st;
    for (const char *c = text; *c; c++) most += *c == ',';
    st = fc_alloc(most, sizeof *v.ids, row->o.name, &ids);
    if (!st) st = fc_alloc(most, sizeof *v.values, row->o.name, &values);
    if (!st) st = text_ids(&row->o, said, text, ids, values, &v.n);
    v.ids = ids;
    v.values = values;
    if (!st) st = name_it(fc_option_store(t, row, &v), said);
    fc_free(values);
    fc_free(ids);
    return st;
}

static fc_status read_text(const fc_option *o, const char *said, const char *text, fc_option_value *v) {
    v->text = text;
    switch (o->kind) {
    case FC_OPTION_BOOL:
        v->yes = strcmp(text, "true") == 0;
        if (v->yes || strcmp(text, "false") == 0) return FC_OK;
        return FC_FAIL(FC_ERR_ARG, "%s: \"%.60s\"; it is true or false", said, text);
    case FC_OPTION_INT: return text_int(o, said, text, v);
    case FC_OPTION_INT64:
    case FC_OPTION_UINT64: return text_big(o, said, text, v);
    case FC_OPTION_FLOAT: return text_float(o, said, text, v);
    case FC_OPTION_BYTES:
        if (fc_option_bytes(text, &v->natural)) return FC_OK;
        if (v->natural) return FC_FAIL(FC_ERR_ARG, "%s: \"%.60s\" is too large; it is at most 900000T", said, text);
        return FC_FAIL(FC_ERR_ARG, "%s: \"%.60s\" is not a number of bytes, such as 512M or 2G", said, text);
    case FC_OPTION_CHOICE:
    case FC_OPTION_WORD:
        v->whole = fc_option_choice(o, text, strlen(text));
        return v->whole < 0 ? no_choice(o, said, text) : FC_OK;
    case FC_OPTION_WORDS: return text_words(o, said, text, v);
    case FC_OPTION_TEXT:
    case FC_OPTION_PATH:
    case FC_OPTION_TEXTS: return text[0] ? FC_OK : FC_FAIL(FC_ERR_ARG, "%s: it is empty", said);
    case FC_OPTION_IDS:
    case FC_OPTION_BIASES: break;
    }
    return FC_FAIL(FC_ERR_INTERNAL, "%s: kind %d", said, (int)o->kind);
}

fc_status fc_option_set_text(fc_option_target *t, const char *name, const char *text) {
    int i = fc_option_index(name);
    const fc_option_row *row;
    const char *said = t->said ? t->said : name;
    fc_option_value v = {0};
    char *place;
    if (i < 0) return FC_FAIL(FC_ERR_ARG, "%.60s: there is no such option", said);
    row = fc_option_row_at((size_t)i);
    FC_TRY(
        name_it(fc_option_place(t, &row->o, &place), said)); /* before the value: who may not set it is told so first */
    if (row->o.kind == FC_OPTION_IDS || row->o.kind == FC_OPTION_BIASES) return set_ids(t, row, said, text);
    FC_TRY(read_text(&row->o, said, text, &v));
    v.texts = &text;
    v.n = 1;
    return name_it(fc_option_store(t, row, &v), said);
}
