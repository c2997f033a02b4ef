/* exp2 - powers of two as fast as the device makes them. */
#ifndef FC_KERNELS_CUDA_EXP2_CUH
#define FC_KERNELS_CUDA_EXP2_CUH

#include "kernels/cuda/cuda.cuh"

/* 2^x within 2^-22 of it, 0 below 2^-126: one instruction (PTX ex2.approx.ftz). */
static __device__ __forceinline__ float fc_exp2_ftz(float x) {
#ifdef FC_CUDA_EMU
    float y = exp2f(x);
    return y < 0x1p-126f ? 0.0f : y;
#else
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
#endif
}

#endif
