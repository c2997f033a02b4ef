/* attn_wide - items of many query vectors, by warpgroups. Inner to kernels/attn. */
#ifndef FC_KERNELS_ATTN_WIDE_CUH
#define FC_KERNELS_ATTN_WIDE_CUH

#include "kernels/attn/attn_work.cuh"

/* Launches them, where there are any among the widths *left and the device has warpgroups that compute over such KV;
 * they are then left no more. */
fc_status fc_attn_wide(fc_stream s, attn_params p, int *left);

#endif
