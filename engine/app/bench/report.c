#include "engine/app/bench/report.h"

#include "engine/app/bench/stats.h"
#include "engine/app/print.h"
#include "engine/app/textio.h"
#include "engine/base/mem.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const double bench_percents[3] = {0.5, 0.9, 0.99};

static fc_status setting_of(bench_report *r, const char *name, bench_setting **out) {
    void *p = r->settings;
    for (size_t i = 0; i < r->n_settings; i++)
        if (strcmp(r->settings[i].name, name) == 0) {
            *out = &r->settings[i];
            return fc_str_puts(&(*out)->value, "; ");
        }
    FC_TRY(fc_grow(&p, &r->cap_settings, r->n_settings + 1, sizeof *r->settings, "settings"));
    r->settings = p;
    *out = &r->settings[r->n_settings++];
    **out = (bench_setting){0};
    snprintf((*out)->name, sizeof(*out)->name, "%s", name);
    return FC_OK;
}

fc_status report_set(bench_report *r, const char *name, const char *fmt, ...) {
    bench_setting *s;
    va_list args;
    fc_status st;
    int size;
    void *text;
    va_start(args, fmt);
    size = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    FC_ASSERT(size >= 0);
    FC_TRY(fc_alloc((size_t)size + 1, 1, name, &text));
    va_start(args, fmt);
    vsnprintf(text, (size_t)size + 1, fmt, args);
    va_end(args);
    st = setting_of(r, name, &s);
    if (!st) st = fc_str_puts(&s->value, text);
    fc_free(text);
    return st;
}

void report_fini(bench_report *r) {
    for (size_t i = 0; i < r->n_points; i++) {
        bench_run_fini(&r->points[i].run);
        fc_free(r->points[i].separate);
        fc_free(r->points[i].regret);
    }
    for (size_t i = 0; i < r->n_settings; i++) fc_str_fini(&r->settings[i].value);
    fc_free(r->settings);
    fc_free(r->points);
    fc_free(r->command);
    fc_str_fini(&r->words);
    *r = (bench_report){0};
}

/* ---- what samples come to ---- */

/* Numbers among v, to the front and sorted; how many. */
static size_t known(double *v, size_t n) {
    size_t kept = 0;
    for (size_t i = 0; i < n; i++)
        if (!isnan(v[i])) v[kept++] = v[i];
    stats_sort(v, kept);
    return kept;
}

static double phase_of(const bench_sample *s, int which) { return s->ok ? s->ms[which] : (double)NAN; }
static double count_of(const bench_sample *s, int which) { return s->ok ? s->counts[which] : (double)NAN; }
static double best_of(const bench_sample *s, int which) {
    (void)which;
    return s->ok ? s->best : (double)NAN;
}

/* One value of every sample into room; sorted, without what is not known. */
static size_t gather(const bench_samples *s, double (*value)(const bench_sample *, int), int which, double *room) {
    for (size_t i = 0; i < s->n; i++) room[i] = value(&s->v[i], which);
    return known(room, s->n);
}

static double median_of(const double *v, size_t n, double *room) {
    for (size_t i = 0; i < n; i++) room[i] = v[i];
    return stats_percentile(room, known(room, n), 0.5);
}

static double mean_of(const double *v, size_t n, double *room) {
    for (size_t i = 0; i < n; i++) room[i] = v[i];
    return stats_mean(room, known(room, n));
}

/* What the machine allows: the longer of moving and computing. Any arithmetic at the fastest one's rate. */
static double limit_ms(const bench_report *r, double bytes, double flops) {
    double read = bytes / (r->machine.read_gbs_dram * 1e6), work = flops / (r->machine.gops_int8 * 1e6);
    return read > work ? read : work;
}

static void summarize(const bench_report *r, const bench_point *p, double *room, bench_summary *out) {
    const bench_samples *all = &p->run.samples;
    bench_summary s = {0};
    double tokens[COUNTS] = {0};
    size_t n;
    for (size_t i = 0; i < all->n; i++) {
        s.ok += all->v[i].ok;
        if (!all->v[i].ok && !s.why) s.why = all->v[i].why;
    }
    s.failures = all->n - s.ok;
    n = gather(all, phase_of, PHASE_TOTAL, room);
    for (int i = 0; i < 3; i++) s.ms[i] = stats_percentile(room, n, bench_percents[i]);
    for (int i = 0; i < PHASES; i++) s.phases[i] = stats_percentile(room, gather(all, phase_of, i, room), 0.5);
    for (int i = 0; i < COUNTS; i++) {
        n = gather(all, count_of, i, room);
        s.counts[i] = i == COUNT_KV_BYTES && n ? room[n - 1] : stats_mean(room, n);
        tokens[i] = stats_mean(room, n) * (double)n;
    }
    s.per_candidate_ms = s.ms[0] / p->n;
    s.separate_ms = 1e3 * median_of(p->separate, p->n_separate, room);
    s.speedup = s.separate_ms / s.ms[0];
    s.returned_s = tokens[COUNT_RETURNED_TOKENS] / p->run.seconds;
    s.candidate_s = tokens[COUNT_CANDIDATE_TOKENS] / p->run.seconds;
    s.scored_s = tokens[COUNT_SCORED_TOKENS] / p->run.seconds;
    s.requests_s = (double)s.ok / p->run.seconds;
    s.bytes = p->run.work.known && all->n ? p->run.work.bytes / (double)all->n : (double)NAN;
    s.flops = p->run.work.known && all->n ? p->run.work.flops / (double)all->n : (double)NAN;
    s.limit_ms = r->threads && p->run.work.known ? limit_ms(r, s.bytes, s.flops) : 0;
    s.best = stats_mean(room, gather(all, best_of, 0, room));
    s.regret = mean_of(p->regret, p->n_regret, room);
    *out = s;
}

fc_status report_summarize(const bench_report *r, bench_summary **out) {
    bench_summary *s;
    size_t most = 1;
    fc_status st;
    void *p, *q;
    for (size_t i = 0; i < r->n_points; i++) {
        const bench_point *a = &r->points[i];
        const size_t sizes[] = {a->run.samples.n, a->n_separate, a->n_regret};
        for (size_t k = 0; k < 3; k++)
            if (sizes[k] > most) most = sizes[k];
    }
    FC_TRY(fc_alloc(r->n_points, sizeof *s, "summaries", &p));
    s = p;
    st = fc_alloc(most, sizeof(double), "summaries", &q);
    if (st) {
        fc_free(p);
        return st;
    }
    for (size_t i = 0; i < r->n_points; i++) summarize(r, &r->points[i], q, &s[i]);
    fc_free(q);
    for (size_t i = 0; i < r->n_points; i++) {
        s[i].slowdown = (double)NAN;
        for (size_t k = 0; k < r->n_points; k++) {
            const bench_point *a = &r->points[i], *one = &r->points[k];
            if (one->n == 1 && one->rate == a->rate && one->concurrency == a->concurrency)
                s[i].slowdown = s[i].ms[0] / s[k].ms[0];
        }
    }
    *out = s;
    return FC_OK;
}

/* ---- the table ---- */

static fc_status put(fc_str *out, double v, int width, int decimals) {
    if (isnan(v)) return fc_str_printf(out, " %*s", width, "-");
    return fc_str_printf(out, " %*.*f", width, decimals, v);
}

/* A percentile with too few samples above it is marked. */
static fc_status put_percentile(fc_str *out, const bench_summary *s, int i) {
    FC_TRY(put(out, s->ms[i], 9, 1));
    return fc_str_puts(out, isnan(s->ms[i]) || stats_enough(s->ok, bench_percents[i]) ? " " : "~");
}

static fc_status put_load(fc_str *out, const bench_point *p) {
    if (p->rate > 0) return fc_str_printf(out, "%5d %7.3g/s", p->n, p->rate);
    return fc_str_printf(out, "%5d %9d", p->n, p->concurrency);
}

static fc_status put_times(const bench_report *r, const bench_summary *s, fc_str *out) {
    bool few = false;
    FC_TRY(fc_str_puts(out,
                       "    n      load samples       p50        p90        p99     queue prefill  decode   score    "
                       "host  a cand. slowdown speed-up\n"));
    for (size_t i = 0; i < r->n_points; i++) {
        FC_TRY(put_load(out, &r->points[i]));
        FC_TRY(fc_str_printf(out, " %7zu", s[i].ok));
        for (int k = 0; k < 3; k++) {
            FC_TRY(put_percentile(out, &s[i], k));
            few = few || (!isnan(s[i].ms[k]) && !stats_enough(s[i].ok, bench_percents[k]));
        }
        for (int k = PHASE_QUEUE; k < PHASES; k++) FC_TRY(put(out, s[i].phases[k], 7, 1));
        FC_TRY(put(out, s[i].per_candidate_ms, 8, 2));
        FC_TRY(put(out, s[i].slowdown, 8, 2));
        FC_TRY(put(out, s[i].speedup, 8, 2));
        FC_TRY(fc_str_puts(out, "\n"));
    }
    FC_TRY(fc_str_puts(out, "load: requests at once, or a second; milliseconds, medians where nothing else is said; "
                            "slowdown against n = 1; speed-up over n "
                            "separate requests\n"));
    if (few) FC_TRY(fc_str_puts(out, "~ fewer samples than that percentile needs: p90 10, p99 100\n"));
    return fc_str_puts(out, "\n");
}

static fc_status put_amounts(const bench_report *r, const bench_summary *s, fc_str *out) {
    FC_TRY(fc_str_puts(out, "    n      load  returned candidate    scored    KV MB       rows      flat  moved MB     "
                            "GFLOP limit % best score    regret failed\n"));
    for (size_t i = 0; i < r->n_points; i++) {
        const double *c = s[i].counts;
        FC_TRY(put_load(out, &r->points[i]));
        FC_TRY(put(out, s[i].returned_s, 9, 1));
        FC_TRY(put(out, s[i].candidate_s, 9, 1));
        FC_TRY(put(out, s[i].scored_s, 9, 1));
        FC_TRY(put(out, c[COUNT_KV_BYTES] * 1e-6, 8, 1));
        FC_TRY(put(out, c[COUNT_ROWS_PREFILL] + c[COUNT_ROWS_DECODE] + c[COUNT_ROWS_SCORE], 10, 0));
        FC_TRY(put(out, c[COUNT_ROWS_FLAT], 9, 0));
        FC_TRY(put(out, s[i].bytes * 1e-6, 9, 1));
        FC_TRY(put(out, s[i].flops * 1e-9, 9, 2));
        FC_TRY(put(out, s[i].limit_ms > 0 ? 100 * s[i].limit_ms / s[i].ms[0] : (double)NAN, 7, 0));
        FC_TRY(put(out, s[i].best, 10, 4));
        FC_TRY(put(out, s[i].regret, 9, 4));
        FC_TRY(fc_str_printf(out, " %6zu\n", s[i].failures));
    }
    FC_TRY(fc_str_puts(out, "tokens a second; the rest of a request: rows computed, and by n separate runs; bytes and "
                            "operations it must move and do,\nand the time that the machine's limits allow these as a "
                            "share of p50; regret against scoring every name\n"));
    for (size_t i = 0; i < r->n_points; i++)
        if (s[i].why)
            FC_TRY(fc_str_printf(out, "n = %d: %zu failed, the first: %s\n", r->points[i].n, s[i].failures, s[i].why));
    return FC_OK;
}

fc_status report_table(const bench_report *r, const bench_summary *s, fc_str *out) {
    FC_TRY(put_times(r, s, out));
    FC_TRY(put_amounts(r, s, out));
    for (size_t i = 0; i < r->n_settings; i++) {
        const bench_setting *one = &r->settings[i];
        FC_TRY(fc_str_printf(out, "%s%s ", i ? ", " : "", one->name));
        FC_TRY(print_escaped(fc_str_text(&one->value), one->value.size, 0, out));
    }
    FC_TRY(fc_str_puts(out, "\n"));
    return fc_str_put(out, fc_str_text(&r->words), r->words.size);
}

fc_status report_csv(const bench_report *r, const bench_summary *s, fc_str *out) {
    FC_TRY(fc_str_puts(out, "n,concurrency,rate_per_s,requests,failures,p50_ms,p90_ms,p99_ms"));
    for (int k = PHASE_QUEUE; k < PHASES; k++) FC_TRY(fc_str_printf(out, ",%s_ms", bench_phase_names[k]));
    FC_TRY(fc_str_puts(out,
                       ",per_candidate_ms,slowdown,separate_ms,speedup,returned_tokens_per_s,candidate_tokens_per_s,"
                       "scored_tokens_per_s,requests_per_s"));
    for (int k = 0; k < COUNTS; k++) FC_TRY(fc_str_printf(out, ",%s", bench_count_names[k]));
    FC_TRY(fc_str_puts(out, ",bytes,flops,limit_ms,best_score,regret\n"));
    for (size_t i = 0; i < r->n_points; i++) {
        const bench_point *p = &r->points[i];
        const bench_summary *a = &s[i];
        const double times[] = {a->per_candidate_ms, a->slowdown,    a->separate_ms, a->speedup,
                                a->returned_s,       a->candidate_s, a->scored_s,    a->requests_s};
        const double last[] = {a->bytes, a->flops, a->limit_ms > 0 ? a->limit_ms : (double)NAN, a->best, a->regret};
        FC_TRY(fc_str_printf(out, "%d,%d,%.9g,%zu,%zu", p->n, p->concurrency, p->rate, p->run.samples.n, a->failures));
#define CELLS(v, count)                                                                                                \
    for (size_t k = 0; k < (size_t)(count); k++)                                                                       \
    FC_TRY(isnan((v)[k]) ? fc_str_puts(out, ",") : fc_str_printf(out, ",%.9g", (v)[k]))
        CELLS(a->ms, 3);
        CELLS(a->phases + PHASE_QUEUE, PHASES - PHASE_QUEUE);
        CELLS(times, sizeof times / sizeof *times);
        CELLS(a->counts, COUNTS);
        CELLS(last, sizeof last / sizeof *last);
#undef CELLS
        FC_TRY(fc_str_puts(out, "\n"));
    }
    return FC_OK;
}

/* ---- files ---- */

static fc_status path_of(const char *prefix, const char *end, fc_str *out) {
    return fc_str_printf(out, "%s%s", prefix, end);
}

fc_status report_write_file(const char *prefix, const char *end, const fc_str *text) {
    fc_str path = {0}, part = {0};
    FILE *f = NULL;
    fc_status st = path_of(prefix, end, &path);
    bool written;
    if (!st) st = fc_str_printf(&part, "%s.part", fc_str_text(&path));
    if (!st && !(f = fopen(fc_str_text(&part), "wb")))
        st = FC_FAIL(FC_ERR_IO, "--out: %s: %s", fc_str_text(&part), strerror(errno));
    if (!st) {
        written = fwrite(fc_str_text(text), 1, text->size, f) == text->size;
        written = fclose(f) == 0 && written;
        if (!written || rename(fc_str_text(&part), fc_str_text(&path)))
            st = FC_FAIL(FC_ERR_IO, "--out: %s: %s", fc_str_text(&path), strerror(errno));
    }
    fc_str_fini(&part);
    fc_str_fini(&path);
    return st;
}

fc_status report_can_write(const char *prefix) {
    fc_str path = {0};
    FILE *f;
    fc_status st = path_of(prefix, ".json.part", &path);
    if (!st && !(f = fopen(fc_str_text(&path), "wb")))
        st = FC_FAIL(FC_ERR_IO, "--out: %s: %s", fc_str_text(&path), strerror(errno));
    else if (!st) {
        fclose(f);
        remove(fc_str_text(&path));
    }
    fc_str_fini(&path);
    return st;
}

fc_status report_write(const bench_report *r, const char *prefix) {
    static const struct {
        const char *end;
        fc_status (*make)(const bench_report *r, const bench_summary *s, fc_str *out);
    } forms[] = {{".json", report_json}, {".csv", report_csv}, {".html", report_html}};
    bench_summary *s;
    fc_str out = {0};
    fc_status st;
    FC_TRY(report_summarize(r, &s));
    st = report_table(r, s, &out);
    if (!st) st = text_write(fc_str_text(&out), out.size);
    for (size_t i = 0; i < sizeof forms / sizeof *forms && prefix && !st; i++) {
        fc_str_clear(&out);
        st = forms[i].make(r, s, &out);
        if (!st) st = report_write_file(prefix, forms[i].end, &out);
    }
    fc_str_fini(&out);
    fc_free(s);
    return st;
}
