/* metrics - what a server counts, and how that is told to Prometheus (text format 0.0.4).
 *
 * Names that vLLM uses, where the same thing is measured here, with its labels model_name and engine; ours begin with
 * forkcast_. A request is one prompt. All of it is the loop's thread's; what the engine did comes from fc_engine_count.
 */
#ifndef FC_APP_SERVE_METRICS_H
#define FC_APP_SERVE_METRICS_H

#include "engine/app/http/router.h"
#include "engine/base/str.h"
#include "engine/forkcast.h"

typedef enum {
    SERVE_DONE_STOP = 0, /* requests by how they ended */
    SERVE_DONE_LENGTH,
    SERVE_DONE_ABORT,
    SERVE_DONE_ERROR,
    SERVE_REFUSED_FULL, /* bodies that were not admitted */
    SERVE_REFUSED_DRAINING,
    SERVE_REFUSED_LOADING,
    SERVE_REFUSED_MEMORY,
    SERVE_CANCEL_CLIENT, /* answers given up: the client went, or read nothing for too long */
    SERVE_CANCEL_DEADLINE,
    SERVE_CANCEL_SHUTDOWN,
    SERVE_PROMPT_TOKENS,
    SERVE_DRAWN_TOKENS,
    SERVE_CANDIDATES,
    SERVE_DISTINCT,
    SERVE_ROWS_FLAT,
    SERVE_ROWS_REUSED,
    SERVE_SCORES_CACHED,
    SERVE_REDRAWS,
    SERVE_PRUNED_HOPELESS, /* candidates given up while they were scored; those that a rule made needless */
    SERVE_PRUNED_STOPPED,
    SERVE_SCORE_TOKENS,
    SERVE_PREFIX_SHARED, /* rows of prompts: spared by sharing, and computed */
    SERVE_PREFIX_COMPUTED,
    SERVE_LOOKUPS_TABLE, /* answered out of the table, and not */
    SERVE_LOOKUPS_LIVE,
    SERVE_PINGS,
    SERVE_COUNTERS
} serve_counter;

typedef enum {
    SERVE_TTFT = 0,
    SERVE_ITL,
    SERVE_TPOT,
    SERVE_E2E,
    SERVE_QUEUE,
    SERVE_PREFILL,
    SERVE_DECODE,
    SERVE_INFERENCE,
    SERVE_SCORE_SECONDS,
    SERVE_PROMPT_SIZE,
    SERVE_DRAWN_SIZE,
    SERVE_LONGEST,
    SERVE_N,
    SERVE_MAX_TOKENS,
    SERVE_BEST_OF,
    SERVE_SCORE,
    SERVE_MARGIN,
    SERVE_HISTOGRAMS
} serve_histogram;

/* Where a request failed: before its body was read, while it was read and taken, in the engine or behind it. */
typedef enum { SERVE_AT_ADMISSION = 0, SERVE_AT_REQUEST, SERVE_AT_ENGINE, SERVE_STAGES } serve_stage;

enum { SERVE_BOUNDS_MAX = 24, SERVE_HANDLERS_MAX = 32, SERVE_STATUSES = 24 };

/* Zeroed is empty. */
typedef struct {
    uint64_t counters[SERVE_COUNTERS];
    struct serve_buckets {
        uint64_t counts[SERVE_BOUNDS_MAX + 1]; /* not added up */
        double sum;
    } histograms[SERVE_HISTOGRAMS], seconds[SERVE_HANDLERS_MAX]; /* seconds: of whole answers, by handler */
    uint64_t answers[SERVE_HANDLERS_MAX][SERVE_STATUSES];        /* by handler and status */
    uint64_t failures[SERVE_STAGES][SERVE_STATUSES];             /* by stage and status */
} serve_metrics;

static inline void serve_count(serve_metrics *m, serve_counter c, int64_t n) { m->counters[c] += (uint64_t)n; }
void serve_observe(serve_metrics *m, serve_histogram h, double v);
void serve_failed(serve_metrics *m, serve_stage stage, int status);
void serve_answered(serve_metrics *m, int handler, int status, double seconds);
/* A prompt that ended well; began, done: fc_clock_ns of its arrival and now. */
void serve_finished(serve_metrics *m, const fc_request *r, const fc_result *result, uint64_t began, uint64_t submitted,
                    uint64_t done);

/* What else is told. */
typedef struct {
    const char *model; /* model_name */
    const fc_engine_info *info;
    fc_engine_counts engine;
    const char *const *adapters; /* [n_adapters] names of the novelty model's, as they were given to the engine */
    size_t n_adapters;
    int64_t now; /* Unix seconds */
    http_counts http;
    const http_route *routes; /* [n_routes]; handler n_routes is any other path */
    size_t n_routes;
    const http_budget *memory;
    int calls, to_read,
        jobs;             /* bodies under way, and to be read; requests in the engine, those that are cancelled too */
    long long candidates; /* of them */
} serve_facts;

fc_status serve_metrics_put(const serve_metrics *m, const serve_facts *f, fc_str *out);

#endif
