/* Two steps, one launch each as long as the adapters of the batch fit in a kernel's parameters. Shrink, z = A x: a
 * block makes a tile of rows and ranks, all its threads sharing K. Expand, y += scale B z: a thread makes four
 * neighbours of a few rows. Tiles are tall where there are rows for them, else one row high; bits are the same. */
#include "kernels/cuda/num.cuh"
#include "kernels/cuda/warp.cuh"

extern "C" {
#include "kernels/lora/lora_check.h"
}

enum {
    SHRINK_THREADS = 256,
    SHRINK_WARPS = SHRINK_THREADS / FC_WARP,
    EXPAND_THREADS = 64,
    FOUR = 4,
    COLS = EXPAND_THREADS * FOUR, /* of an expanding block */
    TALL_ROWS = 4,                /* tiles of the shrink */
    TALL_RANKS = 8,
    LOW_RANKS = 4,
    TALL_ROWS_OUT = 8 /* of the expand */
};

/* Four weights from element i on, a multiple of four, widened exactly. */
template <bool BF16> static __device__ __forceinline__ float4 load_four(const void *p, size_t i) {
    if (BF16) {
        uint2 v = *(const uint2 *)((const uint16_t *)p + i);
        return make_float4(fc_bf16_lo(v.x), fc_bf16_hi(v.x), fc_bf16_lo(v.y), fc_bf16_hi(v.y));
    }
    return *(const float4 *)((const float *)p + i);
}

/* Entries have blocks one after another: the last one that begins at or before `block`. */
template <typename P> static __device__ __forceinline__ int entry_of(const P &p, int block) {
    int at = 0;
    for (int step = FC_WARP; step; step /= 2)
        if (at + step < p.n && p.e[at + step].block <= block) at += step;
    return at;
}

/* ---- shrink ---- */

struct shrink_entry {
    const void *a; /* [R, K up to 16] */
    int block;     /* its first one */
    int first, n_rows, R;
    bool bf16;
};

enum { SHRINK_ENTRIES = (FC_CUDA_PARAMS - 48) / sizeof(shrink_entry) };

struct shrink_params {
    const float *x;      /* [T,K]   */
    float *z;            /* [M,ldz] */
    const int32_t *rows; /* [M]     */
    int K, ldz, n;
    shrink_entry e[SHRINK_ENTRIES];
};

template <int ROWS, int RANKS> struct shrink_shared { float fold[SHRINK_WARPS][ROWS * RANKS]; };

/* K elements of a row from k on, a multiple of four; VEC: rows lie on 16 bytes. Behind K there are zeroes. */
template <bool VEC> static __device__ __forceinline__ float4 load_x(const float *x, int k, int K) {
    if (VEC) return *(const float4 *)(x + k);
    return make_float4(x[k], k + 1 < K ? x[k + 1] : 0.0f, k + 2 < K ? x[k + 2] : 0.0f, k + 3 < K ? x[k + 3] : 0.0f);
}

/* Thread t's chains: pieces of four k from 4t on, every SHRINK_THREADS-th, first to last. */
template <int ROWS, int RANKS, bool VEC, bool BF16>
static __device__ __forceinline__ void dots(const shrink_params &p, const shrink_entry &e, int row0, int rank0,
                                            float v[ROWS * RANKS]) {
    size_t lda = ((size_t)p.K + FC_LORA_LANES - 1) / FC_LORA_LANES * FC_LORA_LANES;
    const float *x[ROWS];
#pragma unroll
    for (int r = 0; r < ROWS; r++) x[r] = p.x + (size_t)p.rows[e.first + min(row0 + r, e.n_rows - 1)] * p.K;
#pragma unroll(ROWS == 1 ? 4 : 1)
    for (int k = (int)threadIdx.x * FOUR; k < p.K; k += SHRINK_THREADS * FOUR) {
        float4 xv[ROWS];
#pragma unroll
        for (int r = 0; r < ROWS; r++) xv[r] = load_x<VEC>(x[r], k, p.K);
#pragma unroll
        for (int j = 0; j < RANKS; j++) {
            float4 av = load_four<BF16>(e.a, min(rank0 + j, e.R - 1) * lda + k);
#pragma unroll
            for (int r = 0; r < ROWS; r++) {
                float sum = v[r * RANKS + j];
                sum = fmaf(av.x, xv[r].x, sum);
                sum = fmaf(av.y, xv[r].y, sum);
                sum = fmaf(av.z, xv[r].z, sum);
                v[r * RANKS + j] = fmaf(av.w, xv[r].w, sum);
            }
        }
    }
}

/* Each of N values (a power of two) summed over the warp, lane i with i^16, then 8, 4, 2, 1. While a lane has several,
 * it gives away half of them: v[0 .. max(N/32,1)) become the sums of the values from the returned one on. */
template <int N, int BIT> static __device__ __forceinline__ int fold_warp(float *v, int lane) {
    if constexpr (BIT == 0) {
        return 0;
    } else if constexpr (N == 1) {
        v[0] += __shfl_xor_sync(FC_ALL_LANES, v[0], BIT);
        return fold_warp<1, BIT / 2>(v, lane);
    } else {
        bool upper = lane & BIT;
#pragma unroll
        for (int i = 0; i < N / 2; i++) {
            float give = upper ? v[i] : v[i + N / 2], keep = upper ? v[i + N / 2] : v[i];
            v[i] = keep + __shfl_xor_sync(FC_ALL_LANES, give, BIT);
        }
        return (upper ? N / 2 : 0) + fold_warp<N / 2, BIT / 2>(v, lane);
    }
}

template <int ROWS, int RANKS, bool VEC>
static __global__ void __launch_bounds__(SHRINK_THREADS, 2) shrink_kernel(const shrink_params p) {
    enum { N = ROWS * RANKS, LEFT = N > FC_WARP ? N / FC_WARP : 1, SAME = N < FC_WARP ? FC_WARP / N : 1 };
    auto *m = fc_shared<shrink_shared<ROWS, RANKS>>();
    int lane = (int)threadIdx.x % FC_WARP, warp = (int)threadIdx.x / FC_WARP, v = (int)threadIdx.x;
    const shrink_entry &e = p.e[entry_of(p, (int)blockIdx.x)];
    int unit = (int)blockIdx.x - e.block, rank_tiles = (e.R + RANKS - 1) / RANKS;
    int row0 = unit / rank_tiles * ROWS, rank0 = unit % rank_tiles * RANKS;
    float sums[N] = {};
    if (e.bf16) dots<ROWS, RANKS, VEC, true>(p, e, row0, rank0, sums);
    else dots<ROWS, RANKS, VEC, false>(p, e, row0, rank0, sums);
    int first = fold_warp<N, FC_WARP / 2>(sums, lane);
    if (lane % SAME == 0) /* the first of the lanes that have one value */
#pragma unroll
        for (int i = 0; i < LEFT; i++) m->fold[warp][first + i] = sums[i];
    __syncthreads();
    if (v >= N || row0 + v / RANKS >= e.n_rows || rank0 + v % RANKS >= e.R) return;
    float sum = m->fold[0][v];
    for (int w = 1; w < SHRINK_WARPS; w++) sum += m->fold[w][v];
    p.z[(size_t)(e.first + row0 + v / RANKS) * p.ldz + rank0 + v % RANKS] = sum;
}

/* ---- expand ---- */

struct expand_entry {
    const void *b; /* [r, N up to 16] */
    float scale;
    int block; /* its first one */
    int first, n_rows, col, N, r, z;
    bool bf16, vec; /* vec: its columns of y lie on 16 bytes */
};

enum { EXPAND_ENTRIES = (FC_CUDA_PARAMS - 48) / sizeof(expand_entry) };

struct expand_params {
    float *y;            /* [T,ldy] */
    const float *z;      /* [M,ldz] */
    const int32_t *rows; /* [M]     */
    int ldy, ldz, n;
    expand_entry e[EXPAND_ENTRIES];
};

/* acc[i] = sum of z[i][j] * B[j, n..n+3], j first to last. */
template <int ROWS, bool BF16>
static __device__ __forceinline__ void columns(const expand_params &p, const expand_entry &e, int row0, int n,
                                               float4 acc[ROWS]) {
    size_t ldb = ((size_t)e.N + FC_LORA_LANES - 1) / FC_LORA_LANES * FC_LORA_LANES;
    const float *z[ROWS];
#pragma unroll
    for (int i = 0; i < ROWS; i++) z[i] = p.z + (size_t)(e.first + min(row0 + i, e.n_rows - 1)) * p.ldz + e.z;
#pragma unroll 4
    for (int j = 0; j < e.r; j++) {
        float4 b = load_four<BF16>(e.b, j * ldb + n);
#pragma unroll
        for (int i = 0; i < ROWS; i++) {
            float by = __ldg(z[i] + j);
            acc[i].x = fmaf(by, b.x, acc[i].x);
            acc[i].y = fmaf(by, b.y, acc[i].y);
            acc[i].z = fmaf(by, b.z, acc[i].z);
            acc[i].w = fmaf(by, b.w, acc[i].w);
        }
    }
}

static __device__ __forceinline__ float4 load_y(const float *y, int n, const expand_entry &e) {
    if (e.vec && n + FOUR <= e.N) return *(const float4 *)(y + n);
    return make_float4(y[n], n + 1 < e.N ? y[n + 1] : 0.0f, n + 2 < e.N ? y[n + 2] : 0.0f,
                       n + 3 < e.N ? y[n + 3] : 0.0f);
}

static __device__ __forceinline__ void store_y(float *y, int n, float4 v, const expand_entry &e) {
    if (e.vec && n + FOUR <= e.N) {
        *(float4 *)(y + n) = v;
        return;
    }
    y[n] = v.x;
    if (n + 1 < e.N) y[n + 1] = v.y;
    if (n + 2 < e.N) y[n + 2] = v.z;
    if (n + 3 < e.N) y[n + 3] = v.w;
}

template <int ROWS> static __global__ void expand_kernel(const expand_params p) {
    const expand_entry &e = p.e[entry_of(p, (int)blockIdx.x)];
    int unit = (int)blockIdx.x - e.block, col_tiles = (e.N + COLS - 1) / COLS;
    int row0 = unit / col_tiles * ROWS, n = unit % col_tiles * COLS + (int)threadIdx.x * FOUR;
    float *y[ROWS];
    float4 was[ROWS], acc[ROWS] = {};
    if (n >= e.N) return;
#pragma unroll
    for (int i = 0; i < ROWS; i++) { /* y is on its way while the sums are made */
        y[i] = p.y + (size_t)p.rows[e.first + min(row0 + i, e.n_rows - 1)] * p.ldy + e.col;
        was[i] = load_y(y[i], n, e);
    }
    if (e.bf16) columns<ROWS, true>(p, e, row0, n, acc);
    else columns<ROWS, false>(p, e, row0, n, acc);
#pragma unroll
    for (int i = 0; i < ROWS; i++) {
        float4 v = make_float4(fmaf(e.scale, acc[i].x, was[i].x), fmaf(e.scale, acc[i].y, was[i].y),
                               fmaf(e.scale, acc[i].z, was[i].z), fmaf(e.scale, acc[i].w, was[i].w));
        if (row0 + i < e.n_rows) store_y(y[i], n, v, e);
    }
}

/* ---- launches ---- */

/* Tall tiles when they are half full at least, and blocks of them enough for a quarter of the device; what is small is
 * over sooner in many low ones. */
static bool tall(const fc_lora_args *a, int sms, bool out) {
    int height = out ? TALL_ROWS_OUT : TALL_ROWS;
    long long rows = 0, tiles = 0, blocks = 0;
    for (int i = 0; i < a->n_groups; i++) {
        const fc_lora *w = a->groups[i].w;
        int of_rows = fc_div_up(a->groups[i].n_rows, height), beside = out ? 0 : fc_div_up(w->R, TALL_RANKS);
        for (int p = 0; p < w->n_parts && out; p++) beside += fc_div_up(w->part[p].N, COLS);
        rows += a->groups[i].n_rows;
        tiles += of_rows;
        blocks += (long long)of_rows * beside;
    }
    return 2 * rows >= height * tiles && 4 * blocks >= sms;
}

template <int ROWS, int RANKS> static fc_status launch_shrink(fc_stream s, const shrink_params &p, int blocks) {
    const size_t shared = sizeof(shrink_shared<ROWS, RANKS>);
    if (p.K % FOUR == 0 && (uintptr_t)p.x % sizeof(float4) == 0)
        return fc_launch(s, "lora shrink", shrink_kernel<ROWS, RANKS, true>, dim3((unsigned)blocks), SHRINK_THREADS,
                         shared, p);
    return fc_launch(s, "lora shrink", shrink_kernel<ROWS, RANKS, false>, dim3((unsigned)blocks), SHRINK_THREADS,
                     shared, p);
}

template <int ROWS, int RANKS> static fc_status shrink(fc_stream s, const fc_lora_args *a) {
    shrink_params p = {a->x, a->z, a->rows, a->K, a->ldz, 0, {}};
    int blocks = 0;
    for (int i = 0; i < a->n_groups; i++) {
        const fc_lora_group *g = &a->groups[i];
        p.e[p.n++] = {g->w->a, blocks, g->first, g->n_rows, g->w->R, g->w->dtype == FC_BF16};
        blocks += fc_div_up(g->n_rows, ROWS) * fc_div_up(g->w->R, RANKS);
        if (p.n < SHRINK_ENTRIES && i + 1 < a->n_groups) continue;
        FC_TRY((launch_shrink<ROWS, RANKS>(s, p, blocks)));
        p.n = blocks = 0;
    }
    return FC_OK;
}

template <int ROWS> static fc_status expand(fc_stream s, const fc_lora_args *a) {
    expand_params p = {a->y, a->z, a->rows, a->ldy, a->ldz, 0, {}};
    bool vec = a->ldy % FOUR == 0 && (uintptr_t)a->y % sizeof(float4) == 0;
    int blocks = 0;
    for (int i = 0; i < a->n_groups; i++) {
        const fc_lora_group *g = &a->groups[i];
        bool bf16 = g->w->dtype == FC_BF16;
        for (int k = 0; k < g->w->n_parts; k++) {
            const fc_lora_part *part = &g->w->part[k];
            const unsigned char *b = (const unsigned char *)g->w->b + part->b * (bf16 ? 2 : 4);
            p.e[p.n++] = {b,
                          part->scale,
                          blocks,
                          g->first,
                          g->n_rows,
                          part->col,
                          part->N,
                          part->r,
                          part->z,
                          bf16,
                          vec && part->col % FOUR == 0};
            blocks += fc_div_up(g->n_rows, ROWS) * fc_div_up(part->N, COLS);
            if (p.n < EXPAND_ENTRIES && (i + 1 < a->n_groups || k + 1 < g->w->n_parts)) continue;
            FC_TRY(fc_launch(s, "lora expand", expand_kernel<ROWS>, dim3((unsigned)blocks), EXPAND_THREADS, 0, p));
            p.n = blocks = 0;
        }
    }
    return FC_OK;
}

extern "C" fc_status fc_lora_cuda(fc_stream s, const fc_lora_args *a) {
    FC_TRY(fc_lora_check(a));
    if (tall(a, s->sms, false)) FC_TRY((shrink<TALL_ROWS, TALL_RANKS>(s, a)));
    else FC_TRY((shrink<1, LOW_RANKS>(s, a)));
    return tall(a, s->sms, true) ? expand<TALL_ROWS_OUT>(s, a) : expand<1>(s, a);
}
