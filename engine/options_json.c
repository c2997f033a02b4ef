/* options_json - values of options from JSON, with the document's own sentences. */
#include "engine/base/json.h"
#include "engine/base/mem.h"
#include "engine/options.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static fc_status no_choice(const fc_option *o, const fc_json *n, const char *text) {
    char choices[256];
    return fc_json_fail(n, FC_ERR_FORMAT, "\"%.60s\"; it is %s", text, fc_option_choices(o, choices, sizeof choices));
}

static fc_status read_int(const fc_option *o, const fc_json *n, fc_option_value *v) {
    char text[24];
    FC_TRY(fc_json_int(n, (int64_t)o->min, (int64_t)o->max, &v->whole));
    snprintf(text, sizeof text, "%lld", (long long)v->whole);
    return o->choices && fc_option_choice(o, text, strlen(text)) < 0 ? no_choice(o, n, text) : FC_OK;
}

static fc_status read_float(const fc_json *n, double min, double max, double *out) {
    double v;
    FC_TRY(fc_json_double(n, &v));
    if (!(v >= min && v <= max))
        return fc_json_fail(n, FC_ERR_FORMAT, "it is %g; a number from %g to %g is expected", v, min, max);
    *out = v;
    return FC_OK;
}

static fc_status read_text(const fc_json *n, const char **out) {
    FC_TRY(fc_json_string(n, out));
    return **out ? FC_OK : fc_json_fail(n, FC_ERR_FORMAT, "it is empty");
}

/* A string of words apart by commas, or a list of such. */
static fc_status read_words(const fc_option *o, const fc_json *n, fc_option_value *v) {
    const char *text;
    uint32_t bits;
    if (fc_json_kind(n) == FC_JSON_ARRAY) {
        for (const fc_json *k = fc_json_first(n); k; k = fc_json_next(k)) {
            if (fc_json_kind(k) != FC_JSON_STRING) return fc_json_fail(k, FC_ERR_FORMAT, "a string is expected");
            FC_TRY(read_words(o, k, v));
        }
        return FC_OK;
    }
    FC_TRY(read_text(n, &text));
    for (const char *at = text; at;) {
        size_t size = strcspn(at, ",");
        if (fc_option_choice(o, at, size) < 0) return no_choice(o, n, text);
        at = at[size] ? at + size + 1 : NULL;
    }
    FC_TRY(fc_off_parse(text, &bits));
    v->natural |= bits;
    return FC_OK;
}

static fc_status read_bytes(const fc_json *n, fc_option_value *v) {
    const char *text;
    if (fc_json_kind(n) != FC_JSON_STRING) return fc_json_uint64(n, &v->natural);
    FC_TRY(fc_json_string(n, &text));
    if (fc_option_bytes(text, &v->natural)) return FC_OK;
    if (v->natural) return fc_json_fail(n, FC_ERR_FORMAT, "\"%.60s\" is too large; it is at most 900000T", text);
    return fc_json_fail(n, FC_ERR_FORMAT, "\"%.60s\" is not a number of bytes, such as \"512M\"", text);
}

/* A string, or a list of them. */
static fc_status read_texts(const fc_json *n, fc_arena *arena, fc_option_value *v) {
    bool single = fc_json_kind(n) == FC_JSON_STRING;
    const char **texts;
    void *p;
    if (!single && fc_json_kind(n) != FC_JSON_ARRAY)
        return fc_json_fail(n, FC_ERR_FORMAT, "a string or a list of strings is expected");
    FC_TRY(fc_arena_alloc(arena, single ? 1 : fc_json_count(n), sizeof *texts, &p));
    texts = p;
    for (const fc_json *k = single ? n : fc_json_first(n); k; k = single ? NULL : fc_json_next(k))
        FC_TRY(read_text(k, &texts[v->n++]));
    v->texts = texts;
    return FC_OK;
}

static fc_status read_ids(const fc_json *n, fc_arena *arena, fc_option_value *v) {
    int32_t *ids;
    void *p;
    if (fc_json_kind(n) != FC_JSON_ARRAY) return fc_json_fail(n, FC_ERR_FORMAT, "a list of token ids is expected");
    FC_TRY(fc_arena_alloc(arena, fc_json_count(n), sizeof *ids, &p));
    ids = p;
    for (const fc_json *k = fc_json_first(n); k; k = fc_json_next(k)) {
        int64_t id;
        FC_TRY(fc_json_int(k, 0, INT32_MAX, &id));
        ids[v->n++] = (int32_t)id;
    }
    v->ids = ids;
    return FC_OK;
}

/* One "id": value; the value false forbids the id. */
static fc_status read_bias(const fc_json *k, int32_t *id_out, float *value) {
    const char *key = fc_json_key(k);
    int64_t id = 0;
    size_t digits = strspn(key, "0123456789");
    bool allow = true;
    double v = 0;
    if (digits == 0 || digits > 10 || key[digits] || (digits > 1 && key[0] == '0'))
        return fc_json_fail(k, FC_ERR_FORMAT, "the key is no token id: decimal digits are expected");
    for (const char *c = key; *c; c++) id = id * 10 + (*c - '0');
    if (id > INT32_MAX) return fc_json_fail(k, FC_ERR_FORMAT, "the token id is above %d", INT32_MAX);
    *id_out = (int32_t)id;
    *value = -INFINITY;
    if (fc_json_kind(k) == FC_JSON_BOOL) {
        FC_TRY(fc_json_bool(k, &allow));
        if (!allow) return FC_OK;
        return fc_json_fail(k, FC_ERR_FORMAT, "it is true; a number, or false to forbid the id, is expected");
    }
    FC_TRY(read_float(k, -FC_BIAS_MAX, FC_BIAS_MAX, &v));
    *value = (float)v;
    return FC_OK;
}

static fc_status read_biases(const fc_json *n, fc_arena *arena, fc_option_value *v) {
    int32_t *ids;
    float *values;
    void *p;
    if (fc_json_kind(n) != FC_JSON_OBJECT)
        return fc_json_fail(n, FC_ERR_FORMAT, "an object of token ids and numbers is expected");
    FC_TRY(fc_arena_alloc(arena, fc_json_count(n), sizeof *ids, &p));
    ids = p;
    FC_TRY(fc_arena_alloc(arena, fc_json_count(n), sizeof *values, &p));
    values = p;
    for (const fc_json *k = fc_json_first(n); k; k = fc_json_next(k), v->n++)
        FC_TRY(read_bias(k, &ids[v->n], &values[v->n]));
    v->ids = ids;
    v->values = values;
    return FC_OK;
}

static fc_status read_value(const fc_option *o, const fc_json *n, fc_arena *arena, fc_option_value *v) {
    switch (o->kind) {
    case FC_OPTION_BOOL: return fc_json_bool(n, &v->yes);
    case FC_OPTION_INT: return read_int(o, n, v);
    case FC_OPTION_INT64: return fc_json_int(n, 0, INT64_MAX, &v->whole);
    case FC_OPTION_UINT64: return fc_json_uint64(n, &v->natural);
    case FC_OPTION_FLOAT: return read_float(n, o->min, o->max, &v->real);
    case FC_OPTION_BYTES: return read_bytes(n, v);
    case FC_OPTION_CHOICE:
    case FC_OPTION_WORD:
        if (fc_json_kind(n) == FC_JSON_BOOL && fc_option_choice(o, "true", 4) >= 0) {
            FC_TRY(fc_json_bool(n, &v->yes));
            v->text = v->yes ? "true" : "false"; /* of auto|true|false */
        } else FC_TRY(fc_json_string(n, &v->text));
        v->whole = fc_option_choice(o, v->text, strlen(v->text));
        return v->whole < 0 ? no_choice(o, n, v->text) : FC_OK;
    case FC_OPTION_WORDS: return read_words(o, n, v);
    case FC_OPTION_TEXT:
    case FC_OPTION_PATH: return fc_json_kind(n) == FC_JSON_NULL ? FC_OK : read_text(n, &v->text);
    case FC_OPTION_TEXTS: return read_texts(n, arena, v);
    case FC_OPTION_IDS: return read_ids(n, arena, v);
    case FC_OPTION_BIASES: return read_biases(n, arena, v);
    }
    return FC_FAIL(FC_ERR_INTERNAL, "%s: kind %d", o->name, (int)o->kind);
}

fc_status fc_option_set_json(fc_option_target *t, const char *name, const fc_json *value) {
    int i = fc_option_index(name);
    fc_option_value v = {.replace = true};
    fc_arena arena;
    fc_status st;
    char *place;
    if (i < 0) return fc_json_fail(value, FC_ERR_FORMAT, "there is no such option");
    fc_arena_init(&arena);
    st = fc_option_place(t, fc_option_at((size_t)i), &place); /* who may not set it is told so first */
    if (!st) st = read_value(fc_option_at((size_t)i), value, &arena, &v);
    if (!st) st = fc_option_store(t, fc_option_row_at((size_t)i), &v);
    fc_arena_fini(&arena);
    return st == FC_ERR_ARG ? fc_json_fail(value, FC_ERR_FORMAT, "%s", fc_status_text()) : st;
}
