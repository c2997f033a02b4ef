/* share - how near an operator comes to what the machine can do: the longer of bytes over the rate of reads from
 * memory and operations over the peak of their kind, as a part of the time that it took. Over 1: its bytes came from a
 * cache. And what a program says with --json: rows of a result (result.schema.json), which bench/kernels.py collects.
 */
#ifndef FC_BENCH_SHARE_H
#define FC_BENCH_SHARE_H

#include "engine/cost.h"
#include "engine/forkcast.h"
#include "kernels/cpu/roof.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* Seconds that the machine allows. gops: one of roof's peaks. */
static inline double bench_limit(const fc_roof *roof, fc_cost c, double gops) {
    double reads = c.bytes / (roof->read_gbs_dram * 1e9), work = c.flops / (gops * 1e9);
    return reads > work ? reads : work;
}

static inline double bench_share(const fc_roof *roof, fc_cost c, double gops, double seconds) {
    return bench_limit(roof, c, gops) / seconds;
}

enum { BENCH_CACHE = 64 << 20 /* what roof.h measures as the cache */ };

/* Seconds that the cost model has for a call, on this many threads; from_memory: bytes of its matrix. */
static inline double bench_predicted(const fc_roof *roof, int threads, bool attention, fc_cost c, fc_unit u,
                                     double from_memory) {
    fc_cost_machine m;
    fc_cost_machine_cpu(roof->read_gbs_dram, roof->read_gbs_cache, roof->gops_int8, roof->gflops_bf16, roof->gflops_f32,
                        threads, &m);
    return fc_cost_call_cpu(&m, attention, c, u, from_memory);
}

/* Takes --json out of the arguments, where it comes first. */
static inline bool bench_json(int *argc, char ***argv) {
    if (*argc < 2 || strcmp((*argv)[1], "--json") != 0) return false;
    --*argc, ++*argv;
    return true;
}

/* A row on a line of its own; fmt makes the inside of its case. seconds: the best of all calls; predicted: the
 * cost model's. */
__attribute__((format(printf, 6, 7))) static inline void
bench_row(const fc_roof *roof, fc_cost c, double gops, double seconds, double predicted, const char *fmt, ...) {
    va_list args;
    printf("{\"case\":{");
    va_start(args, fmt);
    vprintf(fmt, args);
    va_end(args);
    printf("},\"subject\":{\"name\":\"forkcast\",\"version\":\"%s\"},\"seconds\":{\"best\":[%.9g]},\"values\":{"
           "\"predicted\":[%.9g]},\"counts\":{"
           "\"bytes\":%.9g,\"flops\":%.9g},\"limit_seconds\":%.9g}\n",
           fc_version(), seconds, predicted, c.bytes, c.flops, bench_limit(roof, c, gops));
}

#endif
