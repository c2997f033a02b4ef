/* linear_wgmma - 128 outputs x 32, 64 or 128 rows a block, by two warpgroups that multiply and a warp that copies; with
 * the bits of linear_tile.cuh, since wgmma has those of mma.sync.
 *
 * Weights are a, from registers: a packed chunk already has m16n8k16's fragments, which are those of a warp of a
 * warpgroup; a warp has one panel. x is b, from shared memory, where its tile lies as it was made, swizzled
 * (linear_x.cuh). A group of 32 k is two products (precise: four) from zero, then f32 as in linear_step.cuh. 128 rows
 * are two products side by side. A product's sums are added while the next one runs: two of a warpgroup are on their
 * way but for the last of a step, and the other warpgroup's fill that gap. Sums of a range of K fold into shared memory
 * of the thread's own, or, where blocks share K, go to device memory.
 *
 * tile       a thread has, of 128 rows, 64 registers of a range's sums and twice 32 of products. What ranges have
 *            together is 64 more, of eight uses: they are in shared memory, 64 KB
 * rows       few are bound by memory: 32 or 64 make the tensor cores' work less. 128 read weights less often, but where
 *            they leave half of the processors without a block, 64 do not
 * in flight  a step of 64 k and 128 rows is 17 KB of x (precise: 33) and 4 to 16 KB of weights. All stages but one are
 *            on their way: 3 to 6 of 22 to 49 KB
 * occupancy  one block of 384 threads, 2 x 128 x 240 + 128 x 24 registers of 65,536, and nearly all shared memory
 * share      a step of 128 rows is 512 clocks of tensor cores (precise: 1024) for 43 to 66 bytes a clock (37 to 49): L2
 *            gives some 24 to 30, so that 40 to 70 % of the peak are possible. Two blocks that share what they read by
 *            multicast would lift that; not done
 * banks      a lane reads its 16 bytes of codes beside its neighbour's. 8 rows of a product's 16 bytes of x lie in 8
 *            places of 128 bytes, by the swizzle. Scales and sums of x are read by 4 and 8 lanes in common
 * y          a warp stores 32 bytes of each of 4 rows at once: whole sectors
 */
#include "kernels/linear/linear_wgmma.cuh"

#include "kernels/cuda/wgmma.cuh"
#include "kernels/linear/linear_fold.cuh"
#include "kernels/linear/linear_step.cuh"

enum {
    OUTPUTS = 128,
    PANELS = OUTPUTS / FC_PANEL,
    MULTIPLIERS = OUTPUTS / 64, /* warpgroups */
    ADDERS = MULTIPLIERS * FC_WARPGROUP,
    COPIER = MULTIPLIERS * 4, /* the warp that copies */
    THREADS = (MULTIPLIERS + 1) * FC_WARPGROUP,
    MOST_STAGES = 6,
    LEAST_ROWS = 17, /* fewer: linear.cu cuts K among the warps of a block */
    ALIGN = 1024,
};

/* x and y begin at the call's first row. */
typedef struct {
    fc_part_cuda w;
    fc_linear_x x;
    float *y;          /* [x.T,N] */
    const float *bias; /* [N] or NULL */
    float *part;       /* [FC_RANGES][x.T,N] or NULL: sums of ranges, folded by another kernel */
    int N;
    int stages, stage; /* how many, and bytes of one: x, then panels */
} wgmma_params;

struct ring_barriers {
    uint64_t full[MOST_STAGES], empty[MOST_STAGES];
};

#if FC_HOPPER /* elsewhere the kernel traps */
/* A block's ranges of K, and the steps of these. */
typedef struct {
    int range, end, step, last;
} wgmma_span;

static __device__ __forceinline__ wgmma_span span_of(const wgmma_params &p) {
    wgmma_span v;
    int ranges = FC_RANGES / (int)gridDim.z;
    v.range = (int)blockIdx.z * ranges, v.end = v.range + ranges;
    v.step = fc_linear_range(v.range, p.w.steps), v.last = fc_linear_range(v.end, p.w.steps);
    return v;
}

/* ---- the warp that copies: a lane for each panel, one for x */

static __device__ __forceinline__ void copy_steps(const wgmma_params &p, unsigned char *ring, ring_barriers *bars) {
    int lane = (int)threadIdx.x % 32, panel = min((int)blockIdx.y * PANELS + lane, p.w.n_panels - 1);
    const wgmma_span v = span_of(p);
    const unsigned char *from = p.w.panels + (size_t)panel * p.w.panel_bytes;
    unsigned bytes = (unsigned)p.w.chunk, to = (unsigned)(p.x.chunk + lane * p.w.chunk), parity = 1;
    if (lane == PANELS) {
        from = p.x.codes + (size_t)blockIdx.x * p.x.steps * p.x.chunk;
        bytes = (unsigned)p.x.chunk, to = 0;
    }
    for (int step = v.step, slot = 0; step < v.last; step++) {
        fc_mbarrier_wait(&bars->empty[slot], parity);
        if (lane == 0) fc_mbarrier_expect(&bars->full[slot], (unsigned)(p.x.chunk + PANELS * p.w.chunk));
        __syncwarp();
        if (lane <= PANELS)
            fc_copy_bulk(ring + slot * p.stage + to, from + (size_t)step * bytes, bytes, &bars->full[slot]);
        if (++slot == p.stages) slot = 0, parity ^= 1;
    }
}

/* ---- warpgroups that multiply */

/* How a step of 64 k is cut into products, in the order of their issue: by groups of 32 k, of Q6_K by its halves, which
 * have a scale each, and by columns (rows of x). */
template <int CODE, int ROWS> struct wgmma_cut {
    static constexpr int COLUMNS = ROWS < 64 ? ROWS : 64, SUMS = COLUMNS / 2, SIDES = ROWS / COLUMNS,
                         PARTS = CODE == FC_CODE_8H ? 2 : 1, GROUP = SIDES * PARTS, ALL = 2 * GROUP;
};

/* acc += scaled sums. */
template <int CODE, int SUMS>
static __device__ __forceinline__ void add_scaled(float acc[SUMS], const float sums[SUMS], const float scale[2]) {
#pragma unroll
    for (int i = 0; i < SUMS; i++) {
        if (CODE == FC_CODE_BF16) acc[i] += sums[i];
        else acc[i] = fmaf(scale[i / 2 % 2], sums[i], acc[i]);
    }
}

/* acc = fma(minimum, sum of x, acc); x_sums: of the lane's rows 2t, 2t + 1 of 8. */
template <int SUMS>
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

/* 16 k, hi and, precise, lo, of one a. */
template <int COLUMNS, int ROWS, bool PRECISE>
static __device__ __forceinline__ void multiply_16(float *sums, const uint32_t a[4], uint64_t b, bool more) {
    fc_wgmma_bf16<COLUMNS>(sums, a, b, more);
    if (PRECISE) fc_wgmma_bf16<COLUMNS>(sums, a, b + (fc_x_tile_lo(ROWS) >> 4), true);
}

/* 64 k of the warp's panel. */
template <int CODE, int ROWS, bool PRECISE>
static __device__ __forceinline__ void multiply_step(float acc[ROWS / 2], const wgmma_params &p,
                                                     const unsigned char *stage, const fc_linear_at &at) {
    using cut = wgmma_cut<CODE, ROWS>;
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
            multiply_16<cut::COLUMNS, ROWS, PRECISE>(sums[i % 2], a[group][half], from + half * (FC_GROUP >> 4), false);
            if (cut::PARTS == 1)
                multiply_16<cut::COLUMNS, ROWS, PRECISE>(sums[i % 2], a[group][1], from + (FC_GROUP >> 4), true);
            fc_wgmma_commit();
        }
        if (i > 0) {
            const int j = i - 1, group = j / cut::GROUP, side = j % cut::SIDES, half = j / cut::SIDES % cut::PARTS;
            float *to = acc + side * cut::SUMS;
            if (i < cut::ALL) fc_wgmma_wait<1>();
            else fc_wgmma_wait<0>();
            fc_wgmma_done<cut::COLUMNS>(sums[j % 2]);
            add_scaled<CODE, cut::SUMS>(to, sums[j % 2], scales[group].scale[half]);
            if ((CODE == FC_CODE_8 || CODE == FC_CODE_4) && p.w.min)
                add_minimums<cut::SUMS>(to, x_sums + group * ROWS + side * cut::COLUMNS, scales[group].min);
        }
    }
}

/* The lane's row and output of sum i of its panel; false: there is none. */
template <int ROWS> static __device__ __forceinline__ bool place_of(const wgmma_params &p, int i, int *row, int *o) {
    int lane = (int)threadIdx.x % 32;
    *row = (int)blockIdx.x * ROWS + i / 4 * FC_X_ROWS + lane % 4 * 2 + i % 2;
    *o = ((int)blockIdx.y * PANELS + (int)threadIdx.x / 32) * FC_PANEL + lane / 4 + i / 2 % 2 * 8;
    return *row < p.x.T && *o < p.w.N;
}

/* A range's sums. totals: the thread's are ADDERS apart. */
template <int ROWS>
static __device__ __forceinline__ void put_range(const wgmma_params &p, const float acc[ROWS / 2], float *totals,
                                                 int range, bool first) {
#pragma unroll
    for (int i = 0; i < ROWS / 2; i++) {
        float *v = totals + i * ADDERS;
        int row, o;
        if (!p.part) *v = (first ? 0.0f : *v) + acc[i];
        else if (place_of<ROWS>(p, i, &row, &o)) p.part[((size_t)range * p.x.T + row) * p.N + p.w.first + o] = acc[i];
    }
}

template <int ROWS> static __device__ __forceinline__ void store(const wgmma_params &p, const float *totals) {
#pragma unroll
    for (int i = 0; i < ROWS / 2; i++) {
        int row, o;
        if (!place_of<ROWS>(p, i, &row, &o)) continue;
        o += p.w.first;
        p.y[(size_t)row * p.N + o] = totals[i * ADDERS] + (p.bias ? p.bias[o] : 0.0f);
    }
}

template <int CODE, int ROWS, bool PRECISE>
static __device__ __forceinline__ void multiply_steps(const wgmma_params &p, const unsigned char *ring,
                                                      ring_barriers *bars, float *totals) {
    int lane = (int)threadIdx.x % 32, slot = 0;
    const fc_linear_at at = fc_linear_at_of(p.w, CODE, lane);
    wgmma_span v = span_of(p);
    unsigned parity = 0;
    totals += threadIdx.x;
    for (int range = v.range; range < v.end; range++) {
        float acc[ROWS / 2];
#pragma unroll
        for (int i = 0; i < ROWS / 2; i++) acc[i] = 0.0f;
        for (int end = fc_linear_range(range + 1, p.w.steps); v.step < end; v.step++) {
            fc_mbarrier_wait(&bars->full[slot], parity);
            multiply_step<CODE, ROWS, PRECISE>(acc, p, ring + slot * p.stage, at);
            __syncwarp(); /* all lanes have read what threads read */
            if (lane == 0) fc_mbarrier_arrive(&bars->empty[slot]);
            if (++slot == p.stages) slot = 0, parity ^= 1;
        }
        put_range<ROWS>(p, acc, totals, range, range == v.range);
    }
    if (!p.part) store<ROWS>(p, totals);
}
#endif

template <int CODE, int ROWS, bool PRECISE>
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
        multiply_steps<CODE, ROWS, PRECISE>(p, ring, bars, (float *)(bars + 1));
    }
#else
    __trap();
#endif
}

/* ---- launch */

static int stage_bytes(const fc_part_cuda *w, int tile, bool precise) {
    return (fc_x_tile_chunk(tile, precise) + PANELS * w->chunk + ALIGN - 1) / ALIGN * ALIGN;
}

/* Shared memory beside the ring; with totals. */
static size_t beside(int tile) { return ALIGN + sizeof(ring_barriers) + (size_t)(tile / 2 * ADDERS) * sizeof(float); }

static int stages_of(fc_stream s, const fc_part_cuda *w, int tile, bool precise) {
    size_t stages =
        s->shared_max > beside(tile) ? (s->shared_max - beside(tile)) / (size_t)stage_bytes(w, tile, precise) : 0;
    return stages < MOST_STAGES ? (int)stages : MOST_STAGES;
}

template <int CODE, int ROWS> static fc_status launch_rows(fc_stream s, const wgmma_params &p, dim3 grid) {
    size_t shared = (size_t)(p.stages * p.stage) + beside(ROWS);
    if (p.x.precise) return fc_launch(s, "linear: wgmma", wgmma_kernel<CODE, ROWS, true>, grid, THREADS, shared, p);
    return fc_launch(s, "linear: wgmma", wgmma_kernel<CODE, ROWS, false>, grid, THREADS, shared, p);
}

/* Where blocks are few they share K: not for less than twice as many, since sums of ranges are written and read. */
template <int CODE> static fc_status launch(fc_stream s, const wgmma_params &all, int tile) {
    wgmma_params p = all;
    dim3 grid((unsigned)fc_div_up(p.x.T, tile), (unsigned)fc_div_up(p.w.N, OUTPUTS));
    while (p.part && grid.z < FC_RANGES && (int)(grid.x * grid.y * grid.z) * 2 <= s->sms) grid.z *= 2;
    if (grid.z == 1) p.part = NULL;
    FC_TRY(tile == 32   ? (launch_rows<CODE, 32>(s, p, grid))
           : tile == 64 ? (launch_rows<CODE, 64>(s, p, grid))
                        : (launch_rows<CODE, 128>(s, p, grid)));
    if (!p.part) return FC_OK;
    return fc_linear_fold_parts(s, &p.w, p.part, p.bias, p.y, p.x.T, p.N);
}

static fc_status run_part(fc_stream s, const wgmma_params &p, int tile) {
    switch (p.w.code) {
    case FC_CODE_BF16: return launch<FC_CODE_BF16>(s, p, tile);
    case FC_CODE_F8: return launch<FC_CODE_F8>(s, p, tile);
    case FC_CODE_8: return launch<FC_CODE_8>(s, p, tile);
    case FC_CODE_8H: return launch<FC_CODE_8H>(s, p, tile);
    case FC_CODE_4: return launch<FC_CODE_4>(s, p, tile);
    default: return FC_FAIL(FC_ERR_INTERNAL, "linear: code %d by wgmma", (int)p.w.code);
    }
}

/* Rows of a tile, of n: where 128 leave half of the processors or more without a block, and K cannot be shared, 64. */
static int tile_of(fc_stream s, const fc_linear_args *a, int n) {
    const fc_weight_cuda *w = fc_weight_cuda_of(a->w);
    int most = 0;
    if (n <= 64) return n <= 32 ? 32 : 64;
    for (int i = 0; i < w->n_parts; i++) most = w->parts[i].N > most ? w->parts[i].N : most;
    return n > FC_SPLIT_ROWS && fc_div_up(n, 128) * fc_div_up(most, OUTPUTS) * 2 <= s->sms ? 64 : 128;
}

static size_t x_bytes(const fc_linear_args *a, int n, int tile) {
    size_t chunks = (size_t)fc_div_up(n, tile) * (size_t)fc_linear_steps(a->w->K);
    return (chunks * (size_t)fc_x_tile_chunk(tile, a->precise) + 255) & ~(size_t)255;
}

extern "C" bool fc_linear_wgmma_takes(fc_stream s, const fc_linear_args *a, int n) {
    const fc_weight_cuda *w = fc_weight_cuda_of(a->w);
    int tile = tile_of(s, a, n);
    if (s->sm != 90 || n < LEAST_ROWS || x_bytes(a, n, tile) > s->workspace_bytes) return false;
    for (int i = 0; i < w->n_parts; i++) {
        const fc_part_cuda *part = &w->parts[i];
        if (fc_code_is_float(part->code) || part->by_rows || stages_of(s, part, tile, a->precise) < 2) return false;
    }
    return true;
}

fc_status fc_linear_wgmma(fc_stream s, const fc_linear_args *a, int first, int n) {
    const fc_weight_cuda *w = fc_weight_cuda_of(a->w);
    int tile = tile_of(s, a, n);
    size_t used = x_bytes(a, n, tile);
    fc_linear_x_from from = {a->x, a->norm, a->glu, first, n, a->precise};
    wgmma_params p = {};
    FC_TRY(fc_linear_x_make_tiles(s, a->w, &from, tile, s->workspace, &p.x));
    p.N = a->w->N;
    p.y = a->y + (size_t)first * (size_t)p.N;
    p.bias = a->bias;
    if (n <= FC_SPLIT_ROWS && used + fc_linear_part_bytes(n, p.N) <= s->workspace_bytes)
        p.part = (float *)(s->workspace + used);
    for (int i = 0; i < w->n_parts; i++) {
        p.w = w->parts[i];
        p.stage = stage_bytes(&p.w, tile, a->precise);
        p.stages = stages_of(s, &p.w, tile, a->precise);
        FC_TRY(run_part(s, p, tile));
    }
    return FC_OK;
}
