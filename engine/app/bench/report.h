/* report - what a benchmark found, and its forms: a table, JSON as bench/result.schema.json has it, CSV, one HTML page.
 *
 * The JSON keeps every sample, in the order in which requests ended; whatever the other forms say is made of these.
 */
#ifndef FC_APP_BENCH_REPORT_H
#define FC_APP_BENCH_REPORT_H

#include "engine/app/bench/load.h"
#include "engine/base/str.h"

/* One n under one load. */
typedef struct {
    int n, concurrency;
    double rate; /* 0: closed loop */
    bench_run run;
    double *separate, *regret; /* seconds; exhaustive best minus best: NAN where a request failed */
    size_t n_separate, cap_separate, n_regret, cap_regret;
    bool keeps; /* capacity: it kept the limit */
} bench_point;

typedef struct {
    char name[32];
    fc_str value;
} bench_setting;

typedef struct {
    const char *job;    /* "latency", "capacity", "frontier" */
    char *command;      /* as typed */
    const char *commit; /* NULL: not known */
    const char *api;    /* "forkcast": this process, or a server's dialect */
    const bench_target *target;
    fc_machine machine;
    int threads;                   /* that limits were measured with; 0: they were not */
    int prompt_tokens, max_tokens; /* prompt_tokens 0: of a file */
    double p99_ms;                 /* capacity: what was to be kept */
    bench_setting *settings;       /* what two results must share to be compared */
    size_t n_settings, cap_settings;
    bench_point *points; /* [n_points] */
    size_t n_points;
    fc_str words; /* what it comes to, a sentence a line */
} bench_report;

/* A setting; one of a name that is there already stands behind that one's value. */
fc_status report_set(bench_report *r, const char *name, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void report_fini(bench_report *r);

/* What the samples of a point come to. NAN: not known. */
typedef struct {
    size_t ok, failures;
    double ms[3];                                         /* percentiles 50, 90, 99 of the total */
    double phases[PHASES];                                /* medians */
    double counts[COUNTS];                                /* means; of KV bytes the most */
    double per_candidate_ms, slowdown;                    /* median by n; by the median of n = 1 under the same load */
    double separate_ms, speedup;                          /* n separate requests; their time by this one's */
    double returned_s, candidate_s, scored_s, requests_s; /* tokens and requests a second, over the whole run */
    double bytes, flops;                                  /* of a request */
    double limit_ms;     /* what the machine's limits allow a request; 0 where not known */
    double best, regret; /* means */
    const char *why;     /* of the first failure, or NULL */
} bench_summary;

extern const double bench_percents[3]; /* 0.5, 0.9, 0.99 */

/* room for [r->n_points] summaries, in the order of points. Caller: fc_free. */
fc_status report_summarize(const bench_report *r, bench_summary **out);

fc_status report_table(const bench_report *r, const bench_summary *s, fc_str *out);
fc_status report_csv(const bench_report *r, const bench_summary *s, fc_str *out);
fc_status report_json(const bench_report *r, const bench_summary *s, fc_str *out);
fc_status report_html(const bench_report *r, const bench_summary *s, fc_str *out);

void report_date(char *out, size_t size); /* now, UTC, as ISO 8601 has it: 25 bytes and a NUL */
/* All of the JSON up to the opening bracket of its rows. */
fc_status report_json_begin(const bench_report *r, fc_str *out);
/* PREFIX and `end`, written whole or not at all. */
fc_status report_write_file(const char *prefix, const char *end, const fc_str *text);

/* PREFIX.json, PREFIX.csv, PREFIX.html, each written whole or not at all; NULL prefix: none. The table goes to standard
 * output. */
fc_status report_write(const bench_report *r, const char *prefix);
/* Before anything is measured: can files be made there? */
fc_status report_can_write(const char *prefix);

#endif
