/* report_html - one page that needs nothing else: curves, tables, and what they mean for somebody who was not there. */
#include "engine/app/bench/chart.h"
#include "engine/app/bench/report.h"
#include "engine/app/bench/stats.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const char style[] =
    ":root{color-scheme:light dark;--ink:#1b1f24;--soft:#59636e;--line:#d5dae0;--back:#fff;"
    "--c0:#2166ac;--c1:#b2500d;--c2:#2d7f3b;--c3:#8b3fa0;--c4:#a01f3c;--c5:#5c5c5c;--c6:#00798c;--c7:#8a6d00}\n"
    "@media(prefers-color-scheme:dark){:root{--ink:#e6e8eb;--soft:#9aa4af;--line:#3a414a;--back:#14171b;"
    "--c0:#7ab4ec;--c1:#f0a060;--c2:#7ccf8a;--c3:#cf94e0;--c4:#f08aa0;--c5:#b8b8b8;--c6:#5cc8d8;--c7:#d8bc4a}}\n"
    "body{font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--back);max-width:72rem;margin:2rem auto;"
    "padding:0 1rem}\nh1{font-size:1.6rem}h2{font-size:1.2rem;margin-top:2rem}\n"
    ".charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(26rem,1fr));gap:1rem}figure{margin:0}"
    "figcaption{font-weight:600}\nsvg{width:100%;font-size:12px}svg text{fill:var(--soft)}"
    "svg .grid{stroke:var(--line)}polyline{fill:none;stroke-width:2}\n"
    ".legend{margin:0;color:var(--soft)}.legend span{margin-right:1rem}.legend i{display:inline-block;width:.8em;"
    "height:.8em;margin-right:.3em;border-radius:50%}\n"
    ".scroll{overflow-x:auto}table{border-collapse:collapse;font-size:.9rem}td,th{padding:.2rem .6rem;text-align:right;"
    "border-bottom:1px solid var(--line);white-space:nowrap}th:first-child,td:first-child{text-align:left}"
    "dt{font-weight:600}code{overflow-wrap:anywhere}\n";

static fc_status put_style(fc_str *out) {
    FC_TRY(fc_str_puts(out, "<style>\n"));
    FC_TRY(fc_str_puts(out, style));
    for (int i = 0; i < CHART_LINES; i++)
        FC_TRY(fc_str_printf(out,
                             "polyline.s%d{stroke:var(--c%d)}circle.s%d{fill:var(--c%d)}i.s%d{background:var(--c%d)}\n",
                             i, i, i, i, i, i));
    return fc_str_puts(out, "</style>\n");
}

/* ---- curves ---- */

/* Of a point, for a curve. */
typedef double (*value_of)(const bench_point *p, const bench_summary *s);

static double p50(const bench_point *p, const bench_summary *s) { return (void)p, s->ms[0]; }
static double p90(const bench_point *p, const bench_summary *s) { return (void)p, s->ms[1]; }
static double p99(const bench_point *p, const bench_summary *s) { return (void)p, s->ms[2]; }
static double separate(const bench_point *p, const bench_summary *s) { return (void)p, s->separate_ms; }
static double limit(const bench_point *p, const bench_summary *s) {
    (void)p;
    return s->limit_ms > 0 ? s->limit_ms : (double)NAN;
}
static double queue(const bench_point *p, const bench_summary *s) { return (void)p, s->phases[PHASE_QUEUE]; }
static double prefill(const bench_point *p, const bench_summary *s) { return (void)p, s->phases[PHASE_PREFILL]; }
static double decode(const bench_point *p, const bench_summary *s) { return (void)p, s->phases[PHASE_DECODE]; }
static double score(const bench_point *p, const bench_summary *s) { return (void)p, s->phases[PHASE_SCORE]; }
static double host(const bench_point *p, const bench_summary *s) { return (void)p, s->phases[PHASE_HOST]; }
static double rows(const bench_point *p, const bench_summary *s) {
    (void)p;
    return s->counts[COUNT_ROWS_PREFILL] + s->counts[COUNT_ROWS_DECODE] + s->counts[COUNT_ROWS_SCORE];
}
static double flat(const bench_point *p, const bench_summary *s) { return (void)p, s->counts[COUNT_ROWS_FLAT]; }
static double kv(const bench_point *p, const bench_summary *s) { return (void)p, s->counts[COUNT_KV_BYTES] * 1e-6; }
static double moved(const bench_point *p, const bench_summary *s) { return (void)p, s->bytes * 1e-6; }
static double worked(const bench_point *p, const bench_summary *s) { return (void)p, s->flops * 1e-9; }
static double each(const bench_point *p, const bench_summary *s) { return (void)p, s->per_candidate_ms; }
static double best(const bench_point *p, const bench_summary *s) { return (void)p, s->best; }
static double regret(const bench_point *p, const bench_summary *s) { return (void)p, s->regret; }
static double returned(const bench_point *p, const bench_summary *s) { return (void)p, s->returned_s; }
static double drawn(const bench_point *p, const bench_summary *s) { return (void)p, s->candidate_s; }
static double scored(const bench_point *p, const bench_summary *s) { return (void)p, s->scored_s; }

typedef struct {
    const char *title, *unit;
    bool log_y;
    struct {
        const char *name;
        value_of value;
        double percent; /* of which there must be samples enough at each n, else `few` is the name; 0: any */
        const char *few;
    } lines[6];
} curves;

static const curves over_n[] = {
    {"Latency of a request",
     "milliseconds",
     true,
     {{"p50", p50, 0, NULL},
      {"p90", p90, 0.9, "p90~"},
      {"p99", p99, 0.99, "p99~"},
      {"n separate requests, p50", separate, 0, NULL},
      {"the machine's limit", limit, 0, NULL}}},
    {"Where the time goes",
     "milliseconds, medians",
     false,
     {{"queue", queue, 0, NULL},
      {"prefill", prefill, 0, NULL},
      {"decode", decode, 0, NULL},
      {"score", score, 0, NULL},
      {"host", host, 0, NULL}}},
    {"Rows computed",
     "token positions of a request",
     true,
     {{"computed", rows, 0, NULL}, {"flat: nothing shared", flat, 0, NULL}}},
    {"KV memory of a request", "MB, the most", false, {{"KV", kv, 0, NULL}}},
    {"Tokens a second",
     "tokens/s",
     true,
     {{"returned", returned, 0, NULL}, {"candidate", drawn, 0, NULL}, {"scored", scored, 0, NULL}}},
    {"Quality", "mean score", false, {{"best candidate", best, 0, NULL}}},
    {"Regret against scoring every name", "score", false, {{"regret", regret, 0, NULL}}},
};

/* Points of one load, in the order of n. */
static bool same_load(const bench_point *a, const bench_point *b) {
    return a->rate == b->rate && a->concurrency == b->concurrency;
}

/* A curve of the points of one load: some value is known, and at each n there are samples enough. */
static void look(const bench_report *r, const bench_summary *s, const bench_point *load, value_of value, double percent,
                 bool *known, bool *enough) {
    *known = false;
    *enough = true;
    for (size_t q = 0; q < r->n_points; q++)
        if (same_load(&r->points[q], load)) {
            *known = *known || isfinite(value(&r->points[q], &s[q]));
            *enough = *enough && stats_enough(s[q].ok, percent);
        }
}

static fc_status put_curves(const bench_report *r, const bench_summary *s, const bench_point *load, fc_str *out) {
    for (size_t i = 0; i < sizeof over_n / sizeof *over_n; i++) {
        const curves *v = &over_n[i];
        chart c = {.title = v->title,
                   .x_name = "n, candidates of a request",
                   .y_name = v->unit,
                   .log_x = true,
                   .log_y = v->log_y};
        for (int k = 0; k < 6 && v->lines[k].name; k++) {
            bool known, enough;
            chart_line *l;
            look(r, s, load, v->lines[k].value, v->lines[k].percent, &known, &enough);
            if (!known) continue;
            l = chart_add(&c, enough ? v->lines[k].name : v->lines[k].few);
            for (size_t q = 0; q < r->n_points; q++)
                if (same_load(&r->points[q], load))
                    chart_point(l, r->points[q].n, v->lines[k].value(&r->points[q], &s[q]));
        }
        FC_TRY(chart_svg(&c, out));
    }
    return FC_OK;
}

/* Latency over the rate, where several were tried. */
static fc_status put_rates(const bench_report *r, const bench_summary *s, fc_str *out) {
    chart c = {.title = "Latency under load",
               .x_name = "requests a second, Poisson",
               .y_name = "p99, milliseconds",
               .log_y = true};
    char names[CHART_LINES][32];
    for (size_t i = 0; i < r->n_points; i++) {
        const bench_point *p = &r->points[i];
        chart_line *l = NULL;
        char name[32];
        snprintf(name, sizeof name, "n = %d", p->n);
        if (p->rate <= 0) continue;
        for (int k = 0; k < c.n; k++)
            if (strcmp(c.lines[k].name, name) == 0) l = &c.lines[k];
        if (!l && c.n < CHART_LINES) {
            snprintf(names[c.n], sizeof names[c.n], "%s", name);
            l = chart_add(&c, names[c.n]);
        }
        chart_point(l, p->rate, s[i].ms[2]);
    }
    return chart_svg(&c, out);
}

static fc_status put_loads(const bench_report *r, const bench_summary *s, fc_str *out) {
    for (size_t i = 0; i < r->n_points; i++) {
        const bench_point *p = &r->points[i];
        size_t first = 0;
        int ns = 0;
        while (!same_load(&r->points[first], p)) first++;
        for (size_t k = 0; k < r->n_points; k++) ns += same_load(&r->points[k], p);
        if (first != i || ns < 2) continue;
        if (p->rate > 0) FC_TRY(fc_str_printf(out, "<h2>Open loop, %.3g requests a second</h2>\n", p->rate));
        else FC_TRY(fc_str_printf(out, "<h2>Closed loop, %d at once</h2>\n", p->concurrency));
        FC_TRY(fc_str_puts(out, "<div class=\"charts\">\n"));
        FC_TRY(put_curves(r, s, p, out));
        FC_TRY(fc_str_puts(out, "</div>\n"));
    }
    FC_TRY(fc_str_puts(out, "<div class=\"charts\">\n"));
    FC_TRY(put_rates(r, s, out));
    return fc_str_puts(out, "</div>\n");
}

/* ---- tables ---- */

static const struct {
    const char *name;
    value_of value;
    int decimals;
    double percent; /* of which there must be samples enough; 0: any */
} columns[] = {{"p50", p50, 1, 0},
               {"p90", p90, 1, 0.9},
               {"p99", p99, 1, 0.99},
               {"queue", queue, 1, 0},
               {"prefill", prefill, 1, 0},
               {"decode", decode, 1, 0},
               {"score", score, 1, 0},
               {"host", host, 1, 0},
               {"a candidate", each, 2, 0},
               {"separate", separate, 1, 0},
               {"limit", limit, 1, 0},
               {"rows", rows, 0, 0},
               {"rows flat", flat, 0, 0},
               {"KV MB", kv, 1, 0},
               {"moved MB", moved, 1, 0},
               {"GFLOP", worked, 2, 0},
               {"returned/s", returned, 1, 0},
               {"candidate/s", drawn, 1, 0},
               {"scored/s", scored, 1, 0},
               {"best score", best, 4, 0},
               {"regret", regret, 4, 0}};

static fc_status put_cell(double v, int decimals, const char *after, fc_str *out) {
    return isnan(v) ? fc_str_puts(out, "<td>-") : fc_str_printf(out, "<td>%.*f%s", decimals, v, after);
}

static fc_status put_table(const bench_report *r, const bench_summary *s, fc_str *out) {
    FC_TRY(fc_str_puts(out, "<h2>Numbers</h2>\n<div class=\"scroll\"><table>\n<tr><th>n<th>load<th>samples"));
    for (size_t k = 0; k < sizeof columns / sizeof *columns; k++) FC_TRY(fc_str_printf(out, "<th>%s", columns[k].name));
    FC_TRY(fc_str_puts(out, "<th>slowdown<th>speed-up<th>failed\n"));
    for (size_t i = 0; i < r->n_points; i++) {
        const bench_point *p = &r->points[i];
        FC_TRY(fc_str_printf(out, "<tr><td>%d<td>", p->n));
        FC_TRY(p->rate > 0 ? fc_str_printf(out, "%.3g/s", p->rate) : fc_str_printf(out, "%d at once", p->concurrency));
        FC_TRY(fc_str_printf(out, "<td>%zu", s[i].ok));
        for (size_t k = 0; k < sizeof columns / sizeof *columns; k++)
            FC_TRY(put_cell(columns[k].value(p, &s[i]), columns[k].decimals,
                            stats_enough(s[i].ok, columns[k].percent) ? "" : "~", out));
        FC_TRY(put_cell(s[i].slowdown, 2, "", out));
        FC_TRY(put_cell(s[i].speedup, 2, "", out));
        FC_TRY(fc_str_printf(out, "<td>%zu\n", s[i].failures));
    }
    return fc_str_puts(
        out, "</table></div>\n<p>Times in milliseconds. ~: fewer samples than that percentile needs (p90: 10, "
             "p99: 100); it is a guess from the largest.</p>\n");
}

static const struct {
    const char *word, *meaning;
} meanings[] = {
    {"n",
     "candidates that are drawn for one prompt. All are scored by the alignment model where there is one; the best "
     "come back."},
    {"latency, p50, p90, p99",
     "from the moment at which a request was due until its answer was there. Half, nine tenths, "
     "99 of 100 requests took no longer. In an open loop a request is due when the process of "
     "arrivals says so, whether or not the target was ready for it."},
    {"queue, prefill, decode, score, host",
     "the engine's own clock: until admitted; until the first draw; drawing; from "
     "the first candidate's scoring to the end; the processor's work between "
     "operators. They overlap, so they need not add up."},
    {"separate",
     "n requests of one candidate each, sent at once, in turn with the others in the same run: what n costs "
     "without best-of-n. Their prefix cache is theirs to share. Speed-up is their time by one request of n; at n = 1 "
     "both are one request, and what is not 1.00 there is this run's noise. Slowdown is p50 by that of n = 1."},
    {"a candidate", "p50 by n."},
    {"rows, rows flat", "token positions that a model computed for a request, and what n runs that share nothing, not "
                        "even a prompt, would "
                        "compute: a count, which nobody ran."},
    {"moved MB, GFLOP",
     "bytes that the models' products and attention had to read or write at least once for a request, and their "
     "operations, in billions; of one GPU, where several share a model."},
    {"random prompts",
     "the ids come from the seed: every request of a run has others, and a run with the same seed has "
     "the same ones again."},
    {"limit",
     "the longer of two times: the bytes that had to be read at least once, at the rate of reads from memory, and "
     "the operations, at the fastest arithmetic of this machine; both rates were measured in this run, or no limit is "
     "shown. A time "
     "near it cannot be made much shorter by the same work; below it, a cache helped."},
    {"returned, candidate, scored tokens/s",
     "three different things: tokens of the candidates that came back; of all that "
     "were drawn; of those that the alignment model read."},
    {"best score, regret",
     "mean over requests of the best candidate's score, and of what scoring every name of the taxonomy would have "
     "gained. Their unit is that of alignment_mode, below: loglik-mean, log-probability of a candidate's tokens in the "
     "mean of one, in nats; loglik-sum, of all of them; reward, the head's output; judge, a probability."},
};

static fc_status put_meanings(fc_str *out) {
    FC_TRY(fc_str_puts(out, "<h2>What it means</h2>\n<dl>\n"));
    for (size_t i = 0; i < sizeof meanings / sizeof *meanings; i++)
        FC_TRY(fc_str_printf(out, "<dt>%s<dd>%s\n", meanings[i].word, meanings[i].meaning));
    return fc_str_puts(out, "</dl>\n");
}

static fc_status put_pair(const char *name, const char *value, fc_str *out) {
    FC_TRY(fc_str_puts(out, "<tr><td>"));
    FC_TRY(chart_text(name, out));
    FC_TRY(fc_str_puts(out, "<td style=\"text-align:left;white-space:normal\">"));
    FC_TRY(chart_text(value, out));
    return fc_str_puts(out, "\n");
}

static fc_status put_conditions(const bench_report *r, fc_str *out) {
    const fc_machine *m = &r->machine;
    char text[400];
    FC_TRY(fc_str_puts(out, "<h2>How it was measured</h2>\n<div class=\"scroll\"><table>\n"));
    FC_TRY(put_pair("command", r->command, out));
    snprintf(text, sizeof text, "%s %s", r->api, r->target->version);
    FC_TRY(put_pair("what was measured", text, out));
    snprintf(text, sizeof text, "forkcast %s, commit %s", fc_version(), r->commit ? r->commit : "not known");
    FC_TRY(put_pair("by", text, out));
    report_date(text, sizeof text);
    FC_TRY(put_pair("date", text, out));
    FC_TRY(put_pair("models", r->target->weights, out));
    snprintf(text, sizeof text, "%s, %d cores, %.1f GiB of memory%s%s", m->cpu_name, m->cores,
             (double)m->ram_bytes / (1 << 30), m->gpus ? ", " : "", m->gpus ? m->gpu_names[0] : "");
    FC_TRY(put_pair("machine", text, out));
    if (r->threads) {
        snprintf(text, sizeof text,
                 "reads %.1f GB/s from memory, int8 %.0f GOP/s, bf16 %.0f and f32 %.0f GFLOP/s; %d threads, %s",
                 m->read_gbs_dram, m->gops_int8, m->gflops_bf16, m->gflops_f32, r->threads, m->cpu_level);
        FC_TRY(put_pair("its limits, measured in this run", text, out));
    }
    for (size_t i = 0; i < r->n_settings; i++)
        FC_TRY(put_pair(r->settings[i].name, fc_str_text(&r->settings[i].value), out));
    return fc_str_puts(out, "</table></div>\n");
}

static fc_status put_words(const bench_report *r, fc_str *out) {
    const char *at = fc_str_text(&r->words);
    while (*at) {
        size_t n = strcspn(at, "\n");
        fc_str line = {0};
        fc_status st = fc_str_put(&line, at, n);
        if (!st) st = fc_str_puts(out, "<p><strong>");
        if (!st) st = chart_text(fc_str_text(&line), out);
        if (!st) st = fc_str_puts(out, "</strong></p>\n");
        fc_str_fini(&line);
        FC_TRY(st);
        at += n + (at[n] == '\n');
    }
    return FC_OK;
}

fc_status report_html(const bench_report *r, const bench_summary *s, fc_str *out) {
    FC_TRY(fc_str_printf(out,
                         "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" "
                         "content=\"width=device-width\">\n<title>forkcast bench %s</title>\n",
                         r->job));
    FC_TRY(put_style(out));
    FC_TRY(fc_str_printf(out, "<h1>forkcast bench %s</h1>\n<p>", r->job));
    FC_TRY(fc_str_puts(out, "What a request for n candidates takes, and what it gives, by "));
    FC_TRY(fc_str_printf(out, "%s ", r->api));
    FC_TRY(chart_text(r->target->version, out));
    FC_TRY(fc_str_puts(out, ". Varied: n"));
    for (size_t i = 1; i < r->n_points; i++)
        if (r->points[i].rate != r->points[0].rate) {
            FC_TRY(fc_str_puts(out, " and the rate of arrivals"));
            break;
        }
    FC_TRY(fc_str_puts(out, "; everything else is below.</p>\n"));
    FC_TRY(put_words(r, out));
    FC_TRY(put_loads(r, s, out));
    FC_TRY(put_table(r, s, out));
    FC_TRY(put_meanings(out));
    FC_TRY(put_conditions(r, out));
    return fc_str_puts(out, "</html>\n");
}
