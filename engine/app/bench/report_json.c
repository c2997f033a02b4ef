/* report_json - a result in the form of bench/result.schema.json. */
#include "engine/app/bench/report.h"
#include "engine/app/print.h"
#include "engine/base/json.h"

#include <math.h>
#include <stddef.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>

static fc_status text(json_object *o, const char *key, const char *v) { return json_text(o, key, v, strlen(v)); }

static fc_status begin(json_object *parent, const char *key, json_object *o) {
    *o = (json_object){.out = parent->out};
    FC_TRY(json_key(parent, key));
    return fc_str_puts(o->out, "{");
}

static fc_status end(json_object *o) { return fc_str_puts(o->out, "}"); }

/* Where it was made, as programs in Python say it too. */
static fc_status put_machine(json_object *parent, const fc_machine *m) {
    json_object o;
    struct utsname u;
    fc_str system = {0};
    fc_status st;
    FC_TRY(begin(parent, "machine", &o));
    FC_TRY(text(&o, "cpu", m->cpu_name));
    FC_TRY(json_int(&o, "cores", m->cores));
    FC_TRY(json_int(&o, "ram_bytes", (int64_t)m->ram_bytes));
    if (m->gpus) FC_TRY(text(&o, "gpu", m->gpu_names[0]));
    st = uname(&u) ? fc_str_puts(&system, "unknown") : fc_str_printf(&system, "%s %s", u.sysname, u.release);
    if (!st) st = text(&o, "system", fc_str_text(&system));
    fc_str_fini(&system);
    return st ? st : end(&o);
}

static fc_status put_limits(json_object *parent, const bench_report *r) {
    const fc_machine *m = &r->machine;
    json_object o;
    if (!r->threads) {
        FC_TRY(json_key(parent, "limits"));
        return fc_str_puts(parent->out, "null");
    }
    FC_TRY(begin(parent, "limits", &o));
    FC_TRY(text(&o, "level", m->cpu_level));
    FC_TRY(json_int(&o, "threads", r->threads));
    FC_TRY(json_number(&o, "read_gbs_dram", m->read_gbs_dram));
    FC_TRY(json_number(&o, "read_gbs_cache", m->read_gbs_cache));
    FC_TRY(json_number(&o, "gops_int8", m->gops_int8));
    FC_TRY(json_number(&o, "gflops_bf16", m->gflops_bf16));
    FC_TRY(json_number(&o, "gflops_f32", m->gflops_f32));
    return end(&o);
}

static fc_status put_doubles(json_object *parent, const char *key, const double *v, size_t n) {
    size_t put = 0;
    FC_TRY(json_key(parent, key));
    FC_TRY(fc_str_puts(parent->out, "["));
    for (size_t i = 0; i < n; i++) {
        if (isnan(v[i])) continue;
        if (put++) FC_TRY(fc_str_puts(parent->out, ","));
        FC_TRY(fc_json_put_double(parent->out, v[i]));
    }
    return fc_str_puts(parent->out, "]");
}

/* One value of every request that did not fail. */
static fc_status put_samples(json_object *parent, const char *key, const bench_samples *s, size_t offset,
                             double scale) {
    size_t put = 0;
    FC_TRY(json_key(parent, key));
    FC_TRY(fc_str_puts(parent->out, "["));
    for (size_t i = 0; i < s->n; i++) {
        double v;
        memcpy(&v, (const char *)&s->v[i] + offset, sizeof v);
        if (!s->v[i].ok || isnan(v)) continue;
        if (put++) FC_TRY(fc_str_puts(parent->out, ","));
        FC_TRY(fc_json_put_double(parent->out, v * scale));
    }
    return fc_str_puts(parent->out, "]");
}

static bool any(const double *v, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (!isnan(v[i])) return true;
    return false;
}

static fc_status put_case(json_object *parent, const bench_report *r, const bench_point *p) {
    json_object o;
    FC_TRY(begin(parent, "case", &o));
    FC_TRY(text(&o, "job", r->job));
    FC_TRY(json_int(&o, "n", p->n));
    if (r->prompt_tokens) FC_TRY(json_int(&o, "P", r->prompt_tokens));
    FC_TRY(json_int(&o, "G", r->max_tokens));
    FC_TRY(text(&o, "loop", p->rate > 0 ? "open" : "closed"));
    if (p->rate > 0) FC_TRY(json_number(&o, "rate", p->rate));
    else FC_TRY(json_int(&o, "concurrency", p->concurrency));
    return end(&o);
}

static fc_status put_counts(json_object *parent, const bench_report *r, const bench_point *p, const bench_summary *s) {
    const struct {
        const char *name;
        double v;
    } more[] = {{"requests", (double)p->run.samples.n},
                {"failures", (double)s->failures},
                {"run_seconds", p->run.seconds},
                {"bytes", s->bytes},
                {"flops", s->flops},
                {"kept", r->p99_ms > 0 ? p->keeps : (double)NAN}};
    json_object o;
    FC_TRY(begin(parent, "counts", &o));
    for (int i = 0; i < COUNTS; i++)
        if (!isnan(s->counts[i])) FC_TRY(json_number(&o, bench_count_names[i], s->counts[i]));
    for (size_t i = 0; i < sizeof more / sizeof *more; i++)
        if (!isnan(more[i].v)) FC_TRY(json_number(&o, more[i].name, more[i].v));
    return end(&o);
}

static fc_status put_row(const bench_report *r, const bench_point *p, const bench_summary *s, fc_str *out) {
    const bench_samples *all = &p->run.samples;
    json_object o = {.out = out}, subject, seconds, values;
    FC_TRY(fc_str_puts(out, "{"));
    FC_TRY(put_case(&o, r, p));
    FC_TRY(begin(&o, "subject", &subject));
    FC_TRY(text(&subject, "name", r->api));
    FC_TRY(text(&subject, "version", r->target->version));
    FC_TRY(text(&subject, "weights", r->target->weights));
    FC_TRY(end(&subject));
    FC_TRY(begin(&o, "seconds", &seconds));
    for (int k = 0; k < PHASES; k++)
        if (!isnan(s->phases[k]) || k == PHASE_TOTAL)
            FC_TRY(put_samples(&seconds, bench_phase_names[k], all,
                               offsetof(bench_sample, ms) + (size_t)k * sizeof(double), 1e-3));
    if (any(p->separate, p->n_separate)) FC_TRY(put_doubles(&seconds, "separate", p->separate, p->n_separate));
    FC_TRY(end(&seconds));
    if (!isnan(s->best)) {
        FC_TRY(begin(&o, "values", &values));
        FC_TRY(put_samples(&values, "best_score", all, offsetof(bench_sample, best), 1));
        if (any(p->regret, p->n_regret)) FC_TRY(put_doubles(&values, "regret", p->regret, p->n_regret));
        FC_TRY(end(&values));
    }
    FC_TRY(put_counts(&o, r, p, s));
    if (s->limit_ms > 0) FC_TRY(json_number(&o, "limit_seconds", s->limit_ms * 1e-3));
    return fc_str_puts(out, "}");
}

void report_date(char *out, size_t size) {
    time_t now = time(NULL);
    struct tm utc;
    gmtime_r(&now, &utc);
    strftime(out, size, "%Y-%m-%dT%H:%M:%S+00:00", &utc);
}

fc_status report_json_begin(const bench_report *r, fc_str *out) {
    json_object o = {.out = out}, settings;
    char program[32] = "forkcast bench ", date[32];
    report_date(date, sizeof date);
    strncat(program, r->job, sizeof program - strlen(program) - 1);
    FC_TRY(fc_str_puts(out, "{"));
    FC_TRY(json_int(&o, "format", 2));
    FC_TRY(text(&o, "program", program));
    FC_TRY(text(&o, "command", r->command));
    FC_TRY(text(&o, "date", date));
    if (r->commit) FC_TRY(text(&o, "commit", r->commit));
    else {
        FC_TRY(json_key(&o, "commit"));
        FC_TRY(fc_str_puts(out, "null"));
    }
    FC_TRY(put_machine(&o, &r->machine));
    FC_TRY(put_limits(&o, r));
    FC_TRY(begin(&o, "settings", &settings));
    for (size_t i = 0; i < r->n_settings; i++)
        FC_TRY(text(&settings, r->settings[i].name, fc_str_text(&r->settings[i].value)));
    FC_TRY(end(&settings));
    FC_TRY(text(&o, "words", fc_str_text(&r->words)));
    FC_TRY(json_key(&o, "rows"));
    return fc_str_puts(out, "[");
}

fc_status report_json(const bench_report *r, const bench_summary *s, fc_str *out) {
    FC_TRY(report_json_begin(r, out));
    for (size_t i = 0; i < r->n_points; i++) {
        FC_TRY(fc_str_puts(out, i ? ",\n " : "\n "));
        FC_TRY(put_row(r, &r->points[i], &s[i], out));
    }
    return fc_str_puts(out, "\n]}\n");
}
