/* attn_wide - items of many query vectors, by warpgroups. Inner to kernels/attn. */
#ifndef FC_KERNELS_ATTN_WIDE_CUH
#define FC_KERNELS_ATTN_WIDE_CUH

#include "kernels/attn/attn_work.cuh"

/* Launches them where the device has warpgroups that compute over such KV; p then means the other items, and *left says
 * whether anything is to be done for these, or folded. */
fc_status fc_attn_wide(fc_stream s, attn_params *p, bool *left);

#endif
