/* roof - what this machine can do at most: bytes read, and multiply-adds of each kind that kernels use, a second.
 *
 * Every rate is the best of several short runs on all threads of the stream. A multiply and an add count as two
 * operations. The dots are those that the level's kernels are made of: int8 by tiles or VNNI where the level has them,
 * by maddubs on AVX2, plain C else; bf16 by its own instruction on AVX-512, else widened to f32; f32 by fused
 * multiply-add if there is one.
 */
#ifndef FC_KERNELS_ROOF_H
#define FC_KERNELS_ROOF_H

#include "kernels/cpu/cpu.h"

typedef struct {
    double read_gbs_dram;  /* a buffer of 1 GiB; less where RAM is short or slow to be had */
    double read_gbs_cache; /* 64 MiB read again and again: the last cache where it is that large */
    double gops_int8, gflops_bf16, gflops_f32;
    size_t dram_bytes; /* of the buffer that was read */
} fc_roof;

fc_status fc_roof_measure(fc_stream s, fc_roof *out); /* about a second */

/* One level's loops. A dot does `rounds` rounds of so many operations on registers or the first cache. Each returns
 * something made of all it did, so that no compiler may drop the work. */
typedef struct {
    uint64_t (*read)(const void *p, size_t bytes); /* bytes: a multiple of 4096, p 64-byte aligned */
    double (*int8)(int rounds);
    double (*bf16)(int rounds);
    double (*f32)(int rounds);
    double int8_ops, bf16_ops, f32_ops; /* a round */
} fc_roof_ops;

/* Sums at once: more than latency times units of a fused multiply-add on any of these machines. */
enum { FC_ROOF_SUMS = 12 };
uint64_t fc_roof_read_avx2(const void *p, size_t bytes);
double fc_roof_bf16_avx2(int rounds);
double fc_roof_f32_avx2(int rounds);

/* AVX-512's, which AMX has too. */
enum { FC_ROOF_BF16_OPS_AVX512 = 64 * FC_ROOF_SUMS, FC_ROOF_F32_OPS_AVX512 = 32 * FC_ROOF_SUMS };
uint64_t fc_roof_read_avx512(const void *p, size_t bytes);
double fc_roof_bf16_avx512(int rounds);
double fc_roof_f32_avx512(int rounds);

extern const fc_roof_ops fc_roof_portable, fc_roof_avx2, fc_roof_avxvnni, fc_roof_vnni256, fc_roof_avx512, fc_roof_amx;

#endif
