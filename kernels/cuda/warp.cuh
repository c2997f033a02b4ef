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

static __device__ __forceinline__ float fc_fold_sum(float a, float b) { return a + b; }
static __device__ __forceinline__ double fc_fold_sum(double a, double b) { return a + b; }
static __device__ __forceinline__ int fc_fold_sum(int a, int b) { return a + b; }
static __device__ __forceinline__ float fc_fold_max(float a, float b) { return fmaxf(a, b); } /* drops a NaN */
static __device__ __forceinline__ int fc_fold_max(int a, int b) { return b > a ? b : a; }
static __device__ __forceinline__ unsigned fc_fold_max(unsigned a, unsigned b) { return b > a ? b : a; }
static __device__ __forceinline__ float fc_lane_xor(float v, int bit) { return __shfl_xor_sync(FC_ALL_LANES, v, bit); }
static __device__ __forceinline__ double fc_lane_xor(double v, int bit) {
    return __shfl_xor_sync(FC_ALL_LANES, v, bit);
}
static __device__ __forceinline__ int fc_lane_xor(int v, int bit) { return __shfl_xor_sync(FC_ALL_LANES, v, bit); }
static __device__ __forceinline__ unsigned fc_lane_xor(unsigned v, int bit) {
    return __shfl_xor_sync(FC_ALL_LANES, v, bit);
}
/* ---- all 32 lanes call; emulated, each is one meeting */

/* v[0 .. N) becomes its fold: lane i with i ^ FIRST, and so on to i ^ LAST, halved or doubled each time. */
template <int N, int FIRST, int LAST, typename T, typename F>
static __device__ __forceinline__ void fc_lanes_fold(T *v, F fold) {
#ifdef FC_CUDA_EMU
    emu_lanes<N>(v, "fold of a warp", [fold](T *a) {
        for (int bit = FIRST;; bit = FIRST > LAST ? bit / 2 : bit * 2) {
            for (int i = 0; i < 32; i += 2 * bit)
                for (int j = i; j < i + bit; j++) {
                    T x = a[j], y = a[j + bit];
                    a[j] = fold(x, y);
                    a[j + bit] = fold(y, x);
                }
            if (bit == LAST) break;
        }
    });
#else
#pragma unroll
    for (int i = 0; i < N; i++)
#pragma unroll
        for (int bit = FIRST;; bit = FIRST > LAST ? bit / 2 : bit * 2) {
            v[i] = fold(v[i], fc_lane_xor(v[i], bit));
            if (bit == LAST) break;
        }
#endif
}
template <int FIRST, int LAST, typename T> static __device__ __forceinline__ T fc_lanes_sum(T v) {
    fc_lanes_fold<1, FIRST, LAST>(&v, [](T a, T b) { return fc_fold_sum(a, b); });
    return v;
}
template <int FIRST, int LAST, typename T> static __device__ __forceinline__ T fc_lanes_max(T v) {
    fc_lanes_fold<1, FIRST, LAST>(&v, [](T a, T b) { return fc_fold_max(a, b); });
    return v;
}

/* T is float, double or int. */
template <typename T> static __device__ __forceinline__ T fc_warp_sum(T v) { return fc_lanes_sum<16, 1>(v); }
template <typename T> static __device__ __forceinline__ T fc_warp_max(T v) { return fc_lanes_max<16, 1>(v); }
static __device__ __forceinline__ int fc_warp_min(int v) {
    fc_lanes_fold<1, 16, 1>(&v, [](int a, int b) { return a < b ? a : b; });
    return v;
}
/* The first n of v, which are as many in all lanes. */
template <int N> static __device__ __forceinline__ void fc_warp_sums(float v[N], int n) {
#ifdef FC_CUDA_EMU
    (void)n;
    fc_lanes_fold<N, 16, 1>(v, [](float a, float b) { return fc_fold_sum(a, b); });
#else
#pragma unroll
    for (int i = 0; i < N; i++)
        if (i < n) v[i] = fc_warp_sum(v[i]);
#endif
}

/* Whole numbers added up to and with the lane's own. */
template <typename T> static __device__ __forceinline__ T fc_warp_scan(T v) {
#ifdef FC_CUDA_EMU
    emu_lanes<1>(&v, "scan of a warp", [](T *a) {
        for (int i = 1; i < 32; i++) a[i] += a[i - 1];
    });
#else
    for (int by = 1; by < FC_WARP; by *= 2) {
        T before = __shfl_up_sync(FC_ALL_LANES, v, (unsigned)by);
        v += (int)threadIdx.x % FC_WARP >= by ? before : 0;
    }
#endif
    return v;
}

/* total and the lanes' numbers v, added from the left; mine: the running total with the lane's own. */
static __device__ __forceinline__ double fc_warp_add(double v, double total, double *mine) {
#ifdef FC_CUDA_EMU
    struct pair {
        double v, total;
    } run = {v, total};
    emu_lanes<1>(&run, "sum of a warp", [](pair *a) {
        double sum = a[0].total;
        for (int i = 0; i < 32; i++) a[i].v = sum += a[i].v;
        for (int i = 0; i < 32; i++) a[i].total = sum;
    });
    *mine = run.v;
    return run.total;
#else
#pragma unroll
    for (int i = 0; i < FC_WARP; i++) {
        total += __shfl_sync(FC_ALL_LANES, v, i);
        if (i == (int)threadIdx.x % FC_WARP) *mine = total;
    }
    return total;
#endif
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

#endif
