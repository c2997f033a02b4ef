/* args - command-line options from one table per command: parsing by getopt_long, checked numbers, and the help
 * text. */
#ifndef FC_APP_ARGS_H
#define FC_APP_ARGS_H

#include "engine/base/status.h"
#include "engine/forkcast.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { ARG_LIST_MAX = 256, ARGS_MAX = 128 /* of a command */ };

typedef struct {
    const char *items[ARG_LIST_MAX];
    size_t n;
} arg_list;

typedef enum { ARG_FLAG, ARG_INT, ARG_U64, ARG_FLOAT, ARG_TEXT, ARG_LIST, ARG_OPTION, ARG_HEADING } arg_kind;

/* One option. out points to bool, int, uint64_t, float, const char *, arg_list, option_args. */
typedef struct {
    const char *name; /* long name without the dashes; of ARG_HEADING: the heading */
    char letter;      /* short name, or 0 */
    arg_kind kind;
    void *out;
    const char *value;       /* what the help calls the value */
    const char *help;        /* NULL: another name of the option above, not shown */
    const char *fallback;    /* ARG_OPTION: the command's own default, where it is not the table's */
    const fc_option *option; /* ARG_OPTION */
    int min, max;            /* ARG_INT: what is possible; both 0: the engine knows */
} arg;

/* A row of the table; a heading has a name alone. */
static inline arg arg_of(arg_kind kind, const char *name, void *out, const char *value, const char *help) {
    return (arg){.kind = kind, .name = name, .out = out, .value = value, .help = help};
}

static inline arg arg_int(const char *name, int *out, int min, int max, const char *value, const char *help) {
    return (arg){.kind = ARG_INT, .name = name, .out = out, .min = min, .max = max, .value = value, .help = help};
}

/* A command. usage and about are for people. */
typedef struct {
    const char *name, *usage, *about;
    arg *args;
    size_t n_args;
    const char *positional; /* NULL: none are taken */
} command;

/* Fills the table's outs; *rest is the first positional argument. FC_ERR_ARG names the option and the value. *help:
 * --help was asked and printed. */
fc_status args_parse(command *c, int argc, char **argv, int *rest, bool *help);
void args_help(const command *c);

/* 0 on OK; 2 for an argument that was wrong, 1 for everything else; prints "forkcast NAME: sentence" then, on one line
 * whatever it quotes, and nothing where the reader of standard output has gone (FC_ERR_CANCELLED). */
int args_exit(const char *name, fc_status st);

#endif
