#include "engine/options.h"
#include "engine/recipe.h"

#include <stdio.h>
#include <string.h>

/* What the option is called inside the object ("" is the document), or NULL when its key is elsewhere. */
static const char *key_in(const fc_option *o, const char *object) {
    size_t n = strlen(object);
    const char *rest = o->key;
    if (n) {
        if (strncmp(o->key, object, n) != 0 || o->key[n] != '.') return NULL;
        rest += n + 1;
    }
    return strchr(rest, '.') ? NULL : rest;
}

static const fc_option *option_in(const char *object, const char *key) {
    for (size_t i = 0; i < fc_option_count(); i++) {
        const char *name = key_in(fc_option_at(i), object);
        if (name && strcmp(name, key) == 0) return fc_option_at(i);
    }
    return NULL;
}

static bool is_among(const char *const *list, const char *key) {
    for (; *list; list++)
        if (strcmp(*list, key) == 0) return true;
    return false;
}

static fc_status unknown_key(const fc_json *k, const char *object, const char *const *known) {
    char list[800] = "";
    size_t used = 0;
    for (; *known; known++) used += (size_t)snprintf(list + used, sizeof list - used, "%s%s", used ? ", " : "", *known);
    for (size_t i = 0; i < fc_option_count(); i++) {
        const char *name = key_in(fc_option_at(i), object);
        if (!name || used + strlen(name) + 3 > sizeof list) continue;
        used += (size_t)snprintf(list + used, sizeof list - used, "%s%s", used ? ", " : "", name);
    }
    return fc_json_fail(k, FC_ERR_FORMAT, "unknown key; known here are %s", list);
}

/* A path, relative to the recipe's folder unless absolute; NULL stays. */
static fc_status resolve(struct fc_recipe *r, const char **path) {
    size_t a = strlen(r->folder), b;
    void *p;
    if (!*path || **path == '/' || a == 0) return FC_OK;
    b = strlen(*path);
    FC_TRY(fc_arena_alloc(&r->arena, a + b + 2, 1, &p));
    memcpy(p, r->folder, a);
    ((char *)p)[a] = '/';
    memcpy((char *)p + a + 1, *path, b + 1);
    *path = p;
    return FC_OK;
}

static fc_status set_option(struct fc_recipe *r, const fc_option *o, const fc_json *value) {
    char *place;
    const char *path;
    FC_TRY(fc_option_set_json(&r->set, o->name, value));
    FC_ASSERT(fc_option_count() <= sizeof r->given / sizeof *r->given);
    for (size_t i = 0; i < fc_option_count(); i++)
        if (fc_option_at(i) == o) r->given[i] = true;
    if (o->kind != FC_OPTION_PATH) return FC_OK;
    FC_TRY(fc_option_place(&r->set, o, &place));
    memcpy(&path, place, sizeof path);
    FC_TRY(resolve(r, &path));
    memcpy(place, &path, sizeof path);
    return FC_OK;
}

/* Every key of the object is one of `known`, a list that ends in NULL, or an option whose key lies there: that is
 * set. */
static fc_status read_options(struct fc_recipe *r, const fc_json *n, const char *object, const char *const *known) {
    if (fc_json_kind(n) != FC_JSON_OBJECT)
        return fc_json_fail(n, FC_ERR_FORMAT, "it is of type %s; object is expected",
                            fc_json_kind_name(fc_json_kind(n)));
    for (const fc_json *k = fc_json_first(n); k; k = fc_json_next(k)) {
        const fc_option *o = option_in(object, fc_json_key(k));
        if (o) FC_TRY(set_option(r, o, k));
        else if (!is_among(known, fc_json_key(k))) return unknown_key(k, object, known);
    }
    return FC_OK;
}

static fc_status copy(struct fc_recipe *r, const char *text, const char **out) {
    void *p;
    FC_TRY(fc_arena_alloc(&r->arena, strlen(text) + 1, 1, &p));
    memcpy(p, text, strlen(text) + 1);
    *out = p;
    return FC_OK;
}

/* A string that is not empty; *out is untouched when the key is absent. */
static fc_status text_at(struct fc_recipe *r, const fc_json *object, const char *key, const char **out) {
    const fc_json *n = fc_json_get(object, key);
    const char *text;
    if (!n) return FC_OK;
    FC_TRY(fc_json_string(n, &text));
    if (!text[0]) return fc_json_fail(n, FC_ERR_FORMAT, "it is empty");
    return copy(r, text, out);
}

static fc_status path_at(struct fc_recipe *r, const fc_json *object, const char *key, const char **out) {
    FC_TRY(text_at(r, object, key, out));
    return resolve(r, out);
}

static fc_status template_at(struct fc_recipe *r, const fc_json *object, const char *key, fc_template *out,
                             bool *given) {
    const char *text = NULL;
    fc_status st;
    FC_TRY(text_at(r, object, key, &text));
    if (!text) return FC_OK;
    st = fc_template_parse(text, &r->arena, out);
    if (st) return fc_json_fail(fc_json_get(object, key), st, "%s", fc_status_text());
    *given = true;
    return FC_OK;
}

static fc_status read_novelty(const fc_json *o, struct fc_recipe *r) {
    static const char *const known[] = {"model", "template", NULL};
    bool given = false;
    FC_TRY(read_options(r, o, "novelty", known));
    FC_TRY(path_at(r, o, "model", &r->info.novelty_model));
    return template_at(r, o, "template", &r->novelty_template, &given);
}

static fc_status read_labels(const fc_json *n, struct fc_recipe *r) {
    const char **labels;
    size_t i = 0;
    void *p;
    if (r->info.request.mode != FC_SCORE_JUDGE)
        return fc_json_fail(n, FC_ERR_FORMAT, "only mode judge reads labels, and the mode is %s",
                            fc_score_mode_name(r->info.request.mode));
    if (fc_json_kind(n) != FC_JSON_ARRAY || fc_json_count(n) < 2 || fc_json_count(n) > FC_LABELS_MAX)
        return fc_json_fail(n, FC_ERR_FORMAT, "a list of 2 to %d strings is expected", FC_LABELS_MAX);
    FC_TRY(fc_arena_alloc(&r->arena, fc_json_count(n), sizeof *labels, &p));
    labels = p;
    for (const fc_json *k = fc_json_first(n); k; k = fc_json_next(k), i++) {
        const char *text;
        FC_TRY(fc_json_string(k, &text));
        if (!text[0]) return fc_json_fail(k, FC_ERR_FORMAT, "it is empty");
        for (size_t j = 0; j < i; j++)
            if (strcmp(labels[j], text) == 0)
                return fc_json_fail(k, FC_ERR_FORMAT, "the label \"%.60s\" appears twice", text);
        FC_TRY(copy(r, text, &labels[i]));
    }
    r->labels = labels;
    r->n_labels = i;
    return FC_OK;
}

static fc_status read_alignment(const fc_json *o, struct fc_recipe *r) {
    static const char *const known[] = {"model", "template", "suffix", "labels", NULL};
    const fc_json *model, *n;
    const char *text = "";
    FC_TRY(read_options(r, o, "alignment", known));
    r->says_alignment = true;
    model = fc_json_get(o, "model");
    if (model && fc_json_kind(model) == FC_JSON_STRING) FC_TRY(fc_json_string(model, &text));
    if (strcmp(text, "none") == 0) r->info.alignment_model = "none";
    else FC_TRY(path_at(r, o, "model", &r->info.alignment_model));
    FC_TRY(template_at(r, o, "template", &r->alignment_template, &r->has_alignment_template));
    n = fc_json_get(o, "suffix");
    if (n && r->info.request.mode != FC_SCORE_JUDGE && r->info.request.mode != FC_SCORE_REWARD)
        return fc_json_fail(n, FC_ERR_FORMAT,
                            "it follows the candidate, so it cannot change a score of mode %s; leave it out",
                            fc_score_mode_name(r->info.request.mode));
    FC_TRY(template_at(r, o, "suffix", &r->suffix, &r->has_suffix));
    n = fc_json_get(o, "labels");
    return n ? read_labels(n, r) : FC_OK;
}

static fc_status read_sampling(const fc_json *o, struct fc_recipe *r) {
    static const char *const known[] = {NULL};
    const fc_sampling *s = &r->info.request.sampling;
    FC_TRY(read_options(r, o, "sampling", known));
    if (s->min_tokens > s->max_tokens)
        return fc_json_fail(fc_json_get(o, "min_tokens"), FC_ERR_FORMAT, "it is %d, above max_tokens, which is %d",
                            s->min_tokens, s->max_tokens);
    return FC_OK;
}

fc_status fc_recipe_read(const fc_json *root, struct fc_recipe *r) {
    static const char *const known[] = {"novelty", "alignment", "taxonomy", "sampling", NULL};
    const fc_json *n;
    FC_TRY(read_options(r, root, "", known));
    n = fc_json_get(root, "novelty");
    if (n) FC_TRY(read_novelty(n, r));
    n = fc_json_get(root, "alignment");
    if (n) FC_TRY(read_alignment(n, r));
    n = fc_json_get(root, "sampling");
    if (n) FC_TRY(read_sampling(n, r));
    return path_at(r, root, "taxonomy", &r->taxonomy_path);
}
