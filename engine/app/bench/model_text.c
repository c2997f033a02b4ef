/* model_text - predictions as tables, and as a result in the form of bench/result.schema.json. */
#include "engine/app/bench/model.h"
#include "engine/app/print.h"

#include <string.h>

const char *const model_phase_names[MODEL_PHASES] = {"prefill", "step", "decode", "score"};

/* ---- tables ---- */

static double total_of(const model_point *p) {
    return p->phase[MODEL_PREFILL].seconds + p->phase[MODEL_DECODE].seconds + p->phase[MODEL_SCORE].seconds;
}

static fc_status put_times(const model_bench *b, fc_str *out) {
    FC_TRY(fc_str_puts(
        out,
        "     n   rows  prefill ms   step ms  of floor   decode ms    score ms    total ms  tokens/s  scored/s\n"));
    for (int i = 0; i < b->n_points; i++) {
        const model_point *p = &b->points[i];
        const fc_cost_time *t = p->phase;
        double total = total_of(p), drawn = (double)b->requests * p->n * b->tokens;
        FC_TRY(fc_str_printf(out, "%6d %6d %11.3f %9.3f %8.0f%% %11.2f", p->n, p->rows, t[MODEL_PREFILL].seconds * 1e3,
                             t[MODEL_STEP].seconds * 1e3, 100 * t[MODEL_STEP].floor / t[MODEL_STEP].seconds,
                             t[MODEL_DECODE].seconds * 1e3));
        if (b->alignment) FC_TRY(fc_str_printf(out, " %11.3f", t[MODEL_SCORE].seconds * 1e3));
        else FC_TRY(fc_str_printf(out, " %11s", "-"));
        FC_TRY(fc_str_printf(out, " %11.2f %9.0f", total * 1e3,
                             drawn / (t[MODEL_PREFILL].seconds + t[MODEL_DECODE].seconds)));
        if (b->alignment) FC_TRY(fc_str_printf(out, " %9.0f\n", (double)b->requests * p->n / t[MODEL_SCORE].seconds));
        else FC_TRY(fc_str_printf(out, " %9s\n", "-"));
    }
    return fc_str_puts(
        out,
        "rows: distinct ones of a request's step, in the middle of decoding; of floor: the share of a step that bytes "
        "and operations alone would need\nat the machine's peaks, so that 100% cannot be beaten; tokens of candidates "
        "a second, their prefill included; candidates scored a second\n");
}

/* Of every n the same parts, in the same order. */
static fc_status put_shares(const model_bench *b, model_phase k, fc_str *out) {
    FC_TRY(fc_str_printf(out, "\n%s: share of the time by kernel, and what binds it\n     n", model_phase_names[k]));
    for (int i = 0; i < b->points[0].phase[k].n_parts; i++)
        FC_TRY(fc_str_printf(out, " %13s", b->points[0].phase[k].parts[i].name));
    FC_TRY(fc_str_puts(out, "  launches\n"));
    for (int i = 0; i < b->n_points; i++) {
        const fc_cost_time *t = &b->points[i].phase[k];
        FC_TRY(fc_str_printf(out, "%6d", b->points[i].n));
        for (int j = 0; j < t->n_parts; j++)
            FC_TRY(fc_str_printf(out, " %4.0f%% %8s", 100 * t->parts[j].seconds / t->seconds,
                                 fc_cost_bound(&b->machine, &t->parts[j])));
        FC_TRY(fc_str_printf(out, " %9.0f\n", t->launches));
    }
    return FC_OK;
}

fc_status model_text(const model_bench *b, fc_str *out) {
    FC_TRY(fc_str_printf(out, "%s on %s: weights %.2f GB, KV %.0f bytes a position\n\n",
                         fc_str_text(&b->report.settings[0].value), b->machine.about,
                         fc_cost_model_bytes(b->novelty, &b->machine) * 1e-9, fc_cost_model_kv_bytes(b->novelty)));
    for (size_t i = 0; i < b->report.n_settings; i++)
        FC_TRY(fc_str_printf(out, "%s%s %s", i ? ", " : "", b->report.settings[i].name,
                             fc_str_text(&b->report.settings[i].value)));
    FC_TRY(fc_str_puts(out, "\n\n"));
    FC_TRY(put_times(b, out));
    FC_TRY(put_shares(b, MODEL_STEP, out));
    if (b->alignment) FC_TRY(put_shares(b, MODEL_SCORE, out));
    FC_TRY(fc_str_puts(
        out,
        "kernels: products of qkv, o, gate_up and down; attn: tree attention; head: the vocabulary's product, with "
        "its draw; draw: what\nreads logits in memory; rest: norms, rope and embedding. Bound by: memory or cache, "
        "read; "
        "f32, bf16, int8 or fp8, operations;\nwaits, of attention for its tiles one after another; launches, the gaps "
        "between kernels\n\n"));
    FC_TRY(fc_str_put(out, fc_str_text(&b->report.words), b->report.words.size));
    return fc_str_printf(out, "%s\n", fc_cost_sources(b->machine.gpu));
}

/* ---- JSON ---- */

static fc_status text(json_object *o, const char *key, const char *v) { return json_text(o, key, v, strlen(v)); }

static fc_status begin(json_object *parent, const char *key, json_object *o) {
    *o = (json_object){.out = parent->out};
    FC_TRY(json_key(parent, key));
    return fc_str_puts(o->out, "{");
}

static fc_status end(json_object *o) { return fc_str_puts(o->out, "}"); }

/* A row of one phase, or of one kernel of it. */
static fc_status put_row(const model_bench *b, const model_point *p, model_phase k, const fc_cost_part *part,
                         fc_str *out) {
    static const char *const units[FC_UNITS] = {"ops_f32", "ops_bf16", "ops_int8", "ops_fp8"};
    const fc_cost_time *t = &p->phase[k];
    json_object o = {.out = out}, in;
    FC_TRY(fc_str_puts(out, "{"));
    FC_TRY(begin(&o, "case", &in));
    FC_TRY(text(&in, "job", "model"));
    FC_TRY(text(&in, "phase", model_phase_names[k]));
    if (part) FC_TRY(text(&in, "kernel", part->name));
    FC_TRY(json_int(&in, "n", p->n));
    FC_TRY(json_int(&in, "P", b->prompt));
    FC_TRY(json_int(&in, "G", b->tokens));
    FC_TRY(end(&in));
    FC_TRY(begin(&o, "subject", &in));
    FC_TRY(text(&in, "name", "forkcast"));
    FC_TRY(text(&in, "version", fc_version()));
    FC_TRY(end(&in));
    FC_TRY(begin(&o, "seconds", &in));
    FC_TRY(json_key(&in, "predicted"));
    FC_TRY(fc_str_printf(out, "[%.9g]", part ? part->seconds : t->seconds));
    FC_TRY(end(&in));
    FC_TRY(begin(&o, "counts", &in));
    if (part) {
        FC_TRY(json_number(&in, "memory_bytes", part->load.memory));
        FC_TRY(json_number(&in, "cache_bytes", part->load.cache));
        for (int u = 0; u < FC_UNITS; u++)
            if (part->load.ops[u] > 0) FC_TRY(json_number(&in, units[u], part->load.ops[u]));
        FC_TRY(json_int(&in, "launches", part->load.launches));
    } else {
        FC_TRY(json_number(&in, "bytes", t->counted.bytes));
        FC_TRY(json_number(&in, "flops", t->counted.flops));
        FC_TRY(json_number(&in, "rows", t->rows));
        FC_TRY(json_number(&in, "passes", t->passes));
        FC_TRY(json_number(&in, "launches", t->launches));
    }
    FC_TRY(end(&in));
    if (part) FC_TRY(text(&o, "bound", fc_cost_bound(&b->machine, part)));
    FC_TRY(json_number(&o, "limit_seconds", part ? part->floor : t->floor));
    return fc_str_puts(out, "}");
}

fc_status model_json(const model_bench *b, fc_str *out) {
    bool some = false;
    FC_TRY(report_json_begin(&b->report, out));
    for (int i = 0; i < b->n_points; i++)
        for (int k = 0; k < MODEL_PHASES; k++) {
            const fc_cost_time *t = &b->points[i].phase[k];
            if (k == MODEL_SCORE && !b->alignment) continue;
            for (int j = -1; j < t->n_parts; j++) {
                FC_TRY(fc_str_puts(out, some ? ",\n " : "\n "));
                FC_TRY(put_row(b, &b->points[i], (model_phase)k, j < 0 ? NULL : &t->parts[j], out));
                some = true;
            }
        }
    return fc_str_puts(out, "\n]}\n");
}
