/* config - what `forkcast serve` is told, by flags, by the environment and by a file, all of one table.
 *
 * Option max_requests is the flag --max-requests, the variable FORKCAST_MAX_REQUESTS and the key "max_requests" of the
 * JSON file that --config or FORKCAST_CONFIG names. A flag stands over the variable, that over the file, that over the
 * default; a list is taken from one of them, whole. In a variable the texts of a list are apart by commas, and an empty
 * variable says nothing. A key that is no option is an error. Nothing here is a secret: API keys are in a file of their
 * own, which is named.
 */
#ifndef FC_APP_SERVE_CONFIG_H
#define FC_APP_SERVE_CONFIG_H

#include "engine/app/option_args.h"
#include "engine/base/json.h"
#include "engine/base/mem.h"
#include "engine/base/str.h"

enum { SERVE_OPTIONS_MAX = 48, SERVE_VALUES_MAX = OPTION_ARGS_MAX };

/* Zeroed, then serve_config_read; texts are borrowed from argv, the environment, and what it owns. */
typedef struct {
    const char *recipe, *novelty, *alignment, *taxonomy, *alignment_adapter; /* NULL: not given */
    arg_list adapters;                                                       /* NAME=FOLDER, checked */
    arg_list served_names, listen, hosts, origins;
    const char *host, *api_key_file, *table, *config;
    int port, metrics_port /* 0: none */;
    int max_requests, max_candidates, max_connections, max_body, max_memory /* MiB */, max_best_of, max_prompts,
        chat_max_tokens;
    int request_ms, ping_ms; /* 0: never */
    int head_ms, body_ms, idle_ms, stall_ms, read_rate, drain_delay_ms, drain_ms;
    const char *usage_counts; /* "returned", "all" */
    bool access_log, no_ui;
    bool addressed;    /* host, port or listen was given */
    bool check, print; /* --check-config, --print-config */

    /* owned */
    option_args flags;
    char names[SERVE_OPTIONS_MAX][32]; /* of flags */
    fc_json_doc *file;
    fc_arena arena;
    struct serve_value {
        const fc_option *option;
        const char *text, *said; /* said: "--port", "FORKCAST_PORT", "serve.json: port"; NULL: the default */
    } values[SERVE_VALUES_MAX];  /* [n_values] in the order of the table */
    size_t n_values;
} serve_config;

/* Everything but the engine's own options is set and in range. *help: --help was asked and printed. */
fc_status serve_config_read(serve_config *c, int argc, char **argv, bool *help);
void serve_config_fini(serve_config *c);

/* Sets the engine's options that were given on t, whose target they stay; sentences name who gave them. */
fc_status serve_config_engine(const serve_config *c, fc_option_target *t);
/* All that counts, as the JSON of a file that says the same. */
fc_status serve_config_print(const serve_config *c, fc_str *out);

/* ---- the table, engine/app/serve_options.h: table.c ---- */

/* Checks text, and sets it on c where c is not NULL; said as of a value. */
fc_status serve_option_set(serve_config *c, const fc_option *o, const char *said, const char *text);

#endif
