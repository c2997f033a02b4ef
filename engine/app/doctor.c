/* doctor - what this machine has, which backend is used and why, and what fits. */
#include "engine/app/args.h"
#include "engine/app/commands.h"
#include "engine/app/print.h"
#include "engine/app/textio.h"
#include "engine/forkcast.h"

#include <stdio.h>
#include <string.h>

/* Parameters that fit into memory, leaving a quarter for KV and the system; bytes a parameter as the engine holds them. */
static const struct {
    const char *type;
    double bytes;
} held[] = {{"4-bit", 0.75}, {"8-bit", 1.25}, {"bf16", 2.0}, {"f32", 4.0}};

static double fits(const fc_machine *m, double bytes) { return (double)m->ram_bytes * 0.75 / bytes * 1e-9; }

static fc_status put_json(const fc_machine *m, fc_str *out) {
    json_object o = {.out = out}, f = {.out = out};
    FC_TRY(fc_str_puts(out, "{"));
    FC_TRY(json_text(&o, "version", fc_version(), strlen(fc_version())));
    FC_TRY(json_text(&o, "cpu_name", m->cpu_name, strlen(m->cpu_name)));
    FC_TRY(json_text(&o, "cpu_level", m->cpu_level, strlen(m->cpu_level)));
    FC_TRY(json_int(&o, "cores", m->cores));
    FC_TRY(json_int(&o, "ram_bytes", (int64_t)m->ram_bytes));
    FC_TRY(json_number(&o, "read_gbs_dram", m->read_gbs_dram));
    FC_TRY(json_number(&o, "read_gbs_cache", m->read_gbs_cache));
    FC_TRY(json_number(&o, "gops_int8", m->gops_int8));
    FC_TRY(json_number(&o, "gflops_bf16", m->gflops_bf16));
    FC_TRY(json_number(&o, "gflops_f32", m->gflops_f32));
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
        FC_TRY(json_number(&f, held[i].type, fits(m, held[i].bytes)));
    return fc_str_puts(out, "}}\n");
}

static fc_status put_text(const fc_machine *m, fc_str *out) {
    FC_TRY(fc_str_printf(out, "forkcast %s\n", fc_version()));
    FC_TRY(fc_str_printf(out, "CPU       %s, %d cores, vector level %s, %.1f GiB memory\n", m->cpu_name, m->cores,
                         m->cpu_level, (double)m->ram_bytes / (1 << 30)));
    FC_TRY(fc_str_printf(out, "reads     %.1f GB/s from memory, %.1f GB/s from the last cache\n", m->read_gbs_dram,
                         m->read_gbs_cache));
    FC_TRY(fc_str_printf(out, "peak      int8 %.0f GOP/s, bf16 %.0f GFLOP/s, f32 %.0f GFLOP/s\n", m->gops_int8,
                         m->gflops_bf16, m->gflops_f32));
    FC_TRY(fc_str_printf(out, "GPU       %s", m->gpus ? "" : "none\n"));
    for (int i = 0; i < m->gpus; i++)
        FC_TRY(fc_str_printf(out, "%s%s, %.1f GiB\n", i ? "          " : "", m->gpu_names[i],
                             (double)m->gpu_bytes[i] / (1 << 30)));
    FC_TRY(fc_str_printf(out, "backend   %s: %s\n", m->backend, m->backend_why));
    FC_TRY(fc_str_puts(out, "fits      models of up to"));
    for (size_t i = 0; i < sizeof held / sizeof *held; i++)
        FC_TRY(
            fc_str_printf(out, "%s %.1f billion parameters in %s", i ? "," : "", fits(m, held[i].bytes), held[i].type));
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
                 "Takes about two seconds.",
        .args = args,
        .n_args = 2,
    };
    fc_machine m;
    fc_str out = {0};
    fc_status st = args_parse(&c, argc, argv, &rest, &help);
    if (!st && !help) st = fc_machine_inspect(true, threads, &m);
    if (!st && !help) st = json ? put_json(&m, &out) : put_text(&m, &out);
    if (!st && !help) st = text_write(fc_str_text(&out), out.size);
    fc_str_fini(&out);
    return args_exit("doctor", st);
}
