#include "kernels/cuda/vmath.cuh"

extern "C" {
#include "kernels/softcap/softcap.h"
}

enum { THREADS = 256, FOUR = 4 };

struct softcap_params {
    float *x; /* [n] */
    size_t n;
    float cap, inv;
};

static __device__ __forceinline__ float capped(float x, const softcap_params &p) { return p.cap * fc_tanhf(x * p.inv); }

/* A thread has four neighbours; VEC: they lie on 16 bytes. */
template <bool VEC> static __global__ void softcap_kernel(const softcap_params p) {
    size_t i = ((size_t)blockIdx.x * THREADS + threadIdx.x) * FOUR;
    if (VEC && i + FOUR <= p.n) {
        float4 v = *(const float4 *)(p.x + i);
        *(float4 *)(p.x + i) = make_float4(capped(v.x, p), capped(v.y, p), capped(v.z, p), capped(v.w, p));
    } else {
        for (int k = 0; k < FOUR && i + k < p.n; k++) p.x[i + k] = capped(p.x[i + k], p);
    }
}

extern "C" fc_status fc_softcap_cuda(fc_stream s, const fc_softcap_args *a) {
    softcap_params p = {a->x, a->n, a->cap, 1.0f / a->cap};
    size_t blocks = (a->n + THREADS * FOUR - 1) / (THREADS * FOUR);
    if (!(a->cap > 0.0f) || !isfinite(a->cap))
        return FC_FAIL(FC_ERR_ARG, "softcap: cap=%g; it must be positive", (double)a->cap);
    if (blocks > INT32_MAX) return FC_FAIL(FC_ERR_ARG, "softcap: n=%zu elements are too many", a->n);
    if ((uintptr_t)a->x % sizeof(float4) == 0)
        return fc_launch(s, "softcap", softcap_kernel<true>, dim3((unsigned)blocks), THREADS, 0, p);
    return fc_launch(s, "softcap", softcap_kernel<false>, dim3((unsigned)blocks), THREADS, 0, p);
}
