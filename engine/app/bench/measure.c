#include "engine/app/bench/measure.h"

#include "engine/base/mem.h"

#include <math.h>
#include <stdio.h>

static fc_status push(double **v, size_t *n, size_t *cap, double one) {
    void *p = *v;
    FC_TRY(fc_grow(&p, cap, *n + 1, sizeof **v, "samples"));
    *v = p;
    (*v)[(*n)++] = one;
    return FC_OK;
}

static fc_status rounds(setup *s, size_t first) {
    for (int round = 0; round < s->runs; round++)
        for (int i = 0; i < s->n_ns; i++) {
            bench_point *p = &s->report.points[first + (size_t)i];
            const bench_load l = setup_load(s, s->n[i], round, i);
            double seconds;
            progress_say(&s->line, "run %d of %d, n = %d", round + 1, s->runs, s->n[i]);
            FC_TRY(bench_load_run(s->target, &l, &p->run));
            if (s->no_separate) continue;
            FC_TRY(bench_load_separate(s->target, &l, &seconds));
            FC_TRY(push(&p->separate, &p->n_separate, &p->cap_separate, seconds));
        }
    return FC_OK;
}

fc_status measure_closed(setup *s) {
    size_t first = s->report.n_points;
    for (int i = 0; i < s->n_ns; i++) {
        bench_point *p;
        FC_TRY(setup_point(s, &p));
        p->n = s->n[i];
        p->concurrency = s->concurrency;
    }
    if (s->concurrency == 1) return rounds(s, first);
    for (int i = 0; i < s->n_ns; i++) {
        bench_load l = setup_load(s, s->n[i], 0, i);
        l.requests = s->runs;
        progress_say(&s->line, "%d requests, %d at once, n = %d", s->runs, s->concurrency, s->n[i]);
        FC_TRY(bench_load_run(s->target, &l, &s->report.points[first + (size_t)i].run));
    }
    return FC_OK;
}

fc_status measure_open(setup *s) {
    for (int k = 0; k < s->n_rates; k++)
        for (int i = 0; i < s->n_ns; i++) {
            bench_load l = setup_load(s, s->n[i], 0, k * s->n_ns + i);
            bench_point *p;
            l.requests = s->runs;
            l.rate = s->rates[k];
            progress_say(&s->line, "%d requests at %g a second, n = %d", s->runs, l.rate, l.n);
            FC_TRY(setup_point(s, &p));
            p->n = l.n;
            p->rate = l.rate;
            FC_TRY(bench_load_run(s->target, &l, &p->run));
        }
    return FC_OK;
}

/* The best that any name of the taxonomy scores for each prompt, once for all n. */
static fc_status exhaust(setup *s, double *best) {
    for (int round = 0; round < s->runs; round++) {
        const bench_ask ask = {
            .n = 1, .seed = s->seed, .prompt = round, .salt = s->keep_cache ? 0 : ~(uint64_t)round, .exhaustive = true};
        bench_sample one;
        progress_say(&s->line, "scoring every name, prompt %d of %d", round + 1, s->runs);
        FC_TRY(bench_load_one(s->target, &ask, &one));
        best[round] = one.ok ? one.best : (double)NAN;
        if (!one.ok)
            return fc_str_printf(&s->report.words, "Regret is not known: scoring every name failed: %s\n", one.why);
    }
    return FC_OK;
}

fc_status measure_regret(setup *s) {
    double *best;
    fc_status st;
    void *p;
    if (!s->target->names || s->no_regret) return FC_OK;
    if (s->n_rates || s->concurrency > 1) /* samples lie in the order in which they ended, not in that of prompts */
        return fc_str_puts(&s->report.words, "Regret is that of one request at a time: it was not measured.\n");
    FC_TRY(fc_alloc((size_t)s->runs, sizeof *best, "best scores", &p));
    best = p;
    for (int i = 0; i < s->runs; i++) best[i] = (double)NAN;
    st = exhaust(s, best);
    for (size_t i = 0; i < s->report.n_points && !st; i++) {
        bench_point *at = &s->report.points[i];
        for (size_t k = 0; k < at->run.samples.n && !st; k++) /* sample k is round k's */
            st = push(&at->regret, &at->n_regret, &at->cap_regret, best[k] - at->run.samples.v[k].best);
    }
    fc_free(best);
    return st;
}
