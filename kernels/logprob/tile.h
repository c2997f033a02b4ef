/* tile - a row of logits in tiles of 256 ids: largest value, weights, sums. The one order in which weights are added.
 *
 * A tile is summed from scratch, whatever the other tiles hold, so that a row can be read once and in any order:
 *   top[t] = largest of the tile; weight = exp((x - top[t]) * scale), an id of -inf weighs exactly 0
 *   sum[t] = pairwise tree in f32 over its 256 places, ids past V weighing 0: neighbours first, (0+1) + (2+3), ..., the
 *            two halves last, so that every node stands for ids in a row; 0 for a tile of nothing but -inf
 * The row: max = largest top; total = left fold in double, in the order of tiles, of sum[t] * factor[t],
 * factor[t] = exp((top[t] - max) * scale) in double. At scale 1, lse = max + log(total).
 * A tile that weighs nothing adds exact zero, so it may as well be left out. Every level gives the same bits.
 * Inner to kernels/logprob, kernels/draw and kernels/head.
 */
#ifndef FC_KERNELS_TILE_H
#define FC_KERNELS_TILE_H

#include "kernels/cpu/cpu.h"

#include <math.h>
#include <stdbool.h>

enum { FC_TILE = 256 };

static inline int fc_tile_count(int V) { return (V - 1) / FC_TILE + 1; }

/* One level's code; tiles from .. to-1. */
typedef struct {
    /* top[t]: largest of the tile, NaN if it holds one */
    void (*max)(const float *x, int V, int from, int to, float *top);
    void (*sum)(const float *x, int V, int from, int to, float scale, const float *top, float *sum); /* sum[t] */
    void (*weights)(const float *x, int n, float max, float scale, float *w); /* one tile: w[256], 0 from n on */
} fc_tile_ops;

extern const fc_tile_ops fc_tile_portable, fc_tile_avx2, fc_tile_avx512;
const fc_tile_ops *fc_tile_ops_of(fc_cpu_level level);

/* The same over all tiles of a row, cut among the pool's threads when pool is not NULL. */
typedef struct {
    const fc_tile_ops *ops;
    fc_pool *pool;
} fc_tiler;

/* Largest of n tops. False: one is NaN or +inf. */
bool fc_tops_max(const float *top, int n, float *max);
/* top [tiles] and largest value of the row. False: a NaN or +inf is there. */
bool fc_tiles_max(fc_tiler t, const float *x, int V, float *top, float *max);
/* sum [tiles] under known tops. */
void fc_tiles_sum(fc_tiler t, const float *x, int V, float scale, const float *top, float *sum);

static inline double fc_tile_factor(float top, float max, float scale) {
    return exp(((double)top - (double)max) * (double)scale);
}
/* Total of n tiles; run [n]: the running totals, or NULL. */
double fc_tiles_fold(const float *top, const float *sum, int n, float max, float scale, double *run);

/* log of the sum of exp(x), as draw and logprob report it, from tiles of scale 1; NaN where the row is not OK. */
typedef struct {
    float max;
    double lse;
} fc_row_lse;
fc_row_state fc_tops_lse(const float *top, const float *sum, int n, fc_row_lse *out);
/* top, sum [tiles]: left filled; the row is read once. */
fc_row_state fc_tiles_lse(fc_tiler t, const float *x, int V, float *top, float *sum, fc_row_lse *out);

/* Pairwise sums of the n (a power of two) values of v, in place, to v[0]; the portable form of the tree. */
static inline float fc_tree_sum(float *v, int n) {
    for (n /= 2; n > 0; n /= 2)
        for (int i = 0; i < n; i++) v[i] = v[2 * i] + v[2 * i + 1];
    return v[0];
}

#endif
