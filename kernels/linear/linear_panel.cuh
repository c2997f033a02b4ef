/* linear_panel - a few panels times a few rows, K cut among the warps of a block: few rows, and few outputs.
 *
 * A warp has one range of K. Its weights come by cp.async into a ring of its own, of which it keeps all but one step on
 * their way: no barrier, and about 50 KB a block in flight. x comes from L1 or L2 into registers, a step ahead. Sums of
 * ranges meet in shared memory and are folded first to last. Inner to kernels/linear.
 */
#ifndef FC_KERNELS_LINEAR_PANEL_CUH
#define FC_KERNELS_LINEAR_PANEL_CUH

#include "kernels/linear/linear_step.cuh"

enum { FC_PANEL_THREADS = FC_RANGES * 32 };

/* Steps in a warp's ring, of m panels each. */
static __host__ __device__ constexpr int fc_linear_panel_stages(int code, int m) {
    return code == FC_CODE_BF16 ? (m == 1 ? 4 : 3) : code == FC_CODE_4 ? (m == 1 ? 8 : 6) : (m == 1 ? 6 : 4);
}

/* Shared memory of a block: sums of ranges, [FC_RANGES][8 nt][pitch], then the rings. Rows 2t lie in banks 8t. */
static __host__ __device__ constexpr int fc_linear_panel_pitch(int m) { return m * FC_PANEL + 4; }
static __host__ __device__ constexpr int fc_linear_panel_sums(int m, int nt) {
    return FC_RANGES * nt * FC_X_ROWS * fc_linear_panel_pitch(m);
}
static inline size_t fc_linear_panel_shared(const fc_part_cuda *w, int m, int nt) {
    return (size_t)fc_linear_panel_sums(m, nt) * 4 +
           (size_t)(FC_RANGES * fc_linear_panel_stages(w->code, m) * m * w->chunk);
}

template <int M>
static __device__ __forceinline__ void fc_linear_panel_fetch(const fc_part_cuda &w, unsigned char *stage, int panel,
                                                             int step, int lane) {
#pragma unroll
    for (int m = 0; m < M; m++) {
        bool there = panel + m < w.n_panels;
        size_t at = (size_t)(there ? panel + m : 0) * w.panel_bytes + (size_t)step * w.chunk;
        fc_linear_copy(stage + m * w.chunk, w.panels + at, w.chunk, lane, there);
    }
}

/* Sums of M panels from `panel` on and NT tiles of rows from row_tile on, in sums; ends with a barrier. Rows row0 ..
 * row1 - 1 are wanted, others are not read. */
template <int CODE, int M, int NT>
static __device__ __forceinline__ void fc_linear_panels(const fc_part_cuda &w, const fc_linear_x &x, int panel,
                                                        int row_tile, int row0, int row1, float *sums,
                                                        unsigned char *rings) {
    constexpr int stages = fc_linear_panel_stages(CODE, M);
    int range = (int)threadIdx.x / 32, lane = (int)threadIdx.x % 32, slot = 0, stage_bytes = M * w.chunk;
    int step = fc_linear_range(range, w.steps), end = fc_linear_range(range + 1, w.steps);
    unsigned char *ring = rings + range * stages * stage_bytes;
    const unsigned char *xs = x.codes + (size_t)row_tile * x.steps * x.chunk;
    uint32_t less = fc_linear_less(w);
    bool wanted[NT];
    fc_linear_b b[NT][2];
    float acc[NT][M][4];
#pragma unroll
    for (int i = 0; i < stages - 1; i++) {
        if (step + i < end) fc_linear_panel_fetch<M>(w, ring + i * stage_bytes, panel, step + i, lane);
        fc_copy_commit();
    }
#pragma unroll
    for (int n = 0; n < NT; n++) {
        int row = (row_tile + n) * FC_X_ROWS + lane / 4;
        wanted[n] = row >= row0 && row < row1;
#pragma unroll
        for (int group = 0; group < 2; group++) {
            b[n][group].hi = b[n][group].lo = make_uint4(0, 0, 0, 0);
            b[n][group].sum = make_float2(0.0f, 0.0f);
            if (step < end)
                fc_linear_b_of(&b[n][group], xs + ((size_t)n * x.steps + step) * x.chunk, group, lane, x.precise,
                               wanted[n], w.min && (row_tile + n) * FC_X_ROWS < x.T);
        }
#pragma unroll
        for (int m = 0; m < M; m++)
            for (int i = 0; i < 4; i++) acc[n][m][i] = 0.0f;
    }
    for (; step < end; step++) {
        fc_copy_wait<stages - 2>();
        __syncwarp(); /* the step is there for all lanes, and all have done with the slot before it */
        int next = step + stages - 1, free_slot = slot == 0 ? stages - 1 : slot - 1;
        if (next < end) fc_linear_panel_fetch<M>(w, ring + free_slot * stage_bytes, panel, next, lane);
        fc_copy_commit();
#pragma unroll
        for (int group = 0; group < 2; group++) {
            uint32_t a[M][2][4];
            fc_linear_scales scales[M];
#pragma unroll
            for (int m = 0; m < M; m++) {
                const unsigned char *chunk = ring + slot * stage_bytes + m * w.chunk;
                fc_linear_a<CODE>(a[m], chunk, group, lane, less);
                fc_linear_scale<CODE>(&scales[m], w, chunk, group, lane);
            }
#pragma unroll
            for (int n = 0; n < NT; n++) {
#pragma unroll
                for (int m = 0; m < M; m++)
                    fc_linear_group<CODE>(acc[n][m], a[m], &scales[m], w.min, &b[n][group], x.precise);
                if (step + 1 < end)
                    fc_linear_b_of(&b[n][group], xs + ((size_t)n * x.steps + step + 1) * x.chunk, group, lane,
                                   x.precise, wanted[n], w.min && (row_tile + n) * FC_X_ROWS < x.T);
            }
        }
        slot = slot + 1 == stages ? 0 : slot + 1;
    }
#pragma unroll
    for (int n = 0; n < NT; n++)
#pragma unroll
        for (int m = 0; m < M; m++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                int row = n * FC_X_ROWS + lane % 4 * 2 + i % 2, out = m * FC_PANEL + lane / 4 + i / 2 * 8;
                sums[(range * NT * FC_X_ROWS + row) * fc_linear_panel_pitch(M) + out] = acc[n][m][i];
            }
    __syncthreads();
}

/* What the ranges add up to for row `row` and output `out` of what fc_linear_panels left. */
template <int M, int NT> static __device__ __forceinline__ float fc_linear_fold(const float *sums, int row, int out) {
    float v = 0.0f;
#pragma unroll
    for (int range = 0; range < FC_RANGES; range++)
        v += sums[(range * NT * FC_X_ROWS + row) * fc_linear_panel_pitch(M) + out];
    return v;
}

#endif
