/* parse - bodies of both completions endpoints to requests. A value of the body stands over the recipe's, and
 * that over the API's own default.
 */
#include "engine/app/openai/call.h"
#include "engine/app/openai/fields.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* ---- reading ---- */

const fc_json *openai_get(openai_parse *p, const fc_json *object, const char *name) {
    const fc_json *n = fc_json_get(object, name);
    p->param = name;
    return n && fc_json_kind(n) != FC_JSON_NULL ? n : NULL;
}

fc_status openai_get_bool(openai_parse *p, const char *name, bool *out) {
    const fc_json *n = openai_get(p, p->root, name);
    return n ? fc_json_bool(n, out) : FC_OK;
}

fc_status openai_get_text(openai_parse *p, const char *name, const char **out) {
    const fc_json *n = openai_get(p, p->root, name);
    return n ? fc_json_string(n, out) : FC_OK;
}

fc_status openai_get_int(openai_parse *p, const char *name, int64_t min, int64_t max, int64_t *out) {
    const fc_json *n = openai_get(p, p->root, name);
    return n ? fc_json_int(n, min, max, out) : FC_OK;
}

fc_status openai_refuse(openai_parse *p, const char *name, const char *fmt, ...) {
    char text[768];
    va_list ap;
    p->param = name;
    va_start(ap, fmt);
    if (vsnprintf(text, sizeof text, fmt, ap) < 0) text[0] = '\0';
    va_end(ap);
    return FC_FAIL(FC_ERR_ARG, "%s: %s", name, text);
}

static fc_status take(fc_arena *a, size_t count, size_t size, void *out_ptr) {
    void *mem;
    FC_TRY(fc_arena_alloc(a, count ? count : 1, size, &mem));
    memcpy(out_ptr, &mem, sizeof mem); /* the place holds a typed pointer */
    return FC_OK;
}

fc_status openai_alloc(openai_parse *p, size_t count, size_t size, void *out_ptr) {
    return take(&p->held->arena, count, size, out_ptr);
}

fc_status openai_keep(openai_parse *p, size_t count, size_t size, void *out_ptr) {
    return take(&p->held->kept, count, size, out_ptr);
}

fc_status openai_get_texts(openai_parse *p, const fc_json *list, const char *const **texts, size_t *n) {
    const char **out;
    size_t i = 0;
    if (fc_json_kind(list) != FC_JSON_ARRAY) return fc_json_fail(list, FC_ERR_ARG, "a list of strings is expected");
    FC_TRY(openai_alloc(p, fc_json_count(list), sizeof *out, &out));
    for (const fc_json *k = fc_json_first(list); k; k = fc_json_next(k), i++) {
        FC_TRY(fc_json_string(k, &out[i]));
        if (!out[i][0]) return fc_json_fail(k, FC_ERR_ARG, "it is empty");
    }
    *texts = out;
    *n = i;
    return FC_OK;
}

fc_status openai_get_ids(openai_parse *p, const fc_json *list, fc_role role, const int32_t **ids, size_t *n) {
    const fc_model_info *m = role == FC_NOVELTY ? &p->s->info.novelty : &p->s->info.alignment;
    int32_t *out;
    size_t i = 0;
    if (fc_json_kind(list) != FC_JSON_ARRAY) return fc_json_fail(list, FC_ERR_ARG, "a list of token ids is expected");
    FC_TRY(openai_alloc(p, fc_json_count(list), sizeof *out, &out));
    for (const fc_json *k = fc_json_first(list); k; k = fc_json_next(k), i++) {
        int64_t id;
        FC_TRY(fc_json_int(k, 0, m->vocab - 1, &id));
        out[i] = (int32_t)id;
    }
    *ids = out;
    *n = i;
    return FC_OK;
}

fc_status openai_read(const char *body, size_t size, fc_json_doc **out) {
    size_t commas = 0;
    fc_json_doc *doc;
    for (const char *at = body, *end = body + size; at < end && (at = memchr(at, ',', (size_t)(end - at))); at++)
        commas++;
    if (commas > OPENAI_VALUES_MAX)
        return FC_FAIL(FC_ERR_ARG, "request: %zu commas; at most %d", commas, OPENAI_VALUES_MAX);
    FC_TRY(fc_json_parse("request", body, size, &doc));
    if (fc_json_kind(fc_json_root(doc)) != FC_JSON_OBJECT) {
        fc_json_close(doc);
        return FC_FAIL(FC_ERR_ARG, "request: a JSON object is expected");
    }
    *out = doc;
    return FC_OK;
}

fc_status openai_pick_model(openai_parse *p, const openai_model **out) {
    const fc_json *n = openai_get(p, p->root, "model");
    const char *id;
    *out = &p->s->models[0];
    if (!n) return FC_OK;
    FC_TRY(fc_json_string(n, &id));
    for (size_t i = 0; i < p->s->n_models; i++)
        if (strcmp(p->s->models[i].id, id) == 0) {
            *out = &p->s->models[i];
            return FC_OK;
        }
    p->http = 404;
    return FC_FAIL(FC_ERR_ARG, "The model `%.*s` does not exist; /v1/models lists those that do.",
                   (int)fc_utf8_complete(id, strlen(id) < 80 ? strlen(id) : 80), id);
}

fc_status openai_set_option(openai_parse *p, const char *name, const fc_json *value) {
    return fc_option_set_json(&p->held->set, name, value);
}

/* ---- the table ---- */

bool openai_asks_nothing(const fc_json *n) {
    bool yes = true;
    switch (fc_json_kind(n)) {
    case FC_JSON_BOOL: return fc_json_bool(n, &yes) == FC_OK && !yes;
    case FC_JSON_ARRAY:
    case FC_JSON_OBJECT: return fc_json_count(n) == 0;
    default: return false;
    }
}

static fc_status read_field(openai_parse *p, const openai_field *f) {
    const fc_json *n = openai_get(p, p->root, f->name);
    if (!n) return FC_OK;
    if (!(f->where & (p->chat ? OPENAI_IN_CHAT : OPENAI_IN_COMPLETIONS)) && !openai_asks_nothing(n))
        return openai_refuse(p, f->name, "it is a field of %s", p->chat ? "/v1/completions" : "/v1/chat/completions");
    switch (f->how) {
    case OPENAI_OPTION: return openai_set_option(p, f->text ? f->text : f->name, n);
    case OPENAI_REFUSED: return openai_asks_nothing(n) ? FC_OK : openai_refuse(p, f->name, "%s", f->text);
    case OPENAI_NEVER: return openai_refuse(p, f->name, "%s", f->text);
    case OPENAI_OWN:
    case OPENAI_TAKEN: break;
    }
    return FC_OK;
}

void openai_ignore(openai_parse *p, const char *name) {
    static const char sane[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
    char *list = p->call->ignored;
    const size_t used = strlen(list), size = strlen(name);
    if (!size || name[strspn(name, sane)] || used + size + 3 > sizeof p->call->ignored) return;
    snprintf(list + used, sizeof p->call->ignored - used, "%s%s", used ? ", " : "", name);
}

fc_status openai_read_taken(openai_parse *p) {
    const char *text;
    bool yes;
    FC_TRY(openai_get_text(p, "user", &text));
    FC_TRY(openai_get_text(p, "session_id", &text));
    FC_TRY(openai_get_text(p, "service_tier", &text));
    return openai_get_bool(p, "parallel_tool_calls", &yes);
}

static fc_status read_fields(openai_parse *p) {
    for (const fc_json *k = fc_json_first(p->root); k; k = fc_json_next(k))
        if (!openai_field_find(fc_json_key(k), strlen(fc_json_key(k)))) openai_ignore(p, fc_json_key(k));
    for (size_t i = 0; i < openai_field_count(); i++) FC_TRY(read_field(p, openai_field_at(i)));
    return openai_read_taken(p);
}

/* ---- fields with rules of their own ---- */

static fc_status read_stop(openai_parse *p) {
    const fc_json *n = openai_get(p, p->root, "stop");
    bool list = n && fc_json_kind(n) == FC_JSON_ARRAY;
    const char *text;
    if (!n) return FC_OK;
    if (list && fc_json_count(n) > OPENAI_STOPS_MAX)
        return openai_refuse(p, "stop", "%zu strings; at most %d", fc_json_count(n), OPENAI_STOPS_MAX);
    for (const fc_json *k = list ? fc_json_first(n) : n; k; k = list ? fc_json_next(k) : NULL) {
        FC_TRY(fc_json_string(k, &text));
        if (strlen(text) > OPENAI_STOP_BYTES)
            return openai_refuse(p, "stop", "a string of %zu bytes; at most %d", strlen(text), OPENAI_STOP_BYTES);
    }
    return openai_set_option(p, "stop", n);
}

static fc_status read_seed(openai_parse *p) {
    const fc_json *n = openai_get(p, p->root, "seed");
    int64_t seed;
    if (!n) return FC_OK;
    if (fc_json_int(n, INT64_MIN, -1, &seed)) return openai_set_option(p, "seed", n);
    p->base->seed = (uint64_t)seed; /* the API's is signed: the same 64 bits */
    return FC_OK;
}

static fc_status read_top_k(openai_parse *p) {
    const fc_json *n = openai_get(p, p->root, "top_k");
    int64_t k;
    if (!n) return FC_OK;
    if (fc_json_int(n, -1, -1, &k)) return openai_set_option(p, "top_k", n);
    p->base->sampling.top_k = 0;
    return FC_OK;
}

/* A salt is part of a key: what URLs and paths are made of has no place in it. */
fc_status openai_read_salt(openai_parse *p) {
    const fc_json *n = openai_get(p, p->root, "cache_salt");
    const char *text;
    if (!n) return FC_OK;
    FC_TRY(fc_json_string(n, &text));
    if (!text[0] || strlen(text) > 128 || strpbrk(text, "@/\\"))
        return openai_refuse(p, "cache_salt", "1 to 128 bytes without @, / and \\ are expected");
    return openai_set_option(p, "cache_salt", n);
}

static fc_status read_logprobs(openai_parse *p) {
    const fc_json *ids;
    int64_t top = -1;
    bool on = false;
    if (p->chat) {
        FC_TRY(openai_get_bool(p, "logprobs", &on));
        FC_TRY(openai_get_int(p, "top_logprobs", 0, OPENAI_LOGPROBS_MAX, &top));
        if (!on && top > 0) return openai_refuse(p, "top_logprobs", "it needs logprobs: true");
    } else {
        FC_TRY(openai_get_int(p, "logprobs", 0, OPENAI_LOGPROBS_MAX, &top));
        on = top >= 0;
    }
    p->show->logprobs = on;
    if (on) p->base->sampling.top_logprobs = top > 0 ? (int)top : 0;
    ids = openai_get(p, p->root, "logprob_token_ids");
    if (ids && !on) return openai_refuse(p, "logprob_token_ids", "it adds to logprobs; ask for them too");
    return ids ? openai_set_option(p, "logprob_token_ids", ids) : FC_OK;
}

static fc_status read_prompt_logprobs(openai_parse *p) {
    int64_t top = -1;
    FC_TRY(openai_get_int(p, "prompt_logprobs", 0, OPENAI_LOGPROBS_MAX, &top));
    if (top < 0) return FC_OK;
    if (p->call->stream) return openai_refuse(p, "prompt_logprobs", "it is not offered with stream");
    p->show->prompt_logprobs = p->base->prompt_logprobs = true;
    p->base->prompt_top_logprobs = (int)top;
    return FC_OK;
}

static fc_status read_stream(openai_parse *p) {
    const fc_json *options;
    openai_show *w = p->show;
    FC_TRY(openai_get_bool(p, "stream", &p->call->stream));
    options = openai_get(p, p->root, "stream_options");
    if (!options) return FC_OK;
    if (fc_json_kind(options) != FC_JSON_OBJECT) return fc_json_fail(options, FC_ERR_ARG, "an object is expected");
    for (const fc_json *k = fc_json_first(options); k; k = fc_json_next(k)) {
        bool usage = strcmp(fc_json_key(k), "include_usage") == 0,
             each = strcmp(fc_json_key(k), "continuous_usage_stats") == 0;
        if ((usage || each) && fc_json_kind(k) != FC_JSON_NULL)
            FC_TRY(fc_json_bool(k, usage ? &w->include_usage : &w->continuous));
    }
    if (!p->call->stream) return openai_refuse(p, "stream_options", "it needs stream: true");
    w->continuous = w->continuous && w->include_usage;
    return FC_OK;
}

/* Unlike those that only a router or a log reads, an id is the answer's, too. */
fc_status openai_read_id(openai_parse *p, const char *kind) {
    static const char sane[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
    const char *id = NULL;
    FC_TRY(openai_get_text(p, "request_id", &id));
    if (id && (!id[0] || strlen(id) > 128 || id[strspn(id, sane)]))
        return openai_refuse(p, "request_id", "1 to 128 letters, digits, dots, dashes and underscores are expected");
    if (!id) id = p->c->request_id;
    if (id) snprintf(p->call->id, sizeof p->call->id, "%s-%s", kind, id);
    else snprintf(p->call->id, sizeof p->call->id, "%s-%016llx", kind, (unsigned long long)p->c->random);
    return FC_OK;
}

static fc_status read_chat_words(openai_parse *p) {
    const fc_json *n = openai_get(p, p->root, "tool_choice");
    const char *text = NULL;
    if (n) {
        if (fc_json_kind(n) == FC_JSON_STRING) FC_TRY(fc_json_string(n, &text));
        if (!text || (strcmp(text, "none") != 0 && strcmp(text, "auto") != 0))
            return openai_refuse(p, "tool_choice", "tools are not offered");
    }
    n = openai_get(p, p->root, "modalities");
    if (n && fc_json_kind(n) != FC_JSON_ARRAY) return fc_json_fail(n, FC_ERR_ARG, "a list is expected");
    for (const fc_json *k = n ? fc_json_first(n) : NULL; k; k = fc_json_next(k)) {
        FC_TRY(fc_json_string(k, &text));
        if (strcmp(text, "text") != 0) return openai_refuse(p, "modalities", "text alone is offered");
    }
    return FC_OK;
}

fc_status openai_read_specials(openai_parse *p) {
    const fc_json *n = openai_get(p, p->root, "add_special_tokens");
    bool special = true;
    if (n) FC_TRY(fc_json_bool(n, &special));
    if (n) p->base->no_bos = !special;
    return FC_OK;
}

/* Its two names may say the same. */
static fc_status read_max_tokens(openai_parse *p) {
    int64_t old = -1, new = -1;
    FC_TRY(openai_get_int(p, "max_tokens", 0, INT32_MAX, &old));
    FC_TRY(openai_get_int(p, "max_completion_tokens", 0, INT32_MAX, &new));
    if (old < 0 || new < 0 || old == new) return FC_OK;
    return openai_refuse(p, "max_completion_tokens", "it is %lld, and max_tokens %lld; give one of them",
                         (long long)new, (long long)old);
}

static fc_status read_rest(openai_parse *p) {
    openai_show *w = p->show;
    const fc_json *n;
    double penalty = 1;
    FC_TRY(openai_read_id(p, p->chat ? "chatcmpl" : "cmpl"));
    FC_TRY(read_max_tokens(p));
    FC_TRY(read_stream(p));
    FC_TRY(read_stop(p));
    FC_TRY(read_seed(p));
    FC_TRY(read_top_k(p));
    FC_TRY(openai_read_salt(p));
    FC_TRY(read_logprobs(p));
    FC_TRY(read_prompt_logprobs(p));
    FC_TRY(read_chat_words(p));
    if (!p->chat) FC_TRY(openai_get_bool(p, "echo", &w->echo));
    FC_TRY(openai_get_bool(p, "return_token_ids", &w->return_ids));
    FC_TRY(openai_get_bool(p, "return_tokens_as_token_ids", &w->ids_as_tokens));
    FC_TRY(openai_read_specials(p));
    n = openai_get(p, p->root, "length_penalty");
    if (n) FC_TRY(fc_json_double(n, &penalty));
    if (penalty != 1) return openai_refuse(p, "length_penalty", "beams are not weighed by length; leave it out");
    return FC_OK;
}

/* ---- how many ---- */

/* The recipe says it, so that the API's default does not count. */
static bool recipe_gives(const openai_parse *p, const char *option) {
    return p->s->has_recipe && fc_recipe_gives(p->s->recipe, option);
}

/* An absent n is the recipe's keep, else 1; an absent best_of the larger of n and the recipe's n. n, best_of: -1 where
 * `forkcast` did not say them either. */
static fc_status settle_counts(openai_parse *p, int64_t n, int64_t best_of) {
    const fc_request *r = p->base; /* still with the recipe's own */
    bool said_n = n >= 0, said_best = best_of >= 0;
    int drawn = recipe_gives(p, "n") ? r->n : 1;
    if (n == 0) n = said_best ? best_of : drawn; /* forkcast.keep 0: all */
    if (n < 0) n = !recipe_gives(p, "keep") ? 1 : r->keep > 0 ? r->keep : drawn;
    if (best_of < 0) best_of = drawn > n ? drawn : n;
    if (!said_n && n > best_of) n = best_of; /* asked for fewer than the recipe keeps */
    if (best_of < n)
        return openai_refuse(p, "best_of", "it is %lld; at least n = %lld candidates are needed", (long long)best_of,
                             (long long)n);
    if (best_of > p->s->max_best_of)
        return openai_refuse(p, said_best ? "best_of" : "n", "%lld candidates; at most %d (--max-best-of)",
                             (long long)best_of, p->s->max_best_of);
    if (p->base->n_max > p->s->max_best_of)
        return openai_refuse(p, "forkcast", "n_max is %d; at most %d (--max-best-of)", p->base->n_max,
                             p->s->max_best_of);
    if (p->base->n_max < best_of && !fc_json_get(p->more, "n_max")) p->base->n_max = 0; /* a recipe's, for fewer */
    p->show->n = p->base->keep = (int)n;
    p->show->best_of = p->base->n = (int)best_of;
    return FC_OK;
}

static fc_status read_counts(openai_parse *p) {
    int64_t n = -1, best_of = -1;
    FC_TRY(openai_get_int(p, "n", 1, FC_N_MAX, &n));
    FC_TRY(openai_get_int(p, "best_of", 1, FC_N_MAX, &best_of));
    FC_TRY(openai_more_find(p));
    FC_TRY(openai_more_read(p, &n, &best_of));
    return settle_counts(p, n, best_of);
}

/* ---- whole ---- */

/* Nothing is chosen or left out, and all that a chunk shows comes with its token. */
static bool streams_live(const openai_parse *p) {
    const fc_request *r = p->base;
    return p->show->in_order && r->draw == FC_DRAW_IID && !p->show->distinct && r->constraint != FC_CONSTRAINT_REJECT &&
           r->n_max == 0 && !r->stop_when && !r->token_budget && !r->deadline_ms && !r->prompt_logprobs &&
           r->sampling.max_tokens != 0 && !(p->show->echo && r->truncate_prompt_tokens);
}

/* echo with logprobs needs the prompt's; with max_tokens 0 that is all. */
static fc_status settle_echo(openai_parse *p) {
    fc_request *r = p->base;
    if (r->sampling.max_tokens == 0 && !p->show->echo && !r->prompt_logprobs)
        return openai_refuse(p, "max_tokens", "0 draws nothing; give 1 or more, or echo or prompt_logprobs too");
    if (p->show->echo && (p->show->logprobs || r->sampling.max_tokens == 0)) {
        r->prompt_logprobs = true;
        if (p->show->logprobs && r->prompt_top_logprobs < r->sampling.top_logprobs)
            r->prompt_top_logprobs = r->sampling.top_logprobs;
    }
    if (r->sampling.max_tokens == 0) p->no_score = true;
    return FC_OK;
}

/* max_tokens that nobody said: the usual ones, or what there is room for. */
static void settle_length(openai_parse *p) {
    fc_request *r = p->base;
    int most = p->usual_tokens, half = p->s->info.novelty.ctx / 2;
    if (r->sampling.max_tokens >= 0) return;
    if (p->chat && most < r->sampling.min_tokens) most = r->sampling.min_tokens;
    if (r->truncate_prompt_tokens == -1 && most > half) most = half; /* the prompt is cut to what it leaves */
    if (r->token_budget > 0 && most > r->token_budget) most = (int)r->token_budget; /* one candidate is within it */
    r->sampling.max_tokens = most > 1 ? most : 1;
    r->fit_max_tokens = true;
}

static fc_status settle(openai_parse *p) {
    fc_request *r = p->base;
    int64_t each;
    settle_length(p);
    FC_TRY(settle_echo(p));
    if (r->diversity || r->draw != FC_DRAW_IID) p->show->distinct = true;
    p->show->in_order = p->call->stream && p->show->n == p->show->best_of && r->n_max <= r->n;
    p->show->live = streams_live(p);
    p->call->sends_early = p->show->live || (p->call->stream && p->show->events);
    r->events = p->call->sends_early;
    FC_TRY(openai_prompts_read(p));
    each = (int64_t)(r->n_max ? r->n_max : r->n) * r->sampling.max_tokens;
    if (each * (int64_t)p->call->n_requests > p->s->max_draws)
        return openai_refuse(p, "max_tokens", "%zu prompts x %d candidates x %d tokens; at most %lld in one request",
                             p->call->n_requests, r->n_max ? r->n_max : r->n, r->sampling.max_tokens,
                             (long long)p->s->max_draws);
    return FC_OK;
}

static fc_status read_completion(openai_parse *p) {
    const openai_model *m;
    fc_request *r = p->base;
    FC_TRY(openai_pick_model(p, &m));
    p->call->model = m->id;
    if (m->novelty_adapter) r->novelty_adapter = m->novelty_adapter;
    if (m->alignment_adapter) r->alignment_adapter = m->alignment_adapter;
    if (!recipe_gives(p, "seed")) r->seed = p->c->random;
    if (p->c->priority) r->priority = *p->c->priority;
    p->usual_tokens = p->chat ? p->s->chat_max_tokens : r->sampling.max_tokens;
    if (!recipe_gives(p, "max_tokens")) r->sampling.max_tokens = -1; /* nobody has said it yet */
    FC_TRY(read_fields(p));
    FC_TRY(read_rest(p));
    FC_TRY(openai_form_read(p));
    FC_TRY(read_counts(p));
    p->param = NULL;
    return settle(p);
}

static fc_status open_call(openai_server *s, openai_route route, const openai_context *c, openai_parse *p) {
    void *mem;
    FC_TRY(fc_alloc(1, sizeof *p->call, "request", &mem));
    p->call = mem;
    FC_TRY(fc_alloc(1, sizeof *p->held, "request", &mem));
    p->held = p->call->held = mem;
    fc_arena_init(&p->held->arena);
    fc_arena_init(&p->held->kept);
    FC_TRY(openai_keep(p, 1, sizeof *p->show, &p->show));
    p->call->show = p->show;
    p->call->route = route;
    p->show->created = c->now;
    p->s = s;
    p->c = c;
    p->chat = route == OPENAI_CHAT;
    p->taxonomy = s->taxonomy;
    p->base = &p->held->base;
    fc_request_init(p->base);
    if (s->has_recipe) *p->base = fc_recipe_edit(s->recipe)->request;
    p->base->api_key = c->api_key;
    p->held->set = (fc_option_target){.request = p->base};
    return FC_OK;
}

void openai_parse_error(const openai_parse *p, fc_status st, openai_error *e) {
    if (p->http) openai_error_http(p->http, fc_last_error(), e);
    else openai_error_of(st, fc_last_error(), p->param, false, e);
    if (p->http) snprintf(e->param, sizeof e->param, "%s", p->param ? p->param : "");
}

fc_status openai_call_parse(openai_server *s, openai_route route, const openai_context *c, const char *body,
                            size_t size, openai_call **out, openai_error *err) {
    openai_parse p = {0};
    fc_status st = open_call(s, route, c, &p);
    if (!st) st = openai_read(body, size, &p.held->doc);
    if (!st) {
        p.root = fc_json_root(p.held->doc);
        st = route == OPENAI_LOOKUP   ? openai_lookup_read(&p)
             : route == OPENAI_SCORE  ? openai_score_read(&p)
             : route >= OPENAI_RERANK ? openai_rerank_read(&p)
                                      : read_completion(&p);
    }
    if (!st) {
        *out = p.call;
        return FC_OK;
    }
    openai_parse_error(&p, st, err);
    openai_error_field(p.call, err);
    openai_call_close(p.call);
    return st;
}

static void free_body(openai_held *h) {
    fc_recipe_close(h->own);
    fc_json_close(h->inner);
    fc_json_close(h->doc);
    fc_arena_fini(&h->arena);
    h->own = NULL;
    h->doc = h->inner = NULL;
}

void openai_call_trim(openai_call *c) {
    openai_show *w = c->show;
    for (size_t i = 0; i < c->n_requests; i++) {
        fc_request *r = &c->requests[i];
        r->prompt = r->alignment_prompt = r->suffix = (fc_prompt){0};
        r->labels = r->names = NULL;
        r->given = NULL;
        r->api_key = NULL;
        if (c->route >= OPENAI_SCORE) r->sampling.logprob_ids = NULL; /* labels of the body */
    }
    for (size_t i = 0; i < w->n_docs && !w->with_text; i++) w->docs[i].text = NULL;
    free_body(c->held);
}

void openai_call_close(openai_call *c) {
    openai_held *h = c ? c->held : NULL;
    if (h) {
        free_body(h);
        fc_option_target_fini(&h->set);
        fc_arena_fini(&h->kept);
    }
    fc_free(h);
    fc_free(c);
}

fc_status openai_server_init(openai_server *s) {
    fc_recipe_info *info = fc_recipe_edit(s->recipe);
    int drawn = info->request.n_max > info->request.n ? info->request.n_max : info->request.n;
    if (!s->n_models) return FC_FAIL(FC_ERR_ARG, "server: a model is needed");
    info->alignment_model = s->info.has_alignment ? "served" : "none"; /* says whether requests are scored */
    if (!s->max_best_of) s->max_best_of = s->has_recipe && drawn > 64 ? drawn : 64;
    if (!s->max_prompts) s->max_prompts = 64;
    if (!s->chat_max_tokens) s->chat_max_tokens = 512;
    if (!s->max_draws) s->max_draws = 4 << 20;
    if (!s->fingerprint) s->fingerprint = "forkcast-" FC_VERSION;
    return FC_OK;
}
