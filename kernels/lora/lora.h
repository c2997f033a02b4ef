/* lora - y[t, col+n] += scale * sum_j B[n,j] * z[t,j], z[t,:] = A x[t,:]
 *
 * Low-rank updates of adapters; rows of several adapters in one call.
 *
 * shapes  x [T,K], y [T,ldy], rows [M] of them, each at most once, those of one group together; z [M,ldz] scratch.
 *         Of one adapter: A [R,K], the parts' A one under another; B [N,r] of each part, which meets columns
 *         col .. col+N-1 of y. A stacked matrix (queries, keys, values; gate, up) is one call with up to three parts
 * dtype   x, y, z f32; A and B f32 or bf16, widened exactly: bf16 gives the bits of the same values in f32
 * needs   T >= 1, K >= 1, r >= 1, R = sum of r <= ldz, col + N <= ldy
 * order   z[j] is 16 chains over k mod 16, first to last, folded in halves; an output is one chain over j, then
 *         y + scale * sum. A row's bits depend on that row and its adapter alone, at one level; AVX2 and AVX-512 agree.
 *         CUDA: z[j] is 256 chains, since 16 leave a device idle: k belongs to chain k / 4 mod 256, first to last, all
 *         products fused; chains are folded by 32 in halves, the eight sums added first to last. An output as above
 *         Rows that no group names are not touched
 * bytes   A and B once a group, x once, y twice
 * flops   2*M*(R*K + sum of r*N)
 * error   against lora_ref.c: 1e-6 of |scale| sum_j |B| sum_k |A| |x| (chains of K/16 + r terms at 6e-8 each, which
 *         add up like their square root), and one rounding of y, 6e-8 |y|
 * source  Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2021; Chen et al., "Punica: Multi-Tenant
 *         LoRA Serving", 2023 (shrink and expand over a mixed batch)
 */
#ifndef FC_KERNELS_LORA_H
#define FC_KERNELS_LORA_H

#include "kernels/kernel.h"

enum { FC_LORA_PARTS = 3, FC_LORA_LANES = 16 };

/* The update of one matrix of a stack. */
typedef struct {
    int col, N;  /* columns of y */
    int r, z;    /* its rank; its first element in a row of z */
    size_t b;    /* its first element in fc_lora.b */
    float scale; /* alpha / r, or what the adapter says */
} fc_lora_part;

/* One adapter's update of one stacked matrix; R == 0: there is none. Made by fc_lora_pack. */
typedef struct {
    const void *a;  /* [R, K up to 16] zeroes behind K                        */
    const void *b;  /* of each part B transposed, [r, N up to 16], zeroes behind N */
    fc_dtype dtype; /* of a and b: f32 or bf16 */
    int K, R, n_parts;
    fc_lora_part part[FC_LORA_PARTS];
} fc_lora;

typedef struct {
    const fc_lora *w;  /* host */
    int first, n_rows; /* stretch of fc_lora_args.rows */
    size_t stride;     /* kernels/ranks alone: rank r's is w[r * stride] */
} fc_lora_group;

typedef struct {
    float *y;                    /* [T,ldy] in and out */
    const float *x;              /* [T,K]              */
    float *z;                    /* [M,ldz] scratch    */
    const int32_t *rows;         /* [M]                */
    const fc_lora_group *groups; /* [n_groups] host    */
    int n_groups, T, K, ldy, ldz;
} fc_lora_args;

fc_status fc_lora_cpu(fc_stream s, const fc_lora_args *a);
fc_status fc_lora_cuda(fc_stream s, const fc_lora_args *a);
fc_status fc_lora_ref(fc_stream s, const fc_lora_args *a);
fc_cost fc_lora_cost(const fc_lora_args *a);

/* One part as an adapter's file has it; host. */
typedef struct {
    const float *a; /* [r,K] */
    const float *b; /* [N,r] */
    int col, N, r;
    float scale;
} fc_lora_source;

/* Packing, the same for every backend: host [fc_lora_pack_bytes] gets what the backend's buffer dev must hold. */
size_t fc_lora_pack_bytes(fc_dtype dtype, int K, const fc_lora_source *parts, int n_parts);
void fc_lora_pack(fc_dtype dtype, int K, const fc_lora_source *parts, int n_parts, void *host, const void *dev,
                  fc_lora *out);

static inline size_t fc_lora_pad(int n) { return ((size_t)n + FC_LORA_LANES - 1) / FC_LORA_LANES * FC_LORA_LANES; }

#endif
