/* sync - waiting for others beyond __syncthreads and __syncwarp: named barriers, the whole grid, a word in memory. */
#ifndef FC_KERNELS_CUDA_SYNC_CUH
#define FC_KERNELS_CUDA_SYNC_CUH

#include "kernels/cuda/cuda.cuh"

#ifndef FC_CUDA_EMU
#include <cooperative_groups.h>
#endif

/* Barriers 1 to 15 of a block (0 is __syncthreads's). threads, a multiple of 32, is how many come in one round, those
 * that wait and those that only arrive together; every thread of a warp comes. Who waited sees what came before. */
#ifdef FC_CUDA_EMU
#define fc_bar_sync(id, threads)   emu_barrier(id, threads, __FILE__, __LINE__)
#define fc_bar_arrive(id, threads) emu_barrier_arrive(id, threads, __FILE__, __LINE__)
#else
static __device__ __forceinline__ void fc_bar_sync(int id, int threads) {
    asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}
static __device__ __forceinline__ void fc_bar_arrive(int id, int threads) {
    asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory");
}
#endif

/* All threads of all blocks of a launch by cudaLaunchCooperativeKernel. */
#ifdef FC_CUDA_EMU
#define fc_grid_sync() emu_grid_barrier(__FILE__, __LINE__)
#else
static __device__ __forceinline__ void fc_grid_sync() { cooperative_groups::this_grid().sync(); }
#endif

/* A word by which blocks tell one another: what the writer did before fc_store_release is seen by who read the word
 * that it wrote with fc_load_acquire. Waiting for another block needs a cooperative launch, fc_pause in the loop. */
static __device__ __forceinline__ unsigned fc_load_acquire(const unsigned *p) {
#ifdef FC_CUDA_EMU
    unsigned v;
    emu_atomic_begins(p);
    v = __atomic_load_n(p, __ATOMIC_RELAXED);
    emu_atomic_ends(p);
    emu_fence();
    return v;
#else
    unsigned v;
    asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(v) : "l"(p) : "memory");
    return v;
#endif
}

static __device__ __forceinline__ void fc_store_release(unsigned *p, unsigned v) {
#ifdef FC_CUDA_EMU
    emu_fence();
    emu_atomic_begins(p);
    __atomic_store_n(p, v, __ATOMIC_RELAXED);
    emu_atomic_ends(p);
#else
    asm volatile("st.release.gpu.global.u32 [%0], %1;" ::"l"(p), "r"(v) : "memory");
#endif
}

/* In a loop that waits for such a word. */
#ifdef FC_CUDA_EMU
#define fc_pause() emu_spin()
#else
static __device__ __forceinline__ void fc_pause() { __nanosleep(64); }
#endif

#endif
