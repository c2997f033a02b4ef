#define _GNU_SOURCE
#include "engine/app/args.h"

#include "engine/app/option_args.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LONG_BASE = 1000 };

/* A switch: --name, and of the table also --name=false. */
static bool is_switch(const arg *a) {
    return a->kind == ARG_FLAG || (a->kind == ARG_OPTION && a->option->kind == FC_OPTION_BOOL);
}

/* name: as it was typed, with its dashes. */
static fc_status parse_int(const char *name, const char *text, int min, int max, int *out) {
    bool bounded = min || max, number;
    char *end;
    long long v;
    if (!bounded) {
        min = INT_MIN;
        max = INT_MAX;
    }
    errno = 0;
    v = strtoll(text, &end, 10);
    number = end != text && !*end;
    if (!number && !bounded) return FC_FAIL(FC_ERR_ARG, "%s: \"%s\" is not a whole number", name, text);
    if (!number || errno || v < min || v > max)
        return FC_FAIL(FC_ERR_ARG, "%s: \"%s\" is not a whole number from %d to %d", name, text, min, max);
    *out = (int)v;
    return FC_OK;
}

static fc_status parse_u64(const char *name, const char *text, uint64_t *out) {
    char *end;
    unsigned long long v;
    errno = 0;
    v = strtoull(text, &end, 10);
    if (errno || end == text || *end || strchr(text, '-'))
        return FC_FAIL(FC_ERR_ARG, "%s: \"%s\" is not a whole number from 0 to %llu", name, text, ULLONG_MAX);
    *out = v;
    return FC_OK;
}

static fc_status parse_float(const char *name, const char *text, float *out) {
    char *end;
    double v = strtod(text, &end);
    if (end == text || *end) return FC_FAIL(FC_ERR_ARG, "%s: \"%s\" is not a number", name, text);
    if (!isfinite(v)) return FC_FAIL(FC_ERR_ARG, "%s: \"%s\" is not a finite number", name, text);
    *out = (float)v;
    return FC_OK;
}

static fc_status take(const arg *a, const char *name, const char *text) {
    arg_list *list = a->out;
    switch (a->kind) {
    case ARG_FLAG: *(bool *)a->out = true; return FC_OK;
    case ARG_INT: return parse_int(name, text, a->min, a->max, a->out);
    case ARG_U64: return parse_u64(name, text, a->out);
    case ARG_FLOAT: return parse_float(name, text, a->out);
    case ARG_TEXT: *(const char **)a->out = text; return FC_OK;
    case ARG_LIST:
        if (list->n == ARG_LIST_MAX) return FC_FAIL(FC_ERR_ARG, "%s: given more than %d times", name, ARG_LIST_MAX);
        list->items[list->n++] = text;
        return FC_OK;
    case ARG_OPTION: return option_args_take(a->out, a->option, name, text ? text : "true");
    case ARG_HEADING: break;
    }
    return FC_FAIL(FC_ERR_INTERNAL, "%s: not an option", name);
}

/* getopt_long takes any unambiguous beginning of a name; a later option would then change what a script says. */
static fc_status refuse_abbreviations(const command *c, int argc, char **argv) {
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        const char *text = argv[i];
        size_t n = strcspn(text, "=");
        const arg *a = NULL;
        if (text[0] != '-' || !text[1]) continue;
        for (size_t k = 0; k < c->n_args && !a; k++) {
            const arg *it = &c->args[k];
            bool long_name = text[1] == '-' && strlen(it->name) == n - 2 && memcmp(text + 2, it->name, n - 2) == 0;
            bool short_name = text[1] != '-' && it->letter && it->letter == text[1];
            if (it->kind != ARG_HEADING && (long_name || short_name)) a = it;
        }
        if (!a && text[1] == '-' && strcmp(text, "--help") != 0)
            return FC_FAIL(FC_ERR_ARG, "unknown option %.*s; see --help", (int)n, text);
        if (a && a->kind == ARG_OPTION && is_switch(a) && !text[n] && i + 1 < argc &&
            (strcmp(argv[i + 1], "false") == 0 || strcmp(argv[i + 1], "true") == 0))
            return FC_FAIL(FC_ERR_ARG, "%s %s: a switch has its value behind =; give %s=%s", text, argv[i + 1], text,
                           argv[i + 1]);
        if (a && !is_switch(a) && (text[1] == '-' ? !text[n] : !text[2])) i++; /* its value, whatever that looks like */
    }
    return FC_OK;
}

fc_status args_parse(command *c, int argc, char **argv, int *rest, bool *help) {
    struct option longs[ARGS_MAX + 2];
    char shorts[2 * ARGS_MAX + 4] = ":h";
    size_t n = 0, at = 2;
    int o;
    *help = false;
    FC_ASSERT(c->n_args <= ARGS_MAX);
    FC_TRY(refuse_abbreviations(c, argc, argv));
    for (size_t i = 0; i < c->n_args; i++) {
        const arg *a = &c->args[i];
        if (a->kind == ARG_HEADING) continue;
        longs[n++] = (struct option){a->name,
                                     a->kind == ARG_FLAG ? no_argument
                                     : is_switch(a)      ? optional_argument
                                                         : required_argument,
                                     NULL, LONG_BASE + (int)i};
        if (!a->letter) continue;
        shorts[at++] = a->letter;
        if (!is_switch(a)) shorts[at++] = ':';
    }
    longs[n++] = (struct option){"help", no_argument, NULL, 'h'};
    longs[n] = (struct option){0};
    shorts[at] = '\0';
    optind = 1;
    opterr = 0;
    while ((o = getopt_long(argc, argv, shorts, longs, NULL)) != -1) {
        const arg *a = NULL;
        char name[64];
        if (o == 'h') {
            args_help(c);
            *help = true;
            return FC_OK;
        }
        if (o == ':') return FC_FAIL(FC_ERR_ARG, "%s: a value is missing", argv[optind - 1]);
        if (o == '?') {
            if (optopt && optopt < LONG_BASE) return FC_FAIL(FC_ERR_ARG, "unknown option -%c; see --help", optopt);
            return FC_FAIL(FC_ERR_ARG, "%s: it takes no value; see --help", argv[optind - 1]);
        }
        if (o >= LONG_BASE) a = &c->args[o - LONG_BASE];
        for (size_t i = 0; !a && i < c->n_args; i++)
            if (c->args[i].letter == o) a = &c->args[i];
        if (o >= LONG_BASE) snprintf(name, sizeof name, "--%s", a->name);
        else snprintf(name, sizeof name, "-%c", o);
        FC_TRY(take(a, name, optarg));
    }
    *rest = optind;
    if (!c->positional && optind < argc)
        return FC_FAIL(FC_ERR_ARG, "\"%s\": no such argument is taken: forkcast %s; see --help", argv[optind],
                       c->usage);
    return FC_OK;
}

/* text behind a left column that is already there: broken at blanks, so that lines end before WIDTH. */
static void put_wrapped(const char *text) {
    enum { LEFT = 33, WIDTH = 120 };
    size_t room = WIDTH - LEFT, used = 0;
    while (*text) {
        size_t n = strcspn(text, " ");
        if (used && used + 1 + n > room) {
            printf("\n%*s", LEFT, "");
            used = 0;
        }
        used += (size_t)printf("%s%.*s", used ? " " : "", (int)n, text);
        text += n;
        text += strspn(text, " ");
    }
    putchar('\n');
}

void args_help(const command *c) {
    bool switches = false;
    printf("%s\n\nusage: forkcast %s\n", c->about, c->usage);
    for (size_t i = 0; i < c->n_args; i++) {
        const arg *a = &c->args[i];
        char left[64], help[640];
        switches = switches || (a->kind == ARG_OPTION && is_switch(a));
        if (a->kind == ARG_HEADING) {
            printf("\n%s\n", a->name);
            continue;
        }
        if (!a->help) continue;
        if (a->letter) snprintf(left, sizeof left, "-%c, --%s %s", a->letter, a->name, a->value ? a->value : "");
        else snprintf(left, sizeof left, "    --%s %s", a->name, a->value ? a->value : "");
        printf("  %-30s ", left);
        put_wrapped(a->kind == ARG_OPTION ? option_args_help(a, help, sizeof help) : a->help);
    }
    printf("  %-30s %s\n", "-h, --help", "this text");
    if (switches) printf("\nWhat is true or false is a switch: --NAME turns it on, --NAME=false off.\n");
}

int args_exit(const char *name, fc_status st) {
    const char *text = fc_status_text();
    if (st == FC_OK) return 0;
    if (st == FC_ERR_CANCELLED) return 1;
    fprintf(stderr, "forkcast %s: ", name);
    for (const char *p = text; *p; p++) { /* a quoted file name or id must not break the line or move the cursor */
        unsigned char ch = (unsigned char)*p;
        if (ch == '\n') fputs("\\n", stderr);
        else if (ch == '\t') fputs("\\t", stderr);
        else if (ch < 32 || ch == 127) fprintf(stderr, "\\x%02x", ch);
        else putc(ch, stderr);
    }
    putc('\n', stderr);
    return st == FC_ERR_ARG ? 2 : 1;
}
