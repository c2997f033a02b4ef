/* tile - a row of logits in tiles of 256 ids on the device: tile.h's sums with its bits, a tile in a warp's hands.
 *
 * Lane l has places 8l .. 8l+7, in order; what a tile does not hold is -inf. Weights and trees have the CPU's bits
 * (cuda/vmath.cuh); exp and log in double are the device's own, within 1 ulp of the CPU's.
 * All lanes of a warp call, with the same arguments but for v and w, and get the same result.
 */
#ifndef FC_KERNELS_TILE_CUH
#define FC_KERNELS_TILE_CUH

#include "kernels/cuda/vmath.cuh"
#include "kernels/cuda/warp.cuh"

#include <float.h>

enum { FC_TILE = 256, FC_TILE_LANE = FC_TILE / FC_WARP };

static inline int fc_tile_count(int V) { return (V - 1) / FC_TILE + 1; }

static __device__ __forceinline__ int fc_lane() { return (int)threadIdx.x % FC_WARP; }

static __device__ __forceinline__ void fc_tile_load(float v[FC_TILE_LANE], const float *x, int V, int tile) {
    int from = tile * FC_TILE + fc_lane() * FC_TILE_LANE, n = V - from;
    const float *at = x + from;
    if (n >= FC_TILE_LANE && (uintptr_t)at % sizeof(float4) == 0) {
        float4 a = ((const float4 *)at)[0], b = ((const float4 *)at)[1];
        v[0] = a.x, v[1] = a.y, v[2] = a.z, v[3] = a.w;
        v[4] = b.x, v[5] = b.y, v[6] = b.z, v[7] = b.w;
    } else {
        for (int j = 0; j < FC_TILE_LANE; j++) v[j] = j < n ? at[j] : -INFINITY;
    }
}

/* Largest of the tile, NaN if it holds one. */
static __device__ __forceinline__ float fc_tile_top(const float v[FC_TILE_LANE]) {
    float m = -INFINITY;
    bool bad = false;
    for (int j = 0; j < FC_TILE_LANE; j++) {
        m = fmaxf(m, v[j]);
        bad |= v[j] != v[j];
    }
    m = fc_warp_max(m);
    return __any_sync(FC_ALL_LANES, bad) ? NAN : m;
}

/* fc_expf of what is not above 0, in fewer operations: no clamps; n * HI is exact, so that one fused operation rounds
 * as two do; and 2^n is put into the exponent, for what comes out is never subnormal. */
static __device__ __forceinline__ float fc_tile_exp(float x) {
    float t = x * FC_EXP_LOG2E + FC_EXP_MAGIC, n = t - FC_EXP_MAGIC;
    float r = fmaf(-n, FC_EXP_LN2_HI, x) - n * FC_EXP_LN2_LO;
    float q = (((FC_EXP_C4 * r + FC_EXP_C3) * r + FC_EXP_C2) * r + FC_EXP_C1) * r + FC_EXP_C0;
    float y = (q * (r * r) + r) + 1.0f;
    return x < FC_EXP_LOW ? 0.0f : __uint_as_float(__float_as_uint(y) + (__float_as_uint(t) << 23));
}

/* Of a tile of nothing but -inf: zeroes. */
static __device__ __forceinline__ void fc_tile_weigh(float w[FC_TILE_LANE], const float v[FC_TILE_LANE], float top,
                                                     float scale) {
    for (int j = 0; j < FC_TILE_LANE; j++) w[j] = top == -INFINITY ? 0.0f : fc_tile_exp((v[j] - top) * scale);
}

/* The lane's part of the pairwise tree. */
static __device__ __forceinline__ float fc_tile_sum_lane(const float w[FC_TILE_LANE]) {
    return ((w[0] + w[1]) + (w[2] + w[3])) + ((w[4] + w[5]) + (w[6] + w[7]));
}

/* Sum of the tile's weights. */
static __device__ __forceinline__ float fc_tile_sum(const float v[FC_TILE_LANE], float top, float scale) {
    float w[FC_TILE_LANE], sum;
    fc_tile_weigh(w, v, top, scale);
    sum = fc_tile_sum_lane(w);
    return fc_lanes_sum<1, 16>(sum);
}

static __device__ __forceinline__ double fc_tile_factor(float top, float max, float scale) {
    return exp(((double)top - (double)max) * (double)scale);
}

enum { FC_FOLD_AHEAD = 4 }; /* values of a lane that are asked for before the first is added */

/* v [n] added from the left. */
static inline __device__ double fc_tiles_total(const double *v, int n) {
    double total = 0.0, mine;
    for (int from = 0; from < n; from += FC_FOLD_AHEAD * FC_WARP) {
        double next[FC_FOLD_AHEAD];
#pragma unroll
        for (int i = 0; i < FC_FOLD_AHEAD; i++) {
            int t = from + i * FC_WARP + fc_lane();
            next[i] = t < n ? v[t] : 0.0;
        }
#pragma unroll
        for (int i = 0; i < FC_FOLD_AHEAD; i++)
            if (from + i * FC_WARP < n) total = fc_warp_add(next[i], total, &mine);
    }
    return total;
}

/* Total of n tiles; run [n]: the running totals, or NULL. */
static inline __device__ double fc_tiles_fold(const float *top, const float *sum, int n, float max, float scale,
                                              double *run) {
    double total = 0.0;
    for (int from = 0; from < n; from += FC_FOLD_AHEAD * FC_WARP) {
        float tops[FC_FOLD_AHEAD], sums[FC_FOLD_AHEAD];
        double v[FC_FOLD_AHEAD];
#pragma unroll
        for (int i = 0; i < FC_FOLD_AHEAD; i++) {
            int t = from + i * FC_WARP + fc_lane();
            tops[i] = t < n ? top[t] : 0.0f;
            sums[i] = t < n ? sum[t] : 0.0f;
        }
#pragma unroll
        for (int i = 0; i < FC_FOLD_AHEAD; i++)
            v[i] = sums[i] > 0.0f ? (double)sums[i] * fc_tile_factor(tops[i], max, scale) : 0.0;
#pragma unroll
        for (int i = 0; i < FC_FOLD_AHEAD; i++) {
            int t = from + i * FC_WARP + fc_lane();
            double mine = 0.0;
            if (from + i * FC_WARP < n) total = fc_warp_add(v[i], total, &mine);
            if (run && t < n) run[t] = mine;
        }
    }
    return total;
}

static inline __device__ fc_row_state fc_tops_max(const float *top, int n, float *max) {
    float m = -INFINITY;
    bool bad = false;
    for (int t = fc_lane(); t < n; t += FC_WARP) {
        bad |= !(top[t] < INFINITY);
        m = fmaxf(m, top[t]);
    }
    *max = fc_warp_max(m);
    if (__any_sync(FC_ALL_LANES, bad)) return FC_ROW_BROKEN;
    return *max == -INFINITY ? FC_ROW_EMPTY : FC_ROW_OK;
}

/* log of the sum of exp(x) from tiles of scale 1; run as fc_tiles_fold's. */
typedef struct {
    double lse;
    float max;
    fc_row_state state; /* not FC_ROW_OK: lse is NaN */
} fc_row_lse;

static inline __device__ fc_row_lse fc_tops_lse(const float *top, const float *sum, int n, double *run) {
    fc_row_lse r = {};
    r.lse = (double)NAN;
    r.state = fc_tops_max(top, n, &r.max);
    if (r.state == FC_ROW_OK) r.lse = (double)r.max + log(fc_tiles_fold(top, sum, n, r.max, 1.0f, run));
    return r;
}

/* First place of rising ids at or past an id. */
static __device__ __forceinline__ int fc_list_from(const int32_t *id, int n, int from) {
    int lo = 0;
    while (n > lo) {
        int mid = lo + (n - lo) / 2;
        if (id[mid] < from) lo = mid + 1;
        else n = mid;
    }
    return lo;
}

/* Place of an id, -1 if it is not there. */
static __device__ __forceinline__ int fc_list_find(const int32_t *id, int n, int want) {
    int i = fc_list_from(id, n, want);
    return i < n && id[i] == want ? i : -1;
}

/* ---- a row, whole or a list of ids, as tiles */

typedef struct {
    const float *x;       /* [V] the whole row; of a list: its values [n] */
    const int32_t *id;    /* [n] rising; NULL: the whole row */
    const int32_t *tile;  /* [n_tiles] of a list: which tiles it touches */
    const int32_t *begin; /* [n_tiles+1] and where in the list each begins */
    int V, n, n_tiles;
} fc_line;

/* The row's number of its k-th tile. */
static __device__ __forceinline__ int fc_line_tile(const fc_line *l, int k) { return l->id ? l->tile[k] : k; }

/* buf [FC_TILE] shared, aligned to 16 bytes, the warp's own; not used for a whole row. */
static __device__ __forceinline__ void fc_line_load(float v[FC_TILE_LANE], const fc_line *l, int k, float *buf) {
    if (!l->id) {
        fc_tile_load(v, l->x, l->V, k);
        return;
    }
    for (int j = 0; j < FC_TILE_LANE; j++) buf[j * FC_WARP + fc_lane()] = -INFINITY;
    __syncwarp();
    for (int i = l->begin[k] + fc_lane(); i < l->begin[k + 1]; i += FC_WARP) buf[l->id[i] % FC_TILE] = l->x[i];
    __syncwarp();
    fc_tile_load(v, buf, FC_TILE, 0);
    __syncwarp();
}

/* A list of n >= 1 ids cut into tiles by the whole block: tile [tiles of V], begin [tiles of V + 1]; votes
 * [FC_WARPS_MAX] shared. Returns how many tiles, -1 when the ids do not rise from 0 to V - 1. There is a barrier at
 * the end. */
static inline __device__ int fc_list_cut(const int32_t *id, int n, int V, int32_t *tile, int32_t *begin, int *votes) {
    int warp = (int)threadIdx.x / FC_WARP, warps = (int)blockDim.x / FC_WARP, room = (V - 1) / FC_TILE + 1, count = 0;
    bool bad = false;
    for (int from = 0; from < n; from += (int)blockDim.x) {
        int i = from + (int)threadIdx.x, now = i < n ? id[i] : 0, before = i > 0 && i < n ? id[i - 1] : -1, at;
        bool head = i < n && (i == 0 || now / FC_TILE != before / FC_TILE);
        unsigned heads = __ballot_sync(FC_ALL_LANES, head);
        bad |= i < n && (now <= before || now >= V);
        if (fc_lane() == 0) votes[warp] = __popc(heads);
        __syncthreads();
        at = count + __popc(heads & ((1u << fc_lane()) - 1u));
        for (int w = 0; w < warps; w++) {
            if (w < warp) at += votes[w];
            count += votes[w];
        }
        if (head && at < room) {
            tile[at] = now / FC_TILE;
            begin[at] = i;
        }
        __syncthreads();
    }
    bad = __any_sync(FC_ALL_LANES, bad);
    if (fc_lane() == 0) votes[warp] = bad;
    __syncthreads();
    for (int w = 0; w < warps; w++) bad |= votes[w] != 0;
    if (threadIdx.x == 0 && !bad) begin[count] = n;
    __syncthreads();
    return bad ? -1 : count;
}

#endif
