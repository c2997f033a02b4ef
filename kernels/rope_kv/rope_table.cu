#include "kernels/cuda/cuda.cuh"

extern "C" {
#include "kernels/rope_kv/rope_kv.h"
}

enum { THREADS = 64 };

/* The CUDA library's functions of double keep a table in local memory for arguments that no position has. Here pi/2 is
 * taken off as often as it fits, its first 53 bits without any rounding as x has only 24, then come Taylor's series:
 * 2^-50 of the result for |x| < 2^31. */
static __device__ __forceinline__ void sin_cos(float x, double *sine, double *cosine) {
    const double magic = 6755399441055744.0; /* 1.5 * 2^52: adding it rounds to a whole number, left in the low bits */
    double t = fma((double)x, 0.63661977236758138, magic), n = t - magic, r, z, s, c;
    uint64_t bits;
    r = fma(-n, 1.5707963267948966, (double)x);
    r = fma(-n, 6.1232339957367660e-17, r);
    z = r * r;
    s = -1.0 / 1307674368000.0;
    s = fma(s, z, 1.0 / 6227020800.0);
    s = fma(s, z, -1.0 / 39916800.0);
    s = fma(s, z, 1.0 / 362880.0);
    s = fma(s, z, -1.0 / 5040.0);
    s = fma(s, z, 1.0 / 120.0);
    s = fma(s, z, -1.0 / 6.0);
    s = fma(s * z, r, r);
    c = 1.0 / 20922789888000.0;
    c = fma(c, z, -1.0 / 87178291200.0);
    c = fma(c, z, 1.0 / 479001600.0);
    c = fma(c, z, -1.0 / 3628800.0);
    c = fma(c, z, 1.0 / 40320.0);
    c = fma(c, z, -1.0 / 720.0);
    c = fma(c, z, 1.0 / 24.0);
    c = fma(c, z, -0.5);
    c = fma(c, z, 1.0);
    memcpy(&bits, &t, sizeof bits);
    *sine = bits & 1 ? c : s;
    *cosine = bits & 1 ? s : c;
    if (bits & 2) *sine = -*sine;
    if ((bits + 1) & 2) *cosine = -*cosine;
}

static __global__ void rope_table_kernel(const fc_rope_table_args p) {
    int half = p.R / 2, i = (int)(blockIdx.y * THREADS + threadIdx.x);
    float *cs = p.cs + (size_t)blockIdx.x * p.R; /* [2,R/2] */
    double sine, cosine;
    if (i >= half) return;
    sin_cos((float)p.pos[blockIdx.x] * p.inv_freq[i], &sine, &cosine);
    cs[i] = (float)(cosine * (double)p.mscale);
    cs[half + i] = (float)(sine * (double)p.mscale);
}

extern "C" fc_status fc_rope_table_cuda(fc_stream s, const fc_rope_table_args *a) {
    dim3 grid((unsigned)a->T, (unsigned)fc_div_up(a->R / 2, THREADS));
    if (a->T < 1 || a->R < 0 || a->R % 2) return FC_FAIL(FC_ERR_ARG, "rope_table: T=%d R=%d", a->T, a->R);
    return fc_launch(s, "rope_table", rope_table_kernel, grid, THREADS, 0, *a);
}
