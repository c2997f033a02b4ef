/* lookup - /v1/lookup: a key out of a body, and the answer of a key that no table holds. */
#include "engine/app/openai/answer.h"
#include "engine/app/openai/fields.h"
#include "engine/app/print_row.h"

#include <string.h>

static fc_status put_head(const char *source, json_object *o) {
    FC_TRY(fc_str_puts(o->out, "{"));
    FC_TRY(json_text(o, "object", "lookup", 6));
    return json_text(o, "source", source, strlen(source));
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

/* What a look-up has no use for: rows are drawn as the recipe says, by the models that are served first. */
static fc_status read_fields(openai_parse *p) {
    static const char *const own[] = {"model", "history", "key", "retrieved", "priority", "cache_salt"};
    const openai_model *m;
    const fc_json *n;
    for (const fc_json *k = fc_json_first(p->root); k; k = fc_json_next(k)) {
        const char *name = fc_json_key(k);
        const openai_field *drawn = openai_field_find(name, strlen(name));
        bool mine = fc_json_kind(k) == FC_JSON_NULL;
        for (size_t i = 0; i < sizeof own / sizeof *own; i++) mine = mine || strcmp(own[i], name) == 0;
        if (!mine && !drawn) openai_ignore(p, name);
        if (mine || !drawn || drawn->how == OPENAI_TAKEN || openai_asks_nothing(k)) continue;
        return openai_refuse(p, drawn->name, "it means nothing in a look-up; rows are drawn as the recipe says");
    }
    FC_TRY(openai_read_taken(p));
    FC_TRY(openai_pick_model(p, &m));
    if (m->novelty_adapter != p->s->models[0].novelty_adapter)
        return openai_refuse(p, "model", "look-ups are of %s, which the table's rows are of", p->s->models[0].id);
    p->call->model = m->id;
    if (p->c->priority) p->base->priority = *p->c->priority;
    n = openai_get(p, p->root, "priority");
    if (n) FC_TRY(openai_set_option(p, "priority", n));
    FC_TRY(openai_read_salt(p));
    return openai_get_text(p, "retrieved", &p->retrieved);
}

static fc_status read_key(openai_parse *p, bool *live, fc_str *key) {
    const openai_lookup *l = &p->c->lookup;
    const fc_json *history, *n = openai_get(p, p->root, "key");
    const char *text;
    FC_TRY(read_fields(p));
    history = openai_get(p, p->root, "history");
    if (!history == !n) return openai_refuse(p, "history", "give it, or key%s", n ? "; both are given" : "");
    *live = history && l->histories;
    if (history && !l->histories)
        return fc_json_fail(history, FC_ERR_ARG, "the table's keys are no histories; give key");
    if (history) return key_of(history, l->set, key);
    p->param = "key";
    FC_TRY(fc_json_string(n, &text));
    return fc_str_puts(key, text);
}

fc_status openai_lookup_key(openai_server *s, const openai_lookup *l, const char *body, size_t size, fc_str *key,
                            bool *live, char ignored[OPENAI_IGNORED], openai_error *e) {
    const openai_context c = {.lookup = *l};
    openai_held held = {0};
    openai_call call = {.held = &held};
    openai_parse p = {.s = s, .c = &c, .call = &call, .held = &held, .base = &held.base};
    fc_status st = openai_read(body, size, &held.doc);
    fc_request_init(p.base);
    held.set = (fc_option_target){.request = p.base};
    if (!st) {
        p.root = fc_json_root(held.doc);
        st = read_key(&p, live, key);
    }
    if (st) openai_parse_error(&p, st, e);
    else memcpy(ignored, call.ignored, OPENAI_IGNORED);
    fc_option_target_fini(&held.set);
    fc_json_close(held.doc);
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
    const openai_model *m = &p->s->models[0];
    fc_request *r = p->base;
    fc_str key = {0};
    char *copy = NULL;
    bool live;
    fc_status st = read_key(p, &live, &key);
    if (!st) st = openai_keep(p, key.size + 1, 1, &copy);
    if (!st) memcpy(copy, fc_str_text(&key), key.size);
    if (!st) p->show->key = copy;
    if (!st) st = openai_alloc(p, key.size + 1, 1, &copy);
    if (!st) memcpy(copy, fc_str_text(&key), key.size);
    if (!st) r->seed = fc_table_seed(p->c->lookup.seed, fc_str_text(&key));
    fc_str_fini(&key);
    FC_TRY(st);
    FC_TRY(split(p, copy));
    if (m->novelty_adapter) r->novelty_adapter = m->novelty_adapter;
    if (m->alignment_adapter) r->alignment_adapter = m->alignment_adapter;
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
