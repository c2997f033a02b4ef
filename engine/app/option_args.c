#include "engine/app/option_args.h"

#include <stdio.h>
#include <string.h>

void option_args_init(option_args *o) {
    fc_request_init(&o->request);
    o->check = (fc_option_target){.engine = &o->engine, .request = &o->request};
}

void option_args_fini(option_args *o) {
    fc_option_target_fini(&o->check);
    fc_option_target_fini(&o->set);
}

/* name with - for _. */
static const char *dashed(const char *name, char *out, size_t size) {
    snprintf(out, size, "%s", name);
    for (char *c = out; *c; c++)
        if (*c == '_') *c = '-';
    return out;
}

const char *option_flag(const fc_option *o, char *out, size_t size) {
    return dashed(o->flag ? o->flag : o->name, out, size);
}

void option_args_rows(option_args *o, fc_option_part part, arg *args, size_t *n) {
    FC_ASSERT(fc_option_count() <= OPTION_FLAGS_MAX);
    for (size_t i = 0; i < fc_option_count(); i++) {
        const fc_option *option = fc_option_at(i);
        arg a = {.kind = ARG_OPTION, .out = o, .option = option, .help = option->help, .value = option->value};
        if (option->part != part) continue;
        if (!a.value && option->kind != FC_OPTION_BOOL) a.value = "NAME";
        a.name = option->flag ? option->flag : dashed(option->name, o->names[i], sizeof o->names[i]);
        if (strcmp(option->name, "n") == 0) a.letter = 'n';
        if (strcmp(option->name, "keep") == 0) a.letter = 'k';
        args[(*n)++] = a;
        if (!option->flag) continue;
        a.name = dashed(option->name, o->names[i], sizeof o->names[i]); /* its regular name is taken, too */
        a.help = NULL;
        args[(*n)++] = a;
    }
}

void option_args_default(arg *args, size_t n, const char *flag, const char *text) {
    for (size_t i = 0; i < n; i++)
        if (strcmp(args[i].name, flag) == 0) args[i].fallback = text;
}

fc_status option_args_take(option_args *o, const fc_option *option, const char *said, const char *text) {
    fc_status st;
    if (o->n == OPTION_ARGS_MAX)
        return FC_FAIL(FC_ERR_ARG, "%s: more than %d options are given", said, OPTION_ARGS_MAX);
    if (fc_option_find(option->name) != option) {
        st = o->other(option, said, text);
    } else {
        o->check.said = said;
        st = fc_option_set_text(&o->check, option->name, text);
        o->check.said = NULL; /* the caller's text */
    }
    FC_TRY(st);
    o->given[o->n].option = option;
    o->given[o->n++].text = text;
    return FC_OK;
}

const char *option_args_help(const arg *a, char *out, size_t size) {
    const fc_option *o = a->option;
    const char *fallback = a->fallback ? a->fallback : o->fallback;
    bool again = o->kind == FC_OPTION_TEXTS || o->kind == FC_OPTION_IDS || o->kind == FC_OPTION_BIASES;
    char choices[256] = "";
    if (o->choices) fc_option_choices(o, choices, sizeof choices);
    snprintf(out, size, "%s%s%s%s%s%s", choices, o->choices ? ": " : "", o->help,
             !again                       ? ""
             : o->kind == FC_OPTION_TEXTS ? "; repeatable"
                                          : "; repeatable, or apart by commas",
             fallback ? "; default " : "", fallback ? fallback : "");
    return out;
}

bool option_args_gives(const option_args *o, const char *name) {
    for (size_t i = 0; i < o->n; i++)
        if (strcmp(o->given[i].option->name, name) == 0) return true;
    return false;
}

const fc_option *option_args_given(const option_args *o, fc_option_part part) {
    for (size_t i = 0; i < o->n; i++)
        if (o->given[i].option->part == part) return o->given[i].option;
    return NULL;
}

fc_status option_args_set(option_args *o, fc_engine_options *engine, fc_request *r) {
    fc_option_target_fini(&o->set);
    o->set = (fc_option_target){.engine = engine, .request = r};
    for (size_t i = 0; i < o->n; i++) FC_TRY(fc_option_set_text(&o->set, o->given[i].option->name, o->given[i].text));
    return FC_OK;
}
