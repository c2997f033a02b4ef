/* lookup - /v1/lookup: a key out of a body, and the answer of a key that no table holds. */
#include "engine/app/openai/answer.h"
#include "engine/app/print_row.h"

#include <string.h>

static fc_status put_head(const char *source, json_object *o) {
    FC_TRY(fc_str_puts(o->out, "{"));
    FC_TRY(json_text(o, "object", "lookup", 6));
    return json_text(o, "source", source, strlen(source));
}

/* NULL where it is absent or null. */
static const fc_json *member(const fc_json *root, const char *name) {
    const fc_json *n = fc_json_get(root, name);
    return n && fc_json_kind(n) != FC_JSON_NULL ? n : NULL;
}

/* Names of the list as its key. */
static fc_status key_of(const fc_json *list, bool set, fc_str *key) {
    const char **names;
    fc_status st = FC_OK;
    size_t n = 0;
    void *mem;
    if (fc_json_kind(list) != FC_JSON_ARRAY || !fc_json_count(list))
        return fc_json_fail(list, FC_ERR_ARG, "a list of names is expected");
    FC_TRY(fc_alloc(fc_json_count(list), sizeof *names, "key", &mem));
    names = mem;
    for (const fc_json *k = fc_json_first(list); k && !st; k = fc_json_next(k)) st = fc_json_string(k, &names[n++]);
    if (!st && fc_table_key(names, n, set, key)) st = fc_json_fail(list, FC_ERR_ARG, "%s", fc_last_error());
    fc_free(mem);
    return st;
}

/* *param: the field that an error is in. */
static fc_status read_key(const openai_lookup *l, const fc_json *root, bool *live, fc_str *key, const char **param) {
    const fc_json *history = member(root, "history"), *n = member(root, "key");
    const char *text;
    *param = history || !n ? "history" : "key";
    if (!history == !n) return FC_FAIL(FC_ERR_ARG, "history: give it, or key%s", n ? "; both are given" : "");
    *live = history && l->histories;
    if (history && !l->histories)
        return fc_json_fail(history, FC_ERR_ARG, "the table's keys are no histories; give key");
    if (history) return key_of(history, l->set, key);
    FC_TRY(fc_json_string(n, &text));
    return fc_str_puts(key, text);
}

fc_status openai_lookup_key(const openai_lookup *l, const char *body, size_t size, fc_str *key, bool *live,
                            openai_error *e) {
    fc_json_doc *doc = NULL;
    const char *param = NULL;
    fc_status st = openai_read(body, size, &doc);
    if (!st) st = read_key(l, fc_json_root(doc), live, key, &param);
    fc_json_close(doc);
    if (st) openai_error_of(st, fc_last_error(), param, false, e);
    return st;
}

/* ---- live ---- */

/* The history as its key has it: of a set in the key's order, as the bulk job fills its templates. */
static fc_status split(openai_parse *p, char *key) {
    const char **names;
    size_t n = 1, at = 0;
    for (const char *c = key; *c; c++) n += *c == '\t';
    FC_TRY(openai_alloc(p, n, sizeof *names, &names));
    p->history = names;
    p->n_history = n;
    for (char *c = key; at < n; c++) {
        names[at++] = c;
        c += strcspn(c, "\t");
        *c = '\0';
    }
    return FC_OK;
}

fc_status openai_lookup_read(openai_parse *p) {
    const openai_lookup *l = &p->c->lookup;
    const openai_model *m = &p->s->models[0];
    fc_request *r = p->base;
    fc_str key = {0};
    char *copy = NULL;
    bool live;
    fc_status st = read_key(l, p->root, &live, &key, &p->param);
    if (!st) st = openai_alloc(p, key.size + 1, 1, &copy);
    if (!st) memcpy(copy, fc_str_text(&key), key.size);
    if (!st) p->show->key = copy;
    if (!st) st = openai_alloc(p, key.size + 1, 1, &copy);
    if (!st) memcpy(copy, fc_str_text(&key), key.size);
    if (!st) r->seed = fc_table_seed(l->seed, fc_str_text(&key));
    fc_str_fini(&key);
    FC_TRY(st);
    FC_TRY(split(p, copy));
    FC_TRY(openai_get_text(p, "retrieved", &p->retrieved));
    if (m->novelty_adapter) r->novelty_adapter = m->novelty_adapter;
    if (m->alignment_adapter) r->alignment_adapter = m->alignment_adapter;
    p->call->model = m->id;
    p->show->n = r->keep ? r->keep : r->n;
    p->show->best_of = r->n;
    st = openai_prompts_read(p);
    p->param = "history";
    return st;
}

fc_status openai_lookup_result(openai_answer *a, const fc_result *r, fc_str *out) {
    json_object o = {.out = out};
    FC_TRY(put_head("live", &o));
    FC_TRY(print_row_live(a->w->key, true, a->call->requests[0].seed, r, &o));
    return fc_str_puts(out, "}");
}

fc_status openai_lookup_row(const openai_lookup *l, const fc_table_row *r, fc_str *out) {
    json_object o = {.out = out};
    FC_TRY(put_head("table", &o));
    FC_TRY(print_row(r, l->histories, &o));
    return fc_str_puts(out, "}");
}
