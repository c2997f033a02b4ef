/* table_settings - what rows are computed with, as texts and fingerprints. */
#include "engine/base/json.h"
#include "engine/base/mem.h"
#include "engine/base/os.h"
#include "engine/options.h"
#include "engine/recipe.h"
#include "engine/table.h"
#include "kernels/backend.h"
#include "weights_tools/fingerprint.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int fc_table_numerics(void) { return FC_NUMERICS; }

/* ---- settings ---- */

/* What changes no answer, or is told elsewhere: prompts, seeds and adapters. */
static bool is_left_out(const fc_option *o) {
    static const char *const names[] = {
        "seed",         "novelty_adapter", "alignment_adapter", "prompt_logprobs",   "prompt_top_logprobs",
        "top_logprobs", "cache_salt",      "priority",          "logprob_token_ids", "deadline_ms"};
    if (o->scope == FC_SCOPE_ENGINE) return strcmp(o->name, "batch_invariant") != 0 && strcmp(o->name, "precise") != 0;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(o->name, names[i]) == 0) return true;
    return false;
}

static fc_status put_text(const char *text, fc_str *out) {
    return text ? fc_json_put_string(out, text, strlen(text)) : fc_str_puts(out, "null");
}

static fc_status put_list(const fc_option_row *row, const char *base, fc_str *out) {
    size_t n;
    const void *list, *values = NULL;
    memcpy(&n, base + row->count_at, sizeof n);
    memcpy(&list, base + row->at, sizeof list);
    if (row->o.kind == FC_OPTION_BIASES) memcpy(&values, base + row->values_at, sizeof values);
    FC_TRY(fc_str_puts(out, "["));
    for (size_t i = 0; i < n; i++) {
        if (i) FC_TRY(fc_str_puts(out, ","));
        if (row->o.kind == FC_OPTION_TEXTS) FC_TRY(put_text(((const char *const *)list)[i], out));
        else FC_TRY(fc_str_printf(out, "%d", ((const int32_t *)list)[i]));
        if (values) FC_TRY(fc_str_printf(out, ",%.9g", (double)((const float *)values)[i]));
    }
    return fc_str_puts(out, "]");
}

/* place: what the option sets, in the struct at base. */
static fc_status put_value(const fc_option_row *row, const char *base, fc_str *out) {
    const void *place = base + row->at;
    char choice[64];
    const char *at = row->o.choices;
    switch (row->o.kind) {
    case FC_OPTION_BOOL: return fc_str_puts(out, *(const bool *)place != row->negated ? "true" : "false");
    case FC_OPTION_INT: return fc_str_printf(out, "%d", *(const int *)place);
    case FC_OPTION_CHOICE:
        for (int i = *(const int *)place; i > 0 && at; i--) at = strchr(at, '|') + 1;
        snprintf(choice, sizeof choice, "%.*s", (int)strcspn(at, "|"), at);
        return put_text(choice, out);
    case FC_OPTION_INT64: return fc_str_printf(out, "%lld", (long long)*(const int64_t *)place);
    case FC_OPTION_UINT64:
    case FC_OPTION_BYTES: return fc_str_printf(out, "%llu", (unsigned long long)*(const uint64_t *)place);
    case FC_OPTION_WORDS: return fc_str_printf(out, "%u", *(const uint32_t *)place);
    case FC_OPTION_FLOAT: return fc_str_printf(out, "%.9g", (double)*(const float *)place);
    case FC_OPTION_WORD: {
        const char *word = *(const char *const *)place;
        return put_text(word ? word : row->o.fallback, out); /* not said is what it is otherwise */
    }
    case FC_OPTION_TEXT:
    case FC_OPTION_PATH: return put_text(*(const char *const *)place, out);
    case FC_OPTION_TEXTS:
    case FC_OPTION_IDS:
    case FC_OPTION_BIASES: break;
    }
    return put_list(row, base, out);
}

fc_status fc_table_settings(const fc_request *r, const fc_engine_options *e, fc_str *out) {
    FC_TRY(fc_str_printf(out, "{\"score\":%s", r->score ? "true" : "false"));
    if (r->truncate_prompt_tokens < 0) FC_TRY(fc_str_printf(out, ",\"ctx\":%d", e->ctx)); /* it says how much is cut */
    for (size_t i = 0; i < fc_option_count(); i++) {
        const fc_option_row *row = fc_option_row_at(i);
        const char *base = row->o.scope == FC_SCOPE_ENGINE    ? (const char *)e
                           : row->o.scope == FC_SCOPE_REQUEST ? (const char *)r
                                                              : (const char *)&r->sampling;
        if (is_left_out(&row->o)) continue;
        FC_TRY(fc_str_printf(out, ",\"%s\":", row->o.name));
        FC_TRY(put_value(row, base, out));
    }
    return fc_str_puts(out, "}");
}

/* ---- fingerprints ---- */

static uint64_t put_hash(uint64_t h, const char *text) {
    return text ? fc_fingerprint_bytes(h, text, strlen(text) + 1) : fc_fingerprint_bytes(h, "", 0);
}

uint64_t fc_table_taxonomy(const fc_taxonomy_names *t) {
    uint64_t h = 0;
    for (size_t i = 0; i < t->n; i++) {
        h = put_hash(h, t->names[i]);
        h = put_hash(h, t->keywords ? t->keywords[i] : NULL);
        h = put_hash(h, t->parents ? t->parents[i] : NULL);
    }
    return h;
}

uint64_t fc_table_names(const fc_taxonomy_names *t, fc_diversity d) {
    fc_taxonomy_names read = *t;
    if (d != FC_DIVERSITY_KEYWORDS) read.keywords = NULL;
    if (d != FC_DIVERSITY_PARENT) read.parents = NULL;
    return fc_table_taxonomy(&read);
}

static uint64_t put_template(uint64_t h, const fc_template *t) {
    for (size_t i = 0; i < t->n; i++) {
        const int hole[2] = {(int)t->parts[i].hole, t->parts[i].index};
        h = fc_fingerprint_bytes(h, hole, sizeof hole);
        h = fc_fingerprint_bytes(h, t->parts[i].text, t->parts[i].size);
    }
    return h;
}

uint64_t fc_table_templates(const fc_recipe *r) {
    const char has[2] = {r->has_alignment_template, r->has_suffix};
    uint64_t h = fc_fingerprint_bytes(put_template(0, &r->novelty_template), has, sizeof has);
    if (has[0]) h = put_template(h, &r->alignment_template);
    for (size_t i = 0; i < r->n_labels; i++) h = put_hash(h, r->labels[i]);
    return has[1] ? put_template(h, &r->suffix) : h;
}

static fc_status put_file(const char *path, uint64_t *h) {
    fc_map m;
    FC_TRY(fc_map_open(path, &m));
    *h = fc_fingerprint_bytes(*h, m.data, m.size);
    fc_map_close(&m);
    return FC_OK;
}

static int is_seen(const struct dirent *d) { return d->d_name[0] != '.'; }
static int by_name(const struct dirent **a, const struct dirent **b) { return strcmp((*a)->d_name, (*b)->d_name); }

/* Its files in the order of their names; folders in it are left out. */
static fc_status put_folder(const char *folder, uint64_t *h) {
    struct dirent **list = NULL;
    fc_str path = {0};
    fc_status st = FC_OK;
    int n = scandir(folder, &list, is_seen, by_name);
    if (n < 0) return FC_FAIL(FC_ERR_IO, "%s: %s", folder, strerror(errno));
    for (int i = 0; i < n; i++) {
        fc_str_clear(&path);
        if (!st) st = fc_str_printf(&path, "%s/%s", folder, list[i]->d_name);
        if (!st && !fc_path_is_dir(fc_str_text(&path))) {
            *h = put_hash(*h, list[i]->d_name);
            st = put_file(fc_str_text(&path), h);
        }
        free(list[i]);
    }
    free(list);
    fc_str_fini(&path);
    return st;
}

fc_status fc_table_fingerprint(const char *path, uint64_t *out) {
    uint64_t h = 0;
    fc_str folder = {0};
    fc_status st;
    if (strncmp(path, "like:", 5) == 0) {
        *out = put_hash(h, path);
        return FC_OK;
    }
    if (fc_path_is_dir(path)) st = put_folder(path, &h);
    else if (fc_ends_with(path, ".gguf")) st = put_file(path, &h);
    else { /* what stands beside a safetensors file is part of the model */ st = fc_path_beside(path, ".", &folder);
        if (!st) st = put_folder(fc_str_text(&folder), &h);
    }
    fc_str_fini(&folder);
    if (!st) *out = h;
    return st;
}
