#include "kernels/cuda/cuda.cuh"

extern "C" {
#include "kernels/rows/rows_copy.h"
}

enum { THREADS = 256, FOUR = 4 };

struct rows_params {
    fc_rows_copy_args a;
    unsigned long long *trouble;
};

/* A block per piece of a row; VEC: rows lie on 16 bytes, and a thread moves as many. */
template <bool VEC> static __global__ void rows_copy_kernel(const rows_params p) {
    int i = (int)blockIdx.x, at = (int)(blockIdx.y * THREADS + threadIdx.x);
    int src = p.a.src ? p.a.src[i] : i, dst = p.a.dst ? p.a.dst[i] : i;
    bool wrong_src = src < 0 || src >= p.a.x_rows;
    if (wrong_src || dst < 0 || dst >= p.a.y_rows) {
        if (at == 0) fc_complain(p.trouble, wrong_src ? FC_TROUBLE_ROWS_SRC : FC_TROUBLE_ROWS_DST, i);
        return;
    }
    const float *x = p.a.x + (size_t)src * p.a.D; /* [D] */
    float *y = p.a.y + (size_t)dst * p.a.D;
    if (VEC) {
        if (at < p.a.D / FOUR) ((float4 *)y)[at] = ((const float4 *)x)[at];
    } else {
        for (int d = at * FOUR; d < (at + 1) * FOUR && d < p.a.D; d++) y[d] = x[d];
    }
}

extern "C" fc_status fc_rows_copy_cuda(fc_stream s, const fc_rows_copy_args *a) {
    rows_params p = {*a, s->trouble};
    dim3 grid((unsigned)a->n, (unsigned)fc_div_up(a->D, THREADS * FOUR));
    if (a->n < 0 || a->D < 1) return FC_FAIL(FC_ERR_ARG, "rows_copy: n=%d D=%d; D must be at least 1", a->n, a->D);
    if (a->n > a->x_rows && !a->src)
        return FC_FAIL(FC_ERR_ARG, "rows_copy: src[%d]=%d of %d", a->x_rows, a->x_rows, a->x_rows);
    if (a->n > a->y_rows && !a->dst)
        return FC_FAIL(FC_ERR_ARG, "rows_copy: dst[%d]=%d of %d", a->y_rows, a->y_rows, a->y_rows);
    if (a->D % FOUR == 0 && ((uintptr_t)a->x | (uintptr_t)a->y) % sizeof(float4) == 0)
        return fc_launch(s, "rows_copy", rows_copy_kernel<true>, grid, THREADS, 0, p);
    return fc_launch(s, "rows_copy", rows_copy_kernel<false>, grid, THREADS, 0, p);
}
