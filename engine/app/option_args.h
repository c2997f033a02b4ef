/* option_args - the option table as flags of a command: rows for its table, and what was said. A flag's value is
 * checked when it is read, and set when everything that it overrides is known.
 */
#ifndef FC_APP_OPTION_ARGS_H
#define FC_APP_OPTION_ARGS_H

#include "engine/app/args.h"
#include "engine/forkcast.h"

enum { OPTION_ARGS_MAX = 512, OPTION_FLAGS_MAX = 64 };

/* Zeroed, then option_args_init; not moved from then on. */
typedef struct {
    fc_engine_options engine; /* what values are checked on */
    fc_request request;
    fc_option_target check, set;
    char names[OPTION_FLAGS_MAX][32]; /* of the flags, by place in the table */
    struct {
        const fc_option *option;
        const char *text;
    } given[OPTION_ARGS_MAX]; /* as they came */
    size_t n;
    /* Checks a value of an option that is not of the engine's table, for commands that have such rows. */
    fc_status (*other)(const fc_option *o, const char *said, const char *text);
} option_args;

void option_args_init(option_args *o);
void option_args_fini(option_args *o); /* what option_args_set has set is gone */

/* Appends the rows of one part of the table to args[*n]. */
void option_args_rows(option_args *o, fc_option_part part, arg *args, size_t *n);
/* The command's own default of a flag among args[n]: for its help. */
void option_args_default(arg *args, size_t n, const char *flag, const char *text);

/* For args.c. said: the flag as it was typed. */
fc_status option_args_take(option_args *o, const fc_option *option, const char *said, const char *text);
const char *option_args_help(const arg *a, char *out, size_t size); /* the option's line, with choices and default */

bool option_args_gives(const option_args *o, const char *name);
/* The first option of a part that a flag has given, or NULL. */
const fc_option *option_args_given(const option_args *o, fc_option_part part);
/* Sets all that was given. */
fc_status option_args_set(option_args *o, fc_engine_options *engine, fc_request *r);

/* The option's flag without dashes, "kv-pool", into out [size]. */
const char *option_flag(const fc_option *o, char *out, size_t size);

#endif
