/* linear_lt - linear by cuBLASLt: many rows and bf16 weights, where a row's bits may depend on how many there are.
 * Inner to kernels/linear. */
#ifndef FC_KERNELS_LINEAR_LT_CUH
#define FC_KERNELS_LINEAR_LT_CUH

#include "kernels/linear/linear_x.cuh"

/* Takes: the stream is not batch-invariant, T is large, all parts are BF16, there is workspace for it, and cuBLASLt has
 * algorithms. */
fc_status fc_linear_lt_takes(fc_stream s, const fc_linear_args *a, bool *takes);
/* Arguments have been checked. x as linear_x.cuh rounds it; precise, two products. */
fc_status fc_linear_lt(fc_stream s, const fc_linear_args *a);

#endif
