/* doctor - what this machine has, which backend is used and why, and what fits. */
#include "engine/app/args.h"
#include "engine/app/commands.h"
#include "engine/app/print.h"
#include "engine/app/progress.h"
#include "engine/app/textio.h"
#include "engine/base/json.h"
#include "engine/base/quant.h"
#include "engine/forkcast.h"

#include <stddef.h>
#include <string.h>

static const struct {
    const char *name;
    fc_dtype type;
} held[] = {{"4-bit", FC_Q4_0}, {"8-bit", FC_Q8_0}, {"bf16", FC_BF16}, {"f32", FC_F32}};

/* Billions of parameters that fit into memory, leaving a quarter for KV and the system. */
static double fits(const fc_machine *m, fc_dtype t) {
    return (double)m->ram_bytes * 0.75 * 32 / (double)fc_quant_held_bytes(t, 32) * 1e-9;
}

enum { RUNS = 3, RATES = 5 };

/* What is measured, and where fc_machine has it. */
static const struct {
    const char *key;
    size_t offset;
} rates[RATES] = {
    {"read_gbs_dram", offsetof(fc_machine, read_gbs_dram)}, {"read_gbs_cache", offsetof(fc_machine, read_gbs_cache)},
    {"gops_int8", offsetof(fc_machine, gops_int8)},         {"gflops_bf16", offsetof(fc_machine, gflops_bf16)},
    {"gflops_f32", offsetof(fc_machine, gflops_f32)},
};
enum { DRAM, CACHE, INT8, BF16, F32 }; /* rows of rates */

/* least, median, most of the runs */
typedef struct {
    double v[RUNS];
} rate;

/* The machine, and its rates [RATES]: one run says little where others share the processor. */
static fc_status measure(int threads, progress *p, fc_machine *m, rate *r) {
    for (int i = 0; i < RUNS; i++) {
        progress_say(p, "measuring, run %d of %d", i + 1, RUNS);
        FC_TRY(fc_machine_inspect(true, threads, m));
        for (int k = 0; k < RATES; k++) {
            double v;
            int at = i;
            memcpy(&v, (const char *)m + rates[k].offset, sizeof v);
            for (; at > 0 && r[k].v[at - 1] > v; at--) r[k].v[at] = r[k].v[at - 1];
            r[k].v[at] = v;
        }
    }
    return FC_OK;
}

static double median(const rate *r) { return r->v[RUNS / 2]; }

static fc_status put_rates(json_object *o, const rate *r) {
    for (int k = 0; k < RATES; k++) FC_TRY(json_number(o, rates[k].key, median(&r[k])));
    FC_TRY(json_int(o, "runs", RUNS));
    FC_TRY(json_key(o, "spread"));
    for (int k = 0; k < RATES; k++) {
        FC_TRY(fc_str_printf(o->out, "%s\"%s\":[", k ? "," : "{", rates[k].key));
        FC_TRY(fc_json_put_double(o->out, r[k].v[0]));
        FC_TRY(fc_str_puts(o->out, ","));
        FC_TRY(fc_json_put_double(o->out, r[k].v[RUNS - 1]));
        FC_TRY(fc_str_puts(o->out, "]"));
    }
    return fc_str_puts(o->out, "}");
}

static fc_status put_json(const fc_machine *m, const rate *r, fc_str *out) {
    json_object o = {.out = out}, f = {.out = out};
    FC_TRY(fc_str_puts(out, "{"));
    FC_TRY(json_text(&o, "version", fc_version(), strlen(fc_version())));
    FC_TRY(json_text(&o, "cpu_name", m->cpu_name, strlen(m->cpu_name)));
    FC_TRY(json_text(&o, "cpu_level", m->cpu_level, strlen(m->cpu_level)));
    FC_TRY(json_int(&o, "cores", m->cores));
    FC_TRY(json_int(&o, "ram_bytes", (int64_t)m->ram_bytes));
    FC_TRY(put_rates(&o, r));
    FC_TRY(json_text(&o, "backend", m->backend, strlen(m->backend)));
    FC_TRY(json_text(&o, "backend_why", m->backend_why, strlen(m->backend_why)));
    FC_TRY(json_key(&o, "gpus"));
    FC_TRY(fc_str_puts(out, "["));
    for (int i = 0; i < m->gpus; i++) {
        json_object g = {.out = out};
        FC_TRY(fc_str_puts(out, i ? ",{" : "{"));
        FC_TRY(json_text(&g, "name", m->gpu_names[i], strlen(m->gpu_names[i])));
        FC_TRY(json_int(&g, "bytes", (int64_t)m->gpu_bytes[i]));
        FC_TRY(fc_str_puts(out, "}"));
    }
    FC_TRY(fc_str_puts(out, "]"));
    FC_TRY(json_key(&o, "fits_billion_parameters"));
    FC_TRY(fc_str_puts(out, "{"));
    for (size_t i = 0; i < sizeof held / sizeof *held; i++)
        FC_TRY(json_number(&f, held[i].name, fits(m, held[i].type)));
    return fc_str_puts(out, "}}\n");
}

/* "27.9 (26.0 to 29.1)" */
static fc_status put_rate(fc_str *out, const char *before, const rate *r, int decimals, const char *after) {
    return fc_str_printf(out, "%s%.*f (%.*f to %.*f) %s", before, decimals, median(r), decimals, r->v[0], decimals,
                         r->v[RUNS - 1], after);
}

static fc_status put_text(const fc_machine *m, const rate *r, fc_str *out) {
    FC_TRY(fc_str_printf(out, "forkcast %s\n", fc_version()));
    FC_TRY(fc_str_printf(out, "CPU       %s, %d core%s, vector level %s, %.1f GiB memory\n", m->cpu_name, m->cores,
                         m->cores == 1 ? "" : "s", m->cpu_level, (double)m->ram_bytes / (1 << 30)));
    FC_TRY(put_rate(out, "reads     ", &r[DRAM], 1, "GB/s from memory"));
    FC_TRY(put_rate(out, ", ", &r[CACHE], 1, "GB/s from the last cache\n"));
    FC_TRY(put_rate(out, "peak      int8 ", &r[INT8], 0, "GOP/s"));
    FC_TRY(put_rate(out, ", bf16 ", &r[BF16], 0, "GFLOP/s"));
    FC_TRY(put_rate(out, ", f32 ", &r[F32], 0, "GFLOP/s\n"));
    FC_TRY(fc_str_printf(out, "          median (least to most) of %d runs\n", RUNS));
    FC_TRY(fc_str_printf(out, "GPU       %s", m->gpus ? "" : "none\n"));
    for (int i = 0; i < m->gpus; i++)
        FC_TRY(fc_str_printf(out, "%s%s, %.1f GiB\n", i ? "          " : "", m->gpu_names[i],
                             (double)m->gpu_bytes[i] / (1 << 30)));
    FC_TRY(fc_str_printf(out, "backend   %s: %s\n", m->backend, m->backend_why));
    FC_TRY(fc_str_puts(out, "fits      models of up to"));
    for (size_t i = 0; i < sizeof held / sizeof *held; i++)
        FC_TRY(
            fc_str_printf(out, "%s %.1f billion parameters in %s", i ? "," : "", fits(m, held[i].type), held[i].name));
    return fc_str_puts(out, ",\n          a quarter of the memory left for KV and the system\n");
}

int cmd_doctor(int argc, char **argv) {
    bool json = false, help;
    int rest, threads = 0;
    arg args[] = {arg_of(ARG_INT, "threads", &threads, "T", "threads to measure with; default all cores"),
                  arg_of(ARG_FLAG, "json", &json, NULL, "one JSON object")};
    command c = {
        .name = "doctor",
        .usage = "doctor [--json]",
        .about = "Prints what CPU and GPU were found, which backend is used and why, measured rates, and what fits. "
                 "Takes a few seconds.",
        .args = args,
        .n_args = 2,
    };
    fc_machine m;
    rate r[RATES];
    progress p;
    fc_str out = {0};
    fc_status st = args_parse(&c, argc, argv, &rest, &help);
    progress_begin(&p);
    if (!st && !help) st = measure(threads, &p, &m, r);
    progress_end(&p);
    if (!st && !help) st = json ? put_json(&m, r, &out) : put_text(&m, r, &out);
    if (!st && !help) st = text_write(fc_str_text(&out), out.size);
    fc_str_fini(&out);
    return args_exit("doctor", st);
}
