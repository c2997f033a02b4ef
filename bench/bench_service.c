/* bench_service - cases of peers/compare.py, one after another in one engine that stays, as other engines' programs do.
 *
 *   bench_service MODEL THREADS RECIPE [MAX_ROWS [variant]] [kv=TYPE]
 *
 * Its KV memory is there before it is ready: another engine's is once it has answered, and is then used again, while
 * this one's prefix cache takes new pages until all have been used.
 *
 * MODEL takes both roles; MAX_ROWS rows a batch at most, which is the engine's own choice else; variant: not
 * batch-invariant; TYPE: of KV. Each line of standard input is a case:
 *
 *   generate N TOKENS SEED ID...        N candidates of TOKENS ids, end tokens as any other, of a prompt; no scores
 *   score ID... | ID... | ID... ...     log-likelihood of each candidate behind the first list, the prompt
 *   taxonomy N SEED<tab>NAME<tab>NAME   the recipe for a history; without log-probs under the whole vocabulary
 *                                       (full_logprob), which other engines do not say
 *   together K                          the next K lines are cases that are submitted at once; one answer: seconds
 *                                       until the last is there, the rows of all, and each one's own seconds, first
 *                                       done first
 *
 * Each answer is a line of JSON: seconds from submit to answer, the rows that were computed, and of score the
 * log-likelihoods. The first line says {"ready":true} once the model is loaded.
 */
#define _POSIX_C_SOURCE 200809L
#include "engine/forkcast.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MOST_NAMES = 8, MOST_IDS = 1 << 16, MOST_GIVEN = 1024, MOST_TOGETHER = 4096 };

typedef struct {
    fc_engine *engine;
    fc_recipe *recipe;
    int32_t ids[MOST_IDS];
    fc_given given[MOST_GIVEN];
    int together, waiting; /* cases of a group; those of them that are under way */
    double begun;          /* when the group's first was submitted */
} service;

static int fail(const char *what) {
    fprintf(stderr, "bench_service: %s: %s\n", what, fc_last_error());
    return 1;
}

static int refuse(const char *what) {
    fprintf(stderr, "bench_service: %s\n", what);
    return 1;
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Numbers at *at up to what is none, behind `used` ids; returns how many are used then, or MOST_IDS + 1. */
static size_t read_ids(service *s, char **at, size_t used) {
    for (;;) {
        char *end;
        long id = strtol(*at, &end, 10);
        if (end == *at) return used;
        if (used == MOST_IDS || id < 0 || id > INT32_MAX) return MOST_IDS + 1;
        s->ids[used++] = (int32_t)id;
        *at = end + strspn(end, " ");
    }
}

/* Waits for all of a group. */
static int answer_together(service *s) {
    long long rows[3] = {0};
    double seconds[MOST_TOGETHER];
    for (int i = 0; i < s->waiting; i++) {
        fc_event done;
        if (fc_poll(s->engine, -1, &done)) return fail("poll");
        if (done.status) return refuse(done.error);
        seconds[i] = done.result->timings.total / 1000;
        rows[0] += done.result->accounting.rows_prefill;
        rows[1] += done.result->accounting.rows_decode;
        rows[2] += done.result->accounting.rows_score;
        fc_event_fini(&done);
    }
    printf("{\"seconds\":%.6f,\"rows_prefill\":%lld,\"rows_decode\":%lld,\"rows_score\":%lld,\"each\":[",
           now() - s->begun, rows[0], rows[1], rows[2]);
    for (int i = 0; i < s->waiting; i++) printf("%s%.6f", i ? "," : "", seconds[i]);
    puts("]}");
    fflush(stdout);
    s->together = s->waiting = 0;
    return 0;
}

static int answer(service *s, const fc_request *r) {
    fc_event done;
    uint64_t id;
    if (s->together && !s->waiting) s->begun = now();
    if (fc_submit(s->engine, r, &id)) return fail("submit");
    if (s->together) return ++s->waiting < s->together ? 0 : answer_together(s);
    if (fc_poll(s->engine, -1, &done)) return fail("poll");
    if (done.status) return refuse(done.error);
    printf("{\"seconds\":%.6f,\"rows_prefill\":%lld,\"rows_decode\":%lld,\"rows_score\":%lld",
           done.result->timings.total / 1000, (long long)done.result->accounting.rows_prefill,
           (long long)done.result->accounting.rows_decode, (long long)done.result->accounting.rows_score);
    for (size_t i = 0; i < r->n_given; i++) printf("%s%.9g", i ? "," : ",\"loglik\":[", done.result->all[i].score);
    puts(r->n_given ? "]}" : "}");
    fflush(stdout);
    fc_event_fini(&done);
    return 0;
}

static int generate(service *s, char *at) {
    fc_request r;
    size_t n;
    fc_request_init(&r);
    r.n = (int)strtol(at, &at, 10);
    r.sampling.max_tokens = (int)strtol(at, &at, 10);
    r.seed = strtoull(at, &at, 10);
    n = read_ids(s, &at, 0);
    if (n > MOST_IDS || *at) return refuse("generate: N TOKENS SEED ID...");
    r.keep = 1;
    r.sampling.ignore_eos = true;
    r.prompt = (fc_prompt){.ids = s->ids, .n_ids = n};
    return answer(s, &r);
}

static int score(service *s, char *at) {
    fc_request r;
    size_t prompt = read_ids(s, &at, 0), used = prompt;
    fc_request_init(&r);
    for (; used <= MOST_IDS && *at == '|' && r.n_given < MOST_GIVEN; r.n_given++) {
        size_t first = used;
        at++;
        used = read_ids(s, &at, used);
        s->given[r.n_given] = (fc_given){.ids = s->ids + first, .n_ids = used - first};
    }
    if (used > MOST_IDS || *at || r.n_given == 0) return refuse("score: ID... | ID... | ID...");
    r.prompt = (fc_prompt){.ids = s->ids, .n_ids = prompt};
    r.given = s->given;
    r.score = true;
    r.mode = FC_SCORE_LOGLIK_SUM;
    return answer(s, &r);
}

static int taxonomy(service *s, char *at) {
    const char *names[MOST_NAMES];
    fc_holes holes = {.history = names};
    fc_request *said = &fc_recipe_edit(s->recipe)->request, r;
    said->n = (int)strtol(at, &at, 10);
    said->seed = strtoull(at, &at, 10);
    said->full_logprob = false;
    while (*at == '\t' && holes.n_history < MOST_NAMES) {
        *at++ = 0;
        names[holes.n_history++] = at;
        at += strcspn(at, "\t");
    }
    if (*at) return refuse("taxonomy: N SEED<tab>NAME<tab>NAME");
    if (fc_recipe_request(s->recipe, &holes, &r)) return fail("recipe");
    return answer(s, &r);
}

static int together(service *s, const char *at) {
    char *end;
    long n = strtol(at, &end, 10);
    if (n < 1 || n > MOST_TOGETHER || *end || s->together)
        return refuse("together K: 1 .. 4096 cases, none of them a group");
    s->together = (int)n;
    return 0;
}

static int one_case(service *s, char *line) {
    line[strcspn(line, "\n")] = 0;
    if (strncmp(line, "together ", 9) == 0) return together(s, line + 9);
    if (strncmp(line, "generate ", 9) == 0) return generate(s, line + 9);
    if (strncmp(line, "score ", 6) == 0) return score(s, line + 6);
    if (strncmp(line, "taxonomy ", 9) == 0) return taxonomy(s, line + 9);
    return refuse("a case is generate, score, taxonomy or together");
}

int main(int argc, char **argv) {
    static service s;
    char *line = NULL;
    size_t size = 0;
    int bad = 0;
    const char *kv = NULL;
    if (argc > 4 && strncmp(argv[argc - 1], "kv=", 3) == 0) kv = argv[--argc] + 3;
    if (argc < 4 || argc > 6 || (argc == 6 && strcmp(argv[5], "variant") != 0)) {
        fprintf(stderr, "usage: bench_service MODEL THREADS RECIPE [MAX_ROWS [variant]] [kv=TYPE]\n");
        return 2;
    }
    if (fc_recipe_open(argv[3], &s.recipe)) return fail("recipe");
    if (fc_engine_open(&(fc_engine_options){.novelty = argv[1],
                                            .alignment = argv[1],
                                            .threads = (int)strtol(argv[2], NULL, 10),
                                            .kv_touch = true,
                                            .max_rows = argc > 4 ? (int)strtol(argv[4], NULL, 10) : 0,
                                            .batch_variant = argc > 5,
                                            .kv_type = kv,
                                            .max_requests = MOST_TOGETHER},
                       &s.engine))
        bad = fail("open");
    if (!bad) puts("{\"ready\":true}"), fflush(stdout);
    while (!bad && getline(&line, &size, stdin) >= 0) bad = one_case(&s, line);
    if (!bad && s.together) bad = refuse("together: the lines end before its cases");
    free(line);
    fc_engine_close(s.engine);
    fc_recipe_close(s.recipe);
    return bad;
}
