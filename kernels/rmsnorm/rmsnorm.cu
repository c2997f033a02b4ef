#include "kernels/cuda/warp.cuh"

extern "C" {
#include "kernels/rmsnorm/rmsnorm.h"
}

enum { THREADS = 256 };

struct rmsnorm_shared {
    float fold[FC_WARPS_MAX];
};

/* A block per row: the sum of squares first, then the row again, which the first reading has left in L1 or L2. */
static __global__ void rmsnorm_kernel(const fc_rmsnorm_args p) {
    rmsnorm_shared *m = fc_shared<rmsnorm_shared>();
    int t = (int)blockIdx.x, from = p.rows ? p.rows[t] : t;
    const float *x = p.x + (size_t)from * p.D; /* [D] */
    float *res = p.res ? p.res + (size_t)from * p.D : NULL;
    float *y = p.y + (size_t)t * p.D;
    float sum = 0.0f, scale;
    for (int d = (int)threadIdx.x; d < p.D; d += THREADS) {
        float h = res ? res[d] + x[d] : x[d];
        sum = fmaf(h, h, sum);
    }
    scale = 1.0f / sqrtf(fc_block_sum(sum, m->fold) / (float)p.D + p.eps);
    for (int d = (int)threadIdx.x; d < p.D; d += THREADS) {
        float h = res ? res[d] + x[d] : x[d];
        if (res && !p.rows) res[d] = h;
        y[d] = h * scale * p.w[d];
    }
}

extern "C" fc_status fc_rmsnorm_cuda(fc_stream s, const fc_rmsnorm_args *a) {
    if (a->T < 1 || a->D < 1) return FC_FAIL(FC_ERR_ARG, "rmsnorm: T=%d D=%d; both must be at least 1", a->T, a->D);
    return fc_launch(s, "rmsnorm", rmsnorm_kernel, dim3((unsigned)a->T), THREADS, sizeof(rmsnorm_shared), *a);
}
