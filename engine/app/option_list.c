/* option_list - the command `options`: the tables of what can be set, for people, programs and documents. */
#include "engine/app/commands.h"
#include "engine/app/option_args.h"
#include "engine/app/print.h"
#include "engine/app/serve_options.h"
#include "engine/app/textio.h"
#include "engine/base/json.h"

#include <string.h>

/* What is taken, in words. */
static fc_status put_values(const fc_option *o, fc_str *out) {
    char choices[256];
    switch (o->kind) {
    case FC_OPTION_BOOL: return fc_str_puts(out, "true or false");
    case FC_OPTION_INT:
        if (!o->choices) return fc_str_printf(out, "%.0f to %.0f", o->min, o->max);
        return fc_str_puts(out, fc_option_choices(o, choices, sizeof choices));
    case FC_OPTION_INT64: return fc_str_puts(out, "0 to 2^63-1");
    case FC_OPTION_UINT64: return fc_str_puts(out, "0 to 2^64-1");
    case FC_OPTION_FLOAT: return fc_str_printf(out, "%g to %g", o->min, o->max);
    case FC_OPTION_BYTES: return fc_str_puts(out, "bytes, such as 512M");
    case FC_OPTION_CHOICE:
    case FC_OPTION_WORD: return fc_str_puts(out, fc_option_choices(o, choices, sizeof choices));
    case FC_OPTION_WORDS: return fc_str_printf(out, "some of %s", fc_option_choices(o, choices, sizeof choices));
    case FC_OPTION_TEXT: return fc_str_puts(out, "text");
    case FC_OPTION_PATH:
        return fc_str_puts(out, strcmp(o->value, "FILE") == 0     ? "a file"
                                : strcmp(o->value, "MODEL") == 0  ? "a model"
                                : strcmp(o->value, "FOLDER") == 0 ? "a folder"
                                                                  : "a name or folder");
    case FC_OPTION_TEXTS: return fc_str_puts(out, "texts");
    case FC_OPTION_IDS: return fc_str_puts(out, "token ids");
    case FC_OPTION_BIASES: return fc_str_puts(out, "token ids and numbers");
    }
    return FC_OK;
}

static void widen(size_t *width, const char *text) {
    if (strlen(text) > *width) *width = strlen(text);
}

static fc_status put_default(const fc_option *o, fc_str *out) {
    return fc_str_printf(out, "%s%s; %s\n", o->fallback ? "; default " : "", o->fallback ? o->fallback : "", o->help);
}

static fc_status put_plain(fc_str *out) {
    fc_option_part part = FC_PART_ENGINE; /* not the first one's */
    size_t name = 0, flag = 0, key = 0;
    char text[32];
    for (size_t i = 0; i < fc_option_count(); i++) {
        const fc_option *o = fc_option_at(i);
        widen(&name, o->name);
        widen(&flag, option_flag(o, text, sizeof text));
        widen(&key, o->key);
    }
    FC_TRY(fc_str_printf(out, "%-*s  --%-*s  %-*s  %-8s  values; default; meaning\n", (int)name, "name", (int)flag,
                         "flag", (int)key, "key of a recipe", "scope"));
    for (size_t i = 0; i < fc_option_count(); i++) {
        const fc_option *o = fc_option_at(i);
        if (o->part != part) FC_TRY(fc_str_puts(out, "\n"));
        part = o->part;
        FC_TRY(fc_str_printf(out, "%-*s  --%-*s  %-*s  %-8s  ", (int)name, o->name, (int)flag,
                             option_flag(o, text, sizeof text), (int)key, o->key, fc_option_scope_name(o->scope)));
        FC_TRY(put_values(o, out));
        FC_TRY(put_default(o, out));
    }
    return FC_OK;
}

/* A cell of a Markdown table: | would end it. */
static fc_status put_cell(fc_str *out, const char *text) {
    for (; *text; text++) {
        if (*text == '|') FC_TRY(fc_str_puts(out, "\\"));
        FC_TRY(fc_str_put(out, text, 1));
    }
    return FC_OK;
}

/* | values | default | meaning | */
static fc_status put_cells(const fc_option *o, fc_str *out) {
    FC_TRY(put_values(o, out));
    if (o->fallback) FC_TRY(fc_str_printf(out, " | `%s` | ", o->fallback));
    else FC_TRY(fc_str_puts(out, " | | "));
    FC_TRY(put_cell(out, o->help));
    return fc_str_puts(out, " |\n");
}

static fc_status put_markdown(fc_str *out) {
    char flag[32];
    FC_TRY(fc_str_puts(out,
                       "| flag | key of a recipe | scope | values | default | meaning |\n|---|---|---|---|---|---|\n"));
    for (size_t i = 0; i < fc_option_count(); i++) {
        const fc_option *o = fc_option_at(i);
        FC_TRY(fc_str_printf(out, "| `--%s` | `%s` | %s | ", option_flag(o, flag, sizeof flag), o->key,
                             fc_option_scope_name(o->scope)));
        FC_TRY(put_cells(o, out));
    }
    return FC_OK;
}

static fc_status put_choices(json_object *j, const char *choices) {
    FC_TRY(json_key(j, "choices"));
    if (!choices) return fc_str_puts(j->out, "null");
    FC_TRY(fc_str_puts(j->out, "["));
    for (const char *at = choices; *at;) {
        size_t n = strcspn(at, "|");
        if (at != choices) FC_TRY(fc_str_puts(j->out, ","));
        FC_TRY(fc_json_put_string(j->out, at, n));
        at += n;
        at += *at == '|';
    }
    return fc_str_puts(j->out, "]");
}

static fc_status put_text(json_object *j, const char *key, const char *text) {
    if (text) return json_text(j, key, text, strlen(text));
    FC_TRY(json_key(j, key));
    return fc_str_puts(j->out, "null");
}

static fc_status put_option(const fc_option *o, bool server, fc_str *out) {
    json_object j = {.out = out};
    fc_str values = {0};
    char flag[32];
    bool ranged = o->kind == FC_OPTION_INT || o->kind == FC_OPTION_FLOAT;
    fc_status st;
    FC_TRY(fc_str_puts(out, "{"));
    FC_TRY(put_text(&j, "name", o->name));
    FC_TRY(put_text(&j, "flag", option_flag(o, flag, sizeof flag)));
    if (!server) {
        FC_TRY(put_text(&j, "key", o->key));
        FC_TRY(put_text(&j, "scope", fc_option_scope_name(o->scope)));
        FC_TRY(put_text(&j, "part", fc_option_part_name(o->part)));
    }
    FC_TRY(put_text(&j, "kind", fc_option_kind_name(o->kind)));
    if (ranged) {
        FC_TRY(json_key(&j, "min"));
        FC_TRY(fc_str_printf(out, "%.10g", o->min));
        FC_TRY(json_key(&j, "max"));
        FC_TRY(fc_str_printf(out, "%.10g", o->max));
    }
    FC_TRY(put_choices(&j, o->choices));
    FC_TRY(put_text(&j, "default", o->fallback));
    st = put_values(o, &values);
    if (!st) st = put_text(&j, "values", fc_str_text(&values));
    fc_str_fini(&values);
    FC_TRY(st);
    FC_TRY(put_text(&j, "help", o->help));
    return fc_str_puts(out, "}");
}

static fc_status put_json(bool server, fc_str *out) {
    const size_t n = server ? serve_option_count() : fc_option_count();
    FC_TRY(fc_str_puts(out, "{\"options\":["));
    for (size_t i = 0; i < n; i++) {
        if (i) FC_TRY(fc_str_puts(out, ","));
        FC_TRY(put_option(server ? serve_option_at(i) : fc_option_at(i), server, out));
    }
    return fc_str_puts(out, "]}\n");
}

/* ---- the server's own ---- */

static fc_status put_serve(bool markdown, fc_str *out) {
    char flag[32];
    if (markdown) FC_TRY(fc_str_puts(out, "| flag | values | default | meaning |\n|---|---|---|---|\n"));
    for (size_t i = 0; i < serve_option_count(); i++) {
        const fc_option *o = serve_option_at(i);
        FC_TRY(fc_str_printf(out, markdown ? "| `--%s` | " : "--%-20s  ", option_flag(o, flag, sizeof flag)));
        if (!markdown) FC_TRY(put_values(o, out));
        FC_TRY(markdown ? put_cells(o, out) : put_default(o, out));
    }
    return FC_OK;
}

static fc_status put_table(bool server, bool json, bool markdown, fc_str *out) {
    if (json) return put_json(server, out);
    if (server) return put_serve(markdown, out);
    return markdown ? put_markdown(out) : put_plain(out);
}

int cmd_options(int argc, char **argv) {
    bool json = false, markdown = false, server = false, help;
    int rest;
    arg args[] = {
        arg_of(ARG_FLAG, "json", &json, NULL, "one JSON object"),
        arg_of(ARG_FLAG, "markdown", &markdown, NULL, "the table of README.md"),
        arg_of(ARG_FLAG, "serve", &server, NULL, "those of the command serve alone"),
    };
    command c = {
        .name = "options",
        .usage = "options [--serve] [--json | --markdown]",
        .about =
            "Lists what can be set, by flags (with - for _), by recipes and by requests: the one table that help and\n"
            "documents are made from. Options of the scope engine are set when it is opened, the others a request.",
        .args = args,
        .n_args = sizeof args / sizeof *args,
    };
    fc_str out = {0};
    fc_status st = args_parse(&c, argc, argv, &rest, &help);
    if (!st && !help && json && markdown) st = FC_FAIL(FC_ERR_ARG, "--json and --markdown: give one of them");
    if (!st && !help) st = put_table(server, json, markdown, &out);
    if (!st && !help) st = text_write(fc_str_text(&out), out.size);
    fc_str_fini(&out);
    return args_exit("options", st);
}
