#include "engine/ranges.h"
#include "engine/recipe.h"

#include <math.h>
#include <string.h>

/* Every key of the object is one of known, a list that ends in NULL. */
static fc_status check_keys(const fc_json *object, const char *const *known) {
    if (fc_json_kind(object) != FC_JSON_OBJECT)
        return fc_json_fail(object, FC_ERR_FORMAT, "it is of type %s; object is expected",
                            fc_json_kind_name(fc_json_kind(object)));
    for (const fc_json *k = fc_json_first(object); k; k = fc_json_next(k)) {
        char list[400] = "";
        size_t used = 0;
        bool found = false;
        for (const char *const *w = known; *w; w++) {
            size_t n = strlen(*w);
            if (strcmp(fc_json_key(k), *w) == 0) found = true;
            if (used + n + 3 > sizeof list) continue;
            memcpy(list + used, used ? ", " : "", used ? 2 : 0);
            used += used ? 2 : 0;
            memcpy(list + used, *w, n + 1);
            used += n;
        }
        if (!found) return fc_json_fail(k, FC_ERR_FORMAT, "unknown key; known here are %s", list);
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

static fc_status int_of(const fc_json *n, int min, int max, int *out) {
    int64_t v;
    FC_TRY(fc_json_int(n, min, max, &v));
    *out = (int)v;
    return FC_OK;
}

static fc_status int_at(const fc_json *object, const char *key, int min, int max, int *out) {
    const fc_json *n = fc_json_get(object, key);
    return n ? int_of(n, min, max, out) : FC_OK;
}

static fc_status float_of(const fc_json *n, double min, double max, float *out) {
    double v;
    FC_TRY(fc_json_double(n, &v));
    if (!(v >= min && v <= max))
        return fc_json_fail(n, FC_ERR_FORMAT, "it is %g; a number from %g to %g is expected", v, min, max);
    *out = (float)v;
    return FC_OK;
}

/* A path, relative to the recipe's folder unless absolute. */
static fc_status path_at(struct fc_recipe *r, const fc_json *object, const char *key, const char **out) {
    const char *path = NULL;
    size_t a = strlen(r->folder), b;
    void *p;
    FC_TRY(text_at(r, object, key, &path));
    if (!path) return FC_OK;
    b = strlen(path);
    if (path[0] == '/' || a == 0) {
        *out = path;
        return FC_OK;
    }
    FC_TRY(fc_arena_alloc(&r->arena, a + b + 2, 1, &p));
    memcpy(p, r->folder, a);
    ((char *)p)[a] = '/';
    memcpy((char *)p + a + 1, path, b + 1);
    *out = p;
    return FC_OK;
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

static fc_status no_adapter(const fc_json *object) {
    const fc_json *n = fc_json_get(object, "adapter");
    if (!n || fc_json_kind(n) == FC_JSON_NULL) return FC_OK;
    return fc_json_fail(n, FC_ERR_UNSUPPORTED, "this version has no adapters; leave it out or say null");
}

static fc_status read_novelty(const fc_json *o, struct fc_recipe *r) {
    static const char *const known[] = {"model", "adapter", "template", "end", NULL};
    bool given = false;
    FC_TRY(check_keys(o, known));
    FC_TRY(path_at(r, o, "model", &r->info.novelty_model));
    FC_TRY(no_adapter(o));
    FC_TRY(template_at(r, o, "template", &r->novelty_template, &given));
    return text_at(r, o, "end", &r->info.end);
}

static fc_status read_labels(const fc_json *n, struct fc_recipe *r) {
    const char **labels;
    size_t i = 0;
    void *p;
    if (r->info.mode != FC_SCORE_JUDGE)
        return fc_json_fail(n, FC_ERR_FORMAT, "only mode judge reads labels, and the mode is %s",
                            fc_score_mode_name(r->info.mode));
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
    static const char *const known[] = {"model", "adapter", "mode", "template", "suffix", "labels", NULL};
    const fc_json *model, *mode, *n;
    const char *text = "";
    FC_TRY(check_keys(o, known));
    r->says_alignment = true;
    model = fc_json_get(o, "model");
    if (model && fc_json_kind(model) == FC_JSON_STRING) FC_TRY(fc_json_string(model, &text));
    if (strcmp(text, "none") == 0) r->info.alignment_model = "none";
    else FC_TRY(path_at(r, o, "model", &r->info.alignment_model));
    FC_TRY(no_adapter(o));
    mode = fc_json_get(o, "mode");
    if (mode) {
        FC_TRY(fc_json_string(mode, &text));
        if (fc_score_mode_parse(text, &r->info.mode)) return fc_json_fail(mode, FC_ERR_FORMAT, "%s", fc_status_text());
    }
    FC_TRY(template_at(r, o, "template", &r->alignment_template, &r->has_alignment_template));
    n = fc_json_get(o, "suffix");
    if (n && r->info.mode != FC_SCORE_JUDGE && r->info.mode != FC_SCORE_REWARD)
        return fc_json_fail(n, FC_ERR_FORMAT,
                            "it follows the candidate, so it cannot change a score of mode %s; leave it out",
                            fc_score_mode_name(r->info.mode));
    FC_TRY(template_at(r, o, "suffix", &r->suffix, &r->has_suffix));
    n = fc_json_get(o, "labels");
    return n ? read_labels(n, r) : FC_OK;
}

/* {"id": value}; the value false forbids the id. */
static fc_status read_bias(const fc_json *o, struct fc_recipe *r) {
    int32_t *ids;
    float *values;
    size_t i = 0, n = fc_json_count(o);
    void *p;
    if (fc_json_kind(o) != FC_JSON_OBJECT)
        return fc_json_fail(o, FC_ERR_FORMAT, "an object of token ids and numbers is expected");
    FC_TRY(fc_arena_alloc(&r->arena, n, sizeof *ids, &p));
    ids = p;
    FC_TRY(fc_arena_alloc(&r->arena, n, sizeof *values, &p));
    values = p;
    for (const fc_json *k = fc_json_first(o); k; k = fc_json_next(k), i++) {
        const char *key = fc_json_key(k);
        int64_t id = 0;
        size_t digits = strspn(key, "0123456789");
        bool forbid;
        if (digits == 0 || digits > 10 || key[digits] || (digits > 1 && key[0] == '0'))
            return fc_json_fail(k, FC_ERR_FORMAT, "the key is no token id: decimal digits are expected");
        for (const char *c = key; *c; c++) id = id * 10 + (*c - '0');
        if (id > INT32_MAX) return fc_json_fail(k, FC_ERR_FORMAT, "the token id is above %d", INT32_MAX);
        ids[i] = (int32_t)id;
        if (fc_json_kind(k) != FC_JSON_BOOL) {
            FC_TRY(float_of(k, -1e9, 1e9, &values[i]));
            continue;
        }
        FC_TRY(fc_json_bool(k, &forbid));
        if (forbid)
            return fc_json_fail(k, FC_ERR_FORMAT, "it is true; a number, or false to forbid the id, is expected");
        values[i] = -INFINITY;
    }
    r->info.sampling.bias_ids = ids;
    r->info.sampling.bias_values = values;
    r->info.sampling.n_bias = n;
    return FC_OK;
}

static fc_status read_stop(const fc_json *n, struct fc_recipe *r) {
    bool single = fc_json_kind(n) == FC_JSON_STRING;
    const char **stop;
    size_t i = 0, count = single ? 1 : fc_json_count(n);
    void *p;
    if (!single && fc_json_kind(n) != FC_JSON_ARRAY)
        return fc_json_fail(n, FC_ERR_FORMAT, "a string or a list of strings is expected");
    FC_TRY(fc_arena_alloc(&r->arena, count, sizeof *stop, &p));
    stop = p;
    for (const fc_json *k = single ? n : fc_json_first(n); k && i < count; k = fc_json_next(k), i++) {
        const char *text;
        FC_TRY(fc_json_string(k, &text));
        if (!text[0]) return fc_json_fail(k, FC_ERR_FORMAT, "a stop string is empty");
        FC_TRY(copy(r, text, &stop[i]));
    }
    r->info.sampling.stop = stop;
    r->info.sampling.n_stop = count;
    return FC_OK;
}

static fc_status read_stop_ids(const fc_json *n, struct fc_recipe *r) {
    int32_t *ids;
    size_t i = 0;
    void *p;
    if (fc_json_kind(n) != FC_JSON_ARRAY) return fc_json_fail(n, FC_ERR_FORMAT, "a list of token ids is expected");
    FC_TRY(fc_arena_alloc(&r->arena, fc_json_count(n), sizeof *ids, &p));
    ids = p;
    for (const fc_json *k = fc_json_first(n); k; k = fc_json_next(k), i++) {
        int64_t v;
        FC_TRY(fc_json_int(k, 0, INT32_MAX, &v));
        ids[i] = (int32_t)v;
    }
    r->info.sampling.stop_ids = ids;
    r->info.sampling.n_stop_ids = i;
    return FC_OK;
}

static fc_status read_sampling(const fc_json *o, struct fc_recipe *r) {
    static const char *const known[] = {"temperature",
                                        "top_k",
                                        "top_p",
                                        "min_p",
                                        "typical_p",
                                        "repetition_penalty",
                                        "presence_penalty",
                                        "frequency_penalty",
                                        "logit_bias",
                                        "stop",
                                        "stop_token_ids",
                                        "min_tokens",
                                        "max_tokens",
                                        "ignore_eos",
                                        "top_logprobs",
                                        NULL};
    fc_sampling *s = &r->info.sampling;
    const fc_json *n;
    FC_TRY(check_keys(o, known));
    for (int i = 0; i < FC_SAMPLING_RANGES; i++) {
        const fc_range *it = &fc_sampling_ranges[i];
        void *place = (char *)s + it->offset;
        n = fc_json_get(o, it->field);
        if (n && it->whole) FC_TRY(int_of(n, (int)it->min, (int)it->max, place));
        else if (n) FC_TRY(float_of(n, it->min, it->max, place));
    }
    if (s->min_tokens > s->max_tokens)
        return fc_json_fail(fc_json_get(o, "min_tokens"), FC_ERR_FORMAT, "it is %d, above max_tokens, which is %d",
                            s->min_tokens, s->max_tokens);
    n = fc_json_get(o, "ignore_eos");
    if (n) FC_TRY(fc_json_bool(n, &s->ignore_eos));
    n = fc_json_get(o, "logit_bias");
    if (n) FC_TRY(read_bias(n, r));
    n = fc_json_get(o, "stop");
    if (n) FC_TRY(read_stop(n, r));
    n = fc_json_get(o, "stop_token_ids");
    return n ? read_stop_ids(n, r) : FC_OK;
}

fc_status fc_recipe_read(const fc_json *root, struct fc_recipe *r) {
    static const char *const known[] = {"novelty", "alignment", "taxonomy", "sampling", "n", "keep", "seed", NULL};
    const fc_json *n;
    FC_TRY(check_keys(root, known));
    n = fc_json_get(root, "novelty");
    if (n) FC_TRY(read_novelty(n, r));
    n = fc_json_get(root, "alignment");
    if (n) FC_TRY(read_alignment(n, r));
    n = fc_json_get(root, "sampling");
    if (n) FC_TRY(read_sampling(n, r));
    FC_TRY(path_at(r, root, "taxonomy", &r->taxonomy_path));
    FC_TRY(int_at(root, "n", 1, FC_N_MAX, &r->info.n));
    FC_TRY(int_at(root, "keep", 0, FC_N_MAX, &r->info.keep));
    n = fc_json_get(root, "seed");
    return n ? fc_json_uint64(n, &r->info.seed) : FC_OK;
}
