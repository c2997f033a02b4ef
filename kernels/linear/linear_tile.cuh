/* linear_tile - logits of 256 outputs for some rows in shared memory, with the bits of linear: what a product of many
 * rows stores, and what a head reduces instead. Inner to kernels/linear and kernels/head.
 *
 * On the host
 *   fc_linear_x_make(s, w, &from, memory, &x)           rows of x, once for all tiles (linear_x.cuh)
 *   part = &fc_weight_cuda_of(w)->parts[0]              a head wants w of one part
 *   fc_linear_tile_ring(part, nt, stages, precise)      bytes of shared memory for the ring, beside the logits
 *   a launch of blocks of FC_LINEAR_THREADS threads; its kernel is a template of CODE = part->code, NT and STAGES
 * In the kernel, all threads of the block
 *   fc_linear_tile<CODE, NT, STAGES>(part, x, tile, row_tile, ring, logits)
 *     outputs 256 tile .. 256 tile + 255 and rows 8 row_tile .. 8 (row_tile + NT) - 1; it ends with a barrier:
 *     logits [8 NT][FC_LINEAR_PITCH], row r's 256 at logits + r * FC_LINEAR_PITCH; those of outputs past N and of
 *     rows past T have no meaning. No bias. A barrier goes before the next call once logits have been read.
 * NT is 1, 2, 4 or 8. The kernel says __launch_bounds__(FC_LINEAR_THREADS, fc_linear_tile_blocks(NT)): left to itself,
 * the compiler goes for more blocks a processor and spills some registers.
 *
 * A warp has 32 outputs and all k. Its weights come by cp.async into a ring of its own, x into a ring of the block: a
 * barrier a step. Sums of a range stay in registers and fold into logits at the range's end.
 */
#ifndef FC_KERNELS_LINEAR_TILE_CUH
#define FC_KERNELS_LINEAR_TILE_CUH

#include "kernels/cuda/warp.cuh"
#include "kernels/linear/linear_float.cuh"
#include "kernels/linear/linear_step.cuh"

enum {
    FC_LINEAR_TILE = 256,
    FC_LINEAR_PITCH = 260, /* floats: the rows 2t of a warp's lanes lie in banks 8t */
    FC_LINEAR_THREADS = 256,
    FC_LINEAR_WARPS = FC_LINEAR_THREADS / 32,
    FC_LINEAR_TILE_PANELS = FC_LINEAR_TILE / FC_PANEL,
};

/* Steps in the ring: of BF16, whose steps are large, fewer. Beside a few of them two tiles of rows are within 99 KiB;
 * one is beside all, but for BF16. */
static __host__ __device__ constexpr int fc_linear_tile_stages(int code) { return code == FC_CODE_BF16 ? 3 : 4; }
static __host__ __device__ constexpr int fc_linear_tile_few_stages(int code) { return code == FC_CODE_BF16 ? 2 : 3; }

/* Blocks of a processor that registers must be there for. */
static __host__ __device__ constexpr int fc_linear_tile_blocks(int nt) { return nt < 8 ? 2 : 1; }

static inline size_t fc_linear_tile_ring(const fc_part_cuda *w, int nt, int stages, bool precise) {
    if (fc_code_is_float(w->code)) return 0;
    return (size_t)stages *
           (size_t)(FC_LINEAR_TILE_PANELS * w->chunk + nt * (precise ? FC_X_CHUNK_PRECISE : FC_X_CHUNK));
}
static inline size_t fc_linear_tile_logits(int nt) {
    return (size_t)(nt * FC_X_ROWS * FC_LINEAR_PITCH) * sizeof(float);
}
static inline size_t fc_linear_tile_shared(const fc_part_cuda *w, int nt, int stages, bool precise) {
    return fc_linear_tile_ring(w, nt, stages, precise) + fc_linear_tile_logits(nt);
}

/* A step of the warp's two panels and, by the warps in turn, of the block's tiles of rows. What is past the last panel
 * or tile of rows is the last one again: nobody looks at what becomes of it. */
template <int CODE, int NT>
static __device__ __forceinline__ void fc_linear_tile_fetch(const fc_part_cuda &w, const fc_linear_x &x,
                                                            unsigned char *stage, int panel, int row_tile, int step) {
    int warp = (int)threadIdx.x / 32, lane = (int)threadIdx.x % 32, tiles = (x.T - 1) / FC_X_ROWS + 1;
#pragma unroll
    for (int m = 0; m < 2; m++)
        fc_linear_copy<CODE>(stage + (warp * 2 + m) * w.chunk + lane * 16,
                             fc_linear_from<CODE>(w, min(panel + m, w.n_panels - 1), step, lane), w, lane);
#pragma unroll
    for (int n = warp; n < NT; n += FC_LINEAR_WARPS) {
        size_t at = ((size_t)min(row_tile + n, tiles - 1) * x.steps + step) * x.chunk;
        unsigned char *to = stage + FC_LINEAR_TILE_PANELS * w.chunk + n * x.chunk;
        for (int i = lane * 16; i < x.chunk; i += 512) fc_copy_async<16>(to + i, x.codes + at + i);
    }
}

template <int CODE, int NT>
static __device__ __forceinline__ void fc_linear_tile_step(float acc[NT][2][4], const fc_part_cuda &w,
                                                           const fc_linear_x &x, const unsigned char *stage,
                                                           const fc_linear_at &at) {
    int warp = (int)threadIdx.x / 32, lane = (int)threadIdx.x % 32;
#pragma unroll
    for (int group = 0; group < 2; group++) {
        uint32_t a[2][2][4];
        fc_linear_scales scales[2];
#pragma unroll
        for (int m = 0; m < 2; m++) {
            const unsigned char *chunk = stage + (warp * 2 + m) * w.chunk;
            fc_linear_a<CODE>(a[m], chunk, group, lane, at);
            fc_linear_scale<CODE>(&scales[m], w, chunk, group, at);
        }
#pragma unroll
        for (int n = 0; n < NT; n++) {
            fc_linear_b b;
            const unsigned char *xs = stage + FC_LINEAR_TILE_PANELS * w.chunk + n * x.chunk;
            fc_linear_b_of(&b, xs + lane * 16, xs + fc_linear_sums(lane), group, x.precise, true, w.min);
#pragma unroll
            for (int m = 0; m < 2; m++) fc_linear_group<CODE>(acc[n][m], a[m], &scales[m], w.min, &b, x.precise);
        }
    }
}

/* Where sums of a range go: folded into logits in shared memory, or, as they are, to part [FC_RANGES][rows][N] in
 * device memory. */
typedef struct {
    float *logits;
    float *part;
    int rows, N; /* of part; columns of this one begin at `first` */
    int first;
} fc_linear_sink;

template <int CODE, int NT>
static __device__ __forceinline__ void fc_linear_tile_put(const float acc[NT][2][4], const fc_linear_sink &to,
                                                          const fc_part_cuda &w, int tile, int row_tile, int range,
                                                          bool first) {
    int warp = (int)threadIdx.x / 32, lane = (int)threadIdx.x % 32;
#pragma unroll
    for (int m = 0; m < 2; m++) {
        float scale[2];
        fc_linear_row_scale<CODE>(scale, w, tile * FC_LINEAR_TILE_PANELS + warp * 2 + m, lane);
#pragma unroll
        for (int n = 0; n < NT; n++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                int row = n * FC_X_ROWS + lane % 4 * 2 + i % 2, out = (warp * 2 + m) * FC_PANEL + lane / 4 + i / 2 * 8;
                const float sum = fc_linear_row_scaled<CODE>(acc[n][m][i], scale[i / 2]);
                if (to.part) {
                    int r = row_tile * FC_X_ROWS + row, o = tile * FC_LINEAR_TILE + out;
                    if (r < to.rows && o < w.N) to.part[((size_t)range * to.rows + r) * to.N + to.first + o] = sum;
                } else {
                    float *v = to.logits + row * FC_LINEAR_PITCH + out;
                    *v = (first ? 0.0f : *v) + sum;
                }
            }
    }
}

/* Ranges range0 .. range1 - 1. Ends without a barrier. */
template <int CODE, int NT, int STAGES>
static __device__ __forceinline__ void fc_linear_tile_ranges(const fc_part_cuda &w, const fc_linear_x &x, int tile,
                                                             int row_tile, int range0, int range1, unsigned char *ring,
                                                             const fc_linear_sink &to) {
    int panel = tile * FC_LINEAR_TILE_PANELS + (int)threadIdx.x / 32 * 2,
        stage_bytes = FC_LINEAR_TILE_PANELS * w.chunk + NT * x.chunk;
    int step = fc_linear_range(range0, w.steps), last = fc_linear_range(range1, w.steps), slot = 0;
    const fc_linear_at at = fc_linear_at_of(w, CODE, (int)threadIdx.x % 32);
    for (int i = 0; i < STAGES - 1; i++) {
        if (step + i < last) fc_linear_tile_fetch<CODE, NT>(w, x, ring + i * stage_bytes, panel, row_tile, step + i);
        fc_copy_commit();
    }
    for (int range = range0; range < range1; range++) {
        float acc[NT][2][4];
#pragma unroll
        for (int n = 0; n < NT; n++)
            for (int m = 0; m < 2; m++)
                for (int i = 0; i < 4; i++) acc[n][m][i] = 0.0f;
        for (int end = fc_linear_range(range + 1, w.steps); step < end; step++) {
            fc_copy_wait<STAGES - 2>();
            __syncthreads(); /* the step is there for all, and all have done with the slot before it */
            int next = step + STAGES - 1, free_slot = slot == 0 ? STAGES - 1 : slot - 1;
            if (next < last)
                fc_linear_tile_fetch<CODE, NT>(w, x, ring + free_slot * stage_bytes, panel, row_tile, next);
            fc_copy_commit();
            fc_linear_tile_step<CODE, NT>(acc, w, x, ring + slot * stage_bytes, at);
            slot = slot + 1 == STAGES ? 0 : slot + 1;
        }
        fc_linear_tile_put<CODE, NT>(acc, to, w, tile, row_tile, range, range == range0);
    }
}

template <int CODE, int NT, int STAGES>
static __device__ __forceinline__ void fc_linear_tile(const fc_part_cuda &w, const fc_linear_x &x, int tile,
                                                      int row_tile, unsigned char *ring, float *logits) {
    if constexpr (fc_code_is_float(CODE)) {
        fc_linear_float_tile<CODE, NT>(w, x, tile, row_tile, FC_LINEAR_TILE, FC_LINEAR_PITCH, logits);
    } else {
        fc_linear_sink to = {logits, NULL, 0, 0, 0};
        fc_linear_tile_ranges<CODE, NT, STAGES>(w, x, tile, row_tile, 0, FC_RANGES, ring, to);
    }
    __syncthreads();
}

#endif
