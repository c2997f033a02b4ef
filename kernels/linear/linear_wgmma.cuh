/* linear_wgmma - linear by products of warpgroups, with linear's bits: 17 rows and more on a device of 9.0. Inner to
 * kernels/linear. */
#ifndef FC_KERNELS_LINEAR_WGMMA_CUH
#define FC_KERNELS_LINEAR_WGMMA_CUH

#include "kernels/linear/linear_x.cuh"

/* Takes n of the call's rows: the device has such products, n is large enough, no part is F32, F16, or BF16 by rows,
 * and there are shared memory for a ring and workspace for x. */
extern "C" bool fc_linear_wgmma_takes(fc_stream s, const fc_linear_args *a, int n); /* its test asks too */
/* Rows first .. first + n - 1. Arguments have been checked. */
fc_status fc_linear_wgmma(fc_stream s, const fc_linear_args *a, int first, int n);

#endif
