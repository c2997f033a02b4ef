/* setup - what the commands that measure share: their options, the target that these name, what the report says of
 * both. */
#ifndef FC_APP_BENCH_SETUP_H
#define FC_APP_BENCH_SETUP_H

#include "engine/app/bench/local.h"
#include "engine/app/bench/remote.h"
#include "engine/app/bench/report.h"

enum { SETUP_LIST = 32, SETUP_N_MAX = 256 };

/* Zeroed, then setup_init; not moved from then on. */
typedef struct {
    request_args a;
    const char *n_text, *rate_text, *prompts_file, *out, *commit;
    const char *url, *model, *api, *key_file, *more, *score_url, *score_model;
    int prompt_tokens, runs, concurrency, warm_up;
    bool keep_cache, histories, no_separate, no_limits, no_regret;
    char n_help[80], runs_help[80];

    int n[SETUP_LIST], n_ns;
    double rates[SETUP_LIST];
    int n_rates;
    int argc;
    char **argv;

    fc_recipe *probe;   /* owns the names that fill the recipe's first request */
    fc_request request; /* as every sample asks it, but for n, seed and prompt; a server may know more of it */
    fc_str body;        /* fields of every one of them, from --body */
    fc_str key;         /* of --api-key-file */
    bench_prompts prompts;
    size_t cap_points;
    int series; /* loads so far */
    bench_target *target;
    progress line;
    bench_report report;
    uint64_t seed, salt; /* salt: of this run, beside every request's own */
} setup;

void setup_init(setup *s, const char *job, int runs);
void setup_fini(setup *s);
/* Rows of the command's table; the command puts its own in front. */
void setup_args(setup *s, arg *args, size_t *n);
/* Reads and checks what was given, opens the target, and warms up with every n. */
fc_status setup_open(setup *s, int argc, char **argv);
/* A zeroed place for one more point of the report. */
fc_status setup_point(setup *s, bench_point **out);
/* -n: different numbers from 1 to `most`. */
fc_status setup_ns(const char *text, int most, int n[SETUP_LIST], int *n_ns);
fc_status setup_commit(const char *id); /* NULL is fine */
/* A load of one request of n candidates. Round `round` has a seed and a prompt of its own, the same for every n and
 * load; where salts do not keep caches apart, every `row` has other prompts. */
bench_load setup_load(setup *s, int n, int round, int row);

#endif
