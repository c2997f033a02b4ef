/* attn - attention over paged KV: prefill, decode, shared-prefix decode and trees of tokens in one operator
 *
 * y[t,h,:] = sum_j softmax_j(cap(scale * q[t,h,:] . K[j,h/(H/G),:])) V[j,h/(H/G),:]
 *            over KV positions j of row t's branch with j <= pos[t], and j > pos[t] - window when window > 0
 *            cap(x) = soft_cap * tanh(x / soft_cap) when soft_cap > 0, else x
 *
 * shapes  q [T,ldq], first H*E of each row; y [T,H*E]; pages: page tables, position p of a table lies in page
 *         pages[item.pages + p/P], slot p%P. Of an item that gathers (gather >= 0), position p lies in slot s%P of
 *         page s/P, s = slots[item.gather + p - item.tile*64]: its 64 * n_tiles entries name a slot each, in any
 *         order. -1 is a position that none of the item's rows sees (p > pos of each): it is not read
 * work    an item is a stretch of tiles (64 positions each, counted from position 0) of one page table or list of
 *         slots, and the rows that read it. Every row's items cover positions 0..pos[t] without overlap. An item with
 *         several tiles begins at a run boundary (16 tiles); it covers part of one run, or any number of whole runs,
 *         the last one cut anywhere
 * order   each tile's (o, max, sum) is made from scratch; tiles fold left inside their run, runs fold left. An item
 *         that is its row's only one (part < 0) writes y; otherwise it leaves one partial state per (row, head) in
 *         slot part + i, and fold lists a row's slots in order. A slot that stands for one tile within a run that an
 *         earlier slot of the row began folds into that run; FC_ATTN_NEW_RUN marks a slot that begins a run. An item of
 *         several runs is allowed only when its row has no other item. So the way of cutting never changes a bit
 *         An empty state (all masked) is the identity of the fold, exactly. Where K and V lie changes no bit either: a
 *         gathered tile is the tile that the same K and V in one table would make
 * dtype   f32 q and y; KV as kv.shape.type; f32 sums. Over bf16 KV, q is rounded to bf16, and so is a weight
 *         exp(score - the largest of its tile) before it multiplies V, as units that multiply bf16 want them; sums of
 *         weights are of what they were before. CUDA multiplies int8 and fp8 codes as the bf16 numbers that they
 *         exactly are: q is rounded, a slot's K scale multiplies the score, its V scale the weight before that is
 *         rounded. Over int8 KV the CPU multiplies codes alone: a query is rounded to codes of -127 .. 127 of one
 *         scale, so by up to 1/254 of its largest; weights times V's scales to codes of 0 .. 255, the largest of a row
 *         and tile 255, so by up to 1/510 of that: what is smaller becomes 0, and the sum of weights still has it. Over
 *         fp8 it computes in f32
 * needs   H % G == 0, E <= 256 and a multiple of 16, P divides 64; CUDA: ldq a multiple of 4, q at one of 16 bytes, and
 *         a block's shared memory, which is within 99 KiB but for f32 KV with E above 128 (attn_fits); attn_wide.cu,
 *         where it is used, 165
 * CUDA    a launch for items of many query vectors (attn_wide.cu), one for the others, which has small units where each
 *         of them has few: attn_work.cuh says who computes what and how partial states are folded; the order of sums
 *         inside a tile is attn_mma.cuh's, attn_rows.cuh's and attn_wide.cu's, alike (bf16, int8, fp8: tensor cores),
 *         and attn_fma.cuh's (f32). A position that a row sees but that lies in no slot of the store counts as zeroes,
 *         and is told at the next sync
 * error   2e-5 absolute on outputs of unit scale, against attn_ref.c (which folds nothing: one softmax in double). Over
 *         bf16 KV that in the mean of many: a weight within 1e-6 of the middle between two bf16 may become the other
 *         one, 2^-7 of it, which alone can be 1e-2 of an output. So over int8 KV on the CPU, where a code may become
 *         the next one: 2e-2. The reference rounds as the CPU does; CUDA's tests have one that rounds to bf16
 * source  Dao et al., "FlashAttention", 2022 (tiles); Juravsky et al., "Hydragen", 2024 (shared prefix)
 */
#ifndef FC_KERNELS_ATTN_H
#define FC_KERNELS_ATTN_H

#include "kernels/kv/kv_buf.h"

enum { FC_ATTN_TILE = 64, FC_ATTN_RUN = 16 }; /* positions a tile, tiles a run */
/* What is rounded to codes counts as zero where its largest magnitude is below this: nobody divides by it. */
#define FC_ATTN_TINY 0x1p-100f

/* Query vectors of an item that attn_wide.cu takes, at least; of its units, and of a half that may be left out. */
enum { FC_ATTN_WIDE_LEAST = 65, FC_ATTN_WIDE_UNIT = 128, FC_ATTN_WIDE_HALF = 64 };
/* Of an item that has small units where no item of the launch has more; and of these. */
enum { FC_ATTN_FEW_MOST = 32, FC_ATTN_FEW_UNIT = 16 };

/* Query vectors that another unit of work has on CUDA: attn_work.cuh. */
static inline int fc_attn_unit_vectors(fc_dtype kv, int E) { return 64 >> ((kv == FC_F32) + (E > 128)); }

/* Which of these an item is. */
enum { FC_ATTN_FEW = 1, FC_ATTN_MORE = 2, FC_ATTN_MANY = 4 };
static inline int fc_attn_width(int vectors) {
    return vectors <= FC_ATTN_FEW_MOST ? FC_ATTN_FEW : vectors < FC_ATTN_WIDE_LEAST ? FC_ATTN_MORE : FC_ATTN_MANY;
}

typedef struct {
    int32_t pages;         /* index into pages[] of the entry for position 0; not read by an item that gathers */
    int32_t tile, n_tiles; /* tiles tile .. tile+n_tiles-1                    */
    int32_t row, n_rows;   /* rows item_rows[row .. row+n_rows-1]             */
    int32_t part;          /* first partial slot, or -1: the rows' only item  */
    int32_t gather;        /* index into slots[] of the entry for position tile*64, or -1: by page table */
} fc_attn_item;

#define FC_ATTN_NEW_RUN ((int32_t)1 << 30) /* flag in fold_slot[] */

typedef struct {
    float *y;                  /* [T,H*E] out */
    const float *q;            /* [T,ldq]     */
    const fc_kv_buf *kv;       /* host struct */
    const int32_t *pos;        /* [T]         */
    const int32_t *pages;      /* page tables, flattened */
    const int32_t *slots;      /* page*P + slot of the positions of items that gather; NULL without any */
    const fc_attn_item *items; /* [n_items]   */
    const int32_t *item_rows;  /* rows of all items */
    const int32_t *fold_row;   /* [n_fold] rows with more than one item */
    const int32_t *fold_off;   /* [n_fold+1] into fold_slot */
    const int32_t *fold_slot;  /* slots in KV order, | FC_ATTN_NEW_RUN */
    float *part;               /* [n_parts,H,E+2] scratch: o, max, sum */
    int n_items, n_fold;
    int widths; /* FC_ATTN_FEW | .. of all items together, as the host knows it; 0: not told */
    int layer, T, H, ldq, window;
    float scale, soft_cap;
} fc_attn_args;

fc_status fc_attn_cpu(fc_stream s, const fc_attn_args *a);
fc_status fc_attn_cuda(fc_stream s, const fc_attn_args *a);
fc_status fc_attn_fits_cuda(fc_stream s, fc_dtype kv,
                            int E); /* FC_ERR_UNSUPPORTED: its block wants more than this device has */
fc_status fc_attn_ref(fc_stream s, const fc_attn_args *a);
size_t fc_attn_scratch_cpu(int E); /* bytes per thread of stream scratch that a call needs */
/* rows_tiles: sum over items of n_rows * n_tiles; tiles: sum of n_tiles. Host numbers from the plan. */
fc_cost fc_attn_cost(const fc_attn_args *a, double tiles, double rows_tiles);

#endif
