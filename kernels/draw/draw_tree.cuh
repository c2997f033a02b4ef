/* draw_tree - a uniform number inverted on weights in the order of ids, by a warp: draw_tree.h's steps on the device.
 *
 * All lanes call with the same arguments but for w. Inner to kernels/draw and kernels/head.
 */
#ifndef FC_KERNELS_DRAW_TREE_CUH
#define FC_KERNELS_DRAW_TREE_CUH

#include "kernels/logprob/tile.cuh"

/* What logits are multiplied by at a temperature above 0. */
static __device__ __forceinline__ float fc_draw_scale(float temperature) {
    return 1.0f / temperature < FLT_MAX ? 1.0f / temperature : FLT_MAX;
}

/* run [n]: running totals of tiles; target = u * run[n-1]. The first tile whose running total exceeds the target: 32
 * are asked at a time, first one of each stretch. */
static __device__ __forceinline__ int fc_draw_find_tile(const double *run, int n, double target) {
    int lo = 0;
    while (n > lo) {
        int step = (n - lo + FC_WARP - 1) / FC_WARP, end = lo + (fc_lane() + 1) * step;
        unsigned past;
        end = end < n ? end : n;
        past = __ballot_sync(FC_ALL_LANES, run[end - 1] > target);
        if (!past) return n - 1; /* never: u is below 1 */
        lo += (__ffs((int)past) - 1) * step;
        if (step == 1) return lo;
        n = lo + step < n ? lo + step : n;
    }
    return lo;
}

/* What is left of the target in tile k. */
static __device__ __forceinline__ double fc_draw_left(const double *run, int k, double target) {
    return k > 0 ? target - run[k - 1] : target;
}

/* True: the right half, and target is less by the left one. */
static __device__ __forceinline__ bool fc_draw_right(double *target, float left, float right) {
    if (*target < (double)left || right == 0.0f) return false;
    *target -= (double)left;
    return true;
}

/* Place in the tile, 0 .. 255; w the tile's weights, factor the tile's. */
static __device__ __forceinline__ int fc_draw_tree_find(const float w[FC_TILE_LANE], double left, double factor) {
    float node[6]; /* sums of 1, 2, 4 .. 32 lanes: those that the lane is among */
    float a01 = w[0] + w[1], a23 = w[2] + w[3], a45 = w[4] + w[5], a67 = w[6] + w[7];
    double target = left / factor; /* in the tile's own weights */
    float p0, p1, p2, p3;
    int lane = 0, place;
    node[0] = (a01 + a23) + (a45 + a67);
    for (int i = 0; i < 5; i++) node[i + 1] = node[i] + __shfl_xor_sync(FC_ALL_LANES, node[i], 1 << i);
    for (int i = 4; i >= 0; i--) {
        float l = __shfl_sync(FC_ALL_LANES, node[i], lane), r = __shfl_sync(FC_ALL_LANES, node[i], lane + (1 << i));
        if (fc_draw_right(&target, l, r)) lane += 1 << i;
    }
    place = lane * FC_TILE_LANE;
    p0 = __shfl_sync(FC_ALL_LANES, a01, lane);
    p1 = __shfl_sync(FC_ALL_LANES, a23, lane);
    p2 = __shfl_sync(FC_ALL_LANES, a45, lane);
    p3 = __shfl_sync(FC_ALL_LANES, a67, lane);
    if (fc_draw_right(&target, p0 + p1, p2 + p3)) {
        place += 4;
        p0 = p2;
        p1 = p3;
    }
    if (fc_draw_right(&target, p0, p1)) place += 2;
    p0 = p1 = 0.0f;
    for (int j = 0; j < FC_TILE_LANE; j++) {
        float at = __shfl_sync(FC_ALL_LANES, w[j], lane);
        if (j == place % FC_TILE_LANE) p0 = at;
        if (j == place % FC_TILE_LANE + 1) p1 = at;
    }
    return place + (int)fc_draw_right(&target, p0, p1);
}

#endif
