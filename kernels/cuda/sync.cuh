/* sync - named barriers of a block, for kernels whose warps have work apart (attn_wide.cu). That some threads may only
 * arrive at them is proven too (emu/test_emu, races, conform_sync), and no kernel's yet. */
#ifndef FC_KERNELS_CUDA_SYNC_CUH
#define FC_KERNELS_CUDA_SYNC_CUH

#include "kernels/cuda/cuda.cuh"

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

#endif
