/* cluster - blocks of a kernel with FC_CLUSTER(x, y), which run at the same time and reach each other's shared memory
 * (sm_90).
 *
 * A block's rank counts x first. Its barriers (mbarrier.cuh) are other blocks' to arrive at, and its memory theirs to
 * read and to copy to, from an fc_cluster_sync_relaxed behind their first state on. A block may not end while another
 * may still reach it: it waits for what it is to be told, or for an fc_cluster_sync behind the last use.
 */
#ifndef FC_KERNELS_CUDA_CLUSTER_CUH
#define FC_KERNELS_CUDA_CLUSTER_CUH

#include "kernels/cuda/mbarrier.cuh"

static __device__ __forceinline__ int fc_cluster_rank() {
#ifdef FC_CUDA_EMU
    return emu_cluster_rank();
#elif FC_HOPPER
    unsigned rank;
    asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
    return (int)rank;
#else
    __trap();
#endif
}

/* All threads of all blocks, of which warps come whole; what came before is seen behind it, arrivals at barriers too: a
 * fence of the device. */
static __device__ __forceinline__ void fc_cluster_sync() {
#ifdef FC_CUDA_EMU
    emu_cluster_sync();
#elif FC_HOPPER
    __syncwarp();
    asm volatile("barrier.cluster.arrive.release.aligned;\n"
                 "barrier.cluster.wait.acquire.aligned;" ::
                     : "memory");
#else
    __trap();
#endif
}

/* The same, of which first states of barriers alone are sure to be seen. */
static __device__ __forceinline__ void fc_cluster_sync_relaxed() {
#ifdef FC_CUDA_EMU
    emu_cluster_sync();
#elif FC_HOPPER
    __syncwarp();
    asm volatile("fence.mbarrier_init.release.cluster;\n"
                 "barrier.cluster.arrive.relaxed.aligned;\n"
                 "barrier.cluster.wait.aligned;" ::
                     : "memory");
#else
    __trap();
#endif
}

/* What p, of this block's shared memory, is in block `rank`: to read and write like any memory. */
template <typename T> static __device__ __forceinline__ T *fc_cluster_at(T *p, int rank) {
#ifdef FC_CUDA_EMU
    return (T *)emu_cluster_at((void *)p, rank);
#elif FC_HOPPER
    T *there;
    asm("mapa.u64 %0, %1, %2;" : "=l"(there) : "l"(p), "r"(rank));
    return there;
#else
    __trap();
#endif
}

#endif
