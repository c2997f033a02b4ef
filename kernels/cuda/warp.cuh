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

/* The lower index wins among equal values; a NaN wins over all, the lowest of them. index < 0: nothing. */
struct fc_best {
    float value;
    int index;
};

static __device__ __forceinline__ float fc_fold_sum(float a, float b) { return a + b; }
static __device__ __forceinline__ double fc_fold_sum(double a, double b) { return a + b; }
static __device__ __forceinline__ int fc_fold_sum(int a, int b) { return a + b; }
static __device__ __forceinline__ float fc_fold_max(float a, float b) { return fmaxf(a, b); } /* drops a NaN */
static __device__ __forceinline__ int fc_fold_max(int a, int b) { return b > a ? b : a; }
static __device__ __forceinline__ fc_best fc_fold_best(fc_best a, fc_best b) {
    bool a_nan = a.value != a.value, b_nan = b.value != b.value, second;
    if (a.index < 0 || b.index < 0) return a.index < 0 ? b : a;
    if (a_nan || b_nan) second = b_nan && (!a_nan || b.index < a.index);
    else second = b.value > a.value || (b.value == a.value && b.index < a.index);
    return second ? b : a;
}

static __device__ __forceinline__ float fc_lane_xor(float v, int bit) { return __shfl_xor_sync(FC_ALL_LANES, v, bit); }
static __device__ __forceinline__ double fc_lane_xor(double v, int bit) {
    return __shfl_xor_sync(FC_ALL_LANES, v, bit);
}
static __device__ __forceinline__ int fc_lane_xor(int v, int bit) { return __shfl_xor_sync(FC_ALL_LANES, v, bit); }
static __device__ __forceinline__ fc_best fc_lane_xor(fc_best v, int bit) {
    v.value = __shfl_xor_sync(FC_ALL_LANES, v.value, bit);
    v.index = __shfl_xor_sync(FC_ALL_LANES, v.index, bit);
    return v;
}

/* T is float, double or int; all 32 lanes call. */
template <typename T> static __device__ __forceinline__ T fc_warp_sum(T v) {
    for (int bit = 16; bit; bit /= 2) v = fc_fold_sum(v, fc_lane_xor(v, bit));
    return v;
}
template <typename T> static __device__ __forceinline__ T fc_warp_max(T v) { /* float or int */
    for (int bit = 16; bit; bit /= 2) v = fc_fold_max(v, fc_lane_xor(v, bit));
    return v;
}
static __device__ __forceinline__ fc_best fc_warp_best(fc_best v) {
    for (int bit = 16; bit; bit /= 2) v = fc_fold_best(v, fc_lane_xor(v, bit));
    return v;
}

/* Warps' values through scratch: each warp then has those of lane's warp, `nothing` past the last. */
template <typename T> static __device__ __forceinline__ T fc_across_warps(T of_warp, T nothing, T *scratch) {
    int lane = (int)threadIdx.x % FC_WARP, warp = (int)threadIdx.x / FC_WARP, warps = (int)blockDim.x / FC_WARP;
    if (lane == 0) scratch[warp] = of_warp;
    __syncthreads();
    return lane < warps ? scratch[lane] : nothing;
}

/* scratch [FC_WARPS_MAX] shared; all threads call, and it may be used again after the next barrier. blockDim.x is a
 * multiple of 32. */
template <typename T> static __device__ __forceinline__ T fc_block_sum(T v, T *scratch) {
    return fc_warp_sum(fc_across_warps(fc_warp_sum(v), (T)0, scratch));
}
static __device__ __forceinline__ float fc_block_max(float v, float *scratch) {
    return fc_warp_max(fc_across_warps(fc_warp_max(v), -INFINITY, scratch));
}
static __device__ __forceinline__ fc_best fc_block_best(fc_best v, fc_best *scratch) {
    return fc_warp_best(fc_across_warps(fc_warp_best(v), fc_best{0.0f, -1}, scratch));
}

#endif
