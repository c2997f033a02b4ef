/* load - from a configuration to something that can be asked. */
#include "engine/app/http/head.h"
#include "engine/app/http/listen.h"
#include "engine/app/request_args.h"
#include "engine/app/serve/serve.h"
#include "engine/base/os.h"
#include "weights_tools/tools.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static bool is_none(const char *model) { return !model || strcmp(model, "none") == 0; }
static bool one_file(const char *a, const char *b) { return strcmp(a, b) == 0 || fc_path_same(a, b); }

/* ---- quick ---- */

/* A name that no browser sends would be served for months before anybody sees why it lets nobody in. */
static fc_status check_names(const serve_config *c) {
    for (size_t i = 0; i < c->origins.n; i++)
        if (!http_origin_valid(c->origins.items[i]))
            return FC_FAIL(FC_ERR_ARG, "--allowed-origin: \"%.80s\" is no origin, such as https://app.example",
                           c->origins.items[i]);
    for (size_t i = 0; i < c->hosts.n; i++)
        if (strcmp(c->hosts.items[i], "*") != 0 && !http_host_valid(c->hosts.items[i], strlen(c->hosts.items[i])))
            return FC_FAIL(FC_ERR_ARG, "--allowed-host: \"%.80s\" is no name of a host, nor *", c->hosts.items[i]);
    return FC_OK;
}

static fc_status check_model(const char *path) {
    if (is_none(path) || strncmp(path, "like:", 5) == 0 || fc_path_exists(path)) return FC_OK;
    return FC_FAIL(FC_ERR_IO, "%s: there is no such file", path);
}

fc_status serve_address(const serve *s, int port, fc_str *out) {
    return fc_str_printf(out, strchr(s->c.host, ':') ? "[%s]:%d" : "%s:%d", s->c.host, port);
}

fc_status serve_prepare(serve *s) {
    serve_config *c = &s->c;
    fc_recipe_info *info;
    FC_TRY(check_names(c));
    if ((size_t)c->max_body > (size_t)c->max_memory << 19)
        return FC_FAIL(FC_ERR_ARG, "max_body: %d bytes; they are at most half of max_memory, which is %d MiB",
                       c->max_body, c->max_memory);
    FC_TRY(serve_table_open(s));
    if (c->api_key_file) FC_TRY(http_keys_open(c->api_key_file, &s->keys));
    if (c->recipe) FC_TRY(request_args_recipe(c->recipe, &s->recipe));
    else FC_TRY(fc_recipe_parse("no recipe", "{}", 2, &s->recipe));
    if (c->taxonomy) FC_TRY(fc_recipe_set_taxonomy(s->recipe, c->taxonomy));
    info = fc_recipe_edit(s->recipe);
    s->set.engine = &info->engine;
    FC_TRY(serve_config_engine(c, &s->set));
    if (!c->novelty) c->novelty = info->novelty_model;
    if (!c->alignment) c->alignment = info->alignment_model;
    if (!c->novelty)
        return FC_FAIL(FC_ERR_ARG, "--novelty: a model is needed%s", c->recipe ? ", and the recipe names none" : "");
    if (!c->alignment) return FC_FAIL(FC_ERR_ARG, "--alignment: a model is needed, or none to rank by log-prob");
    if (is_none(c->alignment) && c->alignment_adapter)
        return FC_FAIL(FC_ERR_ARG, "--alignment-adapter: it needs an alignment model");
    FC_TRY(check_model(c->novelty));
    return check_model(c->alignment);
}

/* ---- models and adapters ---- */

/* "m" of "models/m.gguf". */
static fc_status name_model(serve *s, const char *path, const char **out) {
    static const char *const ends[] = {".gguf", ".safetensors"};
    size_t size = strlen(path), begin;
    char *copy;
    void *p;
    while (size > 1 && path[size - 1] == '/') size--;
    for (begin = size; begin > 0 && path[begin - 1] != '/'; begin--) {
    }
    FC_TRY(fc_arena_alloc(&s->c.arena, size - begin + 1, 1, &p));
    copy = p;
    memcpy(copy, path + begin, size - begin);
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (fc_ends_with(copy, ends[i]) && strlen(copy) > strlen(ends[i])) copy[strlen(copy) - strlen(ends[i])] = '\0';
    *out = copy;
    return FC_OK;
}

/* Served names first, then adapters. */
static fc_status list_models(serve *s) {
    const serve_config *c = &s->c;
    const size_t names = c->served_names.n ? c->served_names.n : 1;
    const char *own;
    void *p;
    FC_TRY(fc_arena_alloc(&s->c.arena, names + c->adapters.n, sizeof *s->models, &p));
    s->models = p;
    FC_TRY(name_model(s, c->novelty, &own));
    for (size_t i = 0; i < names; i++)
        s->models[i] = (openai_model){.id = c->served_names.n ? c->served_names.items[i] : own, .root = own};
    for (size_t i = 0; i < c->adapters.n; i++) {
        const char *item = c->adapters.items[i];
        const size_t n = strcspn(item, "=");
        char *id;
        FC_TRY(fc_arena_alloc(&s->c.arena, n + 1, 1, &p));
        id = p;
        memcpy(id, item, n);
        s->models[names + i] =
            (openai_model){.id = id, .root = item + n + 1, .parent = s->models[0].id, .novelty_adapter = id};
    }
    for (size_t i = 0; i < names + c->adapters.n; i++) s->models[i].alignment_adapter = c->alignment_adapter;
    s->api.models = s->models;
    s->api.n_models = names + c->adapters.n;
    return FC_OK;
}

/* Those that models select, and those that the recipe names by their paths; out has room for two more than models. */
static size_t need_adapters(const serve *s, fc_adapter_option *out) {
    const fc_request *r = &fc_recipe_edit(s->recipe)->request;
    const char *align = s->c.alignment_adapter ? s->c.alignment_adapter : r->alignment_adapter;
    const bool one = !is_none(s->c.alignment) && one_file(s->c.novelty, s->c.alignment);
    size_t n = 0;
    for (size_t i = 0; i < s->api.n_models; i++)
        if (s->models[i].novelty_adapter)
            out[n++] = (fc_adapter_option){.name = s->models[i].id, .path = s->models[i].root, .model = FC_NOVELTY};
    if (r->novelty_adapter)
        out[n++] = (fc_adapter_option){.name = r->novelty_adapter, .path = r->novelty_adapter, .model = FC_NOVELTY};
    if (align && !is_none(s->c.alignment) && !(one && r->novelty_adapter && strcmp(r->novelty_adapter, align) == 0))
        out[n++] = (fc_adapter_option){.name = align, .path = align, .model = FC_ALIGNMENT};
    return n;
}

static fc_status check_adapters(serve *s) {
    fc_adapter_option *list;
    void *p;
    FC_TRY(list_models(s));
    FC_TRY(fc_arena_alloc(&s->c.arena, s->api.n_models + 2, sizeof *list, &p));
    list = p;
    for (size_t i = 0, n = need_adapters(s, list); i < n; i++)
        FC_TRY(fc_tools_check_adapter(list[i].model == FC_NOVELTY ? s->c.novelty : s->c.alignment, list[i].path));
    return FC_OK;
}

fc_status serve_check(serve *s) {
    const serve_config *c = &s->c;
    fc_str address = {0};
    fc_status st = check_adapters(s);
    for (size_t i = 0; i < c->listen.n && !st; i++) st = http_listen_check(c->listen.items[i]);
    if (!st) st = serve_address(s, c->port, &address);
    if (!st && (!c->listen.n || c->metrics_port)) st = http_listen_check(fc_str_text(&address));
    fc_str_fini(&address);
    return st;
}

static fc_status open_engine(serve *s) {
    fc_engine_options o = fc_recipe_edit(s->recipe)->engine;
    void *p;
    FC_TRY(fc_arena_alloc(&s->c.arena, s->api.n_models + 2, sizeof(fc_adapter_option), &p));
    o.novelty = s->c.novelty;
    o.alignment = is_none(s->c.alignment) ? NULL : s->c.alignment;
    o.max_requests = s->c.max_requests;
    o.n_adapters = need_adapters(s, p);
    o.adapters = p;
    for (size_t i = 0; i < o.n_adapters && s->n_adapters < 64; i++)
        if (o.adapters[i].model == FC_NOVELTY) s->adapters[s->n_adapters++] = o.adapters[i].name;
    return fc_engine_open(&o, &s->e);
}

static fc_status set_taxonomy(serve *s) {
    fc_taxonomy_names t;
    if (!fc_recipe_taxonomy(s->recipe, &t)) return FC_OK;
    t.id = s->api.taxonomy = "recipe";
    return fc_engine_set_taxonomy(s->e, &t);
}

static fc_status load(serve *s) {
    openai_server *a = &s->api;
    const serve_config *c = &s->c;
    FC_TRY(list_models(s));
    FC_TRY(fc_tokenizer_open(c->novelty, &s->tok[0]));
    if (!is_none(c->alignment) && !one_file(c->novelty, c->alignment))
        FC_TRY(fc_tokenizer_open(c->alignment, &s->tok[1]));
    FC_TRY(open_engine(s));
    fc_engine_describe(s->e, &a->info);
    FC_TRY(set_taxonomy(s));
    a->tok[FC_NOVELTY] = s->tok[0];
    a->tok[FC_ALIGNMENT] = is_none(c->alignment) ? NULL : s->tok[1] ? s->tok[1] : s->tok[0];
    FC_TRY(serve_table_own(s));
    a->recipe = s->recipe;
    a->has_recipe = c->recipe != NULL;
    a->started = (int64_t)time(NULL);
    a->usage_all = strcmp(c->usage_counts, "all") == 0;
    a->max_best_of = c->max_best_of;
    a->max_prompts = c->max_prompts;
    a->chat_max_tokens = c->chat_max_tokens;
    return openai_server_init(a);
}

/* ---- the thread ---- */

static void *load_main(void *self) {
    serve *s = self;
    s->st = load(s);
    if (s->st) snprintf(s->why, sizeof s->why, "%s", fc_last_error());
    if (!atomic_exchange(&s->over, true)) http_wake(s->h);
    return NULL;
}

fc_status serve_load(serve *s) {
    sigset_t all, old;
    int err;
    sigfillset(&all); /* signals are the loop's, not the loader's nor of what it begins */
    pthread_sigmask(SIG_SETMASK, &all, &old);
    err = pthread_create(&s->loader, NULL, load_main, s);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (err) return FC_FAIL(FC_ERR_MEM, "loader thread: %s", strerror(err));
    s->loading = true;
    return FC_OK;
}

static void join(serve *s) {
    if (s->loading) pthread_join(s->loader, NULL);
    s->loading = false;
}

static void wake(void *h) { http_wake(h); }

fc_status serve_loaded(serve *s) {
    if (!s->loading || !atomic_load(&s->over)) return FC_OK;
    join(s);
    if (s->st) return FC_FAIL(s->st, "%s", s->why);
    fc_engine_notify(s->e, wake, s->h);
    s->ready = true;
    serve_table_compare(s);
    return FC_OK;
}

bool serve_give_up(serve *s) { return s->loading && !atomic_exchange(&s->over, true); }

void serve_hush(serve *s) {
    join(s);
    if (s->e) fc_engine_notify(s->e, NULL, NULL);
}

void serve_unload(serve *s) {
    fc_engine_close(s->e);
    for (int i = 0; i < 2; i++)
        if (s->tok[i]) fc_tokenizer_close(s->tok[i]);
    fc_option_target_fini(&s->set);
    fc_recipe_close(s->recipe);
    http_keys_close(s->keys);
    serve_table_close(s);
}
