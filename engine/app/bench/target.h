/* target - what is measured: this process's own engine, or a server. One thread asks, and waits for whoever answers
 * next. */
#ifndef FC_APP_BENCH_TARGET_H
#define FC_APP_BENCH_TARGET_H

#include "engine/base/status.h"
#include "engine/forkcast.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum {
    PHASE_TOTAL = 0, /* from the moment at which the request was due */
    PHASE_QUEUE,     /* the others are the engine's own: queue to host of timings_ms */
    PHASE_PREFILL,
    PHASE_DECODE,
    PHASE_SCORE,
    PHASE_HOST,
    PHASES
} bench_phase;

extern const char *const bench_phase_names[PHASES]; /* "total" */

/* What is counted of one answer, in the order of the names. */
typedef enum {
    COUNT_ROWS_PREFILL = 0,
    COUNT_ROWS_DECODE,
    COUNT_ROWS_SCORE,
    COUNT_ROWS_REUSED,
    COUNT_ROWS_FLAT, /* what n separate runs would compute */
    COUNT_KV_BYTES,
    COUNT_DISTINCT,
    COUNT_PROMPT_TOKENS,
    COUNT_RETURNED_TOKENS,
    COUNT_CANDIDATE_TOKENS,
    COUNT_SCORED_TOKENS,
    COUNTS
} bench_count;

extern const char *const bench_count_names[COUNTS]; /* "rows_prefill" */

/* One request's end. NAN: the target does not tell. */
typedef struct {
    bool ok;
    double ms[PHASES];
    double counts[COUNTS];
    double best;   /* score of the best candidate; NAN without */
    char why[200]; /* not ok: a sentence */
} bench_sample;

typedef struct {
    int n;
    uint64_t seed;
    int prompt;      /* its number; which text or ids that is, the target's prompts know */
    uint64_t salt;   /* requests of one salt may share what is cached; 0: none */
    bool exhaustive; /* instead of n draws, every name of the taxonomy is scored */
} bench_ask;

/* What was done from one moment to the next, where the target tells: the engine's own count. */
typedef struct {
    bool known;
    double bytes, flops;
} bench_work;

typedef struct bench_target bench_target;
struct bench_target {
    /* tag comes back with the answer. An error is one of this request alone, or FC_ERR_FULL: not now. */
    fc_status (*send)(bench_target *t, const bench_ask *ask, int tag);
    /* The next answer, of any request; ms[PHASE_TOTAL] is left to the caller. FC_ERR_TIMEOUT when none came. */
    fc_status (*wait)(bench_target *t, int timeout_ms, int *tag, bench_sample *out);
    void (*cancel)(bench_target *t);                /* all that is under way: they end, not ok */
    void (*work)(bench_target *t, bench_work *out); /* so far; nothing is under way */
    void (*close)(bench_target *t);                 /* NULL is fine; frees it */
    bool scores, salts;                             /* it has an alignment model; salts keep caches apart */
    size_t names;                                   /* of the taxonomy that every candidate is one of; 0: no such */
    char version[80], weights[600];
};

void bench_sample_init(bench_sample *s); /* nothing is known */

enum { BENCH_SALT = 48 };
/* A request's cache salt as text. run: of the process, so that a server that lives on has nothing of its prompts. */
void bench_salt_put(uint64_t run, uint64_t salt, char out[BENCH_SALT]);

#endif
