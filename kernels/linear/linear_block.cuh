/* linear_block - what a block of two warpgroups and a warp that copies does: 128 outputs x 32, 64 or 128 rows, with the
 * bits of linear_step.cuh, since wgmma has those of mma.sync. Inner to kernels/linear and kernels/head.
 *
 * Weights are a, from registers: a packed chunk already has m16n8k16's fragments, which are those of a warp of a
 * warpgroup; a warp has one panel. x is b, from shared memory, where its tile lies as it was made, swizzled
 * (linear_x.cuh). All steps of 64 k come through a ring of barriers.
 *
 * chained    codes whose sums of a range are the tensor cores' own (fc_code_chained): 32 k after 32 k go to the same
 *            sums, with the a of 32 k read while the products of those before run. A thread has, of 128 rows, 64
 *            registers of a range's sums and 64 of what ranges have together
 * scaled     a group of 32 k is two products (precise: four) from zero, then f32. 128 rows are two products side by
 *            side. A product's sums are added while the next one runs: two of a warpgroup are on their way but for the
 *            last of a step, and the other warpgroup's fill that gap. 64 registers of a range's sums, twice 32 of
 *            products; what ranges have together, of eight uses, is in shared memory, 64 KB
 * cluster    CX x 2 blocks: CX tiles of rows, and 2 of 128 outputs. Each copies a half of x to both that have its rows,
 *            and with CX 2 half of the panels to both that have its outputs, so that L2 is asked for half. A place is
 *            free when all that are copied to from there have read it
 */
#ifndef FC_KERNELS_LINEAR_BLOCK_CUH
#define FC_KERNELS_LINEAR_BLOCK_CUH

#include "kernels/cuda/cluster.cuh"
#include "kernels/cuda/sync.cuh"
#include "kernels/cuda/wgmma.cuh"
#include "kernels/linear/linear_step.cuh"

enum {
    FC_LINEAR_BLOCK_OUTPUTS = 128,
    FC_LINEAR_BLOCK_PANELS = FC_LINEAR_BLOCK_OUTPUTS / FC_PANEL,
    FC_LINEAR_BLOCK_MULTIPLIERS = FC_LINEAR_BLOCK_OUTPUTS / 64, /* warpgroups */
    FC_LINEAR_BLOCK_ADDERS = FC_LINEAR_BLOCK_MULTIPLIERS * FC_WARPGROUP,
    FC_LINEAR_BLOCK_COPIER = FC_LINEAR_BLOCK_MULTIPLIERS * 4, /* the warp that copies */
    FC_LINEAR_BLOCK_THREADS = (FC_LINEAR_BLOCK_MULTIPLIERS + 1) * FC_WARPGROUP,
    FC_LINEAR_BLOCK_STAGES = 6, /* at most */
    FC_LINEAR_BLOCK_PAIR = 2,   /* blocks of a cluster in the direction of outputs */
    FC_LINEAR_BLOCK_ALIGN = 1024,
};

/* Passed to kernels by value. */
typedef struct {
    fc_part_cuda w;
    fc_linear_x x;     /* tiles of ROWS rows; the block's is blockIdx.x */
    int stages, stage; /* how many, and bytes of one: x, then panels */
} fc_linear_block_ring;

/* Where sums of a range go, if blockIdx.z cuts K: else NULL. */
typedef struct {
    float *part; /* [FC_RANGES][x.T,N] */
    int N;       /* of all parts of w */
} fc_linear_block_parts;

struct fc_linear_block_barriers {
    uint64_t full[FC_LINEAR_BLOCK_STAGES], empty[FC_LINEAR_BLOCK_STAGES];
};

/* ---- on the host */

static inline int fc_linear_block_stage(const fc_part_cuda *w, int rows, bool precise) {
    return (fc_x_tile_chunk(rows, precise) + FC_LINEAR_BLOCK_PANELS * w->chunk + FC_LINEAR_BLOCK_ALIGN - 1) /
           FC_LINEAR_BLOCK_ALIGN * FC_LINEAR_BLOCK_ALIGN;
}

/* Shared memory beside the ring. */
static inline size_t fc_linear_block_beside(int code, int rows) {
    size_t totals = fc_code_chained(code) ? 0 : (size_t)(rows / 2 * FC_LINEAR_BLOCK_ADDERS) * sizeof(float);
    return FC_LINEAR_BLOCK_ALIGN + sizeof(fc_linear_block_barriers) + totals;
}

/* Stages that fit; fewer than 2 are too few. */
static inline int fc_linear_block_stages(const fc_part_cuda *w, int rows, bool precise, size_t shared_max) {
    size_t beside = fc_linear_block_beside(w->code, rows),
           n = shared_max > beside ? (shared_max - beside) / (size_t)fc_linear_block_stage(w, rows, precise) : 0;
    return n < FC_LINEAR_BLOCK_STAGES ? (int)n : (int)FC_LINEAR_BLOCK_STAGES;
}

#if FC_HOPPER
/* ---- in kernels: a block's ranges of K, and the steps of these */

typedef struct {
    int range, end, step, last;
} fc_linear_block_span;

static __device__ __forceinline__ fc_linear_block_span fc_linear_block_span_of(const fc_part_cuda &w) {
    fc_linear_block_span v;
    int ranges = FC_RANGES / (int)gridDim.z;
    v.range = (int)blockIdx.z * ranges, v.end = v.range + ranges;
    v.step = fc_linear_range(v.range, w.steps), v.last = fc_linear_range(v.end, w.steps);
    return v;
}

/* The block's memory: ring, barriers, totals. Ends with the cluster's barrier. */
template <int CX>
static __device__ __forceinline__ unsigned char *fc_linear_block_begin(const fc_linear_block_ring &p) {
    unsigned char *ring = fc_shared<unsigned char>();
    ring += (FC_LINEAR_BLOCK_ALIGN - fc_shared_address(ring) % FC_LINEAR_BLOCK_ALIGN) % FC_LINEAR_BLOCK_ALIGN;
    fc_linear_block_barriers *bars = (fc_linear_block_barriers *)(ring + p.stages * p.stage);
    if (threadIdx.x == 0) {
        for (int i = 0; i < p.stages; i++) {
            fc_mbarrier_init(&bars->full[i], 1);
            fc_mbarrier_init(&bars->empty[i], FC_LINEAR_BLOCK_COPIER * (CX + FC_LINEAR_BLOCK_PAIR - 1));
        }
        fc_proxy_fence();
    }
    fc_cluster_sync_relaxed();
    return ring;
}

/* ---- the warp that copies: a lane for each panel that is this block's to copy, one for half of x */

template <int CX>
static __device__ __forceinline__ void fc_linear_block_copy(const fc_linear_block_ring &p, unsigned char *ring) {
    constexpr int OWN = FC_LINEAR_BLOCK_PANELS / CX;
    fc_linear_block_barriers *bars = (fc_linear_block_barriers *)(ring + p.stages * p.stage);
    const fc_linear_block_span v = fc_linear_block_span_of(p.w);
    int lane = (int)threadIdx.x % 32, rank = fc_cluster_rank(), place = rank % CX * OWN + lane;
    int panel = min((int)blockIdx.y * FC_LINEAR_BLOCK_PANELS + place, p.w.n_panels - 1);
    const unsigned char *from = p.w.panels + (size_t)panel * p.w.panel_bytes;
    unsigned bytes = (unsigned)p.w.chunk, to = (unsigned)(p.x.chunk + place * p.w.chunk), parity = 1,
             blocks = (unsigned)((1 << CX) - 1) << rank / CX * CX;
    size_t stride = bytes;
    if (lane == OWN) {
        stride = (size_t)p.x.chunk;
        bytes = (unsigned)p.x.chunk / FC_LINEAR_BLOCK_PAIR, to = (unsigned)(rank / CX) * bytes;
        from = p.x.codes + (size_t)blockIdx.x * p.x.steps * stride + to;
        blocks = (1u | 1u << CX) << rank % CX;
    }
    int slot = 0;
    for (int step = v.step; step < v.last; step++) {
        unsigned char *stage = ring + slot * p.stage;
        fc_mbarrier_wait(&bars->empty[slot], parity);
        if (lane == 0)
            fc_mbarrier_expect(&bars->full[slot], (unsigned)(p.x.chunk + FC_LINEAR_BLOCK_PANELS * p.w.chunk));
        __syncwarp();
        if (lane < OWN && CX == 1) fc_copy_bulk(stage + to, from + (size_t)step * stride, bytes, &bars->full[slot]);
        else if (lane <= OWN)
            fc_copy_bulk_all(stage + to, from + (size_t)step * stride, bytes, &bars->full[slot], blocks);
        if (++slot == p.stages) slot = 0, parity ^= 1;
    }
    for (int i = 0; i < p.stages; i++) { /* whoever tells this block that it has read: it may not end before */
        fc_mbarrier_wait(&bars->empty[slot], parity);
        if (++slot == p.stages) slot = 0, parity ^= 1;
    }
    __syncwarp();
}

/* ---- warpgroups that multiply */

/* Where a warp is in the ring. */
typedef struct {
    const unsigned char *ring;
    fc_linear_block_barriers *bars;
    int slot;
    unsigned parity;
} fc_linear_block_at;

static __device__ __forceinline__ const unsigned char *fc_linear_block_wait(const fc_linear_block_ring &p,
                                                                            const fc_linear_block_at &at) {
    fc_mbarrier_wait(&at.bars->full[at.slot], at.parity);
    return at.ring + at.slot * p.stage;
}

static __device__ __forceinline__ void fc_linear_block_next(const fc_linear_block_ring &p, fc_linear_block_at *at) {
    if (++at->slot == p.stages) at->slot = 0, at->parity ^= 1;
}

/* All that this warp read of a slot is read: told to all blocks that copy to it. */
template <int CX>
static __device__ __forceinline__ void fc_linear_block_release(fc_linear_block_barriers *bars, int slot) {
    int lane = (int)threadIdx.x % 32, rank = fc_cluster_rank(), to = rank % CX + lane * CX;
    if (lane >= FC_LINEAR_BLOCK_PAIR) to = rank / CX * CX + (rank % CX ^ 1); /* beside it, of CX 2 */
    __syncwarp();
    if (lane < FC_LINEAR_BLOCK_PAIR + CX - 1) fc_mbarrier_arrive_at(&bars->empty[slot], to);
}

/* 16 k, hi and, precise, lo, of one a. */
template <int COLUMNS, int ROWS, bool PRECISE>
static __device__ __forceinline__ void fc_linear_block_multiply_16(float *sums, const uint32_t a[4], uint64_t b,
                                                                   bool more) {
    fc_wgmma_bf16<COLUMNS>(sums, a, b, more);
    if (PRECISE) fc_wgmma_bf16<COLUMNS>(sums, a, b + (fc_x_tile_lo(ROWS) >> 4), true);
}

/* Row, of the block's, and output, of its 128, of a thread's sum i. */
static __device__ __forceinline__ int fc_linear_block_row(int i) {
    return i / 4 * FC_X_ROWS + (int)threadIdx.x % 4 * 2 + i % 2;
}
static __device__ __forceinline__ int fc_linear_block_output(int i) {
    return (int)threadIdx.x / 32 * FC_PANEL + (int)threadIdx.x % 32 / 4 + i / 2 % 2 * 8;
}

/* A range's sums, of a launch where blocks share K. */
template <int ROWS>
static __device__ __forceinline__ void fc_linear_block_put_part(const fc_linear_block_ring &p,
                                                                const fc_linear_block_parts &to,
                                                                const float acc[ROWS / 2], int range) {
    const int row0 = fc_opaque((int)blockIdx.x * ROWS), o0 = fc_opaque((int)blockIdx.y * FC_LINEAR_BLOCK_OUTPUTS);
#pragma unroll
    for (int i = 0; i < ROWS / 2; i++) {
        int row = row0 + fc_linear_block_row(i), o = o0 + fc_linear_block_output(i);
        if (row < p.x.T && o < p.w.N) to.part[((size_t)range * p.x.T + row) * to.N + p.w.first + o] = acc[i];
    }
}

/* ---- codes whose range is one chain */

template <int CODE, int ROWS, bool PRECISE, int CX>
static __device__ __forceinline__ void fc_linear_block_chain(float total[ROWS / 2], const fc_linear_block_ring &p,
                                                             const fc_linear_block_parts &to, fc_linear_block_at at) {
    const int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32;
    const fc_linear_at codes = fc_linear_at_of(p.w, CODE, lane);
    fc_linear_block_span v = fc_linear_block_span_of(p.w);
    float scale[2];
    uint32_t a[2][2][4];
    fc_linear_row_scale<CODE>(scale, p.w, (int)blockIdx.y * FC_LINEAR_BLOCK_PANELS + warp, lane);
#pragma unroll
    for (int i = 0; i < ROWS / 2; i++) total[i] = 0.0f;
    for (int range = v.range; range < v.end; range++) {
        float acc[ROWS / 2];
        int held = -1; /* the slot of the step before, whose last products may still run */
#pragma unroll
        for (int i = 0; i < ROWS / 2; i++) acc[i] = 0.0f;
        for (int end = fc_linear_range(range + 1, p.w.steps); v.step < end; v.step++) {
            const unsigned char *stage = fc_linear_block_wait(p, at), *chunk = stage + p.x.chunk + warp * p.w.chunk;
            uint64_t b = fc_wgmma_b(stage);
#pragma unroll
            for (int group = 0; group < 2; group++) {
                fc_linear_a<CODE>(a[group], chunk, group, lane, codes);
                fc_wgmma_fence();
#pragma unroll
                for (int j = 0; j < 2; j++)
                    fc_linear_block_multiply_16<ROWS, ROWS, PRECISE>(acc, a[group][j], b + ((group * 2 + j) * 32 >> 4),
                                                                     true);
                fc_wgmma_commit();
                fc_wgmma_wait<1>(); /* all but these: the other group's a may be written, the step before is over */
                if (group == 0 && held >= 0) fc_linear_block_release<CX>(at.bars, held);
            }
            held = at.slot;
            fc_linear_block_next(p, &at);
        }
        fc_wgmma_wait<0>();
        fc_wgmma_done<ROWS>(acc);
        if (held >= 0) fc_linear_block_release<CX>(at.bars, held);
#pragma unroll
        for (int i = 0; i < ROWS / 2; i++) acc[i] = fc_linear_row_scaled<CODE>(acc[i], scale[i / 2 % 2]);
        if (to.part) fc_linear_block_put_part<ROWS>(p, to, acc, range);
#pragma unroll
        for (int i = 0; i < ROWS / 2; i++) total[i] += acc[i];
    }
}

/* ---- codes with a scale for each group */

/* How a step of 64 k is cut into products, in the order of their issue: by groups of 32 k, of Q6_K by its halves, which
 * have a scale each, and by columns (rows of x). */
template <int CODE, int ROWS> struct fc_linear_block_cut {
    static constexpr int COLUMNS = ROWS < 64 ? ROWS : 64, SUMS = COLUMNS / 2, SIDES = ROWS / COLUMNS,
                         PARTS = CODE == FC_CODE_8H ? 2 : 1, GROUP = SIDES * PARTS, ALL = 2 * GROUP;
};

/* acc = fma(minimum, sum of x, acc); x_sums: of the lane's rows 2t, 2t + 1 of 8. */
template <int SUMS>
static __device__ __forceinline__ void fc_linear_block_add_minimums(float acc[SUMS], const float *x_sums,
                                                                    const float least[2]) {
#pragma unroll
    for (int i = 0; i < SUMS; i += 4) {
        float2 sum = *(const float2 *)(x_sums + i / 4 * FC_X_ROWS);
        acc[i] = fmaf(least[0], sum.x, acc[i]);
        acc[i + 1] = fmaf(least[0], sum.y, acc[i + 1]);
        acc[i + 2] = fmaf(least[1], sum.x, acc[i + 2]);
        acc[i + 3] = fmaf(least[1], sum.y, acc[i + 3]);
    }
}

/* 64 k of the warp's panel. */
template <int CODE, int ROWS, bool PRECISE>
static __device__ __forceinline__ void fc_linear_block_scaled_step(float acc[ROWS / 2], const fc_linear_block_ring &p,
                                                                   const unsigned char *stage, const fc_linear_at &at) {
    using cut = fc_linear_block_cut<CODE, ROWS>;
    int lane = (int)threadIdx.x % 32;
    const unsigned char *chunk = stage + p.x.chunk + (int)threadIdx.x / 32 * p.w.chunk;
    const float *x_sums = (const float *)(stage + p.x.chunk - fc_x_tile_sums(ROWS)) + lane % 4 * 2;
    uint64_t b = fc_wgmma_b(stage);
    uint32_t a[2][2][4];
    fc_linear_scales scales[2];
    float sums[2][cut::SUMS];
#pragma unroll
    for (int i = 0; i <= cut::ALL; i++) {
        if (i < cut::ALL) {
            const int group = i / cut::GROUP, side = i % cut::SIDES, half = i / cut::SIDES % cut::PARTS;
            uint64_t from = b + (uint64_t)((group * FC_GROUP * 2 + side * fc_x_tile_lo(cut::COLUMNS)) >> 4);
            if (i % cut::GROUP == 0) {
                fc_linear_a<CODE>(a[group], chunk, group, lane, at);
                fc_linear_scale<CODE>(&scales[group], p.w, chunk, group, at);
            }
            fc_wgmma_fence();
            fc_linear_block_multiply_16<cut::COLUMNS, ROWS, PRECISE>(sums[i % 2], a[group][half],
                                                                     from + half * (FC_GROUP >> 4), false);
            if (cut::PARTS == 1)
                fc_linear_block_multiply_16<cut::COLUMNS, ROWS, PRECISE>(sums[i % 2], a[group][1],
                                                                         from + (FC_GROUP >> 4), true);
            fc_wgmma_commit();
        }
        if (i > 0) {
            const int j = i - 1, group = j / cut::GROUP, side = j % cut::SIDES, half = j / cut::SIDES % cut::PARTS;
            float *to = acc + side * cut::SUMS;
            if (i < cut::ALL) fc_wgmma_wait<1>();
            else fc_wgmma_wait<0>();
            fc_wgmma_done<cut::COLUMNS>(sums[j % 2]);
#pragma unroll
            for (int k = 0; k < cut::SUMS; k++)
                to[k] = fmaf(scales[group].scale[half][k / 2 % 2], sums[j % 2][k], to[k]);
            if ((CODE == FC_CODE_8 || CODE == FC_CODE_4) && p.w.min)
                fc_linear_block_add_minimums<cut::SUMS>(to, x_sums + group * ROWS + side * cut::COLUMNS,
                                                        scales[group].min);
        }
    }
}

/* totals: shared memory, the thread's are FC_LINEAR_BLOCK_ADDERS apart. */
template <int CODE, int ROWS, bool PRECISE, int CX>
static __device__ __forceinline__ void fc_linear_block_scaled(float total[ROWS / 2], const fc_linear_block_ring &p,
                                                              const fc_linear_block_parts &to, fc_linear_block_at at,
                                                              float *totals) {
    const fc_linear_at codes = fc_linear_at_of(p.w, CODE, (int)threadIdx.x % 32);
    fc_linear_block_span v = fc_linear_block_span_of(p.w);
    totals += threadIdx.x;
    for (int range = v.range; range < v.end; range++) {
        float acc[ROWS / 2];
#pragma unroll
        for (int i = 0; i < ROWS / 2; i++) acc[i] = 0.0f;
        for (int end = fc_linear_range(range + 1, p.w.steps); v.step < end; v.step++) {
            fc_linear_block_scaled_step<CODE, ROWS, PRECISE>(acc, p, fc_linear_block_wait(p, at), codes);
            fc_linear_block_release<CX>(at.bars, at.slot);
            fc_linear_block_next(p, &at);
        }
        if (to.part) fc_linear_block_put_part<ROWS>(p, to, acc, range);
        else
#pragma unroll
            for (int i = 0; i < ROWS / 2; i++) {
                float *t = totals + i * FC_LINEAR_BLOCK_ADDERS;
                *t = (range == v.range ? 0.0f : *t) + acc[i];
            }
    }
#pragma unroll
    for (int i = 0; i < ROWS / 2 && !to.part; i++) total[i] = totals[i * FC_LINEAR_BLOCK_ADDERS];
}

/* All warps of the two warpgroups: total of row fc_linear_block_row(i) and output fc_linear_block_output(i), whatever
 * the part and the tile have of them; none where sums go to parts. */
template <int CODE, int ROWS, bool PRECISE, int CX>
static __device__ __forceinline__ void fc_linear_block_multiply(float total[ROWS / 2], const fc_linear_block_ring &p,
                                                                const fc_linear_block_parts &to, unsigned char *ring) {
    const fc_linear_block_at at = {ring, (fc_linear_block_barriers *)(ring + p.stages * p.stage), 0, 0};
    if constexpr (fc_code_chained(CODE)) fc_linear_block_chain<CODE, ROWS, PRECISE, CX>(total, p, to, at);
    else fc_linear_block_scaled<CODE, ROWS, PRECISE, CX>(total, p, to, at, (float *)(at.bars + 1));
}
#endif

#endif
