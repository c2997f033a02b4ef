#include "engine/base/str.h"
#include "engine/cost.h"
#include "engine/forkcast.h"

#include <stdio.h>
#include <string.h>

/* What kernels of this tree reach on an H100, as bench/results/2026-11-27-gpu-h100.json has it, and are assumed to
 * reach elsewhere. Where each comes from: fc_cost_sources. */
#define REACH                                                                                                          \
    .reach_memory = 0.90, .reach_cache = 0.80, .reach_library = 0.70, .reach_warpgroups = 0.36, .reach_chained = 0.55, \
    .reach_f32 = 0.50, .launch_us = 1.3, .unit_us = 8, .tile_us = 2.5, .pass_us = 25

/* mma.sync is Ampere's and Ada's own instruction; on Hopper it does 64 % of the peak. */
static const fc_cost_machine gpus[] = {
    {.name = "h100",
     .about = "H100 SXM5 80 GB",
     .gpu = true,
     .memory_gbs = 3350,
     .cache_gbs = 5500,
     .tops = {66.9, 989.4, 1978.9, 1978.9},
     .device = {132, 227 * 1024, 50e6, true},
     .reach_product = 0.142,
     .reach_attn = 0.10,
     REACH},
    {.name = "h100-pcie",
     .about = "H100 PCIe 80 GB",
     .gpu = true,
     .memory_gbs = 2039,
     .cache_gbs = 4400,
     .tops = {51.2, 756.0, 1513.0, 1513.0},
     .device = {114, 227 * 1024, 50e6, true},
     .reach_product = 0.142,
     .reach_attn = 0.10,
     REACH},
    {.name = "h200",
     .about = "H200 SXM 141 GB",
     .gpu = true,
     .memory_gbs = 4800,
     .cache_gbs = 5500,
     .tops = {66.9, 989.4, 1978.9, 1978.9},
     .device = {132, 227 * 1024, 50e6, true},
     .reach_product = 0.142,
     .reach_attn = 0.10,
     REACH},
    {.name = "a100",
     .about = "A100 SXM4 80 GB",
     .gpu = true,
     .memory_gbs = 2039,
     .cache_gbs = 4000,
     .tops = {19.5, 312.0, 624.0, 0},
     .device = {108, 163 * 1024, 40e6, false},
     .reach_product = 0.22,
     .reach_attn = 0.155,
     REACH},
    {.name = "l40s",
     .about = "L40S 48 GB",
     .gpu = true,
     .memory_gbs = 864,
     .cache_gbs = 4000,
     .tops = {91.6, 362.0, 733.0, 733.0},
     .device = {142, 99 * 1024, 96e6, false},
     .reach_product = 0.22,
     .reach_attn = 0.155,
     REACH},
};

size_t fc_cost_gpus(void) { return sizeof gpus / sizeof *gpus; }
const fc_cost_machine *fc_cost_gpu_at(size_t i) { return &gpus[i]; }

bool fc_cost_machine_of_device(const char *device, fc_cost_machine *out) {
    static const struct {
        const char *device, *name;
    } names[] = {{"NVIDIA H100 80GB HBM3", "h100"},
                 {"NVIDIA H100 PCIe", "h100-pcie"},
                 {"NVIDIA H200", "h200"},
                 {"NVIDIA A100-SXM4-80GB", "a100"},
                 {"NVIDIA L40S", "l40s"}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(device, names[i].device) == 0) return fc_cost_machine_find(names[i].name, 0, out) == FC_OK;
    return false;
}

const char *fc_cost_sources(bool gpu) {
    if (!gpu)
        return "peaks: measured now, as `forkcast doctor --bench` does; reach: products and attention of "
               "bench/SPEED.md's "
               "runs, of memory and of the pool's starts assumed";
    return "peaks: NVIDIA's data sheets (memory, dense products, f32, shared memory) and white papers (cache size); "
           "cache rate: about what microbenchmarks say of H100 (Chips and Cheese, 2023), less elsewhere, assumed\n"
           "reach: what these kernels did on an H100 SXM (bench/results/2026-11-27-gpu-h100.json); own products and "
           "attention reach elsewhere what they do there of mma.sync's own peak, 64 % of the data sheet's, assumed\n"
           "own products 14 % on Hopper, by warpgroups 36 %, of bf16 and fp8 55 % (assumed: "
           "what cuBLASLt reached less what eight ranges of K cost), cuBLASLt 70 %; attention 10 %, and 8 us a unit, "
           "2.5 us a "
           "tile that a block works on one after another, by warpgroups 2 and 1.25, assumed; memory 90 %; a pass 25 "
           "us\n"
           "cache 80 %, f32 50 %: assumed; a launch in a graph 1.3 us (Hazy Research, 2025)";
}

void fc_cost_machine_cpu(double memory_gbs, double cache_gbs, double gops_int8, double gflops_bf16, double gflops_f32,
                         int threads, fc_cost_machine *out) {
    *out = (fc_cost_machine){
        .name = "cpu",
        .memory_gbs = memory_gbs,
        .cache_gbs = cache_gbs,
        .tops = {gflops_f32 * 1e-3, gflops_bf16 * 1e-3, gops_int8 * 1e-3, 0},
        .device = {.sms = threads, .cache_bytes = 64 << 20 /* what cache_gbs is measured on */},
        .launch_us = 5,
        .pass_us = 100,
        .reach_memory = 0.85,
        .reach_cache = 1,
        .reach_product = 0.64,
        .reach_library = 0.64,
        .reach_warpgroups = 0.64,
        .reach_chained = 0.64,
        .reach_attn = 0.45,
        .reach_f32 = 0.6,
    };
}

static fc_status this_machine(int threads, fc_cost_machine *out) {
    fc_machine m;
    FC_TRY(fc_machine_inspect(true, threads, &m));
    if (!threads) threads = m.cores;
    fc_cost_machine_cpu(m.read_gbs_dram, m.read_gbs_cache, m.gops_int8, m.gflops_bf16, m.gflops_f32, threads, out);
    snprintf(out->about, sizeof out->about, "%.80s, %d threads, %.15s", m.cpu_name, threads, m.cpu_level);
    return FC_OK;
}

fc_status fc_cost_machine_find(const char *name, int threads, fc_cost_machine *out) {
    fc_str names = {0};
    fc_status st;
    if (strcmp(name, "cpu") == 0) return this_machine(threads, out);
    for (size_t i = 0; i < sizeof gpus / sizeof *gpus; i++) {
        if (strcmp(name, gpus[i].name) == 0) {
            *out = gpus[i];
            return FC_OK;
        }
    }
    for (size_t i = 0; i < sizeof gpus / sizeof *gpus; i++)
        FC_TRY_GOTO(st, fc_str_printf(&names, ", %s", gpus[i].name), out);
    st = FC_FAIL(FC_ERR_ARG, "machine \"%.40s\" is not described; cpu%s are", name, fc_str_text(&names));
out:
    fc_str_fini(&names);
    return st;
}
