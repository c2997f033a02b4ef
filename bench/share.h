/* share - how near an operator comes to what the machine can do: the longer of bytes over the rate of reads from
 * memory and operations over the peak of their kind, as a part of the time that it took. Over 1: its bytes came from a
 * cache. */
#ifndef FC_BENCH_SHARE_H
#define FC_BENCH_SHARE_H

#include "kernels/cpu/roof.h"

/* gops: one of roof's peaks. */
static inline double bench_share(const fc_roof *roof, fc_cost c, double gops, double seconds) {
    double reads = c.bytes / (roof->read_gbs_dram * 1e9), work = c.flops / (gops * 1e9);
    return (reads > work ? reads : work) / seconds;
}

#endif
