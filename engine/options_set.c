/* options_set - values into structs: checked and copied. options_text.c and options_json.c read them. */
#include "engine/options.h"

#include "engine/base/mem.h"
#include "engine/base/status.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What a target owns. */
typedef struct {
    fc_arena arena;
    bool set[FC_OPTIONS_MAX];
} memory;

void fc_option_target_fini(fc_option_target *t) {
    memory *m = t->memory;
    if (m) fc_arena_fini(&m->arena);
    fc_free(m);
    t->memory = NULL;
}

/* ---- storing ---- */

static fc_status find_struct(const fc_option_target *t, const fc_option_row *row, char **out) {
    if (row->o.scope == FC_SCOPE_ENGINE) {
        if (!t->engine) return FC_FAIL(FC_ERR_ARG, "it is an option of the engine: flag and recipe only");
        *out = (char *)t->engine;
        return FC_OK;
    }
    if (!t->request) return FC_FAIL(FC_ERR_ARG, "it is an option of a request, not of the engine");
    *out = row->o.scope == FC_SCOPE_REQUEST ? (char *)t->request : (char *)&t->request->sampling;
    return FC_OK;
}

fc_status fc_option_place(const fc_option_target *t, const fc_option *o, char **out) {
    const fc_option_row *row = fc_option_row_at((size_t)fc_option_index(o->name));
    char *base;
    FC_TRY(find_struct(t, row, &base));
    *out = base + row->at;
    return FC_OK;
}

static fc_status need_memory(fc_option_target *t, memory **out) {
    void *p = t->memory;
    if (!p) FC_TRY(fc_alloc(1, sizeof(memory), "options", &p));
    if (!t->memory) fc_arena_init(&((memory *)p)->arena);
    t->memory = p;
    *out = p;
    return FC_OK;
}

static fc_status copy_text(memory *m, const char *text, const char **out) {
    void *p;
    FC_TRY(fc_arena_alloc(&m->arena, strlen(text) + 1, 1, &p));
    memcpy(p, text, strlen(text) + 1);
    *out = p;
    return FC_OK;
}

/* old [n_old], then more [n], elements of size bytes. */
static fc_status join(memory *m, const void *old, size_t n_old, const void *more, size_t n, size_t size, void **out) {
    char *p;
    void *place;
    FC_TRY(fc_arena_alloc(&m->arena, n_old + n, size, &place));
    p = place;
    if (n_old) memcpy(p, old, n_old * size);
    if (n) memcpy(p + n_old * size, more, n * size);
    *out = place;
    return FC_OK;
}

/* Pointers are moved as bytes: each list has a type of its own. */
static fc_status store_list(memory *m, const fc_option_row *row, const fc_option_value *v, char *base, bool add) {
    size_t *count = (size_t *)(void *)(base + row->count_at), old = add ? *count : 0;
    void *list, *values, *joined;
    memcpy(&list, base + row->at, sizeof list);
    if (row->o.kind == FC_OPTION_TEXTS) {
        const char **texts;
        FC_TRY(join(m, list, old, v->texts, v->n, sizeof *texts, &joined));
        texts = joined;
        for (size_t i = old; i < old + v->n; i++) FC_TRY(copy_text(m, texts[i], &texts[i]));
    } else FC_TRY(join(m, list, old, v->ids, v->n, sizeof *v->ids, &joined));
    if (row->o.kind == FC_OPTION_BIASES) {
        memcpy(&values, base + row->values_at, sizeof values);
        FC_TRY(join(m, values, old, v->values, v->n, sizeof *v->values, &values));
        memcpy(base + row->values_at, &values, sizeof values);
    }
    memcpy(base + row->at, &joined, sizeof joined);
    *count = old + v->n;
    return FC_OK;
}

fc_status fc_option_store(fc_option_target *t, const fc_option_row *row, const fc_option_value *v) {
    int index = fc_option_index(row->o.name);
    memory *m;
    char *base;
    void *place;
    bool add;
    FC_TRY(find_struct(t, row, &base));
    FC_TRY(need_memory(t, &m));
    if (row->check) FC_TRY(row->check(v));
    place = base + row->at;
    add = m->set[index] && !v->replace;
    switch (row->o.kind) {
    case FC_OPTION_BOOL: *(bool *)place = v->yes != row->negated; break;
    case FC_OPTION_INT:
    case FC_OPTION_CHOICE: *(int *)place = (int)v->whole; break;
    case FC_OPTION_INT64: *(int64_t *)place = v->whole; break;
    case FC_OPTION_UINT64:
    case FC_OPTION_BYTES: *(uint64_t *)place = v->natural; break;
    case FC_OPTION_WORDS: *(uint32_t *)place = (add ? *(uint32_t *)place : 0) | (uint32_t)v->natural; break;
    case FC_OPTION_FLOAT: *(float *)place = (float)v->real; break;
    case FC_OPTION_WORD:
    case FC_OPTION_TEXT:
    case FC_OPTION_PATH: {
        const char *text = NULL;
        if (v->text) FC_TRY(copy_text(m, v->text, &text));
        *(const char **)place = text;
        break;
    }
    case FC_OPTION_TEXTS:
    case FC_OPTION_IDS:
    case FC_OPTION_BIASES: FC_TRY(store_list(m, row, v, base, add)); break;
    }
    m->set[index] = true;
    return FC_OK;
}

/* ---- what both readers need ---- */

int fc_option_choice(const fc_option *o, const char *text, size_t size) {
    int i = 0;
    for (const char *at = o->choices; *at; i++) {
        size_t n = strcspn(at, "|");
        if (n == size && memcmp(at, text, n) == 0) return i;
        at += n;
        at += *at == '|';
    }
    return -1;
}

const char *fc_option_choices(const fc_option *o, char *out, size_t size) {
    size_t used = 0;
    for (const char *at = o->choices; *at;) {
        size_t n = strcspn(at, "|");
        const char *comma = !used ? "" : at[n] ? ", " : " or ";
        int put = snprintf(out + used, size - used, "%s%.*s", comma, (int)n, at);
        if (put < 0 || (size_t)put >= size - used) break;
        used += (size_t)put;
        at += n;
        at += *at == '|';
    }
    return out;
}

bool fc_option_bytes(const char *text, uint64_t *out) {
    static const char units[] = "KMGT";
    const char *unit;
    char *end;
    double v = strtod(text, &end);
    *out = 0;
    if (end == text || (*text != '.' && (*text < '0' || *text > '9'))) return false;
    unit = *end ? strchr(units, *end) : NULL;
    for (const char *k = units; unit && k <= unit; k++) v *= 1024;
    if (unit) end++;
    if (*end || !(v >= 0)) return false;
    *out = v < 1e18 ? (uint64_t)v : UINT64_MAX;
    return v < 1e18;
}
