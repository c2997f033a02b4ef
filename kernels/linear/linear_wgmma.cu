/* linear_wgmma - 256 outputs x 128 rows a block, by two warpgroups that multiply and a warp that copies.
 *
 * Weights are a, from registers: a packed chunk already has m16n8k16's fragments, which are those of a warp of a
 * warpgroup; a warp has a panel of each of its warpgroup's two tiles of 64 outputs. x is b, from shared memory, where
 * its tile lies as it was made, swizzled (linear_x.cuh). A group of 32 k is two products (precise: four) from zero,
 * then f32 as in linear_step.cuh.
 *
 * tile       acc is 2 x 64 registers of a thread, a group's sums are 64 more: 240 hold no larger one. 256 outputs
 *            beside 128 rows and not the reverse, since codes are the smaller side
 * in flight  a step of 64 k is 17 KB of x (precise: 33) and 9 to 20 KB of codes. All stages but one are on their way:
 *            5 of 27 to 38 KB, or 3 to 4 of 43 to 54; 130 KB and more, where 3 TB/s at 800 ns want 18 KB a processor
 * occupancy  one block of 384 threads: 2 x 128 x 240 + 128 x 24 registers of 65,536, and nearly all shared memory
 * share      a group of one tile is 128 clocks of tensor cores (64 x 128 x 32 at 2048 a clock), then some 110 of
 *            instructions (64 multiply-adds, the next codes taken apart), which the other warpgroup's 128 cover: at
 *            most 85 % of the tensor peak, precise 90 %. A step is 1024 clocks (precise: 2048) for 26 to 37 bytes a
 *            clock (21 to 26); where L2 gives no more than 24, that is 65 % with codes of 8 bits, 85 % with 4 or
 *            precise. Two blocks that share x by multicast would lift that; not done. An H100: 323 to 379 TFLOP/s,
 *            33 to 38 %, of 2048 rows (bench/results/2026-11-27-gpu-h100.json)
 * banks      a lane reads its 16 bytes of codes beside its neighbour's. 8 rows of a product's 16 bytes of x lie in 8
 *            places of 128 bytes, by the swizzle. Scales and sums of x are read by 4 and 8 lanes in common
 * y          a warp stores 32 bytes of each of 4 rows at once: whole sectors
 */
#include "kernels/linear/linear_wgmma.cuh"

#include "kernels/cuda/wgmma.cuh"
#include "kernels/linear/linear_step.cuh"

enum {
    OUTPUTS = 256,
    PANELS = OUTPUTS / FC_PANEL,
    MULTIPLIERS = 2, /* warpgroups */
    TILES = OUTPUTS / 64 / MULTIPLIERS,
    COPIER = MULTIPLIERS * 4, /* the warp that copies */
    THREADS = (MULTIPLIERS + 1) * FC_WARPGROUP,
    MOST_STAGES = 6,
    SUMS = FC_X_TILE / 2, /* a thread's of a tile */
    LEAST_ROWS = FC_X_TILE,
    ALIGN = 1024,
};

/* x and y begin at the call's first row. */
typedef struct {
    fc_part_cuda w;
    fc_linear_x x;
    float *y;          /* [x.T,N] */
    const float *bias; /* [N] or NULL */
    int N;
    int stages, stage; /* how many, and bytes of one: x, then panels */
} wgmma_params;

struct ring_barriers {
    uint64_t full[MOST_STAGES], empty[MOST_STAGES];
};

#if FC_HOPPER /* elsewhere the kernel traps */
/* ---- the warp that copies: a lane for each panel, one for x */

static __device__ __forceinline__ void copy_steps(const wgmma_params &p, unsigned char *ring, ring_barriers *bars) {
    int lane = (int)threadIdx.x % 32, panel = min((int)blockIdx.y * PANELS + lane, p.w.n_panels - 1);
    const unsigned char *from = p.w.panels + (size_t)panel * p.w.panel_bytes;
    unsigned bytes = (unsigned)p.w.chunk, to = (unsigned)(p.x.chunk + lane * p.w.chunk), parity = 1;
    if (lane == PANELS) {
        from = p.x.codes + (size_t)blockIdx.x * p.x.steps * p.x.chunk;
        bytes = (unsigned)p.x.chunk, to = 0;
    }
    for (int step = 0, slot = 0; step < p.w.steps; step++) {
        fc_mbarrier_wait(&bars->empty[slot], parity);
        if (lane == 0) fc_mbarrier_expect(&bars->full[slot], (unsigned)(p.x.chunk + PANELS * p.w.chunk));
        __syncwarp();
        if (lane <= PANELS)
            fc_copy_bulk(ring + slot * p.stage + to, from + (size_t)step * bytes, bytes, &bars->full[slot]);
        if (++slot == p.stages) slot = 0, parity ^= 1;
    }
}

/* ---- warpgroups that multiply */

static __device__ __forceinline__ void add_scaled(float acc[SUMS], const float sums[SUMS], const float scale[2]) {
#pragma unroll
    for (int i = 0; i < SUMS; i += 4) fc_linear_add(acc + i, sums + i, scale);
}

/* acc = fma(minimum, sum of x, acc); x_sums: of the lane's rows 2t, 2t + 1 of 8. */
static __device__ __forceinline__ void add_minimums(float acc[SUMS], const float *x_sums, const float least[2]) {
#pragma unroll
    for (int i = 0; i < SUMS; i += 4) {
        float2 sum = *(const float2 *)(x_sums + i / 4 * FC_X_ROWS);
        acc[i] = fmaf(least[0], sum.x, acc[i]);
        acc[i + 1] = fmaf(least[0], sum.y, acc[i + 1]);
        acc[i + 2] = fmaf(least[1], sum.x, acc[i + 2]);
        acc[i + 3] = fmaf(least[1], sum.y, acc[i + 3]);
    }
}

/* Both products of 16 k, hi and, precise, lo, of one a. */
template <bool PRECISE>
static __device__ __forceinline__ void multiply(float sums[SUMS], const uint32_t a[4], uint64_t b, bool more) {
    fc_wgmma_bf16(sums, a, b, more);
    if (PRECISE) fc_wgmma_bf16(sums, a, b + (FC_X_TILE_LO >> 4), true);
}

/* 32 k of a tile of 64 outputs. */
template <int CODE, bool PRECISE>
static __device__ __forceinline__ void multiply_group(float acc[SUMS], float sums[SUMS], const wgmma_params &p,
                                                      const unsigned char *stage, int panel, int group,
                                                      const fc_linear_at &at) {
    int lane = (int)threadIdx.x % 32;
    const unsigned char *chunk = stage + p.x.chunk + panel * p.w.chunk;
    uint64_t b = fc_wgmma_b(stage + group * FC_GROUP * 2);
    uint32_t a[2][4];
    fc_linear_scales s;
    fc_linear_a<CODE>(a, chunk, group, lane, at);
    fc_linear_scale<CODE>(&s, p.w, chunk, group, at);
    fc_wgmma_fence();
    multiply<PRECISE>(sums, a[0], b, false);
    if (CODE == FC_CODE_8H) {
        fc_wgmma_commit();
        fc_wgmma_wait();
        add_scaled(acc, sums, s.scale[0]);
        fc_wgmma_fence();
    }
    multiply<PRECISE>(sums, a[1], b + (FC_GROUP >> 4), CODE != FC_CODE_8H);
    fc_wgmma_commit();
    fc_wgmma_wait();
    add_scaled(acc, sums, s.scale[CODE == FC_CODE_8H]);
    if ((CODE == FC_CODE_8 || CODE == FC_CODE_4) && p.w.min)
        add_minimums(acc, (const float *)(stage + p.x.chunk - FC_X_TILE_SUMS) + group * FC_X_TILE + lane % 4 * 2,
                     s.min);
}

static __device__ __forceinline__ void store_tile(const wgmma_params &p, const float acc[SUMS], int panel) {
    int lane = (int)threadIdx.x % 32, row0 = (int)blockIdx.x * FC_X_TILE + lane % 4 * 2;
#pragma unroll
    for (int h = 0; h < 2; h++) {
        int o = ((int)blockIdx.y * PANELS + panel) * FC_PANEL + lane / 4 + h * 8;
        if (o >= p.w.N) continue;
        o += p.w.first;
        float bias = p.bias ? p.bias[o] : 0.0f;
#pragma unroll
        for (int i = 0; i < SUMS / 2; i++) {
            int row = row0 + i / 2 * FC_X_ROWS + i % 2;
            if (row < p.x.T) p.y[(size_t)row * p.N + o] = acc[i / 2 * 4 + h * 2 + i % 2] + bias;
        }
    }
}

template <int CODE, bool PRECISE>
static __device__ __forceinline__ void multiply_steps(const wgmma_params &p, const unsigned char *ring,
                                                      ring_barriers *bars) {
    int warp = (int)threadIdx.x / 32, lane = (int)threadIdx.x % 32, first = warp / 4 * TILES * 4 + warp % 4;
    const fc_linear_at at = fc_linear_at_of(p.w, CODE, lane);
    float acc[TILES][SUMS], sums[SUMS];
    unsigned parity = 0;
#pragma unroll
    for (int i = 0; i < SUMS; i++) {
        sums[i] = 0.0f;
        for (int m = 0; m < TILES; m++) acc[m][i] = 0.0f;
    }
    for (int step = 0, slot = 0; step < p.w.steps; step++) {
        const unsigned char *stage = ring + slot * p.stage;
        fc_mbarrier_wait(&bars->full[slot], parity);
#pragma unroll 1 /* both at once would want more registers than there are */
        for (int group = 0; group < 2; group++)
#pragma unroll
            for (int m = 0; m < TILES; m++)
                multiply_group<CODE, PRECISE>(acc[m], sums, p, stage, first + m * 4, group, at);
        __syncwarp(); /* all lanes have read what threads read */
        if (lane == 0) fc_mbarrier_arrive(&bars->empty[slot]);
        if (++slot == p.stages) slot = 0, parity ^= 1;
    }
#pragma unroll
    for (int m = 0; m < TILES; m++) store_tile(p, acc[m], first + m * 4);
}
#endif

template <int CODE, bool PRECISE>
static __global__ void __launch_bounds__(THREADS, 1) wgmma_kernel(const wgmma_params p) {
#if FC_HOPPER
    unsigned char *ring = fc_shared<unsigned char>();
    ring += (ALIGN - fc_shared_address(ring) % ALIGN) % ALIGN;
    ring_barriers *bars = (ring_barriers *)(ring + p.stages * p.stage);
    int warp = (int)threadIdx.x / 32;
    if (threadIdx.x == 0) {
        for (int i = 0; i < p.stages; i++) {
            fc_mbarrier_init(&bars->full[i], 1);
            fc_mbarrier_init(&bars->empty[i], COPIER);
        }
        fc_proxy_fence();
    }
    __syncthreads();
    if (warp >= COPIER) {
        fc_registers_fewer<24>();
        if (warp == COPIER) copy_steps(p, ring, bars);
    } else {
        fc_registers_more<240>();
        multiply_steps<CODE, PRECISE>(p, ring, bars);
    }
#else
    __trap();
#endif
}

/* ---- launch */

static int stage_bytes(const fc_part_cuda *w, bool precise) {
    return (fc_linear_x_tile(precise) + PANELS * w->chunk + ALIGN - 1) / ALIGN * ALIGN;
}

static int stages_of(fc_stream s, const fc_part_cuda *w, bool precise) {
    size_t room = s->shared_max - ALIGN - sizeof(ring_barriers), stages = room / (size_t)stage_bytes(w, precise);
    return stages < MOST_STAGES ? (int)stages : MOST_STAGES;
}

template <int CODE> static fc_status launch(fc_stream s, const wgmma_params &p) {
    dim3 grid((unsigned)fc_div_up(p.x.T, FC_X_TILE), (unsigned)fc_div_up(p.w.N, OUTPUTS));
    size_t shared = (size_t)(p.stages * p.stage) + ALIGN + sizeof(ring_barriers);
    if (p.x.precise) return fc_launch(s, "linear: wgmma", wgmma_kernel<CODE, true>, grid, THREADS, shared, p);
    return fc_launch(s, "linear: wgmma", wgmma_kernel<CODE, false>, grid, THREADS, shared, p);
}

static fc_status run_part(fc_stream s, const wgmma_params &p) {
    switch (p.w.code) {
    case FC_CODE_F8: return launch<FC_CODE_F8>(s, p);
    case FC_CODE_8: return launch<FC_CODE_8>(s, p);
    case FC_CODE_8H: return launch<FC_CODE_8H>(s, p);
    case FC_CODE_4: return launch<FC_CODE_4>(s, p);
    default: return FC_FAIL(FC_ERR_INTERNAL, "linear: code %d by wgmma", (int)p.w.code);
    }
}

/* Rows that can be made at once in the stream's workspace. */
static int rows_of(fc_stream s, const fc_linear_args *a) {
    size_t tile = (size_t)fc_linear_steps(a->w->K) * (size_t)fc_linear_x_tile(a->precise),
           rows = s->workspace_bytes / tile * FC_X_TILE;
    return rows < (size_t)a->T ? (int)rows : a->T;
}

bool fc_linear_wgmma_takes(fc_stream s, const fc_linear_args *a) {
    const fc_weight_cuda *w = fc_weight_cuda_of(a->w);
    if (s->invariant || s->sm != 90 || a->T < LEAST_ROWS) return false;
    for (int i = 0; i < w->n_parts; i++) {
        const fc_part_cuda *part = &w->parts[i];
        if (part->code <= FC_CODE_BF16 || stages_of(s, part, a->precise) < 2) return false;
        if (fc_div_up(a->T, FC_X_TILE) * fc_div_up(part->N, OUTPUTS) * 2 <= s->sms) return false;
    }
    return rows_of(s, a) >= LEAST_ROWS;
}

fc_status fc_linear_wgmma(fc_stream s, const fc_linear_args *a) {
    const fc_weight_cuda *w = fc_weight_cuda_of(a->w);
    int rows = rows_of(s, a);
    for (int first = 0, n; first < a->T; first += n) {
        fc_linear_x_from from = {a->x, a->norm, a->glu, first, 0, a->precise};
        wgmma_params p = {};
        n = from.T = rows < a->T - first ? rows : a->T - first;
        FC_TRY(fc_linear_x_make_tiles(s, a->w, &from, s->workspace, &p.x));
        p.N = a->w->N;
        p.y = a->y + (size_t)first * (size_t)p.N;
        p.bias = a->bias;
        for (int i = 0; i < w->n_parts; i++) {
            p.w = w->parts[i];
            p.stage = stage_bytes(&p.w, a->precise);
            p.stages = stages_of(s, &p.w, a->precise);
            FC_TRY(run_part(s, p));
        }
    }
    return FC_OK;
}
