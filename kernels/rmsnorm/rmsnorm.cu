#include "kernels/cuda/warp.cuh"

extern "C" {
#include "kernels/rmsnorm/rmsnorm.h"
}

enum { THREADS = 256 };

struct rmsnorm_shared {
    float fold[FC_WARPS_MAX];
};

/* The row that a block reads and the one that it writes; res may be NULL. */
struct rmsnorm_row {
    const float *x; /* [D] */
    float *res, *y;
};

static __device__ __forceinline__ rmsnorm_row row_of(const fc_rmsnorm_args &p) {
    int t = (int)blockIdx.x, from = p.rows ? p.rows[t] : t;
    return {p.x + (size_t)from * p.D, p.res ? p.res + (size_t)from * p.D : NULL, p.y + (size_t)t * p.D};
}

/* A block per row, which is read once, all of it at a time: N elements of a thread, and w, stay in registers. */
template <int N> static __global__ void __launch_bounds__(THREADS) rmsnorm_kernel(const fc_rmsnorm_args p) {
    rmsnorm_shared *m = fc_shared<rmsnorm_shared>();
    rmsnorm_row r = row_of(p);
    float h[N], w[N], sum = 0.0f, scale;
#pragma unroll
    for (int i = 0; i < N; i++) {
        int d = (int)threadIdx.x + i * THREADS;
        h[i] = d >= p.D ? 0.0f : r.res ? r.res[d] + r.x[d] : r.x[d];
        w[i] = d >= p.D ? 0.0f : p.w[d];
    }
#pragma unroll
    for (int i = 0; i < N; i++) sum = fmaf(h[i], h[i], sum); /* zeroes behind D change nothing */
    scale = 1.0f / sqrtf(fc_block_sum(sum, m->fold) / (float)p.D + p.eps);
#pragma unroll
    for (int i = 0; i < N; i++) {
        int d = (int)threadIdx.x + i * THREADS;
        if (d >= p.D) continue;
        if (r.res && !p.rows) r.res[d] = h[i];
        r.y[d] = h[i] * scale * w[i];
    }
}

/* A block per row, however long: the sum of squares first, then the row again, which the first reading has left in L1
 * or L2. */
static __global__ void rmsnorm_long_kernel(const fc_rmsnorm_args p) {
    rmsnorm_shared *m = fc_shared<rmsnorm_shared>();
    rmsnorm_row r = row_of(p);
    float sum = 0.0f, scale;
    for (int d = (int)threadIdx.x; d < p.D; d += THREADS) {
        float h = r.res ? r.res[d] + r.x[d] : r.x[d];
        sum = fmaf(h, h, sum);
    }
    scale = 1.0f / sqrtf(fc_block_sum(sum, m->fold) / (float)p.D + p.eps);
    for (int d = (int)threadIdx.x; d < p.D; d += THREADS) {
        float h = r.res ? r.res[d] + r.x[d] : r.x[d];
        if (r.res && !p.rows) r.res[d] = h;
        r.y[d] = h * scale * p.w[d];
    }
}

extern "C" fc_status fc_rmsnorm_cuda(fc_stream s, const fc_rmsnorm_args *a) {
    dim3 grid((unsigned)a->T);
    size_t shared = sizeof(rmsnorm_shared);
    if (a->T < 1 || a->D < 1) return FC_FAIL(FC_ERR_ARG, "rmsnorm: T=%d D=%d; both must be at least 1", a->T, a->D);
    if (a->D <= 4 * THREADS) return fc_launch(s, "rmsnorm", rmsnorm_kernel<4>, grid, THREADS, shared, *a);
    if (a->D <= 8 * THREADS) return fc_launch(s, "rmsnorm", rmsnorm_kernel<8>, grid, THREADS, shared, *a);
    if (a->D <= 16 * THREADS) return fc_launch(s, "rmsnorm", rmsnorm_kernel<16>, grid, THREADS, shared, *a);
    if (a->D <= 32 * THREADS) return fc_launch(s, "rmsnorm", rmsnorm_kernel<32>, grid, THREADS, shared, *a);
    return fc_launch(s, "rmsnorm", rmsnorm_long_kernel, grid, THREADS, shared, *a);
}
