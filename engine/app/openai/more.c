/* more - the `forkcast` object: every option of a request, and what no option is.
 *
 *   taxonomy            id of a registered set of names, in place of the recipe's
 *   alignment_template  the alignment model's prompt, with holes ({prompt}, {history}, ...); data to the last byte:
 *                       names of special tokens in it are text
 *   suffix, labels      for modes judge and reward: what it reads behind the candidate; for judge: 2 to 64 texts
 *   history             names that fill the recipe's holes
 *   score               false: no scores, ranking by log-prob
 *   distinct            true: the choices are different candidates, fewer where there are not so many
 *   all                 true: the `best_of` record also has all_candidates
 *   events              true: a stream also shows candidates, votes and scores as they come
 *   n, keep             best_of and n by the names that recipes have
 *
 * It may stand inside vllm_xargs, as an object or as text, for gateways that pass nothing else; best_of, too. What else
 * is there is somebody else's: ignored, and told as any field that nobody knows.
 */
#include "engine/app/openai/call.h"
#include "engine/app/openai/fields.h"

#include <stdio.h>
#include <string.h>

static fc_status more_object(openai_parse *p, const fc_json *n) {
    if (p->more) return openai_refuse(p, "forkcast", "it is given in vllm_xargs too");
    if (fc_json_kind(n) == FC_JSON_STRING) {
        const char *text;
        FC_TRY(fc_json_string(n, &text));
        FC_TRY(fc_json_parse("request: vllm_xargs.forkcast", text, strlen(text), &p->held->inner));
        n = fc_json_root(p->held->inner);
    }
    if (fc_json_kind(n) != FC_JSON_OBJECT) return openai_refuse(p, "forkcast", "an object is expected");
    p->more = n;
    return FC_OK;
}

/* A member of vllm_xargs that is ours. */
static bool is_inside(const char *name) { return strcmp(name, "forkcast") == 0 || strcmp(name, "best_of") == 0; }

fc_status openai_more_find(openai_parse *p) {
    const fc_json *args = openai_get(p, p->root, "vllm_xargs"), *n;
    if (args && fc_json_kind(args) != FC_JSON_OBJECT) return fc_json_fail(args, FC_ERR_ARG, "an object is expected");
    n = openai_get(p, p->root, "forkcast");
    if (n && fc_json_kind(n) == FC_JSON_STRING) return openai_refuse(p, "forkcast", "an object is expected");
    if (n) FC_TRY(more_object(p, n));
    for (const fc_json *k = args ? fc_json_first(args) : NULL; k; k = fc_json_next(k)) {
        char name[OPENAI_IGNORED];
        if (fc_json_kind(k) == FC_JSON_NULL || is_inside(fc_json_key(k))) continue;
        snprintf(name, sizeof name, "vllm_xargs.%s", fc_json_key(k));
        openai_ignore(p, name);
    }
    n = args ? openai_get(p, args, "forkcast") : NULL;
    p->param = "vllm_xargs";
    return n ? more_object(p, n) : FC_OK;
}

/* ---- members that are no options ---- */

/* Each template part that the request brings, as a recipe of its own, so that holes are filled by one code. */
static fc_status open_own(openai_parse *p, const char *template, const char *suffix) {
    fc_str s = {0};
    const fc_json *labels = openai_get(p, p->more, "labels");
    const char *const *texts = NULL;
    size_t n = 0;
    fc_status st = FC_OK;
    p->param = "forkcast";
    if (labels) st = openai_get_texts(p, labels, &texts, &n);
    if (!template && !suffix && !labels) return st;
    if (!st) st = fc_str_puts(&s, "{\"alignment\":{\"model\":\"served\"");
    if (!st && template) st = fc_str_puts(&s, ",\"template\":");
    if (!st && template) st = fc_json_put_string(&s, template, strlen(template));
    if (!st && suffix) st = fc_str_puts(&s, ",\"suffix\":");
    if (!st && suffix) st = fc_json_put_string(&s, suffix, strlen(suffix));
    for (size_t i = 0; i < n && !st; i++) {
        st = fc_str_puts(&s, i ? "," : ",\"labels\":[");
        if (!st) st = fc_json_put_string(&s, texts[i], strlen(texts[i]));
    }
    if (!st) st = fc_str_printf(&s, "%s,\"mode\":\"%s\"}}", n ? "]" : "", fc_score_mode_name(p->base->mode));
    if (!st) st = fc_recipe_parse("request: forkcast", s.data, s.size, &p->held->own);
    fc_str_fini(&s);
    p->own_template = template != NULL;
    p->own_suffix = suffix != NULL;
    p->own_labels = labels != NULL;
    return st;
}

static fc_status read_texts(openai_parse *p) {
    const fc_json *t = openai_get(p, p->more, "alignment_template"), *s = openai_get(p, p->more, "suffix");
    const char *template = NULL, *suffix = NULL;
    if (t) FC_TRY(fc_json_string(t, &template));
    if (s) FC_TRY(fc_json_string(s, &suffix));
    p->param = "forkcast";
    if (suffix && p->base->mode != FC_SCORE_JUDGE && p->base->mode != FC_SCORE_REWARD)
        return openai_refuse(p, "forkcast", "suffix: modes judge and reward read it, and the mode is %s",
                             fc_score_mode_name(p->base->mode));
    return open_own(p, template, suffix);
}

static fc_status read_flag(openai_parse *p, const char *name, bool *out) {
    const fc_json *n = openai_get(p, p->more, name);
    p->param = "forkcast";
    return n ? fc_json_bool(n, out) : FC_OK;
}

static fc_status read_own(openai_parse *p) {
    const fc_json *n;
    bool score = true;
    FC_TRY(read_flag(p, "distinct", &p->show->distinct));
    FC_TRY(read_flag(p, "all", &p->show->all));
    FC_TRY(read_flag(p, "events", &p->show->events));
    FC_TRY(read_flag(p, "score", &score));
    p->no_score = !score;
    if (p->show->events && !p->call->stream) return openai_refuse(p, "forkcast", "events: they need stream: true");
    n = openai_get(p, p->more, "history");
    p->param = "forkcast";
    if (n) FC_TRY(openai_get_texts(p, n, &p->history, &p->n_history));
    n = openai_get(p, p->more, "taxonomy");
    p->param = "forkcast";
    if (n && p->n_choices) return openai_refuse(p, "forkcast", "taxonomy: choice is given too; one of them is enough");
    if (n) FC_TRY(fc_json_string(n, &p->taxonomy));
    return read_texts(p);
}

/* ---- options ---- */

/* Fields of the body that set the same option, where they are called otherwise; most are called the same. */
static const char *const also[][2] = {{"n", "best_of"},
                                      {"keep", "n"},
                                      {"max_tokens", "max_completion_tokens"},
                                      {"top_logprobs", "logprobs"},
                                      {"prompt_top_logprobs", "prompt_logprobs"},
                                      {"no_bos", "add_special_tokens"}};

static const char *said_outside(const openai_parse *p, const char *option) {
    for (size_t i = 0; i <= sizeof also / sizeof *also; i++) {
        bool same = i == sizeof also / sizeof *also;
        const char *field = same ? option : also[i][1];
        const fc_json *n;
        if (same && (strcmp(option, "n") == 0 || !openai_field_find(option, strlen(option)))) continue;
        if (!same && strcmp(also[i][0], option) != 0) continue;
        n = fc_json_get(p->root, field);
        if (n && fc_json_kind(n) != FC_JSON_NULL) return field;
    }
    return NULL;
}

static fc_status read_option(openai_parse *p, const fc_json *k, int64_t *n, int64_t *best_of) {
    const char *name = fc_json_key(k), *field = said_outside(p, name);
    const fc_option *o = fc_option_find(name);
    if (!o || o->scope == FC_SCOPE_ENGINE)
        return fc_json_fail(k, FC_ERR_ARG,
                            o ? "it is an option of the engine, not of a request" : "there is no such option");
    if (field) return fc_json_fail(k, FC_ERR_ARG, "%s says the same; give one of them", field);
    if (strcmp(name, "n") == 0) return fc_json_int(k, 1, FC_N_MAX, best_of);
    if (strcmp(name, "keep") == 0) return fc_json_int(k, 0, FC_N_MAX, n);
    if (strcmp(name, "constraint") == 0 && p->n_choices) {
        FC_TRY(openai_set_option(p, name, k));
        return p->base->constraint != FC_CONSTRAINT_OFF
                   ? FC_OK
                   : fc_json_fail(k, FC_ERR_ARG,
                                  "it is off, and a choice is given, which nothing else may be drawn than");
    }
    return openai_set_option(p, name, k);
}

static bool is_own(const char *name) {
    static const char *const own[] = {"taxonomy", "alignment_template", "suffix", "labels", "history",
                                      "score",    "distinct",           "all",    "events"};
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (strcmp(own[i], name) == 0) return true;
    return false;
}

bool openai_is_more(const char *name) {
    const fc_option *o = fc_option_find(name);
    return is_own(name) || (o && o->scope != FC_SCOPE_ENGINE);
}

fc_status openai_more_read(openai_parse *p, int64_t *n, int64_t *best_of) {
    const fc_json *args = openai_get(p, p->root, "vllm_xargs"), *inside = args ? openai_get(p, args, "best_of") : NULL;
    p->param = "vllm_xargs";
    if (inside && *best_of >= 0) return openai_refuse(p, "best_of", "it is given in vllm_xargs too");
    if (inside) FC_TRY(fc_json_int(inside, 1, FC_N_MAX, best_of));
    p->param = "forkcast";
    for (const fc_json *k = p->more ? fc_json_first(p->more) : NULL; k; k = fc_json_next(k)) {
        if (fc_json_kind(k) == FC_JSON_NULL || is_own(fc_json_key(k))) continue;
        FC_TRY(read_option(p, k, n, best_of));
    }
    return p->more ? read_own(p) : FC_OK;
}
