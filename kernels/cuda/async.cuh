/* async - copies from device memory to shared memory that run beside the thread (cp.async, sm_80): queued, committed in
 * groups, there for their own thread after its wait, for the block after a barrier behind it. */
#ifndef FC_KERNELS_CUDA_ASYNC_CUH
#define FC_KERNELS_CUDA_ASYNC_CUH

#include "kernels/cuda/cuda.cuh"

/* BYTES: 4, 8 or 16, what both addresses are aligned to. valid false: zeroes land, and global is not read. */
template <int BYTES>
static __device__ __forceinline__ void fc_copy_async(void *shared, const void *global, bool valid = true) {
    static_assert(BYTES == 4 || BYTES == 8 || BYTES == 16, "cp.async copies 4, 8 or 16 bytes");
#ifdef FC_CUDA_EMU
    emu_copy_async(shared, global, BYTES, valid ? BYTES : 0);
#else
    unsigned to = (unsigned)__cvta_generic_to_shared(shared);
    int read = valid ? BYTES : 0;
    if (BYTES == 16)
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(to), "l"(global), "r"(read) : "memory");
    else
        asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;\n" ::"r"(to), "l"(global), "n"(BYTES), "r"(read)
                     : "memory");
#endif
}

static __device__ __forceinline__ void fc_copy_commit() {
#ifdef FC_CUDA_EMU
    emu_copy_commit();
#else
    asm volatile("cp.async.commit_group;\n" ::: "memory");
#endif
}

/* Until all but the newest GROUPS groups of this thread have landed. */
template <int GROUPS> static __device__ __forceinline__ void fc_copy_wait() {
#ifdef FC_CUDA_EMU
    emu_copy_wait(GROUPS);
#else
    asm volatile("cp.async.wait_group %0;\n" ::"n"(GROUPS) : "memory");
#endif
}

#endif
