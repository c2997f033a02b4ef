/* warp - sums and maxima over the lanes of a warp and the threads of a block, in one fixed order.
 *
 * fold of a warp: lane i with i^16, then 8, 4, 2, 1: all lanes end with the same bits. Of a block: warps' values are
 * folded the same way by every warp, those past the last warp counting as the identity.
 */
#ifndef FC_KERNELS_CUDA_WARP_CUH
#define FC_KERNELS_CUDA_WARP_CUH

#include "kernels/cuda/cuda.cuh"

enum { FC_WARP = 32, FC_WARPS_MAX = 32 };
#define FC_ALL_LANES 0xffffffffu

static __device__ __forceinline__ float fc_warp_sum(float v) {
    for (int bit = 16; bit; bit /= 2) v += __shfl_xor_sync(FC_ALL_LANES, v, bit);
    return v;
}

static __device__ __forceinline__ float fc_warp_max(float v) {
    for (int bit = 16; bit; bit /= 2) v = fmaxf(v, __shfl_xor_sync(FC_ALL_LANES, v, bit));
    return v;
}

/* scratch [FC_WARPS_MAX] shared; all threads call, and it may be used again after the next barrier. blockDim.x is a
 * multiple of 32. */
static __device__ __forceinline__ float fc_block_sum(float v, float *scratch) {
    int lane = (int)threadIdx.x % FC_WARP, warp = (int)threadIdx.x / FC_WARP, warps = (int)blockDim.x / FC_WARP;
    v = fc_warp_sum(v);
    if (lane == 0) scratch[warp] = v;
    __syncthreads();
    return fc_warp_sum(lane < warps ? scratch[lane] : 0.0f);
}

#endif
