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

static void sum_portable(const float *x, int V, int from, int to, float scale, const float *top, float *sum) {
    for (int t = from; t < to; t++) {
        float w[FC_TILE];
        sum[t] = 0.0f;
        if (top[t] == -INFINITY) continue; /* -inf less -inf is no weight */
        weights_portable(x + (size_t)t * FC_TILE, tile_end(V, t), top[t], scale, w);
        sum[t] = fc_tree_sum(w, FC_TILE);
    }
}

const fc_tile_ops fc_tile_portable = {max_portable, sum_portable, weights_portable};

const fc_tile_ops *fc_tile_ops_of(fc_cpu_level level) {
    if (level >= FC_CPU_AVX512) return &fc_tile_avx512;
    return level >= FC_CPU_AVX2 ? &fc_tile_avx2 : &fc_tile_portable;
}

typedef struct {
    const fc_tile_ops *ops;
    const float *x;
    const float *top; /* of sum_block */
    float *out, *sum; /* out: top of max_block and lse_block */
    int V, n_tiles;
    float scale;
} block_job;

static int block_end(const block_job *b, int from) { return from + BLOCK < b->n_tiles ? from + BLOCK : b->n_tiles; }

static void max_block(void *arg, int unit, int thread) {
    const block_job *b = arg;
    int from = unit * BLOCK;
    (void)thread;
    b->ops->max(b->x, b->V, from, block_end(b, from), b->out);
}

static void sum_block(void *arg, int unit, int thread) {
    const block_job *b = arg;
    int from = unit * BLOCK;
    (void)thread;
    b->ops->sum(b->x, b->V, from, block_end(b, from), b->scale, b->top, b->sum);
}

/* Tile by tile, so that the sum finds its 256 values where the maximum has just been. */
static void lse_block(void *arg, int unit, int thread) {
    const block_job *b = arg;
    int from = unit * BLOCK, to = block_end(b, from);
    (void)thread;
    for (int t = from; t < to; t++) {
        b->ops->max(b->x, b->V, t, t + 1, b->out);
        b->ops->sum(b->x, b->V, t, t + 1, b->scale, b->out, b->sum);
    }
}

static void run_blocks(fc_tiler t, block_job *b, fc_unit_fn job) {
    int units = (b->n_tiles - 1) / BLOCK + 1;
    if (t.pool) fc_pool_run(t.pool, units, job, b);
    else
        for (int u = 0; u < units; u++) job(b, u, 0);
}

bool fc_tops_max(const float *top, int n, float *max) {
    float m = -INFINITY;
    for (int i = 0; i < n; i++) {
        if (!(top[i] < INFINITY)) return false;
        m = top[i] > m ? top[i] : m;
    }
    *max = m;
    return true;
}

bool fc_tiles_max(fc_tiler t, const float *x, int V, float *top, float *max) {
    block_job b = {.ops = t.ops, .x = x, .out = top, .V = V, .n_tiles = fc_tile_count(V)};
    run_blocks(t, &b, max_block);
    return fc_tops_max(top, b.n_tiles, max);
}

void fc_tiles_sum(fc_tiler t, const float *x, int V, float scale, const float *top, float *sum) {
    block_job b = {.ops = t.ops, .x = x, .top = top, .sum = sum, .V = V, .n_tiles = fc_tile_count(V), .scale = scale};
    run_blocks(t, &b, sum_block);
}

double fc_tiles_fold(const float *top, const float *sum, int n, float max, float scale, double *run) {
    double total = 0.0;
    for (int t = 0; t < n; t++) {
        if (sum[t] > 0.0f) total += (double)sum[t] * fc_tile_factor(top[t], max, scale);
        if (run) run[t] = total;
    }
    return total;
}

fc_row_state fc_tops_lse(const float *top, const float *sum, int n, fc_row_lse *out) {
    out->lse = (double)NAN;
    if (!fc_tops_max(top, n, &out->max)) return FC_ROW_BROKEN;
    if (out->max == -INFINITY) return FC_ROW_EMPTY;
    out->lse = (double)out->max + log(fc_tiles_fold(top, sum, n, out->max, 1.0f, NULL));
    return FC_ROW_OK;
}

fc_row_state fc_tiles_lse(fc_tiler t, const float *x, int V, float *top, float *sum, fc_row_lse *out) {
    block_job b = {.ops = t.ops, .x = x, .out = top, .sum = sum, .V = V, .n_tiles = fc_tile_count(V), .scale = 1.0f};
    run_blocks(t, &b, lse_block);
    return fc_tops_lse(top, sum, b.n_tiles, out);
}
