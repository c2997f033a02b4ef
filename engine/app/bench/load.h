/* load - requests that are sent as somebody would send them: closed (so many at once, the next when one ends), open
 * (at moments of a Poisson process, whoever is still waiting), or n separate requests of one candidate instead of one
 * of n.
 *
 * Latency counts from the moment at which a request was due, so that a target that falls behind cannot hide it by being
 * asked less.
 */
#ifndef FC_APP_BENCH_LOAD_H
#define FC_APP_BENCH_LOAD_H

#include "engine/app/bench/target.h"

typedef struct {
    int n; /* candidates of a request */
    int requests;
    int concurrency;   /* closed: at once */
    double rate;       /* open: a second; 0: closed */
    uint64_t seed;     /* of the first request and of arrivals */
    int first;         /* number of the first prompt */
    int series;        /* number of the load, 1 and up: no two share what is cached */
    bool keep_cache;   /* all requests of all loads have one salt */
    double give_up_ms; /* open: ends when more than one in a hundred took longer; 0: never */
} bench_load;

/* Growing lists; zeroed is empty, free with fc_free. */
typedef struct {
    bench_sample *v;
    size_t n, cap;
} bench_samples;

typedef struct {
    bench_samples samples; /* in the order in which they ended */
    double seconds;        /* from the first moment to the last answer */
    bool gave_up;
    bench_work work; /* of these requests, where known */
} bench_run;

void bench_run_fini(bench_run *r);
/* Adds to *out. An error is one of the client; requests that fail are samples. */
fc_status bench_load_run(bench_target *t, const bench_load *l, bench_run *out);
/* Seconds that l->n requests of one candidate take, sent at once; seeds and salts as one of l->n would have. NAN when
 * one of them failed. */
fc_status bench_load_separate(bench_target *t, const bench_load *l, double *seconds);
/* One request, waited for. */
fc_status bench_load_one(bench_target *t, const bench_ask *ask, bench_sample *out);

#endif
