/* capacity - bench capacity: the highest rate of requests that keeps a given p99, by bisection. */
#include "engine/app/bench/bench.h"
#include "engine/app/bench/measure.h"
#include "engine/app/bench/stats.h"

#include <math.h>

enum { STEPS_MAX = 40, ALONE = 5 };
static const double near_enough = 1.05; /* of rates, where a step more says little */

/* One open loop at that rate: does it keep the limit? */
static fc_status try_rate(setup *s, int n, double rate, double p99_ms, bool *kept) {
    bench_load l = setup_load(s, n, 0, (int)s->report.n_points);
    int late = 0;
    bench_point *p;
    l.requests = s->runs;
    l.rate = rate;
    l.give_up_ms = p99_ms;
    progress_say(&s->line, "n = %d: %d requests at %.3g a second", n, s->runs, rate);
    FC_TRY(setup_point(s, &p));
    p->n = n;
    p->rate = rate;
    FC_TRY(bench_load_run(s->target, &l, &p->run));
    for (size_t i = 0; i < p->run.samples.n; i++)
        late += !p->run.samples.v[i].ok || p->run.samples.v[i].ms[PHASE_TOTAL] > p99_ms;
    p->keeps = *kept = !p->run.gave_up && late <= s->runs / 100;
    return FC_OK;
}

/* A few requests, one after another: the median of what they take. */
static fc_status try_alone(setup *s, int n, double p99_ms, double *ms) {
    bench_load l = setup_load(s, n, 0, (int)s->report.n_points);
    double took[ALONE];
    size_t ok = 0;
    bench_point *p;
    l.requests = s->runs < ALONE ? s->runs : ALONE;
    l.concurrency = 1;
    progress_say(&s->line, "n = %d: alone", n);
    FC_TRY(setup_point(s, &p));
    p->n = n;
    p->concurrency = 1;
    FC_TRY(bench_load_run(s->target, &l, &p->run));
    for (size_t i = 0; i < p->run.samples.n; i++)
        if (p->run.samples.v[i].ok) took[ok++] = p->run.samples.v[i].ms[PHASE_TOTAL];
    if (!ok) return FC_FAIL(FC_ERR_IO, "a request of n = %d failed: %s", n, p->run.samples.v[0].why);
    stats_sort(took, ok);
    *ms = stats_percentile(took, ok, 0.5);
    p->keeps = *ms <= p99_ms;
    return FC_OK;
}

static fc_status find(setup *s, int n, double p99_ms, int steps) {
    double low = 0, high = 0, rate, alone_ms; /* kept; not kept; 0: not known */
    FC_TRY(try_alone(s, n, p99_ms, &alone_ms));
    if (alone_ms > p99_ms)
        return fc_str_printf(&s->report.words, "n = %d: no rate keeps p99 below %g ms: a request alone took %.1f ms.\n",
                             n, p99_ms, alone_ms);
    rate = 1000 / alone_ms / 2;
    for (int i = 0; i < steps && !(low > 0 && high > 0 && high / low < near_enough); i++) {
        bool kept;
        FC_TRY(try_rate(s, n, rate, p99_ms, &kept));
        if (kept) low = rate;
        else high = rate;
        rate = low > 0 && high > 0 ? sqrt(low * high) : low > 0 ? 2 * low : high / 2;
    }
    if (low <= 0)
        return fc_str_printf(&s->report.words, "n = %d: not even %.4g requests a second kept p99 below %g ms.\n", n,
                             high, p99_ms);
    FC_TRY(fc_str_printf(&s->report.words,
                         "n = %d: %.4g requests a second keep p99 below %g ms, which is %.4g candidates a second; ", n,
                         low, p99_ms, low * n));
    if (high <= 0) return fc_str_puts(&s->report.words, "no rate that was tried did not.\n");
    return fc_str_printf(&s->report.words, "%.4g did not.\n", high);
}

static fc_status job(setup *s, double p99_ms, int steps, int argc, char **argv) {
    if (p99_ms <= 0) return FC_FAIL(FC_ERR_ARG, "--p99-ms: how long 99 of 100 requests may take is needed");
    FC_TRY(setup_open(s, argc, argv));
    s->report.p99_ms = p99_ms;
    FC_TRY(report_set(&s->report, "p99_ms", "%g", p99_ms));
    for (int i = 0; i < s->n_ns; i++) FC_TRY(find(s, s->n[i], p99_ms, steps));
    if (s->runs < 100)
        FC_TRY(fc_str_printf(&s->report.words,
                             "With %d requests a rate, no one of them may be late: it is stricter than p99, and luck "
                             "decides more. --runs 100 is the least for p99.\n",
                             s->runs));
    progress_end(&s->line);
    return report_write(&s->report, s->out);
}

int bench_capacity(int argc, char **argv) {
    setup s;
    float p99_ms = 0;
    int steps = 10, rest;
    bool help;
    size_t n = 0;
    arg args[ARGS_MAX];
    command c = {
        .name = "bench capacity",
        .usage =
            "bench capacity --p99-ms MS --novelty MODEL --alignment MODEL|none -n 1,16 --prompt-tokens P [options]",
        .about = "Finds the highest rate of requests at which 99 of 100 are answered in time: open loops at moments of "
                 "a Poisson\n"
                 "process, doubled until one does not keep it, then bisected to 5 %. An open loop ends early once it "
                 "cannot be kept.",
        .args = args,
    };
    fc_status st;
    setup_init(&s, "capacity", 200);
    s.n_text = "1,16";
    args[n++] = arg_of(ARG_HEADING, "Goal:", NULL, NULL, NULL);
    args[n++] = arg_of(ARG_FLOAT, "p99-ms", &p99_ms, "MS",
                       "99 of 100 requests are answered in so many milliseconds, counted from when they were due");
    args[n++] = arg_int("steps", &steps, 1, STEPS_MAX, "S", "rates to try for each n, at most; default 10");
    setup_args(&s, args, &n);
    c.n_args = n;
    st = args_parse(&c, argc, argv, &rest, &help);
    progress_begin(&s.line);
    if (!st && !help) st = job(&s, (double)p99_ms, steps, argc, argv);
    progress_end(&s.line);
    setup_fini(&s);
    return args_exit("bench capacity", st);
}
