/* rmsnorm - residual add, then y[t,:] = w * h[t,:] / sqrt(mean(h[t,:]^2) + eps)
 *
 * shapes  x, res, y [.,D], w [D]; row-major, contiguous
 *         res NULL: h[t] = x[r(t)]; res given: h[t] = res[r(t)] + x[r(t)]
 *         rows NULL: r(t) = t, and res (if given) is updated in place: res[t] = h[t]
 *         rows given: r(t) = rows[t], res is only read: the last rows of a batch, before the head
 *         y may be x when rows is NULL
 * dtype   f32; the sum of squares in f32, lanes of 16 with one fixed fold, whatever the vector unit
 * needs   T >= 1, D >= 1
 * order   CPU: 16 lanes with one fixed fold; CUDA: a thread takes every 256th d, first to last, threads fold in halves;
 *         a row's bits depend on that row alone
 * error   1e-5 relative against rmsnorm_ref.c
 * source  Zhang & Sennrich, "Root Mean Square Layer Normalization", 2019
 */
#ifndef FC_KERNELS_RMSNORM_H
#define FC_KERNELS_RMSNORM_H

#include "kernels/kernel.h"

typedef struct {
    float *y;            /* [T,D] out             */
    const float *x;      /* [rows,D]              */
    float *res;          /* [rows,D] in/out, or NULL */
    const float *w;      /* [D]                   */
    const int32_t *rows; /* [T] or NULL           */
    float eps;
    int T, D;
} fc_rmsnorm_args;

fc_status fc_rmsnorm_cpu(fc_stream s, const fc_rmsnorm_args *a);
fc_status fc_rmsnorm_cuda(fc_stream s, const fc_rmsnorm_args *a); /* order of the sum: rmsnorm.cu */
fc_status fc_rmsnorm_ref(fc_stream s, const fc_rmsnorm_args *a);
fc_cost fc_rmsnorm_cost(const fc_rmsnorm_args *a);

#endif
