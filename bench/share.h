/* share - how near an operator comes to what the machine can do: the longer of bytes over the rate of reads from
 * memory and operations over the peak of their kind, as a part of the time that it took. Over 1: its bytes came from a
 * cache. And what a program says with --json: rows of a result (result.schema.json), which bench/kernels.py collects. */
#ifndef FC_BENCH_SHARE_H
#define FC_BENCH_SHARE_H

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

/* Takes --json out of the arguments, where it comes first. */
static inline bool bench_json(int *argc, char ***argv) {
    if (*argc < 2 || strcmp((*argv)[1], "--json") != 0) return false;
    --*argc, ++*argv;
    return true;
}

/* A row on a line of its own; fmt makes the inside of its case. seconds: the best of all calls. */
__attribute__((format(printf, 5, 6))) static inline void bench_row(const fc_roof *roof, fc_cost c, double gops,
                                                                   double seconds, const char *fmt, ...) {
    va_list args;
    printf("{\"case\":{");
    va_start(args, fmt);
    vprintf(fmt, args);
    va_end(args);
    printf("},\"subject\":{\"name\":\"forkcast\",\"version\":\"%s\"},\"seconds\":{\"best\":[%.9g]},\"counts\":{"
           "\"bytes\":%.9g,\"flops\":%.9g},\"limit_seconds\":%.9g}\n",
           fc_version(), seconds, c.bytes, c.flops, bench_limit(roof, c, gops));
}

#endif
