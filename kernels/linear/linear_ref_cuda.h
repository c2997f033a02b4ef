/* linear_ref_cuda - what fc_linear_cuda computes, in double, with x rounded as it rounds it (linear.h, CUDA); all on
 * the host, from a file's tensors.
 */
#ifndef FC_KERNELS_LINEAR_REF_CUDA_H
#define FC_KERNELS_LINEAR_REF_CUDA_H

#include "kernels/linear/linear.h"

typedef struct {
    double *y;         /* [T,N] out */
    double *size;      /* [T,N] out: sum(|w| |x|), |w| being |scale * code| + |minimum| where a type has minimums */
    const float *x;    /* [T,K] */
    const float *bias; /* [N] or NULL */
    const fc_weight_part *parts;
    int n_parts, T;
    bool precise;
} fc_linear_ref_cuda_args;

fc_status fc_linear_ref_cuda(const fc_linear_ref_cuda_args *a);

#endif
