/* attn_block - between attn_cpu.c, which deals out the work, and the three builds of attn_simd.h, which do it.
 *
 * A query vector is one (row, query head); those of an item that read KV head g are numbered row by row. A block is a
 * stretch of them over all tiles of the item: the unit of work of one thread. How an item is cut into blocks changes no
 * bit.
 */
#ifndef FC_KERNELS_ATTN_BLOCK_H
#define FC_KERNELS_ATTN_BLOCK_H

#include "kernels/attn/attn.h"

enum { FC_ATTN_BLOCK = 96, FC_ATTN_MICRO = 6 }; /* most query vectors of a block; those that share registers */

typedef struct {
    const fc_attn_args *a;
    const fc_attn_item *item;
    int g, q0, q1; /* KV head; query vectors q0 .. q1-1 of it */
} fc_attn_block;

/* A thread's scratch. */
typedef struct {
    int item, first;          /* the driver's place in the list of units: item, and its first unit */
    float *k, *v;             /* [E,64], [64,E]: one tile */
    float *s, *o;             /* [MICRO,64] scores, then weights; [MICRO,E] the tile's output */
    float *run_o, *tot_o;     /* [BLOCK,E] */
    float *q_rounded;         /* [BLOCK,E]: queries as bf16 and int8 KV are multiplied by them */
    float *q_scale;           /* [BLOCK] int8 KV: of their codes */
    int32_t *q_start;         /* [BLOCK] -128 * sum of these */
    float *k_scale, *v_scale; /* [64] int8 KV: of the tile's positions; 0 where V is not read */
    float *run_m, *run_l;     /* [BLOCK] max and sum of the run so far */
    float *tot_m, *tot_l;     /* [BLOCK] and of the runs before it */
    const float **q;          /* [BLOCK] */
    int32_t *pos;             /* [BLOCK] */
} fc_attn_scratch;

typedef struct {
    void (*block)(const fc_attn_block *b, const fc_attn_scratch *w);
    void (*fold)(const fc_attn_args *a, int i, int h, const fc_attn_scratch *w); /* head h of fold_row[i] */
} fc_attn_code;

extern const fc_attn_code fc_attn_code_portable, fc_attn_code_avx2, fc_attn_code_avx512;

#endif
