/* linear_wgmma - linear by products of warpgroups: many rows and quantised weights on a device of 9.0, where a row's
 * bits may depend on how many there are. Inner to kernels/linear. */
#ifndef FC_KERNELS_LINEAR_WGMMA_CUH
#define FC_KERNELS_LINEAR_WGMMA_CUH

#include "kernels/linear/linear_x.cuh"

/* Takes: the stream is not batch-invariant, the device has such products, T is large, all parts are codes of 4 or 8
 * bits, there are blocks for more than half of the processors, and workspace for FC_X_TILE rows. */
bool fc_linear_wgmma_takes(fc_stream s, const fc_linear_args *a);
/* Arguments have been checked. */
fc_status fc_linear_wgmma(fc_stream s, const fc_linear_args *a);

#endif
