#define _GNU_SOURCE /* environ */
#include "engine/app/serve/config.h"
#include "engine/app/serve_options.h"

#include "engine/app/print.h"
#include "engine/base/log.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

enum { FILE_BYTES_MAX = 1 << 20, NAME_MAX_SIZE = 64 };

static bool is_own(const fc_option *o) { return fc_option_find(o->name) != o; }

/* The server's options, then the engine's; NULL behind the last one. */
static const fc_option *option_at(size_t i) {
    const size_t own = serve_option_count();
    if (i < own) return serve_option_at(i);
    for (size_t k = 0, at = own; k < fc_option_count(); k++)
        if (fc_option_at(k)->part == FC_PART_ENGINE && at++ == i) return fc_option_at(k);
    return NULL;
}

/* ---- flags ---- */

static fc_status check_own(const fc_option *o, const char *said, const char *text) {
    return serve_option_set(NULL, o, said, text);
}

static void put_rows(serve_config *c, arg *args, size_t *n) {
    for (size_t i = 0; i < serve_option_count(); i++) {
        const fc_option *o = serve_option_at(i);
        args[(*n)++] = (arg){.kind = ARG_OPTION,
                             .name = option_flag(o, c->names[i], sizeof c->names[i]),
                             .out = &c->flags,
                             .option = o,
                             .value = o->value,
                             .help = o->help};
    }
}

static fc_status read_flags(serve_config *c, int argc, char **argv, bool *help) {
    arg args[ARGS_MAX];
    size_t n = 0;
    int rest;
    command k = {
        .name = "serve",
        .usage = "serve [--recipe R] --novelty MODEL --alignment MODEL|none [--port 8000] [options]",
        .about =
            "Serves best-of-n over HTTP: /v1/completions, /v1/chat/completions, /v1/models, scoring, reranking, "
            "/metrics.\n"
            "Every option but the last two is also an environment variable, FORKCAST_PORT for --port, and a key of the "
            "file\n"
            "that --config names, \"port\". A flag stands over the variable, that over the file.",
        .args = args,
    };
    option_args_init(&c->flags);
    c->flags.other = check_own;
    args[n++] = arg_of(ARG_HEADING, "Server:", NULL, NULL, NULL);
    put_rows(c, args, &n);
    args[n++] = arg_of(ARG_HEADING, "Engine:", NULL, NULL, NULL);
    option_args_rows(&c->flags, FC_PART_ENGINE, args, &n);
    args[n++] = arg_of(ARG_HEADING, "Instead of serving:", NULL, NULL, NULL);
    args[n++] = arg_of(ARG_FLAG, "check-config", &c->check, NULL,
                       "read all that is named, of models and adapters what tells whether they fit, and end");
    args[n++] = arg_of(ARG_FLAG, "print-config", &c->print, NULL, "print what counts, as a file for --config, and end");
    k.n_args = n;
    return args_parse(&k, argc, argv, &rest, help);
}

/* ---- three ways to say a value ---- */

static fc_status keep(serve_config *c, const fc_option *o, const char *said, const char *text) {
    if (c->n_values == SERVE_VALUES_MAX)
        return FC_FAIL(FC_ERR_ARG, "%s: more than %d values are given", o->name, SERVE_VALUES_MAX);
    c->values[c->n_values++] = (struct serve_value){.option = o, .text = text, .said = said};
    return FC_OK;
}

static fc_status copy(serve_config *c, const char *text, size_t size, const char **out) {
    void *p;
    FC_TRY(fc_arena_alloc(&c->arena, size + 1, 1, &p));
    memcpy(p, text, size);
    *out = p;
    return FC_OK;
}

/* "--port", "FORKCAST_PORT", "serve.json: port" */
static fc_status name_it(serve_config *c, const char *before, const char *name, const char **out) {
    fc_str s = {0};
    fc_status st = fc_str_printf(&s, "%s%s", before, name);
    if (!st) st = copy(c, fc_str_text(&s), s.size, out);
    fc_str_fini(&s);
    return st;
}

static fc_status by_flag(serve_config *c, const fc_option *o, bool *given) {
    char flag[NAME_MAX_SIZE];
    const char *said = NULL;
    for (size_t i = 0; i < c->flags.n; i++) {
        if (c->flags.given[i].option != o) continue;
        if (!said) FC_TRY(name_it(c, "--", option_flag(o, flag, sizeof flag), &said));
        FC_TRY(keep(c, o, said, c->flags.given[i].text));
        *given = true;
    }
    return FC_OK;
}

static fc_status by_variable(serve_config *c, const fc_option *o, bool *given) {
    char upper[NAME_MAX_SIZE];
    const char *said, *text;
    snprintf(upper, sizeof upper, "%s", o->name);
    for (char *p = upper; *p; p++) *p = (char)toupper((unsigned char)*p);
    FC_TRY(name_it(c, "FORKCAST_", upper, &said));
    text = getenv(said);
    if (!text || !*text) return FC_OK;
    *given = true;
    if (o->kind != FC_OPTION_TEXTS) return keep(c, o, said, text);
    for (;; text++) {
        const size_t n = strcspn(text, ",");
        const char *one;
        FC_TRY(copy(c, text, n, &one));
        FC_TRY(keep(c, o, said, one));
        text += n;
        if (!*text) return FC_OK;
    }
}

/* The text that a flag would have. */
static fc_status text_of(serve_config *c, const fc_option *o, const fc_json *n, const char **out) {
    char digits[32];
    int64_t v;
    bool yes;
    switch (o->kind) {
    case FC_OPTION_BOOL:
        FC_TRY(fc_json_bool(n, &yes));
        *out = yes ? "true" : "false";
        return FC_OK;
    case FC_OPTION_INT:
        FC_TRY(fc_json_int(n, (int64_t)o->min, (int64_t)o->max, &v));
        snprintf(digits, sizeof digits, "%lld", (long long)v);
        return copy(c, digits, strlen(digits), out);
    default: return fc_json_string(n, out);
    }
}

static fc_status by_file(serve_config *c, const fc_option *o, bool *given) {
    const fc_json *n = c->file ? fc_json_get(fc_json_root(c->file), o->name) : NULL;
    const bool list = o->kind == FC_OPTION_TEXTS;
    const char *said, *text, *where = c->config;
    if (!n || fc_json_kind(n) == FC_JSON_NULL) return FC_OK;
    if (list && fc_json_kind(n) != FC_JSON_ARRAY)
        return fc_json_fail(n, FC_ERR_FORMAT, "a list of strings is expected");
    FC_TRY(name_it(c, where, ": ", &said));
    FC_TRY(name_it(c, said, o->name, &said));
    for (const fc_json *k = list ? fc_json_first(n) : n; k; k = list ? fc_json_next(k) : NULL) {
        FC_TRY(text_of(c, o, k, &text));
        FC_TRY(keep(c, o, said, text));
        *given = true;
    }
    return FC_OK;
}

static fc_status open_file(serve_config *c) {
    FC_TRY(fc_json_open(c->config, FILE_BYTES_MAX, &c->file));
    if (fc_json_kind(fc_json_root(c->file)) != FC_JSON_OBJECT)
        return FC_FAIL(FC_ERR_FORMAT, "%s: a JSON object is expected", c->config);
    for (const fc_json *n = fc_json_first(fc_json_root(c->file)); n; n = fc_json_next(n)) {
        bool known = false;
        for (size_t i = 0; option_at(i); i++)
            known = known || (strcmp(option_at(i)->name, fc_json_key(n)) == 0 && strcmp(fc_json_key(n), "config") != 0);
        if (!known) return fc_json_fail(n, FC_ERR_FORMAT, "no such option; forkcast serve --help lists them");
    }
    return FC_OK;
}

/* Where the first that says it does so. */
static fc_status find(serve_config *c, const fc_option *o, bool *given) {
    *given = false;
    FC_TRY(by_flag(c, o, given));
    if (!*given) FC_TRY(by_variable(c, o, given));
    return *given ? FC_OK : by_file(c, o, given);
}

/* ---- all ---- */

static fc_status find_file(serve_config *c) {
    for (size_t i = 0; i < serve_option_count(); i++) {
        const fc_option *o = serve_option_at(i);
        bool given;
        if (strcmp(o->name, "config") != 0) continue;
        FC_TRY(find(c, o, &given));
        if (given) c->config = c->values[0].text;
    }
    c->n_values = 0;
    return c->config ? open_file(c) : FC_OK;
}

static bool is_named(const fc_option *o, const char *name) { return strcmp(o->name, name) == 0; }

static fc_status set_own(serve_config *c) {
    for (size_t i = 0; i < c->n_values; i++) {
        const struct serve_value *v = &c->values[i];
        if (is_own(v->option)) FC_TRY(serve_option_set(c, v->option, v->said ? v->said : v->option->name, v->text));
    }
    for (size_t i = 0; i < c->n_values; i++) { /* now that all is known */
        const struct serve_value *v = &c->values[i];
        const bool part = is_named(v->option, "host") || is_named(v->option, "port");
        if (!v->said || !(part || is_named(v->option, "listen"))) continue;
        c->addressed = true;
        if (part && c->listen.n)
            return FC_FAIL(FC_ERR_ARG, "%s: listen is given too, which says the whole address", v->said);
    }
    return FC_OK;
}

/* Names that requests can choose between. */
static fc_status check_names(const serve_config *c) {
    for (size_t i = 0; i < c->adapters.n; i++) {
        const char *item = c->adapters.items[i];
        const size_t n = strcspn(item, "=");
        for (size_t k = 0; k < i; k++)
            if (strncmp(c->adapters.items[k], item, n + 1) == 0)
                return FC_FAIL(FC_ERR_ARG, "adapter: \"%.*s\" is given twice", (int)(n < 80 ? n : 80), item);
        for (size_t k = 0; k < c->served_names.n; k++)
            if (strlen(c->served_names.items[k]) == n && memcmp(c->served_names.items[k], item, n) == 0)
                return FC_FAIL(FC_ERR_ARG, "adapter: \"%.*s\" is a served_model_name, too", (int)(n < 80 ? n : 80),
                               item);
    }
    return FC_OK;
}

/* A variable that no option has is a slip of the pen, or somebody else's: it is told, once. */
static void warn_of_variables(void) {
    static const char prefix[] = "FORKCAST_";
    fc_str list = {0};
    fc_status st = FC_OK;
    for (char **e = environ; e && *e && !st; e++) {
        const size_t n = strcspn(*e, "="), first = sizeof prefix - 1;
        bool known = false;
        if (strncmp(*e, prefix, first) != 0) continue;
        for (size_t i = 0; option_at(i) && !known; i++) {
            const char *name = option_at(i)->name;
            known = strlen(name) == n - first && strncasecmp(name, *e + first, n - first) == 0;
        }
        for (size_t i = first; known && i < n; i++) known = !islower((unsigned char)(*e)[i]);
        if (!known) st = fc_str_printf(&list, "%s%.*s", list.size ? ", " : "", (int)(n < 80 ? n : 80), *e);
    }
    if (list.size)
        fc_log(FC_LOG_WARN, "%s: no option has this name; forkcast options --serve lists them", fc_str_text(&list));
    fc_str_fini(&list);
}

fc_status serve_config_read(serve_config *c, int argc, char **argv, bool *help) {
    fc_option_target t = {0};
    fc_engine_options engine = {0};
    fc_status st;
    FC_ASSERT(serve_option_count() <= SERVE_OPTIONS_MAX);
    fc_arena_init(&c->arena);
    FC_TRY(read_flags(c, argc, argv, help));
    if (*help) return FC_OK;
    warn_of_variables();
    FC_TRY(find_file(c));
    for (size_t i = 0; option_at(i); i++) {
        const fc_option *o = option_at(i);
        bool given;
        FC_TRY(find(c, o, &given));
        if (!given && is_own(o) && o->fallback) FC_TRY(keep(c, o, NULL, o->fallback));
    }
    FC_TRY(set_own(c));
    FC_TRY(check_names(c));
    t.engine = &engine; /* their values are checked now, too */
    st = serve_config_engine(c, &t);
    fc_option_target_fini(&t);
    return st;
}

void serve_config_fini(serve_config *c) {
    option_args_fini(&c->flags);
    fc_json_close(c->file);
    fc_arena_fini(&c->arena);
}

fc_status serve_config_engine(const serve_config *c, fc_option_target *t) {
    for (size_t i = 0; i < c->n_values; i++) {
        const struct serve_value *v = &c->values[i];
        fc_status st;
        if (is_own(v->option)) continue;
        t->said = v->said;
        st = fc_option_set_text(t, v->option->name, v->text);
        t->said = NULL;
        FC_TRY(st);
    }
    return FC_OK;
}

static fc_status print_one(fc_option_kind kind, const char *text, fc_str *out) {
    if (kind == FC_OPTION_INT || kind == FC_OPTION_BOOL) return fc_str_puts(out, text);
    return fc_json_put_string(out, text, strlen(text));
}

fc_status serve_config_print(const serve_config *c, fc_str *out) {
    bool some = false;
    FC_TRY(fc_str_puts(out, "{"));
    for (size_t i = 0; i < c->n_values;) {
        const fc_option *o = c->values[i].option;
        const bool list = o->kind == FC_OPTION_TEXTS;
        const size_t first = i;
        if (strcmp(o->name, "config") == 0) {
            i++;
            continue;
        }
        FC_TRY(fc_str_printf(out, "%s\n  \"%s\": %s", some ? "," : "", o->name, list ? "[" : ""));
        for (; i < c->n_values && c->values[i].option == o; i++) {
            if (!list && i + 1 < c->n_values && c->values[i + 1].option == o) continue; /* the last one counts */
            if (list && i > first) FC_TRY(fc_str_puts(out, ", "));
            FC_TRY(print_one(o->kind, c->values[i].text, out));
        }
        FC_TRY(fc_str_puts(out, list ? "]" : ""));
        some = true;
    }
    return fc_str_puts(out, "\n}\n");
}
