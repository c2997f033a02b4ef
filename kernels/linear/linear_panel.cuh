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

/* A step of M panels to `to`; from[] goes on to the next. */
template <int CODE, int M>
static __device__ __forceinline__ void fc_linear_panel_fetch(unsigned char *to, const unsigned char *from[M],
                                                             const fc_part_cuda &w, int lane) {
#pragma unroll
    for (int m = 0; m < M; m++) {
        fc_linear_copy<CODE>(to + m * w.chunk, from[m], w, lane);
        from[m] += fc_linear_stride<CODE>(w);
    }
}

/* Sums of M panels from `panel` on (past the last one: of that again) and NT tiles of rows from row_tile on, in sums;
 * ends with a barrier. Rows row0 .. row1 - 1 are wanted, others are not read. */
template <int CODE, int M, int NT>
static __device__ __forceinline__ void fc_linear_panels(const fc_part_cuda &w, const fc_linear_x &x, int panel,
                                                        int row_tile, int row0, int row1, float *sums,
                                                        unsigned char *rings) {
    constexpr int stages = fc_linear_panel_stages(CODE, M);
    int range = (int)threadIdx.x / 32, lane = (int)threadIdx.x % 32, stage_bytes = M * w.chunk;
    int first = fc_linear_range(range, w.steps), steps = fc_linear_range(range + 1, w.steps) - first;
    unsigned char *ring = rings + range * stages * stage_bytes, *slot = ring, *end = ring + stages * stage_bytes;
    unsigned char *to = ring + lane * 16; /* the next step's slot, and where it comes from */
    const unsigned char *from[M], *xs[NT];
    const fc_linear_at at = fc_linear_at_of(w, CODE, lane);
    int sums_at = fc_linear_sums(lane) - lane * 16;
    bool wanted[NT], sum[NT];
    fc_linear_b b[NT][2];
    float acc[NT][M][4];
#pragma unroll
    for (int m = 0; m < M; m++) from[m] = fc_linear_from<CODE>(w, min(panel + m, w.n_panels - 1), first, lane);
#pragma unroll
    for (int i = 0; i < stages - 1; i++) {
        if (i < steps) fc_linear_panel_fetch<CODE, M>(to, from, w, lane);
        fc_copy_commit();
        to += stage_bytes;
    }
#pragma unroll
    for (int n = 0; n < NT; n++) {
        int row = (row_tile + n) * FC_X_ROWS;
        wanted[n] = row + lane / 4 >= row0 && row + lane / 4 < row1;
        sum[n] = w.min && row < x.T;
        xs[n] = x.codes + ((size_t)(row_tile + n) * x.steps + first) * x.chunk + lane * 16;
#pragma unroll
        for (int group = 0; group < 2; group++) {
            b[n][group].hi = b[n][group].lo = make_uint4(0, 0, 0, 0);
            b[n][group].sum = make_float2(0.0f, 0.0f);
            if (steps) fc_linear_b_of(&b[n][group], xs[n], xs[n] + sums_at, group, x.precise, wanted[n], sum[n]);
        }
#pragma unroll
        for (int m = 0; m < M; m++)
            for (int i = 0; i < 4; i++) acc[n][m][i] = 0.0f;
    }
    for (int i = 0; i < steps; i++) {
        fc_copy_wait<stages - 2>();
        __syncwarp(); /* the step is there for all lanes, and all have done with the slot before it */
        if (i + stages - 1 < steps) fc_linear_panel_fetch<CODE, M>(to, from, w, lane);
        fc_copy_commit();
        to = slot + lane * 16;
        int on = i + 1 < steps ? x.chunk : 0; /* the last step's x is read once more */
#pragma unroll
        for (int n = 0; n < NT; n++) xs[n] += on;
#pragma unroll
        for (int group = 0; group < 2; group++) {
            uint32_t a[M][2][4];
            fc_linear_scales scales[M];
#pragma unroll
            for (int m = 0; m < M; m++) {
                fc_linear_a<CODE>(a[m], slot + m * w.chunk, group, lane, at);
                fc_linear_scale<CODE>(&scales[m], w, slot + m * w.chunk, group, at);
            }
#pragma unroll
            for (int n = 0; n < NT; n++) {
#pragma unroll
                for (int m = 0; m < M; m++)
                    fc_linear_group<CODE>(acc[n][m], a[m], &scales[m], w.min, &b[n][group], x.precise);
                fc_linear_b_of(&b[n][group], xs[n], xs[n] + sums_at, group, x.precise, wanted[n], sum[n]);
            }
        }
        slot = slot + stage_bytes == end ? ring : slot + stage_bytes;
    }
#pragma unroll
    for (int m = 0; m < M; m++) {
        float scale[2];
        fc_linear_row_scale<CODE>(scale, w, panel + m, lane);
#pragma unroll
        for (int n = 0; n < NT; n++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                int row = n * FC_X_ROWS + lane % 4 * 2 + i % 2, out = m * FC_PANEL + lane / 4 + i / 2 * 8;
                sums[(range * NT * FC_X_ROWS + row) * fc_linear_panel_pitch(M) + out] =
                    fc_linear_row_scaled<CODE>(acc[n][m][i], scale[i / 2]);
            }
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
