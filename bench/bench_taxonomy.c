/* bench_taxonomy - prompts of a recipe, one after another in one engine, as a service answers them.
 *
 *   bench_taxonomy RECIPE MODEL THREADS N
 *
 * MODEL takes both roles. Log-probs under the whole vocabulary (full_logprob) are left out: other engines do not say
 * them. Each line of standard input is a prompt: a seed and the names of its history, apart by tabs.
 * Each answer is a line of JSON: seconds from submit to answer, and the rows that were computed. The first line says
 * {"ready":true} once the model is loaded.
 */
#include "engine/forkcast.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_NAMES = 8, LINE = 4096 };

static int fail(const char *what) {
    fprintf(stderr, "bench_taxonomy: %s: %s\n", what, fc_last_error());
    return 1;
}

/* A line, cut at its tabs: the seed, then the names. */
static size_t cut(char *line, uint64_t *seed, const char **names) {
    size_t n = 0;
    char *at = strchr(line, '\t');
    line[strcspn(line, "\n")] = 0;
    *seed = strtoull(line, NULL, 10);
    for (; at && n < MOST_NAMES; n++) {
        *at = 0;
        names[n] = at + 1;
        at = strchr(at + 1, '\t');
    }
    return n;
}

static int answer(fc_engine *e, fc_recipe *recipe, int n, char *line) {
    const char *names[MOST_NAMES];
    fc_holes holes = {.history = names};
    fc_request r;
    fc_event done;
    uint64_t id, seed;
    holes.n_history = cut(line, &seed, names);
    fc_recipe_edit(recipe)->request.n = n;
    fc_recipe_edit(recipe)->request.seed = seed;
    fc_recipe_edit(recipe)->request.full_logprob = false;
    if (fc_recipe_request(recipe, &holes, &r)) return fail("recipe");
    if (fc_submit(e, &r, &id)) return fail("submit");
    if (fc_poll(e, -1, &done)) return fail("poll");
    if (done.status) {
        fprintf(stderr, "bench_taxonomy: %s\n", done.error);
        return 1;
    }
    printf("{\"seconds\":%.6f,\"rows_prefill\":%lld,\"rows_decode\":%lld,\"rows_score\":%lld}\n",
           done.result->timings.total / 1000, (long long)done.result->accounting.rows_prefill,
           (long long)done.result->accounting.rows_decode, (long long)done.result->accounting.rows_score);
    fflush(stdout);
    fc_event_fini(&done);
    return 0;
}

int main(int argc, char **argv) {
    static char line[LINE];
    fc_recipe *recipe = NULL;
    fc_engine *e = NULL;
    fc_engine_options o;
    int bad = 0;
    if (argc != 5) {
        fprintf(stderr, "usage: bench_taxonomy RECIPE MODEL THREADS N\n");
        return 2;
    }
    if (fc_recipe_open(argv[1], &recipe)) return fail("recipe");
    o = fc_recipe_edit(recipe)->engine;
    o.novelty = o.alignment = argv[2];
    o.threads = (int)strtol(argv[3], NULL, 10);
    if (fc_engine_open(&o, &e)) bad = fail("open");
    if (!bad) puts("{\"ready\":true}"), fflush(stdout);
    while (!bad && fgets(line, sizeof line, stdin)) bad = answer(e, recipe, (int)strtol(argv[4], NULL, 10), line);
    fc_engine_close(e);
    fc_recipe_close(recipe);
    return bad;
}
