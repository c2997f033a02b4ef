/* best - ids picked out of a row by a block, without a sort: the k best, or the fewest that reach a mass; best.h's cut.
 *
 * What is kept of a row is no list, but a test of (logit, id), and each filter adds one more limit to it. A
 * limit is found by histograms over what the limits before it keep, best bin first: bins of equal width in the distance
 * from the best, then of keys inside the bin that holds the limit, until one key is left; of ids with that key the
 * first ones. The row is read for the first histogram, and once more to list the bin that holds the limit: all else is
 * done on that list, unless it is longer than FC_BEST_LIST, which takes logits that are nearly all alike: then the row
 * is read each time. Counts and masses are added as whole numbers of 64 bits, so in any order with the same result: a
 * weight is cut to a multiple of 2^-61 of the total. best.c adds weights in double, in list order: both choose the same
 * limit unless the target lies within about 1e-13 of the total from a sum of weights without being it.
 * All threads of the block call, with the same arguments.
 */
#ifndef FC_KERNELS_BEST_CUH
#define FC_KERNELS_BEST_CUH

#include "kernels/logprob/tile.cuh"

#include <limits.h>

/* Order of keys = order of floats; -0 and +0 have one key. */
static __device__ __forceinline__ uint32_t fc_best_key(float f) {
    uint32_t u = __float_as_uint(f + 0.0f);
    return u ^ (u >> 31 ? 0xffffffffu : 0x80000000u);
}

static __device__ __forceinline__ float fc_best_value(uint32_t key) {
    return __uint_as_float(key ^ (key >> 31 ? 0x80000000u : 0xffffffffu));
}

/* ---- what is kept */

typedef struct {
    float value; /* a larger logit, or this one with an id up to `id` */
    int id;
    bool weighed;     /* the rest: a weight above 0, */
    float max, scale; /* weight = exp((x - max) * scale) */
    float least;      /* and not less than this, */
    bool typical;     /* and a larger key, or this one with an id up to key_id */
    uint32_t key;
    int key_id;
    double mean; /* of log weights */
} fc_keep;

static __device__ __forceinline__ fc_keep fc_keep_all(float max, float scale) {
    fc_keep k = {};
    k.value = -FLT_MAX;
    k.id = INT_MAX;
    k.max = max;
    k.scale = scale;
    return k;
}

/* With y = log weight, -log p - H = mean(y) - y. */
static __device__ __forceinline__ float fc_keep_surprise(const fc_keep *k, float x) {
    return (float)fabs(k->mean - ((double)x - (double)k->max) * (double)k->scale);
}

static __device__ __forceinline__ bool fc_keeps(const fc_keep *k, float x, int id) {
    float t;
    if (!(x > k->value || (x == k->value && id <= k->id))) return false;
    if (!k->weighed) return true;
    t = (x - k->max) * k->scale;
    if (!(t >= FC_EXP_LOW)) return false;
    if (k->typical) {
        uint32_t key = ~fc_best_key(fc_keep_surprise(k, x));
        if (!(key > k->key || (key == k->key && id <= k->key_id))) return false;
    }
    return k->least == 0.0f || fc_tile_exp(t) >= k->least;
}

/* ---- the limit */

enum { FC_BEST_BINS = 2048, FC_BEST_BITS = 11, FC_BEST_LIST = 2048, FC_BEST_TIES = 256 };

typedef enum {
    FC_BEST_COUNT,  /* the largest logits; each counts 1 */
    FC_BEST_MASS,   /* the largest logits, by weight */
    FC_BEST_TYPICAL /* the least distance of -log p from the mean, by weight */
} fc_best_order;

struct fc_best_shared {
    uint32_t lo[FC_BEST_BINS], hi[FC_BEST_BINS]; /* a bin's sum, in halves */
    float listed[FC_BEST_LIST];                  /* what the first bin holds, in no order, and its ids */
    int at[FC_BEST_LIST], n_listed;
    uint64_t warp[FC_WARPS_MAX];
    uint64_t above, in; /* sums of the better bins, and of the bin */
    int bin, id;
    float value;
};

/* What the limit is looked for in; shared by the steps below. */
typedef struct {
    const fc_line *l;
    const float *top; /* [n_tiles] nothing of a tile is larger */
    fc_keep keep;
    fc_best_order how;
    int shift;       /* a weight w is w * 2^shift */
    float *buf;      /* [FC_TILE] the warp's, for fc_line_load and gathering */
    float per_unit;  /* first bins for a unit of distance; 0: one bin */
    int first_bin;   /* -1 while it is not known */
    uint32_t lo, hi; /* keys in it */
    int bits;        /* of keys in a later bin */
    bool listed;     /* the first bin lies in shared memory */
} fc_best_search;

static __device__ __forceinline__ uint64_t fc_best_mass(const fc_best_search *b, float x) {
    uint32_t u;
    int up;
    uint64_t digits;
    if (b->how == FC_BEST_COUNT) return 1;
    u = __float_as_uint(fc_tile_exp((x - b->keep.max) * b->keep.scale));
    digits = (u & 0x7fffffu) | 0x800000u;
    up = (int)(u >> 23) - 150 + b->shift;
    return up >= 0 ? digits << up : up > -24 ? digits >> -up : 0;
}

static __device__ __forceinline__ uint32_t fc_best_order_key(const fc_best_search *b, float x) {
    return b->how == FC_BEST_TYPICAL ? ~fc_best_key(fc_keep_surprise(&b->keep, x)) : fc_best_key(x);
}

static __device__ __forceinline__ int fc_best_first_bin(const fc_best_search *b, float x) {
    float distance = b->how == FC_BEST_TYPICAL ? fc_keep_surprise(&b->keep, x) : b->keep.max - x;
    return (int)fminf(distance * b->per_unit, (float)(FC_BEST_BINS - 1));
}

/* No logit of a tile whose top has a smaller key is looked for. */
static __device__ __forceinline__ uint32_t fc_best_floor(const fc_best_search *b) {
    uint32_t kept = fc_best_key(b->keep.value);
    return b->how == FC_BEST_TYPICAL || kept > b->lo ? kept : b->lo;
}

/* What is kept of the lanes' logits v, whose ids are from .. from + 7, side by side in buf [FC_TILE], which is the
 * warp's own. Returns how many. */
static __device__ __forceinline__ int fc_best_gather(const fc_keep *keep, const float v[FC_TILE_LANE], int from,
                                                     float *buf) {
    unsigned lower = (1u << fc_lane()) - 1u;
    int n = 0;
#pragma unroll
    for (int j = 0; j < FC_TILE_LANE; j++) {
        bool kept = fc_keeps(keep, v[j], from + j);
        unsigned all = __ballot_sync(FC_ALL_LANES, kept);
        if (kept) buf[n + __popc(all & lower)] = v[j];
        n += __popc(all);
    }
    __syncwarp();
    return n;
}

/* Is it one of those among which the limit is looked for? Its first bin is asked last: few have such a key. */
static __device__ __forceinline__ bool fc_best_in(const fc_best_search *b, float x, uint32_t key) {
    return key >= b->lo && key <= b->hi && fc_best_first_bin(b, x) == b->first_bin;
}

/* One logit in its bin. */
static __device__ __forceinline__ void fc_best_add(const fc_best_search *b, float x, fc_best_shared *m) {
    uint64_t mass;
    uint32_t low, high;
    int bin;
    if (b->first_bin >= 0) {
        uint32_t key = fc_best_order_key(b, x);
        if (!fc_best_in(b, x, key)) return;
        bin = (int)((b->hi - key) >> b->bits);
    } else {
        bin = fc_best_first_bin(b, x);
    }
    mass = fc_best_mass(b, x);
    low = (uint32_t)mass;
    high = (uint32_t)(mass >> 32);
    high += atomicAdd(&m->lo[bin], low) + low < low; /* what is carried */
    if (high) atomicAdd(&m->hi[bin], high);
}

/* One histogram; its sums lie in shared memory at the end. Few of a tile's logits are kept as a rule: they are gathered
 * first, so that all lanes have work. */
static inline __device__ void fc_best_count(const fc_best_search *b, fc_best_shared *m) {
    uint32_t floor = fc_best_floor(b);
    for (int i = (int)threadIdx.x; i < FC_BEST_BINS; i += (int)blockDim.x) m->lo[i] = m->hi[i] = 0;
    __syncthreads();
    for (int i = (int)threadIdx.x; b->listed && i < m->n_listed; i += (int)blockDim.x) fc_best_add(b, m->listed[i], m);
    for (int k = (int)threadIdx.x / FC_WARP; !b->listed && k < b->l->n_tiles; k += (int)blockDim.x / FC_WARP) {
        float v[FC_TILE_LANE];
        int n;
        if (fc_best_key(b->top[k]) < floor) continue;
        fc_line_load(v, b->l, k, b->buf);
        n = fc_best_gather(&b->keep, v, fc_line_tile(b->l, k) * FC_TILE + fc_lane() * FC_TILE_LANE, b->buf);
        for (int i = fc_lane(); i < n; i += FC_WARP) fc_best_add(b, b->buf[i], m);
        __syncwarp();
    }
    __syncthreads();
}

/* What the first bin holds, listed; b->listed: it fits. */
static inline __device__ void fc_best_gather_bin(fc_best_search *b, fc_best_shared *m) {
    uint32_t floor = fc_best_floor(b);
    if (threadIdx.x == 0) m->n_listed = 0;
    __syncthreads();
    for (int k = (int)threadIdx.x / FC_WARP; k < b->l->n_tiles; k += (int)blockDim.x / FC_WARP) {
        float v[FC_TILE_LANE];
        int from = fc_line_tile(b->l, k) * FC_TILE + fc_lane() * FC_TILE_LANE;
        if (fc_best_key(b->top[k]) < floor) continue;
        fc_line_load(v, b->l, k, b->buf);
#pragma unroll
        for (int j = 0; j < FC_TILE_LANE; j++) {
            int i;
            if (!fc_best_in(b, v[j], fc_best_order_key(b, v[j])) || !fc_keeps(&b->keep, v[j], from + j)) continue;
            i = atomicAdd(&m->n_listed, 1);
            if (i >= FC_BEST_LIST) continue;
            m->listed[i] = v[j];
            m->at[i] = from + j;
        }
    }
    __syncthreads();
    b->listed = m->n_listed <= FC_BEST_LIST;
}

/* The first bin with which the sum reaches need: m->bin, m->above, m->in. False: all of them do not. */
static inline __device__ bool fc_best_bin(fc_best_shared *m, uint64_t need) {
    int warp = (int)threadIdx.x / FC_WARP, warps = (int)blockDim.x / FC_WARP;
    int per = (FC_BEST_BINS + (int)blockDim.x - 1) / (int)blockDim.x, from = (int)threadIdx.x * per;
    int to = min(from + per, (int)FC_BEST_BINS);
    uint64_t mine = 0, before, total = 0;
    for (int i = from; i < to; i++) mine += (uint64_t)m->hi[i] << 32 | m->lo[i];
    before = fc_warp_scan(mine);
    if (fc_lane() == FC_WARP - 1) m->warp[warp] = before;
    __syncthreads();
    before -= mine;
    for (int w = 0; w < warps; w++) {
        if (w < warp) before += m->warp[w];
        total += m->warp[w];
    }
    for (int i = from; i < to && before < need; i++) {
        uint64_t in = (uint64_t)m->hi[i] << 32 | m->lo[i];
        if (before + in >= need) {
            m->bin = i;
            m->above = before;
            m->in = in;
        }
        before += in;
    }
    __syncthreads();
    return total >= need;
}

/* Keys that the first bin can hold, with a margin for the rounding of distances. */
static inline __device__ void fc_best_edges(fc_best_search *b, int bin) {
    double near = ((double)bin - 0.01) / (double)b->per_unit, far = ((double)bin + 1.01) / (double)b->per_unit;
    b->first_bin = bin;
    b->lo = 0;
    b->hi = 0xffffffffu;
    if (b->per_unit == 0.0f) return;
    if (b->how == FC_BEST_TYPICAL) {
        b->hi = ~fc_best_key((float)fmax(near, 0.0)) + 2u;
        if (bin < FC_BEST_BINS - 1) b->lo = ~fc_best_key((float)far) - 2u;
    } else {
        b->hi = fc_best_key((float)((double)b->keep.max - near)) + 2u;
        if (bin < FC_BEST_BINS - 1) b->lo = fc_best_key((float)((double)b->keep.max - far)) - 2u;
    }
}

static __device__ __forceinline__ uint64_t fc_best_tie(const fc_best_search *b, float x, int id) {
    if (fc_best_order_key(b, x) != b->hi || !fc_keeps(&b->keep, x, id)) return 0;
    return fc_best_first_bin(b, x) == b->first_bin ? fc_best_mass(b, x) : 0;
}

/* Of the ids with the one key b->hi, the last one that is kept: of a list of FC_BEST_TIES, as each looks at all. */
static inline __device__ int fc_best_last_listed(const fc_best_search *b, uint64_t need, fc_best_shared *m) {
    for (int i = (int)threadIdx.x; i < m->n_listed; i += (int)blockDim.x) {
        uint64_t before = 0, tie = fc_best_tie(b, m->listed[i], m->at[i]);
        if (tie == 0) continue;
        for (int k = 0; k < m->n_listed; k++)
            if (m->at[k] < m->at[i]) before += fc_best_tie(b, m->listed[k], m->at[k]);
        if (before < need && before + tie >= need) m->id = m->at[i];
    }
    __syncthreads();
    return m->id;
}

/* The same of the row. ties [n_tiles]: the tiles' sums, by the warps; then
 * the first warp finds the tile and the place. */
static inline __device__ int fc_best_last(const fc_best_search *b, uint64_t need, uint64_t *ties, fc_best_shared *m) {
    uint32_t floor = fc_best_floor(b);
    float v[FC_TILE_LANE];
    int n = b->l->n_tiles, k, from;
    for (k = (int)threadIdx.x / FC_WARP; k < n; k += (int)blockDim.x / FC_WARP) {
        uint64_t sum = 0;
        from = fc_line_tile(b->l, k) * FC_TILE + fc_lane() * FC_TILE_LANE;
        if (fc_best_key(b->top[k]) >= floor) {
            fc_line_load(v, b->l, k, b->buf);
            for (int j = 0; j < FC_TILE_LANE; j++) sum += fc_best_tie(b, v[j], from + j);
            sum = fc_warp_scan(sum);
        }
        if (fc_lane() == FC_WARP - 1) ties[k] = sum;
    }
    __syncthreads();
    if (threadIdx.x < FC_WARP) {
        uint64_t sum = 0, mine;
        unsigned there = 0;
        for (int first = k = 0; first < n && !there; first += FC_WARP) { /* the tile */
            int lane;
            mine = first + fc_lane() < n ? ties[first + fc_lane()] : 0;
            sum = fc_warp_scan(mine);
            there = __ballot_sync(FC_ALL_LANES, sum >= need);
            lane = there ? __ffs((int)there) - 1 : FC_WARP - 1;
            need -= __shfl_sync(FC_ALL_LANES, there ? sum - mine : sum, lane);
            k = first + lane;
        }
        fc_line_load(v, b->l, k, b->buf);
        from = fc_line_tile(b->l, k) * FC_TILE + fc_lane() * FC_TILE_LANE;
        mine = 0;
        for (int j = 0; j < FC_TILE_LANE; j++) mine += fc_best_tie(b, v[j], from + j);
        sum = fc_warp_scan(mine) - mine; /* before the lane's own */
        for (int j = 0; j < FC_TILE_LANE; j++) {
            uint64_t tie = fc_best_tie(b, v[j], from + j);
            if (sum < need && sum + tie >= need) m->id = from + j;
            sum += tie;
        }
    }
    __syncthreads();
    return m->id;
}

/* A limit: better keys, and of those equal to key the ids up to id. */
typedef struct {
    uint32_t key;
    int id;
} fc_best_limit;

/* The shortest best-first prefix of what `keep` keeps that has need: FC_BEST_COUNT so many ids, else so much weight in
 * units of 2^-shift, need >= 1. False: all of it does not. ties [n_tiles] scratch; buf [FC_TILE] the warp's. */
static inline __device__ bool fc_best_find(const fc_line *l, const float *top, const fc_keep *keep, fc_best_order how,
                                           uint64_t need, int shift, uint64_t *ties, float *buf, fc_best_shared *m,
                                           fc_best_limit *out) {
    fc_best_search b = {l, top, *keep, how, shift, buf, 0.0f, -1, 0, 0xffffffffu, 0, false};
    float range = FC_EXP_HIGH; /* log weights reach from 0 to FC_EXP_LOW */
    if (how != FC_BEST_TYPICAL) {
        float lowest = keep->value;
        if (how == FC_BEST_MASS)
            lowest = fmaxf(lowest, (float)((double)keep->max - (double)FC_EXP_HIGH / (double)keep->scale));
        range = keep->max - lowest;
    }
    b.per_unit = (float)FC_BEST_BINS / range;
    if (!(b.per_unit > 0.0f && b.per_unit < INFINITY)) b.per_unit = 0.0f;
    fc_best_count(&b, m);
    if (!fc_best_bin(m, need)) return false;
    need -= m->above;
    fc_best_edges(&b, m->bin);
    fc_best_gather_bin(&b, m);
    do {
        uint32_t span = b.hi - b.lo;
        b.bits = 32 - __clz((int)span) - FC_BEST_BITS;
        b.bits = b.bits > 0 ? b.bits : 0;
        fc_best_count(&b, m);
        fc_best_bin(m, need);
        need -= m->above;
        b.hi -= (uint32_t)m->bin << b.bits;
        span = (1u << b.bits) - 1u;
        if (b.hi - b.lo > span) b.lo = b.hi - span;
    } while (b.bits > 0);
    out->key = b.lo = b.hi;
    out->id = how != FC_BEST_TYPICAL && b.hi == fc_best_key(keep->value) ? keep->id : INT_MAX;
    if (how == FC_BEST_COUNT ? m->in > need : how == FC_BEST_TYPICAL || m->in > fc_best_mass(&b, fc_best_value(b.hi)))
        out->id = b.listed && m->n_listed <= FC_BEST_TIES ? fc_best_last_listed(&b, need, m)
                                                          : fc_best_last(&b, need, ties, m);
    return true;
}

/* The k-th largest of n tops, which at least k ids of the row reach; -inf when tops are too few. */
static inline __device__ float fc_best_bound(const float *top, int n, int k, fc_best_shared *m) {
    if (k > n) return -INFINITY;
    for (int t = (int)threadIdx.x; t < n; t += (int)blockDim.x) {
        int better = 0;
        for (int u = 0; u < n; u++) better += top[u] > top[t] || (top[u] == top[t] && u < t);
        if (better == k - 1) m->value = top[t];
    }
    __syncthreads();
    return m->value;
}

#endif
