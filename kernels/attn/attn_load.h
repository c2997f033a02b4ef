/* attn_load - what attention does to a CUDA device, from a plan's items as attn_work.cuh deals them out.
 *
 * memory  each item's KV once, for all of its units; q, y and partial states where the cache does not keep them
 * cache   KV for each unit
 * units   of 16 query vectors, of which a multiprocessor holds more, where no item of the launch has more than 32
 * ops     tensor cores over units filled up to 16 query vectors, or, above 32, to 64, and over the tiles
 *         that they see, f32 for softmax: 20 a score; f32 KV: all of them f32
 * wide    what attn_wide.cu takes is a launch of its own, of units of 128 filled up to 64
 */
#ifndef FC_KERNELS_ATTN_LOAD_H
#define FC_KERNELS_ATTN_LOAD_H

#include "kernels/attn/attn.h"
#include "kernels/load.h"

/* Of each launch, one behind the other: how many. Items, pos and item_rows are read here: host memory. Pages and
 * buffers are not looked at. */
int fc_attn_load_cuda(const fc_attn_args *a, const fc_load_device *d, fc_load out[2]);

#endif
