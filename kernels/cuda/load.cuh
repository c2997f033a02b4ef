/* load - 16 bytes of device memory at a time, with what the caches should think of them. */
#ifndef FC_KERNELS_CUDA_LOAD_CUH
#define FC_KERNELS_CUDA_LOAD_CUH

#include "kernels/cuda/cuda.cuh"

#ifdef FC_CUDA_EMU
static inline uint4 emu_load_16(const void *p) {
    if ((uintptr_t)p % 16) emu_fail("a load of 16 bytes: %p is not aligned", p);
    return *(const uint4 *)p;
}
#endif

/* p: 16 bytes aligned to 16, written by nobody while the kernel runs, read once: weights that stream past L1. */
static __device__ __forceinline__ uint4 fc_load_stream(const void *p) {
#ifdef FC_CUDA_EMU
    return emu_load_16(p);
#else
    uint4 v;
    asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0,%1,%2,%3}, [%4];"
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
                 : "l"(p));
    return v;
#endif
}

/* The same, for what other threads of the multiprocessor read too. */
static __device__ __forceinline__ uint4 fc_load_16(const void *p) {
#ifdef FC_CUDA_EMU
    return emu_load_16(p);
#else
    return __ldg((const uint4 *)p);
#endif
}

#endif
