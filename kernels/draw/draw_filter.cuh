/* draw_filter - top-k, typical-p, top-p and min-p as limits on what is drawn: draw_filter.c's steps by a block. Inner
 * to kernels/draw.
 *
 * Before a limit is looked for, tiles that hold nothing it could keep are left out by a lower bound on the logit.
 * Masses: each tile's by the lanes and a fold of the warp, tiles from the left, in double.
 */
#ifndef FC_KERNELS_DRAW_FILTER_CUH
#define FC_KERNELS_DRAW_FILTER_CUH

#include "kernels/draw/draw_row.cuh"

enum { DRAW_ROW_THREADS = 768, DRAW_ROW_WARPS = DRAW_ROW_THREADS / FC_WARP };

/* What may be drawn. It lies in shared memory, for registers are few: the first thread writes, between barriers. */
struct draw_dist {
    const fc_draw_row *r;
    fc_line line;
    const float *top; /* [n_tiles] nothing that may be drawn is larger in a tile */
    draw_room m;
    /* the block's scratch */
    float buf[DRAW_ROW_WARPS][FC_TILE];
    fc_best_shared best;
    fc_row_lse lse;
    double total;
    float fold[FC_WARPS_MAX];
    int votes[FC_WARPS_MAX];
    float max;
    fc_row_state state;
    int greedy;
};

static __device__ __forceinline__ int draw_warp() { return (int)threadIdx.x / FC_WARP; }

/* The logit below which a weight is certainly under w (0 < w): w's own logit, less a margin for rounding. */
static __device__ float draw_logit_under(const fc_keep *keep, double w) {
    double x = (double)keep->max + (log(w) - 1e-3) / (double)keep->scale;
    return (float)(x - 1e-6 * fabs(x));
}

/* The sum of what is kept, over the whole block: of weights, or with mean of weights times their logs. */
static __device__ double draw_mass(draw_dist *d, const fc_keep *keep, bool mean) {
    for (int k = draw_warp(); k < d->line.n_tiles; k += DRAW_ROW_WARPS) {
        double sum = 0.0;
        if (d->top[k] >= keep->value) {
            float v[FC_TILE_LANE];
            int from = fc_line_tile(&d->line, k) * FC_TILE + fc_lane() * FC_TILE_LANE;
            fc_line_load(v, &d->line, k, d->buf[draw_warp()]);
            for (int j = 0; j < FC_TILE_LANE; j++) {
                double w;
                if (!fc_keeps(keep, v[j], from + j)) continue;
                w = (double)fc_tile_exp((v[j] - keep->max) * keep->scale);
                sum += mean ? w * (((double)v[j] - (double)keep->max) * (double)keep->scale) : w;
            }
            sum = fc_warp_sum(sum);
        }
        if (fc_lane() == 0) d->m.aux[k] = sum;
    }
    __syncthreads();
    if (draw_warp() == 0) {
        double total = fc_tiles_total(d->m.aux, d->line.n_tiles);
        if (fc_lane() == 0) d->total = total;
    }
    __syncthreads();
    return d->total;
}

/* The limit at p of a mass, where there is one. */
static __device__ bool draw_limit(draw_dist *d, const fc_keep *keep, fc_best_order how, double p, double total,
                                  fc_best_limit *out) {
    int shift = 61 - ilogb(total);
    double need = ceil(ldexp(p * total, shift)); /* less than 2^62 */
    return fc_best_find(&d->line, d->top, keep, how, need < 1.0 ? 1 : (uint64_t)need, shift, (uint64_t *)d->m.aux,
                        d->buf[draw_warp()], &d->best, out);
}

static __device__ void draw_top_k(draw_dist *d, fc_keep *keep) {
    fc_best_limit limit;
    keep->value = fmaxf(-FLT_MAX, fc_best_bound(d->top, d->line.n_tiles, d->r->top_k, &d->best));
    if (!fc_best_find(&d->line, d->top, keep, FC_BEST_COUNT, (uint64_t)d->r->top_k, 0, (uint64_t *)d->m.aux,
                      d->buf[draw_warp()], &d->best, &limit))
        return;
    keep->value = fc_best_value(limit.key);
    keep->id = limit.id;
}

static __device__ void draw_typical(draw_dist *d, fc_keep *keep) {
    fc_best_limit limit;
    double total = draw_mass(d, keep, false);
    keep->mean = draw_mass(d, keep, true) / total;
    if (!draw_limit(d, keep, FC_BEST_TYPICAL, (double)d->r->typical_p, total, &limit)) return;
    keep->typical = true;
    keep->key = limit.key;
    keep->key_id = limit.id;
}

static __device__ void draw_top_p(draw_dist *d, fc_keep *keep, double total) {
    fc_best_limit limit;
    if (!draw_limit(d, keep, FC_BEST_MASS, (double)d->r->top_p, total, &limit)) return;
    keep->value = fc_best_value(limit.key);
    keep->id = limit.id;
}

/* The largest weight that is kept. */
static __device__ float draw_most(draw_dist *d, const fc_keep *keep) {
    float most = 0.0f;
    for (int k = draw_warp(); k < d->line.n_tiles; k += DRAW_ROW_WARPS) {
        float v[FC_TILE_LANE];
        int from = fc_line_tile(&d->line, k) * FC_TILE + fc_lane() * FC_TILE_LANE;
        if (d->top[k] < keep->value) continue;
        fc_line_load(v, &d->line, k, d->buf[draw_warp()]);
        for (int j = 0; j < FC_TILE_LANE; j++)
            if (fc_keeps(keep, v[j], from + j)) most = fmaxf(most, fc_tile_exp((v[j] - keep->max) * keep->scale));
    }
    most = fc_warp_max(most);
    if (fc_lane() == 0) d->fold[draw_warp()] = most;
    __syncthreads();
    return fc_warp_max(fc_lane() < DRAW_ROW_WARPS ? d->fold[fc_lane()] : 0.0f);
}

/* total: the row's mass as its tiles have it, where only top-p asks (draw_needs_sums); else it is not used. */
static __device__ void draw_filter(draw_dist *d, fc_keep *keep, double total) {
    const fc_draw_row *r = d->r;
    bool alone = r->top_k == 0 && r->typical_p >= 1.0f;
    if (r->top_k > 0) draw_top_k(d, keep);
    keep->weighed = true;
    if (r->typical_p < 1.0f) draw_typical(d, keep);
    if (r->top_p < 1.0f) {
        /* V ids, each under (1-p)/2V of the mass, cannot hold the last 1-p of it. */
        if (alone) keep->value = draw_logit_under(keep, 0.5 * (1.0 - (double)r->top_p) * total / d->line.V);
        draw_top_p(d, keep, alone ? total : draw_mass(d, keep, false));
    } else if (alone && r->min_p > 0.0f) {
        keep->value = draw_logit_under(keep, (double)r->min_p);
    }
    if (r->min_p > 0.0f) keep->least = r->min_p * (keep->typical ? draw_most(d, keep) : 1.0f);
}

#endif
