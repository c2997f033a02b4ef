#include "kernels/logprob/tile.h"

#include "kernels/cpu/vmath.h"

#include <math.h>

enum { BLOCK = 32 }; /* tiles a thread takes at once: 8192 ids */

static int tile_end(int V, int t) { return V - t * FC_TILE < FC_TILE ? V - t * FC_TILE : FC_TILE; }

static void max_portable(const float *x, int V, int from, int to, float *top) {
    for (int t = from; t < to; t++) {
        const float *v = x + (size_t)t * FC_TILE;
        float lane[16], m = -INFINITY; /* sixteen at once: the form that compilers vectorise */
        int n = tile_end(V, t), i = 0, bad = 0, bad_lane[16] = {0};
        for (int l = 0; l < 16; l++) lane[l] = -INFINITY;
        for (; i + 16 <= n; i += 16)
            for (int l = 0; l < 16; l++) {
                lane[l] = fc_pick(v[i + l] > lane[l], v[i + l], lane[l]);
                bad_lane[l] |= v[i + l] != v[i + l];
            }
        for (int l = 0; i + l < n; l++) {
            lane[l] = v[i + l] > lane[l] ? v[i + l] : lane[l];
            bad |= v[i + l] != v[i + l];
        }
        for (int l = 0; l < 16; l++) {
            m = lane[l] > m ? lane[l] : m;
            bad |= bad_lane[l];
        }
        top[t] = bad ? NAN : m;
    }
}

static void weights_portable(const float *x, int n, float max, float scale, float *w) {
    for (int i = 0; i < n; i++) w[i] = fc_expf((x[i] - max) * scale);
    for (int i = n; i < FC_TILE; i++) w[i] = 0.0f;
}

static void sum_portable(const float *x, int V, int from, int to, float max, float scale, float *sum) {
    for (int t = from; t < to; t++) {
        float w[FC_TILE];
        weights_portable(x + (size_t)t * FC_TILE, tile_end(V, t), max, scale, w);
        sum[t] = fc_tree_sum(w, FC_TILE);
    }
}

const fc_tile_ops fc_tile_portable = {max_portable, sum_portable, weights_portable};

const fc_tile_ops *fc_tile_ops_of(fc_cpu_level level) {
    if (level == FC_CPU_AVX512) return &fc_tile_avx512;
    return level == FC_CPU_AVX2 ? &fc_tile_avx2 : &fc_tile_portable;
}

typedef struct {
    const fc_tile_ops *ops;
    const float *x;
    float *out; /* top or sum */
    int V, n_tiles;
    float max, scale;
} block_job;

static void max_block(void *arg, int unit, int thread) {
    const block_job *b = arg;
    int from = unit * BLOCK, to = from + BLOCK < b->n_tiles ? from + BLOCK : b->n_tiles;
    (void)thread;
    b->ops->max(b->x, b->V, from, to, b->out);
}

static void sum_block(void *arg, int unit, int thread) {
    const block_job *b = arg;
    int from = unit * BLOCK, to = from + BLOCK < b->n_tiles ? from + BLOCK : b->n_tiles;
    (void)thread;
    b->ops->sum(b->x, b->V, from, to, b->max, b->scale, b->out);
}

bool fc_tiles_max(fc_tiler t, const float *x, int V, float *top, float *max) {
    block_job b = {.ops = t.ops, .x = x, .out = top, .V = V, .n_tiles = fc_tile_count(V)};
    float m = -INFINITY;
    if (t.pool) fc_pool_run(t.pool, (b.n_tiles - 1) / BLOCK + 1, max_block, &b);
    else t.ops->max(x, V, 0, b.n_tiles, top);
    for (int i = 0; i < b.n_tiles; i++) {
        if (!(top[i] < INFINITY)) return false;
        m = top[i] > m ? top[i] : m;
    }
    *max = m;
    return true;
}

double fc_tiles_sum(fc_tiler t, const float *x, int V, float max, float scale, float *sum) {
    block_job b = {.ops = t.ops, .x = x, .out = sum, .V = V, .n_tiles = fc_tile_count(V), .max = max, .scale = scale};
    double total = 0.0;
    if (t.pool) fc_pool_run(t.pool, (b.n_tiles - 1) / BLOCK + 1, sum_block, &b);
    else t.ops->sum(x, V, 0, b.n_tiles, max, scale, sum);
    for (int i = 0; i < b.n_tiles; i++) total += (double)sum[i];
    return total;
}

fc_row_state fc_tiles_lse(fc_tiler t, const float *x, int V, float *top, float *sum, fc_row_lse *out) {
    if (!fc_tiles_max(t, x, V, top, &out->max)) return FC_ROW_BROKEN;
    if (out->max == -INFINITY) return FC_ROW_EMPTY;
    out->total = fc_tiles_sum(t, x, V, out->max, 1.0f, sum);
    out->lse = (double)out->max + log(out->total);
    return FC_ROW_OK;
}
