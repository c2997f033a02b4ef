#include "kernels/glu/glu.cuh"

enum { THREADS = 256, FOUR = 4 };

struct glu_params {
    float *y;       /* [T,F]  */
    const float *x; /* [T,2F] */
    int F;
    fc_act act;
};

/* A thread makes four neighbours of a row; VEC: they lie on 16 bytes. */
template <bool VEC> static __global__ void glu_kernel(const glu_params p) {
    size_t t = blockIdx.x;
    int f = ((int)blockIdx.y * THREADS + (int)threadIdx.x) * FOUR;
    const float *gate = p.x + 2 * t * (size_t)p.F + f, *up = gate + p.F;
    float *y = p.y + t * (size_t)p.F + f;
    if (f >= p.F) return;
    if (VEC) {
        float4 g = *(const float4 *)gate, u = *(const float4 *)up;
        *(float4 *)y = make_float4(fc_glu_one(g.x, u.x, p.act), fc_glu_one(g.y, u.y, p.act),
                                   fc_glu_one(g.z, u.z, p.act), fc_glu_one(g.w, u.w, p.act));
    } else {
        for (int i = 0; i < FOUR && f + i < p.F; i++) y[i] = fc_glu_one(gate[i], up[i], p.act);
    }
}

extern "C" fc_status fc_glu_cuda(fc_stream s, const fc_glu_args *a) {
    dim3 grid((unsigned)a->T, (unsigned)fc_div_up(a->F, THREADS * FOUR));
    bool vec = a->F % FOUR == 0 && ((uintptr_t)a->x | (uintptr_t)a->y) % sizeof(float4) == 0;
    int act;
    if (a->T < 1 || a->F < 1) return FC_FAIL(FC_ERR_ARG, "glu: T=%d F=%d; both must be at least 1", a->T, a->F);
    memcpy(&act, &a->act, sizeof act); /* C's enum may hold any number, which C++ may not load as one */
    if (act != FC_ACT_SILU && act != FC_ACT_GELU_TANH) return FC_FAIL(FC_ERR_ARG, "glu: activation %d", act);
    glu_params p = {a->y, a->x, a->F, a->act};
    if (vec) return fc_launch(s, "glu", glu_kernel<true>, grid, THREADS, 0, p);
    return fc_launch(s, "glu", glu_kernel<false>, grid, THREADS, 0, p);
}
