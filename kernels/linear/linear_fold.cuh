/* linear_fold - sums of ranges of K in device memory, where few blocks share K, and y from these. Inner to
 * kernels/linear. */
#ifndef FC_KERNELS_LINEAR_FOLD_CUH
#define FC_KERNELS_LINEAR_FOLD_CUH

#include "kernels/linear/weight.cuh"

enum { FC_SPLIT_ROWS = 128 /* up to here K may be cut among blocks: sums of ranges take 8 times y */ };

typedef struct {
    const float *part; /* [FC_RANGES][T,N] */
    const float *bias; /* [N] or NULL */
    float *y;          /* [T,N] */
    int T, N;
    int first, outputs; /* columns of one part of w */
} fc_linear_fold_params;

static inline size_t fc_linear_part_bytes(int T, int N) {
    return (size_t)FC_RANGES * (size_t)T * (size_t)N * sizeof(float);
}

static __global__ void fold_kernel(const fc_linear_fold_params p) {
    int o = (int)(blockIdx.x * blockDim.x + threadIdx.x), row = (int)blockIdx.y;
    if (o >= p.outputs) return;
    o += p.first;
    float v = 0.0f;
#pragma unroll
    for (int range = 0; range < FC_RANGES; range++) v += p.part[((size_t)range * p.T + row) * p.N + o];
    p.y[(size_t)row * p.N + o] = v + (p.bias ? p.bias[o] : 0.0f);
}

/* Columns of part w of y [T,N]. */
static inline fc_status fc_linear_fold_parts(fc_stream s, const fc_part_cuda *w, const float *part, const float *bias,
                                             float *y, int T, int N) {
    const fc_linear_fold_params p = {part, bias, y, T, N, w->first, w->N};
    return fc_launch(s, "linear: fold", fold_kernel, dim3((unsigned)fc_div_up(w->N, 256), (unsigned)T), 256, 0, p);
}

#endif
