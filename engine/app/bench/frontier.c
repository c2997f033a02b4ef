/* frontier - bench frontier: n against quality against cost, and which n to run. */
#include "engine/app/bench/bench.h"
#include "engine/app/bench/measure.h"
#include "engine/app/bench/stats.h"
#include "engine/base/mem.h"

#include <math.h>

static const double confidence = 0.95;

/* One n beside the largest, prompt by prompt. */
typedef struct {
    const bench_point *p;
    double ms, gflop, best, gain; /* median; of a request; mean; over the smallest n */
    stats_interval behind;        /* what the largest n has more */
} step;

/* Points in the order of n. */
static void sort_points(bench_report *r) {
    for (size_t i = 1; i < r->n_points; i++)
        for (size_t k = i; k > 0 && r->points[k - 1].n > r->points[k].n; k--) {
            const bench_point one = r->points[k];
            r->points[k] = r->points[k - 1];
            r->points[k - 1] = one;
        }
}

/* Prompts of which every n has a score; an empty candidate's may be minus infinity. */
static fc_status pick(const bench_report *r, size_t runs, bool *use, size_t *n) {
    *n = 0;
    for (size_t k = 0; k < runs; k++) {
        use[k] = true;
        for (size_t i = 0; i < r->n_points; i++) {
            const bench_samples *s = &r->points[i].run.samples;
            use[k] = use[k] && k < s->n && s->v[k].ok && isfinite(s->v[k].best);
        }
        *n += use[k];
    }
    if (*n < STATS_LEAST)
        return FC_FAIL(FC_ERR_ARG, "%zu prompts have a score for every n; a recommendation needs %d: raise --runs", *n,
                       STATS_LEAST);
    return FC_OK;
}

static fc_status make_steps(const bench_report *r, const bench_summary *s, const bool *use, size_t runs, size_t n,
                            uint64_t seed, double *room, step *out) {
    const bench_samples *most = &r->points[r->n_points - 1].run.samples;
    for (size_t i = 0; i < r->n_points; i++) {
        const bench_samples *own = &r->points[i].run.samples;
        double sum = 0;
        size_t at = 0;
        for (size_t k = 0; k < runs; k++) {
            if (!use[k]) continue;
            sum += own->v[k].best;
            room[at++] = most->v[k].best - own->v[k].best;
        }
        out[i] = (step){.p = &r->points[i], .ms = s[i].ms[0], .gflop = s[i].flops * 1e-9, .best = sum / (double)n};
        out[i].gain = out[i].best - out[0].best;
        FC_TRY(stats_mean_interval(room, n, confidence, seed, &out[i].behind));
    }
    return FC_OK;
}

static fc_status recommend(const step *v, size_t n, double close, fc_str *out) {
    const step *least = &v[0], *most = &v[n - 1], *to = most;
    for (size_t i = n; i-- > 0;)
        if (v[i].behind.high <= close * most->gain) to = &v[i];
    if (least->behind.low <= 0)
        return fc_str_printf(
            out,
            "Run n = %d: what n = %d adds, %.4f of score, cannot be told from nothing with %d samples of "
            "noise such as this (%.4f to %.4f).\n",
            least->p->n, most->p->n, most->gain, (int)least->p->run.samples.n, least->behind.low, least->behind.high);
    FC_TRY(fc_str_printf(out, "Run n = %d: it has %.0f %% of what n = %d adds to n = %d, at %.0f %% of its time",
                         to->p->n, 100 * to->gain / most->gain, most->p->n, least->p->n, 100 * to->ms / most->ms));
    if (!isnan(to->gflop)) FC_TRY(fc_str_printf(out, " and %.0f %% of its operations", 100 * to->gflop / most->gflop));
    if (to == most)
        return fc_str_puts(out, "; no smaller one comes as near as --close asks, and a larger one may add more.\n");
    return fc_str_printf(out, "; with %.0f %% confidence it is no more than %.4f of score behind.\n", 100 * confidence,
                         to->behind.high);
}

static fc_status put_words(bench_report *r, const bench_summary *s, double close, uint64_t seed) {
    const size_t runs = r->points[0].run.samples.n;
    double *room;
    bool *use = NULL;
    step *v = NULL;
    size_t n;
    fc_status st;
    void *p;
    FC_TRY(fc_alloc(runs, sizeof *room, "scores", &p));
    room = p;
    st = fc_alloc(runs, sizeof *use, "prompts", &p);
    if (!st) use = p;
    if (!st) st = fc_alloc(r->n_points, sizeof *v, "steps", &p);
    if (!st && use) v = p;
    if (!st) st = pick(r, runs, use, &n);
    if (!st) st = make_steps(r, s, use, runs, n, seed, room, v);
    if (!st) st = recommend(v, r->n_points, close, &r->words);
    for (size_t i = 0; i < r->n_points && !st; i++) {
        st = fc_str_printf(&r->words, "n = %d: best score %.4f, %.4f behind n = %d (%.4f to %.4f); %.1f ms", v[i].p->n,
                           v[i].best, v[i].behind.mid, r->points[r->n_points - 1].n, v[i].behind.low, v[i].behind.high,
                           v[i].ms);
        if (!st && !isnan(v[i].gflop)) st = fc_str_printf(&r->words, ", %.2f GFLOP", v[i].gflop);
        if (!st) st = fc_str_puts(&r->words, "\n");
    }
    fc_free(v);
    fc_free(use);
    fc_free(room);
    return st;
}

static fc_status job(setup *s, double close, int argc, char **argv) {
    bench_summary *sums;
    fc_status st;
    FC_TRY(setup_open(s, argc, argv));
    if (!s->target->scores)
        return FC_FAIL(FC_ERR_ARG, "--alignment: without a model that scores there is no quality to hold n against");
    if (s->n_ns < 2) return FC_FAIL(FC_ERR_ARG, "-n: a frontier needs two numbers or more");
    FC_TRY(measure_closed(s));
    FC_TRY(measure_regret(s));
    progress_end(&s->line);
    sort_points(&s->report);
    FC_TRY(report_summarize(&s->report, &sums));
    st = put_words(&s->report, sums, close, s->seed);
    fc_free(sums);
    return st ? st : report_write(&s->report, s->out);
}

int bench_frontier(int argc, char **argv) {
    setup s;
    float close = 5;
    bool help;
    int rest;
    size_t n = 0;
    arg args[ARGS_MAX];
    command c = {
        .name = "bench frontier",
        .usage = "bench frontier --recipe R --prompts FILE -n 1,2,4,8,16,32,64 [options]",
        .about =
            "Says which n to run: the smallest whose best candidate scores nearly as well as that of the largest n,\n"
            "with an interval from resampling prompts, and what every n takes. Quality is that of the prompts: give "
            "real ones.",
        .args = args,
    };
    fc_status st;
    setup_init(&s, "frontier", 30);
    s.no_separate = true;
    args[n++] = arg_of(ARG_HEADING, "Choice:", NULL, NULL, NULL);
    args[n++] = arg_of(ARG_FLOAT, "close", &close, "PCT", "how much of the largest n's gain may be missing; default 5");
    args[n++] = arg_of(ARG_FLAG, "no-regret", &s.no_regret, NULL, "without scoring every name of a taxonomy");
    setup_args(&s, args, &n);
    c.n_args = n;
    st = args_parse(&c, argc, argv, &rest, &help);
    if (!st && !help && (close < 0 || close > 100))
        st = FC_FAIL(FC_ERR_ARG, "--close: %g is no percentage", (double)close);
    progress_begin(&s.line);
    if (!st && !help) st = job(&s, (double)close / 100, argc, argv);
    progress_end(&s.line);
    setup_fini(&s);
    return args_exit("bench frontier", st);
}
